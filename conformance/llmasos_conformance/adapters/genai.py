"""onnxruntime-genai as a candidate: GPT-3 and Llama, from the graph that the harness makes of a bundle.

The graph is the one that the adapter `onnxruntime` runs, with keys and values; not the one that the runtime's own
builder writes, because that one does not run where a head's width is no multiple of 16.

The runtime's own: logits of a row, keys and values behind them, masks, greedy decoding. The adapter's, and declared:
the graph, a fork, which is computed again, and batches one after another. The adapter kit's: everything else.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance.adapters import kit
from llmasos_conformance.errors import AddressError
from llmasos_conformance.graphs import making
from llmasos_conformance.protocol import Array, Claims, Description, Generation

try:
    import onnxruntime_genai
except ImportError as error:
    raise AddressError(
        f"{error.name} is not installed", where="onnxruntime-genai", hint="pip install 'llmasos[genai]'"
    ) from None

ARCHITECTURES = ("GPT-3", "Llama")
_OFFERED = (
    "load_model", "tokenize", "forward", "session", "generate_ids", "batch", "score", "stream", "stop", "seed",
    "top_k", "top_p", "min_p", "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty", "logprobs",
    "beams", "perplexity", "window",
)  # fmt: skip


class GenaiAdapter:
    """onnxruntime-genai on the CPU, in float32, with one thread."""

    def describe(self) -> Description:
        version = onnxruntime_genai.__version__
        return Description(
            name="onnxruntime-genai",
            version=version,
            capabilities=frozenset(_OFFERED),
            claims=Claims(dtype="float32", determinism="D1"),
            emulated={
                **kit.emulated("session", "generate_ids"),
                "generate_ids beyond greedy": "sampling, shaped logits and log-probabilities loop in the kit",
                "fork of a session": "the adapter gives all ids to the runtime again",
                "graph": "the harness writes a bundle as a graph",
            },
            runtime={"onnxruntime-genai": version, "numpy": np.__version__},
            architectures=ARCHITECTURES,
        )

    def load_model(self, path: str) -> Any:
        bundle = kit.read_bundle(path, ARCHITECTURES, windows=True)
        kit.refuse_large(bundle.weights, "float32")
        graphs = making.files(bundle.config["architecture"], bundle.config, bundle.weights, cached=True)
        with tempfile.TemporaryDirectory() as directory:
            for name, raw in graphs.items():
                (Path(directory) / name).write_bytes(raw)
            (Path(directory) / "genai_config.json").write_text(json.dumps(_settings(bundle.config)), encoding="utf-8")
            return Decoder(bundle, onnxruntime_genai.Model(directory))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the runtime is told of the graph; how many keys and values it keeps, and under which names."""
    decoder = {
        "filename": "model.onnx",
        "session_options": {"intra_op_num_threads": 1, "inter_op_num_threads": 1, "provider_options": []},
        "head_size": config["embedding_dim"] // config["num_heads"],
        "hidden_size": config["embedding_dim"],
        "num_attention_heads": config["num_heads"],
        "num_key_value_heads": config.get("num_key_value_heads") or config["num_heads"],
        "num_hidden_layers": config["num_layers"],
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    model = {
        "type": "llama",  # a decoder, of whichever architecture
        "vocab_size": config["vocab_size"],
        "context_length": config["context_length"],
        "bos_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": list(config["eos_token_ids"]),
        "decoder": decoder,
    }
    search = {"do_sample": False, "max_length": config["context_length"], "past_present_share_buffer": False}
    return {"model": model, "search": search}


class Decoder(kit.KitModel):
    """A bundle in the runtime."""

    def __init__(self, bundle: kit.KitBundle, runtime: Any) -> None:
        super().__init__(bundle)
        self._runtime = runtime

    def generator(self, length: int) -> Any:
        """One row in the runtime, that may become as long."""
        parameters = onnxruntime_genai.GeneratorParams(self._runtime)
        parameters.set_search_options(max_length=length, do_sample=False)
        return onnxruntime_genai.Generator(self._runtime, parameters)

    def forward(self, batch: Sequence[Sequence[int]], sources: Any = None, types: Any = None) -> list[Array]:
        kit.refuse_beside(sources=sources, types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        return [appended(self.generator(self.config["context_length"]), row) for row in rows]

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Session:
        kit.refuse_beside(source=source)
        return Session(self, ids)

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        request = kit.check_request(self.config, max_length, temperature, options)
        if not request.greedy or request.shapes:
            return super().generate_ids(ids, max_length, temperature, **options)
        prompt = self.prompt(ids)
        limit, made = self.limit(prompt, request), list[int]()
        if limit > 0:
            generator = self.generator(len(prompt) + limit)
            appended(generator, prompt)
            while not generator.is_done():
                generator.generate_next_token()
                made.append(int(generator.get_next_tokens()[0]))
        return self.generation(prompt, made)


def appended(generator: Any, ids: Sequence[int]) -> Array:
    """Logits [T, V] of ids behind what the runtime holds."""
    generator.append_tokens(np.array([ids], np.int32))
    logits: Array = np.array(generator.get_output("logits"))[0]
    return logits


class Session:
    """A row in the runtime. A fork is another one, which is given all ids again."""

    def __init__(self, model: Decoder, ids: Sequence[int]) -> None:
        self._model, self._ids = model, list[int]()
        self._generator: Any = model.generator(model.config["context_length"])
        self.logits = self.extend(ids)

    def extend(self, ids: Sequence[int]) -> Array:
        kit.still_open(self._generator)
        new = kit.check_ids(self._model.config, ids, held=len(self._ids))
        self.logits = appended(self._generator, new)
        self._ids += new
        return self.logits

    def fork(self) -> Session:
        kit.still_open(self._generator)
        twin = Session(self._model, self._ids)
        twin.logits = twin.logits[-len(self.logits) :]
        return twin

    def close(self) -> None:
        self._generator = None
