"""The checks, one module per family; each asks one question and judges the answers.

A check is a pair of plain functions that share a docstring:

    question(given, draw, candidate) -> asked     talks to the candidate; returns inputs and answers as a dict
    judge(given, asked, reference)   -> Finding   pure: no candidate, no clock, no files

`given` is the case's data from YAML, already validated against `given` of the check. A question never sees the
reference, a judge never sees the candidate. In certification the judge runs on the same `asked` that a stranger gets
when he replays the stored evidence.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference
    from llmasos_conformance.verdict import Finding

Given = Mapping[str, Any]
Asked = Mapping[str, Any]
Question = Callable[[Given, "Draw", "Candidate"], Asked]
Judge = Callable[[Given, Asked, "Reference"], "Finding"]

FAMILIES = (
    "format", "loading", "numerics", "attention", "batch", "cache", "state", "greedy", "api", "text", "contracts",
    "inside", "interchange", "metrics", "windows", "beams", "beside", "documents", "encoder", "encdec",
    "tokenizers", "given", "sampling", "precision", "gumbel", "hosted", "streamed", "stated", "drawn",
)  # fmt: skip
"""Modules of this package that hold checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        name: as YAML names it.
        needs: capabilities without which the question cannot be asked.
        given: JSON Schema of the case's data; closed, every key described.
        question, judge: see the module.
    """

    name: str
    needs: frozenset[str]
    given: Mapping[str, Any]
    question: Question
    judge: Judge

    @property
    def doc(self) -> str:
        return (self.question.__doc__ or "").strip()


_REGISTRY: dict[str, Check] = {}


def check(
    name: str,
    question: Question,
    judge: Judge,
    *,
    needs: tuple[str, ...],
    given: Mapping[str, Any] | None = None,
    optional: Mapping[str, Any] | None = None,
) -> Check:
    """Register a check.

    Args:
        given: properties of the case's data; all are required unless `default` is there.
        optional: properties that a case may leave out. They have no default, because a default is part of a case's
            digest, and so could not be added to a check whose cases are frozen.
    """
    properties = {**(given or {}), **(optional or {})}
    schema = {
        "type": "object",
        "properties": properties,
        "required": sorted(key for key, value in (given or {}).items() if "default" not in value),
        "additionalProperties": False,
    }
    if name in _REGISTRY:
        raise ValueError(f"two checks are called {name}")
    made = Check(name=name, needs=frozenset(needs), given=schema, question=question, judge=judge)
    _REGISTRY[name] = made
    return made


def registry() -> Mapping[str, Check]:
    """All checks by name."""
    for family in FAMILIES:
        importlib.import_module(f"{__name__}.{family}")
    return _REGISTRY
