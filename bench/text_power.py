"""Text alone: how many of the wrong implementations that it could show does it fail?

    python bench/text_power.py [--matrix reports/kill-matrix.json] [--prompts 10000] [--sample N] [--seed S]
                               [--out FILE] [--json]

The kill matrix says which mutants fail cases that see nothing but text. Those that it leaves alive are asked these
cases again, all of them, whatever else they are asked in the matrix. Of those that live on, greedy text is searched for
a difference: a mutant is observable in text if some prompt of so many, on some of the suite's models, is continued with
another text than is due, at a place that honest rounding in the claimed dtype does not decide. Where a mutant shows
logits, they point to the prompts; generation confirms or refutes each. The search ends with the first difference.

The share of observable mutants that text fails is the power of text. --sample draws so many of those that the matrix
leaves alive. Rows go to --out as they come, and are not searched again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance import engine, killmatrix
from llmasos_conformance.candidate import Candidate
from llmasos_conformance.checks.beside import Row, answered
from llmasos_conformance.checks.greedy import PRINTED, unlike_text
from llmasos_conformance.errors import CandidateFault
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.killmatrix import KillMatrix
from llmasos_conformance.mutants import table
from llmasos_conformance.protocol import Array, Refusal
from llmasos_conformance.verdict import State

MODELS = {
    "GPT-3": ("plain", "small-embedding", "hot-attention", "hot-ffn", "asymmetric", "wide", "trained"),
    "Llama": ("llama-plain", "llama-small-embedding", "llama-hot-attention", "llama-asymmetric", "llama-wide"),
    "Transformer": ("trf-plain", "trf-small-variance", "trf-hot-attention", "trf-asymmetric", "trf-wide"),
}
"""Models whose greedy text is searched."""

ROW = 24
STEPS = 8
BATCH = 64
TRIED = 4
"""Prompts of a batch that generation confirms at most, those whose choice is clearest first."""


class Search:
    """Prompts, and what the reference says to each, made once per model."""

    def __init__(self, workshop: table.Workshop, prompts: int) -> None:
        self.workshop, self.prompts = workshop, prompts
        self.cases = [
            case
            for case in workshop.suite.cases.values()
            if killmatrix.interface(case.needs) == "text" and case.check != "drawn-from"
        ]
        self._truth: dict[str, list[tuple[Row, Array, Array]]] = {}

    def failing(self, candidate: Candidate) -> str:
        """The first case on text that a candidate fails; empty if there is none."""
        shop = self.workshop
        reference = shop.beside(candidate.description.claims)
        bench = engine.Bench(shop.suite, shop.checks, candidate, reference, shop.seed)
        for case in self.cases:
            if case.needs - candidate.description.offers:
                continue
            if engine.run_case(bench, case).outcome.state is State.FAIL:
                return case.id
        return ""

    def seen(self, candidate: Candidate) -> str:
        """Where greedy text is another one than is due; empty if it never is."""
        for architecture in candidate.description.architectures:
            for probe in MODELS.get(architecture, ()):
                for look in (self.in_forward, self.in_generation):
                    try:
                        for prompt in look(candidate, probe):
                            if where := self.unlike(candidate, probe, prompt):
                                return f"{probe}: {where}"
                    except (Refusal, CandidateFault) as error:
                        return f"{probe}: {type(error).__name__}"
        return ""

    def unlike(self, candidate: Candidate, probe: str, prompt: str) -> str:
        text = candidate.model(probe).generate_text(prompt, max_length=STEPS, temperature=0).text
        found = unlike_text(self.workshop.beside(candidate.description.claims), probe, prompt, text, STEPS)
        return "" if found.ok else found.message

    def in_forward(self, candidate: Candidate, probe: str) -> Iterator[str]:
        """Prompts behind which the largest logit of an id with text is another one."""
        if "forward" not in candidate.description.offers:
            return
        model, written = candidate.model(probe), self.written(probe)
        for low in range(0, self.prompts, BATCH * self.choices(probe)):
            rows = self.truth(probe, low // self.choices(probe))
            found = []
            for (row, due, gap), logits in zip(rows, answered(model, [row for row, _, _ in rows]), strict=True):
                got = np.argmax(np.where(written, logits, -np.inf), axis=-1)
                found += [(-gap[at], self.prompt(row, int(at))) for at in np.flatnonzero(got != due)]
            yield from (prompt for _, prompt in sorted(found)[:TRIED])

    def in_generation(self, candidate: Candidate, probe: str) -> Iterator[str]:
        """A tenth as many prompts, several choices each: for caches and limits, which a forward pass does not reach."""
        for number in range(self.prompts // 10 // STEPS):
            draw = KeyedDraw("", "text-power-generation", probe, number)
            yield bytes(draw.integers(draw.integer(1, ROW), *PRINTED)).decode()

    def choices(self, probe: str) -> int:
        """Choices that one row shows: behind each of its beginnings, or the first of a target."""
        return 1 if self.start(probe) is not None else ROW

    def start(self, probe: str) -> int | None:
        start = self.workshop.probes.get(probe).config.get("decoder_start_token_id")
        return None if start is None else int(start)

    def prompt(self, row: Row, at: int) -> str:
        return bytes(row.beside["source"] if row.beside.get("source") else row.ids[: at + 1]).decode()

    def written(self, probe: str) -> Array:
        """[V] True for ids that have text."""
        V = int(self.workshop.probes.get(probe).config["vocab_size"])
        model = self.workshop.reference.model(probe)
        return np.array([bool(model.detokenize([id])) for id in range(V)])

    def truth(self, probe: str, first: int) -> list[tuple[Row, Array, Array]]:
        """Rows from this one on, per choice the reference's id, and by how much its logit is the largest."""
        made, start = self._truth.setdefault(probe, []), self.start(probe)
        written = self.written(probe) if len(made) < first + BATCH else np.array([])
        while len(made) < first + BATCH:
            draw = KeyedDraw("", "text-power", probe, len(made))
            ids = draw.integers(ROW if start is None else draw.integer(1, ROW), *PRINTED)
            row = Row(ids) if start is None else Row([start], {"source": ids})
            logits = np.where(written, self.workshop.reference.logits(probe, row.ids, row.beside), -np.inf)
            top = np.sort(np.partition(logits, -2, axis=-1)[:, -2:], axis=-1)
            made.append((row, np.argmax(logits, axis=-1), top[:, 1] - top[:, 0]))
        return made[first : first + BATCH]


