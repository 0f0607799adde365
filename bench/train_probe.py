"""Trains the decoder of the probe `trained`, on text of this project, and writes its weights.

    python bench/train_probe.py --out trained.safetensors --curve trained.csv

One thread, in minutes. It starts from the weights that the standard makes of a seed and takes AdamW steps on windows of
`probes/trained.txt`; one line in twenty is held out. Everything drawn follows from SEED, so that a second run on the
same machine, with the same torch, gives the same bytes. Elsewhere sums run in another order, and training amplifies
that: what counts is the file that lies in the package, which `probes.trained` knows by its digest.

In the end each weight is rounded to 8 significant bits and to a multiple of 2⁻²⁴, so that bfloat16, float16, float32
and float64 all hold it exactly: whoever loads the probe makes no error yet. The last loss is that of these weights.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch

from llmasos import weights
from llmasos.bundle import Bundle
from llmasos.config import ModelConfig
from llmasos.tools.torch_twin import twin
from llmasos_conformance.canonical import sha256
from llmasos_conformance.layout import safetensors_bytes
from llmasos_conformance.probes import significant
from llmasos_conformance.probes.trained import SIZES, TEXT
from llmasos_conformance.protocol import Array

SEED = 20261126
STEPS, WARM, BATCH = 3000, 100, 16
RATE = 3e-3
HELD_OUT = 20
"""One line in so many is not trained on."""
EVERY = 100
"""Steps between two points of the curve."""
FINEST = 2.0**-24
"""The smallest number of float16."""


def streams(text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes of the lines that are trained on, and of those that are not."""
    lines = text.splitlines(keepends=True)
    kinds = ([line for i, line in enumerate(lines) if (i % HELD_OUT == 0) == out] for out in (False, True))
    trained, held_out = (torch.tensor(list("".join(kind).encode())) for kind in kinds)
    return trained, held_out


def windows(stream: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """[B, context] ids from each start on."""
    return torch.stack([stream[start : start + SIZES.context] for start in starts.tolist()])


def rate(step: int) -> float:
    """Of learning: up in a line, then down as half a cosine to a twentieth."""
    if step < WARM:
        return RATE * (step + 1) / WARM
    done = (step - WARM) / (STEPS - WARM)
    return RATE * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def rounded(made: Mapping[str, Array]) -> dict[str, Array]:
    """Weights that every dtype of the standard holds exactly, float32."""
    kept = {name: significant(array.astype(np.float64)).astype(np.float64) for name, array in made.items()}
    return {name: (np.rint(array / FINEST) * FINEST).astype(np.float32) for name, array in kept.items()}


def module_of(document: dict[str, Any], made: Mapping[str, Array]) -> Any:
    """The torch model of a document and weights."""
    config = ModelConfig.from_document(document, "probe")
    return twin(Bundle(document=document, config=config, weights=made, tokenizer=None), "float32", fused=True)


@torch.no_grad()
def loss_on(module: Any, stream: torch.Tensor) -> float:
    """Nats per byte over the whole stream, in windows side by side."""
    starts = torch.arange(0, len(stream) - SIZES.context + 1, SIZES.context)
    return float(module.loss(windows(stream, starts)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the weights, as safetensors in bfloat16")
    parser.add_argument("--curve", type=Path, required=True, help="losses on the way, as CSV")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)

    document = {**SIZES.document(), "initialisation": {"seed": SEED}}
    trained, held_out = streams(TEXT.read_text(encoding="utf-8"))
    module = module_of(document, weights.initialise(ModelConfig.from_document(document, "probe")))
    module.train()
    optimiser = torch.optim.AdamW(module.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    curve, begun = ["step,trained_on,held_out"], time.monotonic()
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        loss = module.loss(windows(trained, torch.randint(0, len(trained) - SIZES.context + 1, (BATCH,))))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        if step % EVERY == EVERY - 1:
            curve.append(f"{step + 1},{float(loss.detach()):.4f},{loss_on(module, held_out):.4f}")
            print(curve[-1], f"{time.monotonic() - begun:.0f} s", flush=True)

    made = rounded(module.arrays())
    last = loss_on(module_of(SIZES.document(), made), held_out)
    curve.append(f"rounded,,{last:.4f}")
    content = safetensors_bytes({name: array.astype(ml_dtypes.bfloat16) for name, array in made.items()})
    given.out.write_bytes(content)
    given.curve.write_text("\n".join(curve) + "\n")
    count = sum(array.size for array in made.values())
    print(f"{count} weights, {len(content)} bytes, sha256 {sha256(content)}, {last:.4f} nats per byte held out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
