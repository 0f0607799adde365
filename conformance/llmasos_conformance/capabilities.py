"""What a declared capability asks of an adapter: methods of its own, an option of generation, or a kind of bundle.

Its meaning in a sentence is in `protocol.CAPABILITIES`; who needs it, in the cases. docs/protocol.md has the same as a
table, and a test holds one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmasos_conformance.protocol import CAPABILITIES

METHODS: Mapping[str, Sequence[str]] = {
    "tokenize": ("tokenize", "detokenize"),
    "session": ("open", "extend", "fork", "close"),
    "batch": ("generate_batch",),
    "stream": ("stream_text",),
    "attention": ("attention", "cross_attention"),
    "concurrent": ("together",),
}
"""Capability -> its methods, where they are others than the one of its own name."""

OPTIONS = frozenset(
    {
        "stop", "seed", "top_k", "top_p", "min_p", "logit_bias", "repetition_penalty", "frequency_penalty",
        "presence_penalty", "logprobs", "beams", "echo", "choices", "gumbel",
    }
)  # fmt: skip
"""Capabilities that are an option of a call, or change what one does, and have no method."""

BUNDLES: Mapping[str, str] = {"window": "windows=True", "onnx": "graphs=True"}
"""Capabilities whose bundles are loaded and asked as any other -> what an adapter on the kit tells its reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What declaring a capability takes.

    Attributes:
        methods: that are asked then. option: whether it is an option of calls that are asked anyway. reading: what the
            kit's reader of bundles is to be told; "" where it has nothing to do with bundles.
    """

    methods: Sequence[str] = ()
    option: bool = False
    reading: str = ""


def taken(name: str) -> Taken:
    """What declaring this capability takes. A `KeyError` where there is none of the name."""
    CAPABILITIES[name]
    if name in BUNDLES:
        return Taken(reading=BUNDLES[name])
    if name in OPTIONS:
        return Taken(option=True)
    return Taken(methods=METHODS.get(name, (name,)))
