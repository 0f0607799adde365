"""Runtimes of Node as candidates: onnxruntime-node, onnxruntime-web and Transformers.js.

    onnxruntime-node    ONNX Runtime's own code for processors, in float32 and float64
    onnxruntime-web     the same runtime compiled to WebAssembly, outside a browser, in float32 and float64
    transformers.js     GPT2LMHeadModel, LlamaForCausalLM and BertModel over onnxruntime-node, in float32

    npm install onnxruntime-node onnxruntime-web @huggingface/transformers      in some directory
    export LLMASOS_NODE_MODULES=…/node_modules
    llmasos certify --adapter onnxruntime-node --pass-env LLMASOS_NODE_MODULES …

What `npm install -g` has installed is found without the variable. Packages run in a process of Node, one for each
adapter; bundles, graphs and text are the harness's, here. What it adds to the first two: `graphed`.

Transformers.js's own: how a graph is fed, keys and values of sessions and of batches, greedy decoding of one prompt and
of several, sampling with temperature, top_k, a repetition penalty and a seed. The adapter's, and declared: the graph,
which is the one that `onnxruntime` runs. It takes top_p and num_beams and honours neither, as its source says at both
places; they are the adapter kit's, like all other options.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance.adapters import graphed, kit
from llmasos_conformance.adapters.graphed import OFFERED, Feed, GraphAdapter, Rows
from llmasos_conformance.adapters.node.process import Kept, Node, NodeError
from llmasos_conformance.graphs import contract, making
from llmasos_conformance.graphs.proto import decode
from llmasos_conformance.protocol import Array, Claims, Description, Generation, Refusal


class OnnxruntimeNodeAdapter(GraphAdapter):
    """onnxruntime-node on the CPU, with one thread.

    Args:
        argument: "DTYPE" or "DTYPE/SIDE", the side on which rows are padded; "" is "float32/left".

    Raises:
        AddressError: no such variant, no Node, or no such package.
    """

    name, dtypes = "onnxruntime-node", ("float32", "float64")

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._node = Node(self.name, self.name)

    def version(self) -> str:
        return self._node.versions[self.name]

    def describe(self) -> Description:
        described = super().describe()
        return replace(described, runtime={**described.runtime, **self._node.versions})

    def runner(self, source: str | bytes, held: Mapping[str, Array] | None = None) -> Running:
        return Running(self._node, path=source) if isinstance(source, str) else Running(self._node, graph=source)


class OnnxruntimeWebAdapter(OnnxruntimeNodeAdapter):
    """onnxruntime-web on the CPU, with one thread: as OnnxruntimeNodeAdapter, but that it opens no files itself."""

    name = "onnxruntime-web"

    def runner(self, source: str | bytes, held: Mapping[str, Array] | None = None) -> Running:
        if isinstance(source, bytes):
            return Running(self._node, graph=source)
        path = Path(source)
        raw = path.read_bytes()
        outside = {each.outside.location for each in contract.tensors(decode(raw)) if each.outside is not None}
        return Running(self._node, graph=raw, outside={name: (path.parent / name).read_bytes() for name in outside})


class Running:
    """A graph in ONNX Runtime.

    Args:
        given: where the graph is, as `load` in host.mjs has it.

    Raises:
        Refusal: invalid_format, when the runtime does not take it.
    """

    def __init__(self, node: Node, **given: Any) -> None:
        try:
            loaded = node.ask("load", **given)
        except NodeError as error:
            raise Refusal("invalid_format", f"the runtime does not take the graph: {error!s:.300}") from None
        self._node, self._kept = node, loaded["kept"]
        self._inputs = {each["name"]: (each["dtype"], each["sizes"]) for each in loaded["inputs"]}

    @property
    def inputs(self) -> Mapping[str, tuple[str, Sequence[int | None]]]:
        return self._inputs

    def run(self, feed: Feed) -> Feed:
        return self._node.ask("run", kept=self._kept, feed=feed)


# ── Transformers.js ─────────────────────────────────────────────────────────────────────────────────────────────────

ARCHITECTURES = ("GPT-3", "Llama", "BERT")
_NATIVE = ("session", "generate_ids", "batch", "seed", "top_k", "repetition_penalty")
PACKAGE = "@huggingface/transformers"


class TransformersJsAdapter:
    """Transformers.js over onnxruntime-node, on the CPU, in float32, with one thread.

    Raises:
        AddressError: no Node, or no such package.
    """

    def __init__(self) -> None:
        self._node = Node(PACKAGE, "transformers.js")

    def describe(self) -> Description:
        return Description(
            name="transformers.js",
            version=self._node.versions[PACKAGE],
            capabilities=frozenset(OFFERED) - {"gumbel", "onnx"},
            claims=Claims(dtype="float32", determinism="D1"),
            emulated={
                **{name: said for name, said in kit.emulated(*_NATIVE).items() if name != "gumbel"},
                "generate_ids with other options": "with top_p, min_p, bias, penalties on frequency and presence, "
                "logprobs or beams, the adapter kit chooses by the runtime's logits",
                "repetition_penalty in a batch": "the adapter asks rows one by one",
                "graph": "the harness writes a bundle as a graph",
            },
            runtime={**self._node.versions, "numpy": np.__version__},
            architectures=ARCHITECTURES,
        )

    def load_model(self, path: str) -> Any:
        bundle = kit.read_bundle(path, ARCHITECTURES, windows=True)
        kit.refuse_large(bundle.weights, "float32")
        config, kind = bundle.config, _CLASSES[bundle.config["architecture"]]
        graphs = making.files(config["architecture"], config, bundle.weights, cached=config["architecture"] != "BERT")
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory) / "model"
            (place / "onnx").mkdir(parents=True)
            (place / "config.json").write_text(json.dumps(_settings(config, kind)), encoding="utf-8")
            for name, raw in graphs.items():
                (place / "onnx" / name).write_bytes(raw)
            calls: Any = Calls(self._node, self._node.ask("load", directory=directory, kind=kind)["kept"])
        return (graphed.Encoder if kind == "BertModel" else Decoder)(bundle, calls, "left")


_CLASSES: Mapping[str, str] = {"GPT-3": "GPT2LMHeadModel", "Llama": "LlamaForCausalLM", "BERT": "BertModel"}
"""BertForMaskedLM runs the same graph as BertModel, and hands out the logits alone."""


def _settings(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """config.json. What is computed stands in the graph; this says how many keys and values there are, and how wide."""
    heads, layers, width = config["num_heads"], config["num_layers"], config["embedding_dim"]
    return {
        "architectures": [kind],
        "model_type": {"GPT-3": "gpt2", "Llama": "llama", "BERT": "bert"}[config["architecture"]],
        "vocab_size": config["vocab_size"],
        **({"n_head": heads, "n_layer": layers, "n_embd": width} if kind == "GPT2LMHeadModel" else {}),
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("num_key_value_heads", heads),
        "num_hidden_layers": layers,
        "hidden_size": width,
        "head_dim": width // heads,
    }


class Calls:
    """What `graphed` asks of the graphs of a bundle, answered by calls of the runtime's model.

    Attributes:
        cached: keys and values go on.
    """

    cached = True

    def __init__(self, node: Node, model: Kept) -> None:
        self.node, self.model = node, model

    def run(self, feed: Feed) -> Feed:
        """Outputs by name."""
        return self.node.ask("forward", kept=self.model, feed=feed)

    def begin(self, B: int, source: Any = None) -> dict[str, Any]:
        """Behind what a call stands: at first nothing."""
        return {}

    def step(self, behind: Mapping[str, Any], ids: Array, mask: Array) -> tuple[Array, dict[str, Any]]:
        """Logits [B, T, V] of ids [B, T] whose mask [B, S] covers what they stand behind, and both together."""
        made = self.node.ask("extend", kept=self.model, feed={"input_ids": ids, "attention_mask": mask}, **behind)
        return made["logits"], {"past": made["kept"]}


class Decoder(graphed.Decoder):
    """GPT-3 or Llama in the runtime, which generates itself."""

    _graphs: Any

    def chosen(
        self, prompt: Sequence[int], request: kit.Request, allowed: Array | None, limit: int, laws: list[Any]
    ) -> Generator[int, None, None]:
        """The runtime's ids where it has all that is asked for; the pieces and ends of a text are found in them."""
        if _own(request):
            yield from self._generated([prompt], limit, request, allowed)[0]
        else:
            yield from super().chosen(prompt, request, allowed, limit, laws)

    def generate_batch(
        self, batch: Rows, max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        request = kit.check_request(self.config, max_length, temperature, options)
        # Padding is counted as repeated, and one seed is of one row: such rows are asked one by one.
        if not request.greedy or request.shapes:
            return super().generate_batch(batch, max_length, temperature, **options)
        prompts = [self.prompt(ids) for ids in batch]
        limits = [self.limit(prompt, request) for prompt in prompts]
        made: dict[int, list[int]] = {}
        # All rows of a call go on until each has ended, so that those with less room in the context have another call.
        for limit in set(limits):
            places = [i for i, each in enumerate(limits) if each == limit]
            made |= zip(places, self._generated([prompts[i] for i in places], limit, request), strict=True)
        return [self.generation(prompt, made[i]) for i, prompt in enumerate(prompts)]

    def _generated(
        self, prompts: Rows, limit: int, request: kit.Request, allowed: Array | None = None
    ) -> list[list[int]]:
        """At most `limit` new ids for every row; what comes behind an end is cut off."""
        if limit == 0:
            return [[] for _ in prompts]
        eos = list(self.config["eos_token_ids"])
        options = {
            "max_new_tokens": limit,
            "do_sample": request.temperature > 0,
            "temperature": request.temperature,
            "top_k": request.top_k,
            "repetition_penalty": request.repetition_penalty,
            "eos_token_id": eos or None,
            "suppress_tokens": None if allowed is None else np.flatnonzero(~allowed).tolist(),
        }
        ids, mask = graphed.padded(prompts, "left")
        asked = {"feed": {"input_ids": ids, "attention_mask": mask}, "options": options, "seed": request.seed}
        rows = self._graphs.node.ask("generate", kept=self._graphs.model, **asked)["rows"]
        return [_cut(row[ids.shape[1] :], eos) for row in rows]


def _own(request: kit.Request) -> bool:
    """Whether the runtime chooses ids with all that is asked for; beams are not followed one id after the other."""
    neutral = kit.Request(max_length=request.max_length, temperature=request.temperature)
    beyond = ("top_p", "min_p", "logit_bias", "frequency_penalty", "presence_penalty", "logprobs")
    return all(getattr(request, name) == getattr(neutral, name) for name in beyond)


def _cut(ids: list[int], eos: Sequence[int]) -> list[int]:
    """Ids up to the first end, which belongs to them."""
    ends = [i for i, token in enumerate(ids) if token in eos]
    return ids[: ends[0] + 1] if ends else ids
