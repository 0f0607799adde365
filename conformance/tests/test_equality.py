"""One candidate gives the same outcomes, figures and evidence, whatever carries its answers."""

import functools
import gzip
import json
from datetime import UTC, datetime

import pytest

from llmasos_conformance import adapters, certify, evidence, report

WAYS = ["in process", "over stdio", "over stdio, lines", "over HTTP", "over HTTP, lines"]

FAULTY = """
import numpy as np
from llmasos_conformance.adapters.reference import ReferenceAdapter
from llmasos_conformance.protocol import Refusal

class Model:
    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)
    def forward(self, batch, **beside):
        rows = self.inner.forward(batch, **beside)
        if len(batch) > 1:
            raise RuntimeError("one row at a time, at most")
        return [row[:, :-1] if len(row) % 5 == 0 else row + np.float32(1e-3) * (len(row) % 3) for row in rows]
    def tokenize(self, text):
        return list(text.encode()) if text.isascii() else ["no"]
    def detokenize(self, ids):
        raise Refusal("unsupported", "not today")

class Mine:
    def __init__(self): self.inner = ReferenceAdapter("float32")
    def describe(self): return self.inner.describe()
    def load_model(self, path): return Model(self.inner.load_model(path))
"""
"""Right, slightly wrong, of the wrong width, raising, malformed and refusing, by turns."""


def told(address, way, out, monkeypatch, profile):
    """What a report says of a candidate, apart from names and times."""
    kind, _, lines = way.partition(",")
    monkeypatch.setattr(certify.adapters, "connect", functools.partial(adapters.connect, frames=not lines))
    order = certify.Order(
        adapter=address, profile=profile, out=out, seed="7", out_of_process=kind != "in process", timeout_s=60
    )
    made = certify.certify(order, clock=lambda: datetime(2026, 11, 26, tzinfo=UTC)).content["predicate"]
    monkeypatch.undo()
    with gzip.open(out / evidence.FILE_NAME) as file:
        conversations = file.read()
    assert (out / report.STATEMENT_NAME).is_file()
    return {name: made[name] for name in ("verdict", "checks", "summary", "evidenceRoot", "candidate")}, conversations


@pytest.mark.parametrize("which", ["right", "faulty"])
def test_every_way_gives_the_same_states_figures_and_evidence(which, tmp_path, serve, monkeypatch):
    address = "reference:float32/split-k"
    if which == "faulty":
        (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
        address = f"{tmp_path}/faulty.py:Mine"
    first, conversations = told(address, WAYS[0], tmp_path / "0", monkeypatch, "quick")
    states = [made["outcome"] for made in first["checks"]]
    assert (first["verdict"] == "conformant") == (which == "right")
    assert which == "right" or {"pass", "fail"} <= set(states)
    assert which == "faulty" or any(made.get("figures") for made in first["checks"])
    url = serve("llmasos_conformance.adapters.reference:ReferenceAdapter", "--argument", "float32/split-k")
    url = serve(address) if which == "faulty" else url
    for number, way in enumerate(WAYS[1:] if which == "right" else (WAYS[1], WAYS[4]), 1):
        leads = url if "HTTP" in way else address
        second, again = told(leads, way, tmp_path / str(number), monkeypatch, "quick")
        assert json.dumps(second) == json.dumps(first), way
        assert again == conversations, way
