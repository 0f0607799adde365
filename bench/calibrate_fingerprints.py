"""How alike the errors of honest half precision are to those of quantised weights, and how alike those that are theirs.

    python bench/calibrate_fingerprints.py --seeds 50 --dtype bfloat16

Per probe that the cases of NUM-8 ask: the largest likeness of an honest order to any scheme; what weights of a scheme
behind the same arithmetic come to at least; how many of them are named rightly; what a scheme comes to that is not
listed (int8 of a channel with 126.3 levels); and the smallest error of a scheme, in units of the logits' spread. The
exit code is 1 if honest errors come to half of the bound, if those of a scheme do not reach it, or if one of them is
smaller than what is taken for nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from calibrate_honest_error import baseline

from llmasos import halves, orders
from llmasos.architectures import MODULES, bert, transformer
from llmasos.config import ModelConfig
from llmasos.ops import Array
from llmasos.orders import Arithmetic
from llmasos_conformance import fingerprints
from llmasos_conformance.probes import Library

PROBES = ("plain", "trained", "llama-plain", "bert-plain", "trf-plain")
ROWS, LENGTH = 16, 16
LONGER = {"trained": 64}
"""Where errors depend on each other, so that fewer directions are free."""
UNLISTED = fingerprints.in_blocks(fingerprints.COLUMN, fingerprints.symmetric(126.3, -127, 127))


class Question:
    """One model and its rows: weights and order -> logits."""

    def __init__(self, probe: str, seed: int) -> None:
        parts = Library(Path("unused"), str(seed)).parts(probe)
        self.weights = {name: array.astype(np.float64) for name, array in parts.weights.items()}
        self.config, draw = ModelConfig.from_document(parts.document, probe), np.random.default_rng(seed)
        length = LONGER.get(probe, LENGTH)
        self.ids, self.source = draw.integers(0, self.config.vocab_size, (2, ROWS, length))
        if text := str(parts.facts.get("text", "")).encode():
            starts = draw.integers(0, len(text) - length, ROWS)
            self.ids = np.array([list(text[start : start + length]) for start in starts])
        self.types = draw.integers(0, self.config.type_vocab_size or 1, (ROWS, length))

    def run(self, weights: Mapping[str, Any], arithmetic: Arithmetic) -> Array:
        kind = self.config.architecture
        if kind == "BERT":
            found: Any = bert.forward(weights, self.config, self.ids, self.types, arithmetic)
        elif kind == "Transformer":
            read = transformer.read(weights, self.config, self.source, arithmetic)
            found = transformer.forward(weights, self.config, self.ids, read, arithmetic)[0]
        else:
            found = MODULES[kind].forward(weights, self.config, self.ids, None, arithmetic)[0]
        return np.asarray(found).astype(np.float64)


def figures(probe: str, seed: int, dtype: str) -> tuple[float, float, int, int, float, float]:
    """Likeness: honest, at most; of a scheme, at least; schemes named, of how many; unlisted; the smallest error."""
    question = Question(probe, seed)
    truth = question.run(question.weights, orders.PLAIN)
    changed = {
        (name, scope): fingerprints.quantised(question.weights, scheme, scope)
        for name, scheme in fingerprints.SCHEMES.items()
        for scope in fingerprints.SCOPES
    }
    moved = {key: question.run(weights, orders.PLAIN) - truth for key, weights in changed.items()}

    def likenesses(weights: Mapping[str, Array], arithmetic: Arithmetic) -> dict[Any, float]:
        errors = question.run(halves.loaded(weights, dtype), arithmetic) - truth
        return {key: fingerprints.likeness(errors, each) for key, each in moved.items()}

    honest = [*baseline(dtype), halves.arithmetic(orders.REVERSED), halves.arithmetic(orders.SEQUENTIAL)]
    largest = max(max(likenesses(question.weights, each).values()) for each in honest)
    plain = halves.arithmetic(orders.PLAIN)
    caught = {key: likenesses(weights, plain) for key, weights in changed.items()}
    named = sum(max(found, key=found.__getitem__) == key for key, found in caught.items())
    other = fingerprints.quantised(question.weights, UNLISTED, "blocks")
    return (
        largest, min(max(found.values()) for found in caught.values()), named, len(caught),
        max(likenesses(other, plain).values()),
        min(float(np.std(each)) for each in moved.values()) / float(np.std(truth)),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="models per probe")
    parser.add_argument("--probes", nargs="+", choices=PROBES, default=PROBES, metavar="PROBE")
    parser.add_argument("--dtype", choices=tuple(halves.KINDS), default="bfloat16")
    given = parser.parse_args()
    print(f"{given.seeds} models per probe, {given.dtype}, {len(fingerprints.SCHEMES)} schemes")
    print("| probe | honest, largest | quantised, smallest | named rightly | not listed | smallest error |")
    print("|---|---|---|---|---|---|")
    right = True
    for probe in given.probes:
        found = np.array([figures(probe, seed, given.dtype) for seed in range(given.seeds)])
        honest, caught, error = found[:, 0].max(), found[:, 1].min(), found[:, 5].min()
        share, other = found[:, 2].sum() / found[:, 3].sum(), f"{found[:, 4].min():.2f} to {found[:, 4].max():.2f}"
        print(f"| {probe} | {honest:.3f} | {caught:.2f} | {share:.0%} | {other} | {error:.4f} |", flush=True)
        right &= honest <= fingerprints.LIKENESS / 2 and caught > fingerprints.LIKENESS
        right &= error > fingerprints.NEGLIGIBLE
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
