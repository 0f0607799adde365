"""Of the mutants that text alone does not kill: which could anybody have seen in text?

    python bench/text_power.py [--matrix reports/kill-matrix.json] [--prompts 10000] [--sample N] [--seed S]
                               [--jobs 1] [--out FILE] [--json]

A mutant is observable in text if greedy text of some prompt, on some of the suite's models, is another one than the
reference's, at a place where the reference's two largest logits are further apart than rounding could bring together.
So many prompts are tried on each model: first the choices behind every prefix of a row, all in one forward pass, then
generation, whose caches and limits a forward pass does not reach. The search ends with the first difference.

What is killed at text counts as observable. The share of observable mutants that text kills is the power of text.
--sample draws so many of those that text does not kill. Rows go to --out as they come, and are not searched again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance import killmatrix
from llmasos_conformance.checks.beside import answered, drawn_row
from llmasos_conformance.errors import CandidateFault
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.killmatrix import KillMatrix, Row
from llmasos_conformance.mutants import table
from llmasos_conformance.protocol import Array, Refusal

MODELS = {
    "GPT-3": ("plain", "small-embedding", "hot-attention", "hot-ffn", "asymmetric", "wide"),
    "Llama": ("llama-plain", "llama-small-embedding", "llama-hot-attention", "llama-asymmetric", "llama-wide"),
    "Transformer": ("trf-plain", "trf-small-variance", "trf-hot-attention", "trf-asymmetric", "trf-wide"),
}
"""Models whose greedy text is searched."""

GAP = 1e-4
"""Logits closer than this part of their spread are left to rounding: some twenty times what honest float32 errs by."""

ROW = 24
STEPS = 8
BATCH = 64


class Search:
    """Prompts, and what the reference says to each, made once per model."""

    def __init__(self, workshop: table.Workshop, prompts: int) -> None:
        self.workshop, self.prompts = workshop, prompts
        self._truth: dict[str, list[tuple[Any, Array, Array]]] = {}

    def truth(self, probe: str) -> Iterator[tuple[Any, Array, Array]]:
        """Rows, per position the reference's choice, and whether it is beyond rounding."""
        made = self._truth.setdefault(probe, [])
        yield from made
        config = self.workshop.probes.get(probe).config
        while len(made) * (ROW - 4) < self.prompts:
            row = drawn_row(KeyedDraw("", "text-power", probe, len(made)), config, (ROW, ROW), (ROW, ROW), "any")
            logits = self.workshop.reference.logits(probe, row.ids, row.beside)
            top = np.sort(np.partition(logits, -2, axis=-1)[:, -2:], axis=-1)
            made.append((row, np.argmax(logits, axis=-1), top[:, 1] - top[:, 0] > GAP * logits.std(axis=-1)))
            yield made[-1]

    def seen(self, row: Row) -> str:
        """Where a mutant's greedy choice is another one; empty if it never is."""
        candidate = self.workshop.candidate(f"mutant:{row.name}")
        for architecture in candidate.description.architectures:
            for probe in MODELS.get(architecture, ()):
                for look in (self.in_forward, self.in_generation):
                    try:
                        if where := look(candidate, probe):
                            return f"{probe}: {where}"
                    except (Refusal, CandidateFault) as error:
                        return f"{probe}: {type(error).__name__}"
        return ""

    def in_forward(self, candidate: Any, probe: str) -> str:
        """A prefix behind which the largest logit is another one; an architecture with sources has them beside."""
        if "forward" not in candidate.description.offers:
            return ""
        rows, model = list[Any](), candidate.model(probe)
        for truth in self.truth(probe):
            rows.append(truth)
            if len(rows) == BATCH:
                if where := self.differing(model, rows):
                    return where
                rows = []
        return self.differing(model, rows) if rows else ""

    def differing(self, model: Any, rows: Sequence[tuple[Any, Array, Array]]) -> str:
        for (row, due, sure), got in zip(rows, answered(model, [row for row, _, _ in rows]), strict=True):
            wrong = np.flatnonzero((np.argmax(got, axis=-1) != due) & sure)
            if wrong.size:
                return f"behind {list(row.ids[: int(wrong[0]) + 1])}"
        return ""

    def in_generation(self, candidate: Any, probe: str) -> str:
        """A prompt whose continuation is another one; a tenth as many prompts, each with several choices."""
        if "generate_ids" not in candidate.description.offers:
            return ""
        model, reference = candidate.model(probe), self.workshop.reference
        V = int(self.workshop.probes.get(probe).config["vocab_size"])
        for number in range(self.prompts // 10 // STEPS):
            draw = KeyedDraw("", "text-power-generation", probe, number)
            prompt = draw.integers(draw.integer(1, ROW), 0, V - 1)
            ids = list(model.generate_ids(prompt, max_length=STEPS, temperature=0).ids or ())
            truth = list(reference.truth.model(probe).generate_ids(prompt, max_length=STEPS, temperature=0).ids or ())
            if ids != truth and self.beyond_rounding(probe, prompt, ids, truth):
                return f"{prompt} goes on {ids}, {truth} was due"
        return ""

    def beyond_rounding(self, probe: str, prompt: list[int], ids: list[int], truth: list[int]) -> bool:
        """Whether the first difference of two continuations is at a place that rounding does not decide."""
        at = next((i for i, (a, b) in enumerate(zip(ids, truth, strict=False)) if a != b), min(len(ids), len(truth)))
        if at >= min(len(ids), len(truth)):
            return True  # one is the beginning of the other: a limit or an end was read otherwise
        config = self.workshop.probes.get(probe).config
        if config.get("decoder_start_token_id") is not None:
            return True  # a source is the prompt here, and gaps are those of its target; such ties are rare
        logits = self.workshop.reference.logits(probe, [*prompt, *truth[:at]])[-1]
        top = np.sort(logits)[-2:]
        return bool(top[1] - top[0] > GAP * logits.std())


def summary(matrix: KillMatrix, found: dict[str, str], sampled: int, alive: int) -> dict[str, Any]:
    """Killed at text, observable of those searched, and the power that follows."""
    killed = matrix.killed(matrix.mutants, "text")
    seen = sorted(name for name, where in found.items() if where)
    expected = len(seen) * alive / sampled if sampled else 0.0
    return {
        "mutants": len(matrix.mutants), "killedAtText": killed, "notKilled": alive, "searched": sampled,
        "observable": seen, "power": round(killed / (killed + expected), 4) if killed else 0.0,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--matrix", type=Path, default=killmatrix.find())
    parser.add_argument("--prompts", type=int, default=10_000, help="prefixes per model")
    parser.add_argument("--sample", type=int, default=0, help="how many of those that text does not kill; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--out", type=Path, default=Path("text-power.ndjson"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    matrix = killmatrix.read(options.matrix)
    alive = [row for row in matrix.mutants if matrix.lowest(row) != "text"]
    drawn = random.Random(options.seed).sample(alive, options.sample) if options.sample else alive
    held = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    found = {made["name"]: made["where"] for made in held if made["prompts"] == options.prompts}
    with tempfile.TemporaryDirectory() as root:
        search = Search(table.Workshop(Path(root), ["numerics.plain"]), options.prompts)
        for number, row in enumerate(drawn, 1):
            if row.name not in found:
                started = time.monotonic()
                found[row.name] = search.seen(row)
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(
                        json.dumps({"name": row.name, "where": found[row.name], "prompts": options.prompts}) + "\n"
                    )
                took = f"{time.monotonic() - started:.0f} s"
                print(f"[{number}/{len(drawn)}] {row.name}: {found[row.name] or 'not seen'}, {took}", file=sys.stderr)
    made = summary(matrix, {row.name: found[row.name] for row in drawn}, len(drawn), len(alive))
    print(json.dumps(made, indent=1) if options.json else "\n".join(f"{name}: {value}" for name, value in made.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