def summary(matrix: KillMatrix, found: dict[str, dict[str, str]], alive: int) -> dict[str, Any]:
    """Failed at text, observable of those searched, and the power that follows."""
    before = matrix.killed(matrix.mutants, "text")
    failed = sorted(name for name, made in found.items() if made["case"])
    seen = {name: made["where"] for name, made in found.items() if made["where"]}
    share = alive / len(found) if found else 0.0
    killed, missed = before + len(failed) * share, len(seen) * share
    return {
        "mutants": len(matrix.mutants), "failed": before, "searched": len(found), "failedToo": failed,
        "observable": dict(sorted(seen.items())), "power": round(killed / (killed + missed), 4),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--matrix", type=Path, default=killmatrix.find())
    parser.add_argument("--prompts", type=int, default=10_000, help="prefixes per model")
    parser.add_argument("--sample", type=int, default=0, help="how many of those that the matrix leaves; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--claim", default="float32", help="dtype of the mutants' claims; the others are left out")
    parser.add_argument("--out", type=Path, default=Path("text-power.ndjson"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    matrix = killmatrix.read(options.matrix)
    held = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    found = {made["name"]: made for made in held if made["prompts"] == options.prompts}
    with tempfile.TemporaryDirectory() as root:
        search = Search(table.Workshop(Path(root), ["numerics.plain"]), options.prompts)
        claimed = [
            row
            for row in matrix.mutants
            if search.workshop.candidate(f"mutant:{row.name}").description.claims.dtype == options.claim
        ]
        matrix = replace(matrix, rows=claimed)
        alive = [row.name for row in claimed if matrix.lowest(row) != "text"]
        drawn = random.Random(options.seed).sample(alive, options.sample) if options.sample else alive
        for number, name in enumerate(drawn, 1):
            if name not in found:
                started = time.monotonic()
                candidate = search.workshop.candidate(f"mutant:{name}")
                case = search.failing(candidate)
                made = {"name": name, "case": case, "where": "" if case else search.seen(candidate)}
                found[name] = {**made, "prompts": options.prompts}
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found[name], ensure_ascii=False) + "\n")
                took = f"{time.monotonic() - started:.0f} s"
                said = f"fails {case}" if case else made["where"] or "not seen"
                print(f"[{number}/{len(drawn)}] {name}: {said}, {took}", file=sys.stderr, flush=True)
    told = summary(matrix, {name: found[name] for name in drawn}, len(alive))
    print(json.dumps(told, indent=1) if options.json else "\n".join(f"{name}: {told[name]}" for name in told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
