"""How surely fewer digits than are claimed are seen: every cheaper precision behind every claim above it, many seeds.

    python bench/dishonest_precision.py --seeds 50 --resume dishonest.jsonl

The candidate is the reference with one thing made cheaper: its arithmetic, its weights, what its maps read, or the keys
and values that attention is given. It is asked the numbers cases of its architecture as a run asks them, probes and
rows drawn anew for each seed, until it fails one by more than four bounds or by its grid. Caught is who fails any. The
margin is the largest part of a bound that a case saw, taken at the seed where it is smallest: above 1 is caught, and a
figure near 1 is luck. What is caught by its grid alone has a margin below 1.

A kind that ends in "head kept" computes its head in float32, so that logits do not lie on the coarser grid. The exit
code is 1 if one is not caught at every seed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import llmasos
from llmasos import halves, ops, orders
from llmasos.halves import Half
from llmasos.orders import Arithmetic
from llmasos_conformance import engine, fingerprints
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.adapters.reference import ReferenceModel
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.fingerprints import in_blocks
from llmasos_conformance.mutants.table import Workshop, used
from llmasos_conformance.protocol import Array, Claims, Description
from llmasos_conformance.verdict import State

CASES: Mapping[str, tuple[str, ...]] = {
    "GPT-3": (
        "numerics.plain", "numerics.resolution*", "numerics.weights.any-rounding", "numerics.activations*",
        "numerics.keys", "cache.digits", "cache.digits.float8", "numerics.weights",
    ),
    "Llama": (
        "llama.numbers.plain", "llama.numbers.resolution*", "llama.numbers.weights.any-rounding",
        "llama.numbers.activations*", "llama.numbers.keys", "llama.cache.digits", "llama.cache.digits.float8",
        "llama.numbers.weights",
    ),
    "BERT": ("bert.plain", "bert.resolution*", "bert.weights.any-rounding", "bert.activations*", "bert.weights"),
    "Transformer": (
        "transformer.plain", "transformer.weights.any-rounding",
        "transformer.activations*", "transformer.cache.digits*", "transformer.weights",
    ),
}  # fmt: skip
"""Numbers cases of each architecture, the dear one last."""

ENOUGH = 4.0
"""Bounds by which a case is failed so surely that no other need be asked."""

Rounding = Callable[[Array], Array]
"""float32 -> float32, any shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A cheaper computation.

    Attributes:
        below: claims behind which it hides. dtype: of its arithmetic; "" is the claimed one.
        weights: what becomes of the stored matrices of the blocks. reads: of what a linear map is given.
        keeps: of keys and values. products: of both sides of every product. head: keeps its head in float32.
        terms: of bfloat16 that emulate a float32 product; 0 for none.
    """

    below: tuple[str, ...] = ("float32", "float16", "bfloat16")
    dtype: str = ""
    weights: fingerprints.Scheme | None = None
    reads: Rounding | None = None
    keeps: Rounding | None = None
    products: Rounding | None = None
    head: bool = False
    terms: int = 0


def significant(bits: int) -> Rounding:
    """So many significant bits, halves to even."""

    def rounding(x: Array) -> Array:
        fraction, exponent = np.frexp(x)
        rounded: Array = np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits).astype(np.float32)
        return rounded

    return rounding


def integers(axes: tuple[int, ...] | None, block: int = 0) -> Rounding:
    """Eight bits with a step over axes (None: all), or over blocks of the last."""

    def rounding(x: Array) -> Array:
        if block and x.shape[-1] % block == 0:
            return integers((-1,))(x.reshape(*x.shape[:-1], -1, block)).reshape(x.shape)
        step = np.maximum(np.max(np.abs(x), axis=axes, keepdims=True), np.float32(1e-30)) / np.float32(127)
        rounded: Array = np.rint(x / step) * step
        return rounded

    return rounding


def narrow(kind: Any, largest: float = 0.0) -> Rounding:
    """A float of eight bits, scaled so that a row's largest magnitude is `largest`, or as it is and clamped."""
    end = float(ml_dtypes.finfo(kind).max)

    def rounding(x: Array) -> Array:
        scale = np.float32(1)
        if largest:
            scale = np.maximum(np.max(np.abs(x), axis=-1, keepdims=True), np.float32(1e-30)) / np.float32(largest)
        rounded: Array = np.clip(x / scale, -end, end).astype(kind).astype(np.float32) * scale
        return rounded

    return rounding


E4M3, E5M2 = ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2
LISTED = fingerprints.SCHEMES
QUANTISED = ("float32", "float16", "bfloat16")
SIX = in_blocks(16, fingerprints.symmetric(32, -32, 31))
W8 = LISTED["int8 of a channel, /127"]

