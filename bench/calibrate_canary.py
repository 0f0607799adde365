"""How many greedy choices of a compass each arithmetic changes, and how far honest float32 is from changing any.

    python bench/calibrate_canary.py --seeds 100
    python bench/calibrate_canary.py --seeds 20 --probes compass --json

Each model has a seed of its own, and writes 40 characters behind each of 8 prompts, in float64. A choice counts where
its lead is beyond the margin of float32, as in the cases of NUM-10. Per scheme: the share of these choices at which
another character has the largest logit, its mean and its least over the models; and the share of prompts of which at
least one counted choice is another. Both are taken behind the characters of the truth: what a candidate writes once it
has left them is judged behind its own.

For honest orders, those of the baseline and six outside it: choices that counted and were others, of which there must
be none; and how far the logit of a chosen character was below the largest at most, in margins.

The exit code is 1 if an honest order changes a choice that counts or comes to half of a margin, if fewer choices of a
model count than a case needs, or if a scheme that a case promises to see changes so few in some model that LEAST of
them may agree by chance once in a million cases.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from calibrate_honest_error import baseline, held_out, order

from llmasos import halves, ops, orders
from llmasos.architectures import MODULES, transformer
from llmasos.config import ModelConfig
from llmasos.ops import Array
from llmasos.orders import Arithmetic
from llmasos_conformance import fingerprints, numerics
from llmasos_conformance.checks.precision import LEAST
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.probes import Library

PROBES = ("compass", "llama-compass", "trf-compass")
PROMPTS, LENGTH, STEPS = 8, 8, 40
ONCE_IN = 1e-6
"""Chance at which a scheme that is promised may pass a case."""

Weights = Mapping[str, Any]
Change = Callable[[Array], Array]


def kept(bits: int) -> Change:
    """Float32 numbers rounded to so many significant bits."""
    low = 24 - bits

    def rounded(x: Array) -> Array:
        word = np.ascontiguousarray(x, np.float32).view(np.uint32) + np.uint32(1 << (low - 1))
        return (word & np.uint32(0xFFFF_FFFF ^ ((1 << low) - 1))).view(np.float32)

    return rounded


def cast(kind: Any) -> Change:
    """Numbers of another dtype, in float32."""
    return lambda x: np.asarray(x.astype(kind).astype(np.float32))


def factors(change: Change) -> Arithmetic:
    """Products whose factors are changed first, in linear maps and in attention."""

    def matmul(a: Array, b: Array) -> Array:
        return change(a) @ change(b)

    def attention(q: Array, k: Array, v: Array, visible: Any = None) -> Array:
        scores = matmul(q, k.swapaxes(-1, -2)) / np.float32(np.sqrt(q.shape[-1]))
        if visible is not None:
            scores = np.where(visible, scores, np.float32(-np.inf))
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return matmul(e / e.sum(-1, keepdims=True), v)

    return replace(order(matmul, orders.PLAIN, "factors"), attention=attention)


def three_terms(a: Array, b: Array) -> Array:
    """a · b as three products of bfloat16 numbers."""
    half = cast(ml_dtypes.bfloat16)
    high, tall = half(a), half(b)
    return high @ tall + (half(a - high) @ tall + high @ half(b - tall))


def cached(change: Change) -> Arithmetic:
    """Keys and values are changed before they are used."""
    return replace(orders.PLAIN, attention=lambda q, k, v, m=None: ops.attention(q, change(k), change(v), m))


def in_attention(change: Change) -> Arithmetic:
    """What goes into the kernel of attention is changed, and what comes out."""
    return replace(
        orders.PLAIN, attention=lambda q, k, v, m=None: change(ops.attention(change(q), change(k), change(v), m))
    )


def all_of(change: Change) -> Callable[[Weights], Weights]:
    return lambda weights: {name: change(array) for name, array in weights.items()}


def those(within: str, change: Change) -> Callable[[Weights], Weights]:
    """Matrices in whose name a text stands."""
    return lambda weights: {
        name: change(array) if within in name and array.ndim == 2 else array for name, array in weights.items()
    }


def scheme(name: str) -> Callable[[Weights], Weights]:
    """Matrices of the blocks, as a format of fewer digits holds them."""

    def packed(weights: Weights) -> Weights:
        made = fingerprints.quantised(weights, fingerprints.SCHEMES[name], "blocks")
        return {key: array.astype(np.float32) for key, array in made.items()}

    return packed


def int8(x: Array) -> Array:
    """Each head's numbers at a position are int8 with a step of their own."""
    step = np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(1e-30)) / 127
    return np.asarray((np.rint(x / step) * step).astype(np.float32))


