"""The probe that was trained: a GPT-3 of 0.5 million weights that has learnt this project's own sentences.

Other probes are loud in one place each. Training makes some loud together: a first norm whose input is small, channels
far beyond the others, sharp attention, distributions with one likely id. And this one has a text: rows that are drawn
for it are parts of `trained.txt`, so that ids depend on each other. What it does not have, being small, are the sinks
of large models: no head looks at the first position (`docs/numerics.md`).

Weights and text lie beside this file, made by `bench/train_probe.py`, and are known by their SHA-256; this file is part
of the digest of the harness, and they are with it. Training is no function of a seed that every machine computes alike,
so the function that the model computes is the same in every run. Its channels and hidden units stand in another order
for each seed: bytes and rounding errors differ, and a candidate that knows the file by its bytes does not meet it.
"""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from llmasos_conformance.canonical import sha256
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.probes.gpt import Sizes
from llmasos_conformance.probes.making import Maker, Parts, probe
from llmasos_conformance.protocol import Array

SIZES = Sizes(V=256, D=128, L=3, H=2, F=256, context=128, tied=True)
"""Ids are bytes, heads are 64 wide."""
WEIGHTS = Path(__file__).with_name("trained.safetensors")
"""bfloat16, which holds these weights exactly; float16 does too."""
TEXT = Path(__file__).with_name("trained.txt")
"""Sentences of the requirements, cases and pages in English and Chinese; all but one line in twenty was trained on."""
DIGESTS = {
    WEIGHTS: "9a3b39a0b397d615fa02bbfb07b2e42b56404dd2104e51949442f189d68738e5",
    TEXT: "552dfa71c8d575323ed759317b58fd563c2a4844bb70acd26a39cbcb11711619",
}


def content(path: Path) -> bytes:
    """A file of the probe.

    Raises:
        SuiteError: it is not the one that belongs to this version.
    """
    found = path.read_bytes()
    if sha256(found) != DIGESTS[path]:
        raise SuiteError("not the file of this version", where=path, hint="install the package anew")
    return found


@functools.cache
def text() -> str:
    """What the model was trained on, and the lines that were held out."""
    return content(TEXT).decode()


@functools.cache
def stored() -> dict[str, Array]:
    """Weights as they were trained, float32; not to be changed."""
    raw = content(WEIGHTS)
    (length,) = struct.unpack("<Q", raw[:8])
    made, data = {}, raw[8 + length :]
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        low, _ = entry["data_offsets"]
        halves = np.frombuffer(data, "<u2", math.prod(entry["shape"]), low)  # the upper half of a float32
        made[name] = (halves.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(entry["shape"])
    return made


AXES: Mapping[str, tuple[str, str]] = {
    "query": ("channels", ""),
    "key": ("channels", ""),
    "value": ("channels", ""),
    "output": ("", "channels"),
    "up": ("channels", "units"),
    "down": ("units", "channels"),
}
"""Map -> what its first axis counts and its last, where another order is drawn. All other tensors end in channels."""


def reordered(make: Maker, weights: Mapping[str, Array]) -> dict[str, Array]:
    """A copy that computes the same, with channels and hidden units in an order drawn from the seed."""
    orders = {"channels": make.permutation("channels", SIZES.D), "units": make.permutation("units", SIZES.F)}
    made = {}
    for name, array in weights.items():
        first, last = AXES.get(name.split(".")[-2:][0], ("", "channels"))
        made[name] = array.copy()
        if first and array.ndim == 2:
            made[name] = made[name][orders[first]]
        if last:
            made[name] = made[name][..., orders[last]]
    return made


@probe("trained")
def _trained(make: Maker) -> Parts:
    """What training does to weights, activations and distributions; see the module.

    Facts:
        text: that rows are taken from.
    """
    return Parts(document=SIZES.document(), weights=reordered(make, stored()), facts={"text": text()})
