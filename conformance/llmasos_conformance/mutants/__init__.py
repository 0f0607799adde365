"""Candidates that show that the checks work: honest variants, which must pass, and mutants and nulls, which must not.

    honest:NAME   the runtime of an architecture in one of several orders of computation
    mutant:NAME   the runtime, its loader or the transformers adapter with one documented bug
    null:NAME     a candidate that knows nothing

`table` runs all of them against all cases and prints who failed what.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import Description

T = TypeVar("T")


def _named(kind: str, table: Mapping[str, T], name: str) -> T:
    if name not in table:
        near = get_close_matches(name, table, 3, 0.4) or sorted(table)[:3]
        raise AddressError(f"there is no {kind} {name!r:.60}", where=f"{kind}:{name}", hint=f"{kind}:{near[0]}")
    return table[name]


class _Delegating:
    """An adapter that passes everything on."""

    adapter: Any

    def describe(self) -> Description:
        described: Description = self.adapter.describe()
        return described

    def load_model(self, path: str) -> Any:
        return self.adapter.load_model(path)

    def __getattr__(self, name: str) -> Any:
        if name not in ("bleu", "rouge", "completions", "chat", "template", "together"):  # not every adapter has them
            raise AttributeError(name)
        return getattr(self.adapter, name)


class HonestAdapter(_Delegating):
    """`honest:NAME`."""

    def __init__(self, argument: str = "plain") -> None:
        from llmasos_conformance.mutants.runtime import Serving
        from llmasos_conformance.mutants.variants import HONEST, HOSTED, babbling

        if argument in HOSTED:
            self.adapter = babbling(HOSTED[argument], f"honest:{argument}")
            return
        self.adapter = Serving(_named("honest", HONEST, argument or "plain"), f"honest:{argument or 'plain'}")


class MutantAdapter(_Delegating):
    """`mutant:NAME`."""

    def __init__(self, argument: str = "") -> None:
        from llmasos_conformance.mutants.catalogue import mutants

        self.adapter = _named("mutant", mutants(), argument).adapter()


class NullAdapter(_Delegating):
    """`null:NAME`."""

    def __init__(self, argument: str = "constant") -> None:
        from llmasos_conformance.mutants.runtime import Serving
        from llmasos_conformance.mutants.variants import HOSTED_NULL, NULL, babbling

        if argument in HOSTED_NULL:
            self.adapter = babbling(HOSTED_NULL[argument], f"null:{argument}")
            return
        self.adapter = Serving(_named("null", NULL, argument or "constant"), f"null:{argument or 'constant'}")