def as_is(weights: Weights) -> Weights:
    return weights


FLOAT16, BFLOAT16 = cast(np.float16), cast(ml_dtypes.bfloat16)
SCHEMES: Mapping[str, tuple[Callable[[Weights], Weights], Arithmetic]] = {
    "products in TF32": (as_is, factors(kept(11))),
    "products in bfloat16": (as_is, factors(BFLOAT16)),
    "float16 throughout": (lambda weights: halves.loaded(weights, "float16"), halves.arithmetic(orders.PLAIN)),
    "bfloat16 throughout": (lambda weights: halves.loaded(weights, "bfloat16"), halves.arithmetic(orders.PLAIN)),
    "weights in float16": (all_of(FLOAT16), orders.PLAIN),
    "weights in bfloat16": (all_of(BFLOAT16), orders.PLAIN),
    **{f"weights of the blocks, {name}": (scheme(name), orders.PLAIN) for name in (
        "int8 of a tensor, /127", "int8 of a channel, /127", "int8 of 32 (q8_0), /127", "int8 of 128 (q8_0), /127",
        "uint8 of a channel", "float8 e4m3", "float8 e4m3, scaled by channel", "int4 of 32, /7", "nf4 of 64",
    )},
    "attention in bfloat16": (as_is, in_attention(BFLOAT16)),
    "keys and values in bfloat16": (as_is, cached(BFLOAT16)),
    "keys and values in int8": (as_is, cached(int8)),
    "keys and values in float8 e4m3": (as_is, cached(cast(ml_dtypes.float8_e4m3fn))),
}  # fmt: skip
"""Schemes that text must show; changed weights and arithmetic."""

SHOWN: Mapping[str, tuple[Callable[[Weights], Weights], Arithmetic]] = {
    "head in float16": (those("head", FLOAT16), orders.PLAIN),
    "attention in float16": (as_is, in_attention(FLOAT16)),
    "keys and values in float16": (as_is, cached(FLOAT16)),
    "queries in float16": (those("query", FLOAT16), orders.PLAIN),
    "encoder in bfloat16": (those("encoder.", BFLOAT16), orders.PLAIN),
    "float32 of three bfloat16 terms": (as_is, order(three_terms, orders.PLAIN, "three terms")),
}
"""Schemes that are measured and not promised."""


class Question:
    """One model, what it writes, and which of its choices count."""

    def __init__(self, probe: str, seed: int) -> None:
        parts = Library(Path("unused"), str(seed)).parts(probe)
        self.config, self.weights = ModelConfig.from_document(parts.document, probe), parts.weights
        self.exact = {name: array.astype(np.float64) for name, array in parts.weights.items()}
        draw, alphabet = KeyedDraw("calibrate", str(seed), probe, 0), parts.facts["alphabet"]
        drawn = draw.integers(PROMPTS * LENGTH, 0, len(alphabet) - 1)
        self.prompts = np.array(alphabet)[drawn].reshape(PROMPTS, LENGTH)
        reads = self.config.architecture == "Transformer"
        row = np.full((PROMPTS, 1), self.config.decoder_start_token_id) if reads else self.prompts
        first = row.shape[1] - 1
        for _ in range(STEPS):
            self.row = row
            logits = self.run(self.exact, orders.PLAIN)
            row = np.concatenate([row, logits[:, -1:].argmax(-1)], axis=1)
        self.behind = slice(first, None)
        self.truth = logits[:, self.behind]
        self.due = self.truth.argmax(-1)
        honest = [self.run(self.weights, each) for each in baseline("float32")]
        self.margins = np.array(
            [numerics.margin(logits[b], [each[b] for each in honest], "float32") for b in range(PROMPTS)]
        )
        second, largest = np.moveaxis(np.partition(self.truth, -2, axis=-1)[..., -2:], -1, 0)
        self.counts = largest - second > self.margins[:, None]

    def run(self, weights: Weights, arithmetic: Arithmetic) -> Array:
        """Logits of every position, [prompts, T, V]."""
        if self.config.architecture == "Transformer":
            read = transformer.read(weights, self.config, self.prompts, arithmetic)
            found = transformer.forward(weights, self.config, self.row, read, arithmetic)[0]
        else:
            found = MODULES[self.config.architecture].forward(weights, self.config, self.row, None, arithmetic)[0]
        return np.asarray(found)

    def changed(self, weights: Weights, arithmetic: Arithmetic) -> tuple[float, float, float]:
        """Share of counted choices that are others, share of prompts with such a choice, and the lag in margins."""
        chosen = self.run(weights, arithmetic)[:, self.behind].astype(np.float64).argmax(-1)
        others = (chosen != self.due) & self.counts
        below = self.truth.max(-1) - np.take_along_axis(self.truth, chosen[..., None], -1)[..., 0]
        lag = float(np.max(below / self.margins[:, None]))
        return float(others.sum() / self.counts.sum()), float(others.any(-1).mean()), lag


