"""How fast the reference is, against Hugging Face transformers on the same weights: eager, float64, both in one run.

    python bench/reference_speed.py [--threads 1] [--rounds 30]

Per architecture and size: the logits of one row, and 64 greedy tokens behind a cache. Both sides take turns; the figure
is the ratio of the medians. transformers computes parts of Llama in float32 even where float64 is asked for.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=30, help="of the small size; the large one has a quarter of them")
options = parser.parse_args()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(options.threads)  # read when the libraries are imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

import llmasos  # noqa: E402
from llmasos.weights import expected_tensors  # noqa: E402
from llmasos_conformance.adapters import kit  # noqa: E402
from llmasos_conformance.adapters.transformers import bert, gpt3, llama, transformer  # noqa: E402

SIZES = ((512, 64, 2, 4, 64), (8192, 256, 4, 8, 256))
"""V, D, layers, heads, T."""
LOAD = {"GPT-3": gpt3.load, "Llama": llama.load, "BERT": bert.load, "Transformer": transformer.load}
TOKENS = 64


def bundle(place: Path, architecture: str, V: int, D: int, layers: int, heads: int, T: int) -> Path:
    """A bundle of drawn weights in the default sizes of its architecture, Llama with half as many key-value heads."""
    parameters = {
        "vocab_size": V, "embedding_dim": D, "num_layers": layers, "num_heads": heads, "context_length": T + TOKENS + 8,
    }  # fmt: skip
    if architecture == "Llama":
        parameters["num_key_value_heads"] = heads // 2
    document = {"name": "bench", "version": "1.0", "architecture": architecture, "parameters": parameters}
    draw = np.random.default_rng(0)
    weights = {
        name: draw.normal(1.0 if name.endswith("norm.weight") else 0.0, 0.1, shape)
        for name, shape in expected_tensors(llmasos.ModelConfig.from_document(document)).items()
    }
    return llmasos.write_bundle(place / f"{architecture}-{V}", document, weights)


def ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Medians in microseconds, taken in turn, and their ratio."""
    mine, others = [], []
    for number in range(rounds + 1):  # the first round warms up
        for call, times in ((ours, mine), (theirs, others)):
            started = time.perf_counter()
            call()
            if number:
                times.append(time.perf_counter() - started)
    a, b = statistics.median(mine), statistics.median(others)
    return a / b, a * 1e6, b * 1e6


def main() -> None:
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.threads} thread(s), load "
          f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, NumPy {np.__version__}, torch "
          f"{torch.__version__}, transformers {transformers.__version__}")  # fmt: skip
    columns = f"{'ours':>10}{'theirs':>10}"
    print(f"{'architecture':13}{'size':22}{'forward':>9}{columns}   {'64 tokens':>9}{columns}")
    with tempfile.TemporaryDirectory() as scratch:
        for V, D, layers, heads, T in SIZES:
            for architecture, load in LOAD.items():
                path = bundle(Path(scratch), architecture, V, D, layers, heads, T)
                model = llmasos.load_model(path)
                other = load(kit.read_bundle(str(path), (architecture,)), torch.float64, "eager")._module
                ids = [int(token) for token in np.random.default_rng(1).integers(1, V, T)]
                given = torch.tensor([ids])
                beside = {"sources": [ids]} if architecture == "Transformer" else {}
                named = {"input_ids": given} | ({"decoder_input_ids": given} if beside else {})
                if architecture != "BERT":
                    named["use_cache"] = False
                settings = transformers.GenerationConfig(
                    do_sample=False, max_new_tokens=TOKENS, min_new_tokens=TOKENS, pad_token_id=0, num_beams=1,
                    decoder_start_token_id=0,
                )  # fmt: skip
                prompt, mask = given[:, :8], torch.ones(1, 8, dtype=torch.long)

                def forward(model=model, ids=ids, beside=beside):
                    return model.forward([ids], **beside)

                def their_forward(other=other, named=named):
                    with torch.inference_mode():
                        return other(**named).logits

                def generate(model=model, ids=ids):
                    return model.generate_ids(ids[:8], TOKENS, 0)

                def their_generate(other=other, prompt=prompt, mask=mask, settings=settings):
                    with torch.inference_mode():
                        return other.generate(prompt, attention_mask=mask, generation_config=settings)

                rounds = options.rounds if SIZES[0][0] == V else max(5, options.rounds // 4)
                line = "{:9.2f}{:10.0f}{:10.0f}".format(*ratio(forward, their_forward, rounds))
                if architecture != "BERT":
                    line += "   {:9.2f}{:10.0f}{:10.0f}".format(*ratio(generate, their_generate, max(3, rounds // 5)))
                print(f"{architecture:13}{f'V {V}, D {D}, T {T}':22}{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
