"""The mutants by name, and what each is for.

small      wrong by less than 100 honest errors on the plain probe, or not at all there
computing  plainly wrong in the forward pass
keeping    the same in batches, caches, sessions and state between calls
answering  the same in limits, ends, texts, stop strings and streams
choosing   the same in how an id is chosen, and in log-probabilities
loading    a bundle that must be refused is opened, or opened wrongly
inside     what is shown of the inside is something else, or learning goes wrong
lookers    the same as inside, of the other architectures, in another implementation
outside    the same bugs in another implementation: Hugging Face transformers behind its adapter
tokenizers tokenizer.json is read, followed or refused wrongly
metrics    wrong scores of texts, wrong perplexities
onnx       model.onnx is run wrongly, taken where it must be refused, or written as something else
onnx_small the same, where it is small or shows only on some inputs
quantising weights of fewer digits behind a claim of half precision
narrow     fewer digits behind a claim of float32, where text alone is shown
llama      in what Llama has of its own, and faults of the other groups in a runtime for Llama
bands      in the banded layers of GPT-3
beams      in beam search
samplers   tokens are drawn by another law
shapers    bias or penalties are applied wrongly
gumbel     the standard's noise is drawn, counted or added wrongly
bert, transformer       gross, in the runtimes of these two
hosted     servers of a hosted model, behind an API like OpenAI's
hosted_laws             the same, in the logprobs that they state and in how they draw
encoder_small           as small as small, in either of the two
heldout    of every kind, written after the checks were frozen and without a look at them
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

GROUPS = (
    "small", "dishonest", "computing", "keeping", "answering", "choosing", "loading", "inside", "outside", "lookers",
    "metrics", "onnx", "onnx_small", "quantising", "narrow", "llama", "bands", "beams", "samplers", "shapers", "gumbel",
    "tokenizers", "encoder_small", "bert", "transformer", "hosted", "hosted_laws", "heldout",
)  # fmt: skip

Kind = TypeVar("Kind", bound=type[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """An implementation broken on purpose after a documented real bug.

    Attributes:
        name: as in its address, `mutant:NAME`.
        group: one of GROUPS.
        source: thread that documents the real bug, or its nearest relative that we found; owner/repository#number.
        requirement: the requirement that it must be seen to break.
        bug: one sentence.
        adapter: makes the broken candidate.
        asked: requirements whose cases it is asked; empty for all. A fault that is planted a second time, in another
            runtime, need not be asked about everything again.
    """

    name: str
    group: str
    source: str
    requirement: str
    bug: str
    adapter: Callable[[], Any]
    asked: frozenset[str] = frozenset()


_MUTANTS: dict[str, Mutant] = {}


def record(made: Mutant) -> None:
    """Put a mutant into the catalogue; names are used once."""
    if made.name in _MUTANTS:
        raise ValueError(f"two mutants are called {made.name}")
    _MUTANTS[made.name] = made


def recorded(name: str) -> Mutant:
    """A mutant whose module was imported already."""
    return _MUTANTS[name]


def mutant(name: str, source: str, requirement: str) -> Callable[[Kind], Kind]:
    """Record a Runtime subclass; its group is the module that holds it, its docstring the bug."""

    def note(kind: Kind) -> Kind:
        from llmasos_conformance.mutants.runtime import Serving

        record(
            Mutant(
                name=name,
                group=kind.__module__.rpartition(".")[2],
                source=source,
                requirement=requirement,
                bug=" ".join((inspect.getdoc(kind) or "").split()),
                adapter=lambda: Serving(kind, f"mutant:{name}"),
            )
        )
        return kind

    return note


def mutants() -> Mapping[str, Mutant]:
    """All mutants by name, group after group."""
    for group in GROUPS:
        importlib.import_module(f"{__package__}.{group}")
    return _MUTANTS