def figures(probe: str, seed: int) -> dict[str, Any]:
    """What one model shows: choices that count, honest orders, and each scheme."""
    question = Question(probe, seed)
    honest = [question.changed(question.weights, each) for each in (*baseline("float32"), *held_out("float32"))]
    made: dict[str, Any] = {
        "decided": int(question.counts.sum()),
        "honest changed": max(each[0] for each in honest),
        "honest lag": max(each[2] for each in honest),
    }
    for name, (change, arithmetic) in {**SCHEMES, **SHOWN}.items():
        if "encoder" not in name or probe == "trf-compass":
            made[name] = question.changed(change(question.weights), arithmetic)[:2]
    return made


def summed(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures over the models of a probe."""
    decided = [each["decided"] for each in models]
    made: dict[str, Any] = {
        "models": len(models),
        "decided": {"of": PROMPTS * STEPS, "mean": float(np.mean(decided)), "least": min(decided)},
        "honest": {
            "changed": max(each["honest changed"] for each in models),
            "lag": max(each["honest lag"] for each in models),
        },
        "schemes": {},
    }
    for name in [name for name in models[0] if name in SCHEMES or name in SHOWN]:
        choices, prompts = np.array([each[name] for each in models]).T
        least = float(choices.min())
        made["schemes"][name] = {
            "choices": float(choices.mean()),
            "least": least,
            "prompts": float(prompts.mean()),
            "missed": int(np.sum(choices == 0)),
            "chance": (1 - least) ** LEAST,
            "promised": name in SCHEMES,
        }
    return made


def wrong(found: Mapping[str, Any]) -> list[str]:
    """What is not as a case needs it."""
    listed = []
    if found["honest"]["changed"] or found["honest"]["lag"] >= 0.5:
        listed.append("honest float32 comes too near to the margin")
    if found["decided"]["least"] < LEAST:
        listed.append(f"a model has {found['decided']['least']} choices that count, {LEAST} are needed")
    listed += [
        f"{name} may pass by chance"
        for name, each in found["schemes"].items()
        if each["promised"] and each["chance"] > ONCE_IN
    ]
    return listed


def shown(probe: str, found: Mapping[str, Any]) -> str:
    """One probe's table."""
    decided, honest = found["decided"], found["honest"]
    lines = [
        f"{probe}, {found['models']} models: {decided['mean']:.0f} of {decided['of']} choices count, at least "
        f"{decided['least']}; honest orders change {honest['changed']:g} of them and come to {honest['lag']:.3f} of a "
        "margin at most",
        "",
        "| scheme | choices that are others | at least | prompts with one | models without one |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {100 * each['choices']:.1f} % | {100 * each['least']:.1f} % | {100 * each['prompts']:.1f} % "
        f"| {each['missed']} |"
        for name, each in found["schemes"].items()
    ]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="models per probe")
    parser.add_argument("--probes", nargs="+", choices=PROBES, default=PROBES, metavar="PROBE")
    parser.add_argument("--json", action="store_true", help="print figures instead of tables")
    given = parser.parse_args()
    every, faults = {}, []
    for probe in given.probes:
        models = []
        for seed in range(given.seeds):
            models.append(figures(probe, seed))
            print(f"{probe} {seed + 1}/{given.seeds}", end="\r", file=sys.stderr, flush=True)
        every[probe] = summed(models)
        faults += [f"{probe}: {each}" for each in wrong(every[probe])]
        if not given.json:
            print(shown(probe, every[probe]), flush=True)
    if given.json:
        print(json.dumps(every, indent=1))
    for fault in faults:
        print(fault, file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