KINDS: Mapping[str, Kind] = {
    "bf16x3 products": Kind(below=("float32",), terms=3),
    "tf32 products": Kind(below=("float32",), products=significant(11)),
    "float16": Kind(below=("float32",), dtype="float16"),
    "float16, head kept": Kind(below=("float32",), dtype="float16", head=True),
    "bfloat16": Kind(below=("float32", "float16"), dtype="bfloat16"),
    "bfloat16, head kept": Kind(below=("float32", "float16"), dtype="bfloat16", head=True),
    **{
        f"weights: {name}": Kind(weights=LISTED[name])
        for name in (
            "int8 of a tensor, /127", "int8 of a channel, /127", "int8 of 32 (q8_0), /127", "uint8 of a channel",
            "float8 e4m3", "float8 e4m3, scaled by channel", "int4 of 32 (q4_0)", "nf4 of 64",
        )
    },
    "weights: six bits of 16": Kind(weights=SIX),
    "arithmetic: int8 of tokens and channels": Kind(weights=W8, reads=integers((-1,))),
    "arithmetic: float8 of tokens and channels": Kind(
        weights=LISTED["float8 e4m3, scaled by channel"], reads=narrow(E4M3, 448.0)
    ),
    "reads: int8 of a token": Kind(reads=integers((-1,))),
    "reads: int8 of a tensor": Kind(reads=integers(None)),
    "reads: int8 of 32": Kind(reads=integers(None, 32)),
    "reads: float8 e4m3 of a token": Kind(reads=narrow(E4M3, 448.0)),
    "cache: int8 of a token and head": Kind(keeps=integers((-1,))),
    "cache: int8 of a tensor": Kind(keeps=integers(None)),
    "cache: float8 e4m3": Kind(keeps=narrow(E4M3)),
    "cache: float8 e4m3 of a token and head": Kind(keeps=narrow(E4M3, 448.0)),
    "cache: float8 e5m2": Kind(keeps=narrow(E5M2)),
}  # fmt: skip


def on(x: Any, rounding: Rounding | None) -> Any:
    """A rounding applied to an array, or to one of half precision."""
    if rounding is None:
        return x
    return Half(rounding(x.value), x.dtype) if isinstance(x, Half) else rounding(x)


def three_terms(a: Array, b: Array) -> Array:
    """a · b from high and low halves of bfloat16, the product of the low ones left out; float32."""
    high_a, high_b = (x.astype(ml_dtypes.bfloat16).astype(np.float32) for x in (a, b))
    low_a, low_b = ((x - h).astype(ml_dtypes.bfloat16).astype(np.float32) for x, h in ((a, high_a), (b, high_b)))
    product: Array = high_a @ high_b + (high_a @ low_b + low_a @ high_b)
    return product


def cheaper(kind: Kind, base: Arithmetic, heads: int) -> Arithmetic:
    """An order of computation with what the kind does; `heads` is the width of the vocabulary, which marks the head."""

    def product(a: Any, b: Any) -> Any:
        if kind.terms:
            return three_terms(a, b)
        return on(a, kind.products) @ on(b, kind.products)

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        if kind.head and weight.shape[-1] == heads:
            y = np.asarray(x).astype(np.float32) @ np.asarray(weight).astype(np.float32)
            return y if bias is None else y + np.asarray(bias).astype(np.float32)
        x = on(x, kind.reads)
        if not (kind.terms or kind.products):
            return base.linear(x, weight, bias)
        y = product(x, weight)
        return y if bias is None else y + bias

    def attention(q: Any, k: Any, v: Any, visible: Any = None) -> Any:
        k, v = on(k, kind.keeps), on(v, kind.keeps)
        if not (kind.terms or kind.products):
            return base.attention(q, k, v, visible)
        scores = product(q, k.swapaxes(-1, -2)) / math.sqrt(q.shape[-1])
        scores = scores if visible is None else np.where(visible, scores, np.float32(-np.inf))
        return product(ops.softmax(scores), v)

    return replace(base, linear=linear, attention=attention)


class Served:
    """A bundle in the reference, one thing made cheaper, under a claim.

    Args:
        kind: of KINDS. claim, architecture: that it declares.
    """

    def __init__(self, kind: Kind, claim: str, architecture: str) -> None:
        self.kind, self.claim, self.architecture = kind, claim, architecture

    def describe(self) -> Description:
        capabilities = frozenset({"load_model", "forward", "session"})
        claims = Claims(dtype=self.claim, determinism="D1")
        return Description(
            name="dishonest", version="1", capabilities=capabilities, claims=claims, architectures=(self.architecture,)
        )

    def load_model(self, path: str) -> ReferenceModel:
        dtype = self.kind.dtype or self.claim
        model: Any = llmasos.load_model(path, dtype=dtype)
        base = halves.arithmetic(orders.PLAIN) if dtype in halves.KINDS else orders.PLAIN
        model._arithmetic = cheaper(self.kind, base, model.config.vocab_size)
        if self.kind.weights is not None:
            stored = fingerprints.quantised(model.bundle.weights, self.kind.weights, "blocks")
            as_float32 = {name: array.astype(np.float32) for name, array in stored.items()}
            model._weights = halves.loaded(as_float32, dtype) if dtype in halves.KINDS else as_float32
        return Whole(model)


