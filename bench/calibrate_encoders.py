"""As calibrate_honest_error.py, for what stands beside a row's ids: probes of BERT and of the Transformer.

    python bench/calibrate_encoders.py --seeds 48 --dtype float32

Of BERT hidden states of the last block and the pooled output are judged beside the logits, with token types; of the
Transformer the logits of a target behind a source of another length. The held-out orders also differ in how sinusoids
come about in the dtype: by a power and a product, or by a power and a division. The exit code is 1 if a ratio reaches
half of its bound.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from calibrate_honest_error import LENGTHS, Figures, baseline, claimed, held_out, is_beyond, main

from llmasos import halves, orders
from llmasos.architectures import bert, transformer
from llmasos.architectures.blocks import Watch
from llmasos.config import ModelConfig
from llmasos.ops import Array
from llmasos.orders import Arithmetic
from llmasos_conformance import numerics
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.probes import NAMES, Library

SILENT = ("uniform", "script", "echo")
"""Ends of names of probes whose logits are exact, so that there is nothing to compare with."""
PROBES = tuple(name for name in NAMES if name.startswith(("bert-", "trf-")) and not name.endswith(SILENT))
LONG = 272
"""Length of rows of the long probes at every eighth seed."""


def arrays(found: Mapping[str, Any]) -> dict[str, Array]:
    """Results of any dtype as arrays."""
    return {part: np.asarray(values) for part, values in found.items()}


Run = Callable[[Mapping[str, Any], Arithmetic], dict[str, Any]]


def by_power(start: int, end: int, D: int, dtype: npt.DTypeLike) -> Array:
    """Sinusoids with frequencies 1 / 10000^(2i/D), everything in the dtype."""
    return _in_turn(start, end, D, dtype, lambda positions, powers: positions * (1 / powers))


def by_division(start: int, end: int, D: int, dtype: npt.DTypeLike) -> Array:
    """Sinusoids of positions divided by 10000^(2i/D), everything in the dtype."""
    return _in_turn(start, end, D, dtype, lambda positions, powers: positions / powers)


def _in_turn(start: int, end: int, D: int, dtype: npt.DTypeLike, angles: Callable[[Array, Array], Array]) -> Array:
    kind: Any = np.dtype(dtype).type
    powers = np.power(kind(10000), np.arange(0, D, 2).astype(kind) / kind(D))
    angle = angles(np.arange(start, end).astype(kind)[:, None], powers)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(len(angle), -1)[:, :D]


def candidates(dtype: str) -> Sequence[Arithmetic]:
    """The held-out orders, three of them with sinusoids of their own but in half precision."""
    if dtype in halves.KINDS:
        return held_out(dtype)
    first, second, third, fourth, *others = held_out(dtype)
    second, third = replace(second, sinusoids=by_power), replace(third, sinusoids=by_power)
    return (first, second, third, replace(fourth, sinusoids=by_division), *others)


def question(probe: str, seed: int, config: ModelConfig) -> Run:
    """A row, and what stands beside it, for one model: weights and order -> what is judged, by name."""
    draw, V = KeyedDraw("calibrate", str(seed), probe, 0), config.vocab_size

    def drawn(length: int, count: int) -> Array:
        longest = LONG if probe.endswith("-long") and seed % 8 == 0 else length
        return np.array([draw.integers(min(longest, config.context_length), 0, count - 1)])

    ids = drawn(LENGTHS[seed % 8], V)
    if config.architecture == "BERT":
        kinds = drawn(LENGTHS[seed % 8], config.type_vocab_size)

        def encoder(weights: Mapping[str, Any], arithmetic: Arithmetic) -> dict[str, Any]:
            watch = Watch()
            logits = bert.forward(weights, config, ids, kinds, arithmetic, watch)[0]
            return {"logits": logits, "hidden": watch.hidden[-1][0], "pooled": watch.pooled}

        return encoder
    source = drawn(LENGTHS[(seed // 8 + 3 * seed) % 8], V)

    def translator(weights: Mapping[str, Any], arithmetic: Arithmetic) -> dict[str, Any]:
        read = transformer.read(weights, config, source, arithmetic)
        return {"logits": transformer.forward(weights, config, ids, read, arithmetic)[0][0]}

    return translator


def ratios(probe: str, seed: int, dtype: str) -> Figures:
    """Logits, and of BERT hidden states and the pooled output."""
    parts = Library(Path("unused"), str(seed)).parts(probe)
    if is_beyond(parts, dtype):
        return {}
    run = question(probe, seed, ModelConfig.from_document(parts.document, probe))
    truth = run({name: array.astype(np.float64) for name, array in parts.weights.items()}, orders.PLAIN)
    weights = claimed(parts.weights, dtype)
    honest = [arrays(run(weights, each)) for each in baseline(dtype)]
    found: dict[str, list[tuple[float, float, float]]] = {part: [] for part in truth}
    for made in (arrays(run(weights, arithmetic)) for arithmetic in candidates(dtype)):
        for part, due in truth.items():
            each = numerics.compare(made[part], due, [row[part] for row in honest], dtype)
            found[part].append((each.ratio_rms, each.ratio_position, each.ratio_max))
    return found


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", PROBES, 48, len(candidates("float32")), ratios))
