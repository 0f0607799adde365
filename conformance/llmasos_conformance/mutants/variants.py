"""Honest variants and null candidates of every architecture, by the name in their address.

Those of GPT-3 also run bands, and all that generate have beams, what shapes logits, and the standard's noise or, where
`OWN_CHANCE` names them, another; most mutants declare none of these, so that a hundred faults of other kinds are not
asked about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos_conformance.mutants import encoder_variants, honest, hosted_honest, hosted_null, llama_honest, null
from llmasos_conformance.mutants.babbler import Babbling, Serving
from llmasos_conformance.mutants.beam_search import Beams
from llmasos_conformance.mutants.drawing import Drawing, Ranked
from llmasos_conformance.mutants.llama_runtime import as_llama
from llmasos_conformance.mutants.runtime import Runtime

OWN_CHANCE = ("halved", "llama-halved", "trf-halved")
"""Names of variants that draw otherwise than with the standard's noise."""


def _chance(name: str) -> type[Runtime]:
    return Ranked if name in OWN_CHANCE else Drawing


def _whole(name: str, kind: type[Runtime]) -> type[Runtime]:
    """A runtime that also declares beams, windows, what shapes logits and the standard's noise."""
    members: dict[str, Any] = {"offers": frozenset({"window"}), "__doc__": kind.__doc__}
    return type(kind.__name__, (_chance(name), Beams, kind), members)


def _searching(kinds: Mapping[str, type[Runtime]]) -> dict[str, type[Runtime]]:
    """Runtimes of encoders as they are, those of a Transformer with beams, what shapes logits and noise."""
    return {
        name: type(kind.__name__, (_chance(name), Beams, kind), {"__doc__": kind.__doc__})
        if kind.architecture == "Transformer"
        else kind
        for name, kind in kinds.items()
    }


HONEST: Mapping[str, type[Runtime]] = {
    **{name: _whole(name, kind) for name, kind in {**honest.HONEST, **llama_honest.HONEST}.items()},
    **_searching(encoder_variants.HONEST),
}
"""Honest variants, `honest:NAME`."""

NULL: Mapping[str, type[Runtime]] = {
    **{name: _whole(name, kind) for name, kind in null.NULL.items()},
    **{f"llama-{name}": _whole(f"llama-{name}", as_llama(kind)) for name, kind in null.NULL.items()},
    **_searching(encoder_variants.NULL),
}
"""Null candidates, `null:NAME`."""

HOSTED: Mapping[str, type[Serving]] = hosted_honest.HOSTED
"""Honest servers of a model that nobody loads, `honest:NAME`."""
HOSTED_NULL: Mapping[str, type[Serving]] = hosted_null.HOSTED
"""Servers that know nothing, `null:NAME`."""


def babbling(kind: type[Serving], name: str) -> Babbling:
    """The adapter of a server."""
    return Babbling(kind, name)