class Whole(ReferenceModel):
    """Logits leave in float32, so that nothing but their values tells."""

    def forward(self, batch: Any, **beside: Any) -> list[Array]:
        return [row.astype(np.float32) for row in super().forward(batch, **beside)]


def asked(root: Path, architecture: str, claim: str, names: list[str], seed: int) -> Iterator[dict[str, Any]]:
    """What every kind comes to at a seed. The reference's answers are shared by all of them."""
    shop = Workshop(root / "probes", CASES[architecture], seed=f"dishonest-{seed}")
    order = {
        case: i for i, glob in enumerate(CASES[architecture]) for case in shop.suite.cases if fnmatchcase(case, glob)
    }
    cases = sorted(shop.cases, key=lambda case: order[case.id])
    for name in names:
        started = time.monotonic()
        connection = InProcess(Served(KINDS[name], claim, architecture), "dishonest", 60.0)
        candidate = Candidate(Live(connection), connection.description, shop.probes)
        bench = engine.Bench(shop.suite, shop.checks, candidate, shop.beside(candidate.description.claims), shop.seed)
        failed, margin, at = [], 0.0, ""
        for case in cases:
            if case.needs - candidate.description.offers:
                continue
            outcome = engine.run_case(bench, case).outcome
            if outcome.state is State.FAIL:
                failed.append(case.id)
            part = used(outcome.figures, claim)
            margin, at = max((margin, at), (part, case.id))
            by_grid = outcome.state is State.FAIL and "share" in outcome.figures
            if by_grid or (failed and margin > ENOUGH):
                break
        yield {
            "architecture": architecture, "claim": claim, "kind": name, "seed": seed, "failed": failed,
            "margin": round(margin, 3), "at": at, "seconds": round(time.monotonic() - started, 2),
        }  # fmt: skip


def rendered(rows: list[dict[str, Any]]) -> str:
    """The table: per architecture, claim and kind."""
    lines = ["| architecture | claim | in truth | caught | smallest margin | seen by |", "|---|---|---|---|---|---|"]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["architecture"], row["claim"], row["kind"]), []).append(row)
    for key, each in groups.items():
        least = min(each, key=lambda row: (bool(row["failed"]), row["margin"]))
        caught = sum(bool(row["failed"]) for row in each)
        lines.append(f"| {' | '.join(key)} | {caught} of {len(each)} | {least['margin']:.2f} | {least['at']} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="seeds, each with models and rows of its own")
    parser.add_argument("--architectures", nargs="+", choices=tuple(CASES), default=("GPT-3", "Llama"))
    parser.add_argument("--claims", nargs="+", choices=QUANTISED, default=QUANTISED)
    parser.add_argument("--kinds", nargs="+", default=["*"], metavar="GLOB", help="of what is done in truth")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="rows as they come; those that it holds are taken")
    parser.add_argument("--json", action="store_true", help="print rows instead of the table")
    given = parser.parse_args()
    held = given.resume.read_text(encoding="utf-8").splitlines() if given.resume and given.resume.exists() else []
    rows = [json.loads(line) for line in held if line.endswith("}")]
    done = {(row["architecture"], row["claim"], row["kind"], row["seed"]) for row in rows}
    chosen = [name for name in KINDS if any(fnmatchcase(name, glob) for glob in given.kinds)]
    for seed in range(given.seeds):
        for architecture in given.architectures:
            for claim in given.claims:
                names = [name for name in chosen if claim in KINDS[name].below]
                names = [name for name in names if (architecture, claim, name, seed) not in done]
                if architecture == "BERT":
                    names = [name for name in names if not name.startswith("cache: ")]
                if not names:
                    continue
                with tempfile.TemporaryDirectory(prefix="llmasos-dishonest-") as root:
                    for row in asked(Path(root), architecture, claim, names, seed):
                        rows.append(row)
                        if given.resume:
                            with given.resume.open("a", encoding="utf-8") as file:
                                file.write(json.dumps(row) + "\n")
                        shown = f"{architecture} {claim} {row['kind']}: {len(row['failed'])} cases, {row['margin']}"
                        print(f"[{seed + 1}/{given.seeds}] {shown}, {row['seconds']} s", file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=1) if given.json else rendered(rows))
    return int(not all(row["failed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
