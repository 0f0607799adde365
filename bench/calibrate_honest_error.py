"""How far honest orders of computation go towards the bounds of `numerics`, over random probes and lengths.

    python bench/calibrate_honest_error.py --seeds 200 --dtype float32

The baseline is that of a run: plain, sequential, split-k, online, and sums in lanes. The candidates are honest orders
outside it, the worst ones among them made on purpose: from the last term to the first, one after the other, with a
variance from one pass and a running softmax. On rotary models they also differ in how angles come about in the dtype:
by powers of two, or by one product after the other. Each is judged as a candidate is, and the largest ratio must stay
below half of its bound. For each probe the table gives median, 99 of 100, and largest of the three ratios. The exit
code is 1 if one reaches half of its bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos import halves, orders
from llmasos.architectures import MODULES
from llmasos.config import ModelConfig
from llmasos.ops import Array
from llmasos.orders import Arithmetic
from llmasos_conformance import numerics
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.probes import Library
from llmasos_conformance.probes.making import Parts
from llmasos_conformance.protocol import BITS, LARGEST
from llmasos_conformance.reference import HONEST_ORDERS

PROBES = (
    "plain", "unheard", "uneven", "uneven-keys", "far", "tied", "small-embedding", "hot-attention", "hot-ffn",
    "near-constant", "asymmetric", "long", "wide", "overflow", "loud-units", "sunk", "ids-only", "twins", "banded",
    "banded-one",
    "banded-hot", "banded-asymmetric", "banded-long", "banded-narrow", "trained", "llama-plain", "llama-unheard",
    "llama-uneven",
    "llama-uneven-keys", "llama-far", "llama-gqa", "llama-one-group", "llama-tied", "llama-small-embedding",
    "llama-near-zero", "llama-hot-attention", "llama-hot-ffn", "llama-asymmetric", "llama-long", "llama-wide",
    "llama-theta", "llama-window", "llama-window-one", "llama-window-long", "llama-overflow", "llama-loud-units",
    "llama-ids-only",
    "llama-twins",
)  # fmt: skip
LENGTHS = (1, 1, 2, 3, 4, 8, 16, 32)
"""Short rows are the hard ones: with few independent errors all four of the baseline may be lucky."""
LONG = {"long": 272, "window-long": 272, "trained": 128}
"""End of a probe's name -> length of its rows at every eighth seed: there the angles are large, or the texts, and short
rows do not show what they cost."""

MatMul = Callable[[Array, Array], Array]
Figures = Mapping[str, Sequence[tuple[float, float, float]]]
"""What is judged -> (rms, position, largest) of every order outside the baseline."""


def in_blocks(width: int) -> MatMul:
    """a · b with the contraction cut into blocks of a width, whose products are added in order."""

    def matmul(a: Array, b: Array) -> Array:
        edges = [*range(0, b.shape[-2], width), b.shape[-2]]
        parts = [a[..., low:high] @ b[..., low:high, :] for low, high in pairwise(edges)]
        return sum(parts[1:], parts[0])

    return matmul


def backwards(a: Array, b: Array) -> Array:
    """a · b, one rounded product after the other, last to first."""
    return orders.matmul_sequential(a[..., ::-1], b[..., ::-1, :])


def order(matmul: MatMul, template: Arithmetic, name: str) -> Arithmetic:
    """Linear maps through one contraction; norm and attention of a template."""

    def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = matmul(x, weight)
        return y if bias is None else y + bias

    return replace(template, name=name, linear=linear)


def angles_by_powers_of_two(start: int, end: int, K: int, theta: float, dtype: npt.DTypeLike) -> tuple[Array, Array]:
    """Rotary angles with frequencies 2^(-2i/K · log₂ θ), as kernels compute them, everything in the dtype."""
    kind: Any = np.dtype(dtype).type
    frequency = np.exp2(np.arange(0, K, 2).astype(kind) * kind(-log2(theta) / K))
    angle = np.arange(start, end).astype(kind)[:, None] * frequency
    return np.cos(angle), np.sin(angle)


def angles_one_by_one(start: int, end: int, K: int, theta: float, dtype: npt.DTypeLike) -> tuple[Array, Array]:
    """Rotary angles of which each is the one before it times θ^(-2/K), everything in the dtype."""
    kind: Any = np.dtype(dtype).type
    steps = [np.arange(start, end).astype(kind)]
    for _ in range(K // 2 - 1):
        steps.append(steps[-1] * kind(theta ** (-2.0 / K)))
    angle = np.stack(steps, axis=-1)
    return np.cos(angle), np.sin(angle)


def claimed(weights: Mapping[str, Array], dtype: str) -> Mapping[str, Any]:
    """Weights as a computation in the dtype has them."""
    if dtype in halves.KINDS:
        return halves.loaded(weights, dtype)
    return {name: array.astype(dtype) for name, array in weights.items()}


def is_beyond(parts: Parts, dtype: str) -> bool:
    """Whether a probe says nothing of a dtype; see `engine`."""
    largest = max(float(np.abs(array).max()) for array in parts.weights.values())
    return largest > LARGEST[dtype] or parts.facts.get("bits", 0) > BITS[dtype]


def baseline(dtype: str) -> Sequence[Arithmetic]:
    """The honest orders of the suite."""
    listed = [orders.ORDERS[name] for name in HONEST_ORDERS[dtype]]
    return [halves.arithmetic(each) for each in listed] if dtype in halves.KINDS else listed


def held_out(dtype: str) -> Sequence[Arithmetic]:
    """Honest orders that no baseline contains."""
    if dtype in halves.KINDS:
        rounded = replace(orders.ONLINE, name="online, every step rounded")
        linear = halves.rounded_once(orders.PLAIN.linear)
        listed = (
            orders.REVERSED,
            rounded,
            replace(halves.fused(orders.PLAIN), linear=linear),
            replace(orders.PLAIN, linear=linear, attention=halves.rounded_once(orders.PLAIN.attention)),
            halves.fused(orders.SPLIT_K),
            order(in_blocks(32), orders.REVERSED, "blocks of 32, reversed"),
            order(orders.matmul_split, rounded, "split, online, one pass, every step rounded"),
        )
        return [halves.arithmetic(each) for each in listed]
    return (
        orders.REVERSED,
        order(backwards, orders.SEQUENTIAL, "backwards"),
        order(backwards, replace(orders.ONLINE, angles=angles_one_by_one), "backwards, online, one pass"),
        order(in_blocks(8), replace(orders.SPLIT_K, angles=angles_by_powers_of_two), "blocks of 8"),
        order(in_blocks(32), orders.REVERSED, "blocks of 32, reversed"),
        order(orders.matmul_split, orders.ONLINE, "split, online, one pass"),
    )


def ratios(probe: str, seed: int, dtype: str) -> Figures:
    """The logits of one model and one row of ids, under no name of their own.

    A model that was trained is asked two rows: ids that are drawn one by one, and a part of its text.
    """
    parts = Library(Path("unused"), str(seed)).parts(probe)
    if is_beyond(parts, dtype):
        return {}
    config = ModelConfig.from_document(parts.document, probe)
    exact = {name: array.astype(np.float64) for name, array in parts.weights.items()}
    longest = next((count for end, count in LONG.items() if probe.endswith(end) and seed % 8 == 0), 0)
    length = min(longest or LENGTHS[seed % len(LENGTHS)], config.context_length)
    draw = KeyedDraw("calibrate", str(seed), probe, 0)
    rows = {"": draw.integers(length, 0, config.vocab_size - 1)}
    if text := str(parts.facts.get("text", "")).encode():
        start = draw.integer(0, len(text) - length)
        rows = {"ids": rows[""], "text": list(text[start : start + length])}
    forward = MODULES[config.architecture].forward
    weights = claimed(parts.weights, dtype)

    def judged(row: Sequence[int]) -> list[tuple[float, float, float]]:
        ids = np.array([row])
        truth = forward(exact, config, ids)[0][0]

        def run(arithmetic: Arithmetic) -> Array:
            return np.asarray(forward(weights, config, ids, None, arithmetic)[0][0])

        honest = [run(each) for each in baseline(dtype)]
        found = [numerics.compare(run(arithmetic), truth, honest, dtype) for arithmetic in held_out(dtype)]
        return [(each.ratio_rms, each.ratio_position, each.ratio_max) for each in found]

    return {kind: judged(row) for kind, row in rows.items()}


def main(
    doc: str, probes: Sequence[str], seeds: int, candidates: int, figures: Callable[[str, int, str], Figures]
) -> int:
    """The command.

    Args:
        probes: all that there are. seeds: models per probe, if nothing is said. candidates: orders judged.
        figures: probe, seed and dtype -> what came of them.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help="models per probe")
    parser.add_argument("--dtype", choices=tuple(numerics.UNIT_ROUNDOFF), default="float32")
    parser.add_argument("--probes", nargs="+", choices=probes, default=probes, metavar="PROBE")
    given = parser.parse_args()
    bounds = (numerics.KAPPA_RMS, numerics.KAPPA_POSITION, numerics.KAPPA_MAX)
    limits = [bound[given.dtype] / 2 for bound in bounds]
    print(f"{given.seeds} models per probe, {candidates} orders each, {given.dtype}")
    print(f"| probe | row ({limits[0]:g}) | position ({limits[1]:g}) | largest ({limits[2]:g}) |\n|---|---|---|---|")
    overall = np.zeros(3)
    for probe in given.probes:
        found: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(given.seeds):
            for part, each in figures(probe, seed, given.dtype).items():
                found.setdefault(part, []).extend(each)
        for part, listed in found.items():
            table = np.array(listed)
            overall = np.maximum(overall, table.max(axis=0))
            columns = [f"{np.median(x):.2f} {np.quantile(x, 0.99):.2f} {x.max():.2f}" for x in table.T]
            print(f"| {f'{probe} {part}'.rstrip()} | {' | '.join(columns)} |", flush=True)
    print(f"| all, largest | {' | '.join(f'{x:.2f}' for x in overall)} |")
    return int(bool(np.any(overall >= limits)))


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", PROBES, 200, len(held_out("float32")), ratios))
