"""Mutants that run ONNX wrongly, take what they must refuse, or write what is something else.

All are onnxruntime behind its adapter, and an exporter of ours beside it, each with one fault. `export-…` write.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance.graphs import contract, making, spoiled
from llmasos_conformance.graphs.proto import Model, Tensor, Value, encode
from llmasos_conformance.mutants.catalogue import Mutant, record
from llmasos_conformance.protocol import Array, Refusal

Feed = dict[str, Array]
Files = dict[str, bytes]


Otherwise = Callable[[], Mapping[str, Any]]
"""Gives the steps that are done otherwise, as arguments of `interchanged.Steps`."""


def faulty(name: str, source: str, requirement: str) -> Callable[[Otherwise], Otherwise]:
    """Record a function that gives steps; its docstring is the bug."""

    def note(steps: Otherwise) -> Otherwise:
        def adapter() -> Any:
            from llmasos_conformance.mutants.interchanged import Served, Steps  # loads onnxruntime

            return Served(f"mutant:{name}", Steps(**steps()))

        bug = " ".join((inspect.getdoc(steps) or "").split())
        record(
            Mutant(
                name=name,
                group=steps.__module__.rpartition(".")[2],
                source=source,
                requirement=requirement,
                bug=bug,
                adapter=adapter,
            )
        )
        return steps

    return note


# ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@faulty("onnx-mask-counted", "microsoft/onnxruntime#4889", "ONNX-3")
def mask_counted() -> Mapping[str, Any]:
    """The mask becomes a length per row by adding it up, so that padding in front counts as text."""

    def feed(given: Feed, inputs: list[str]) -> Feed:
        mask = given["attention_mask"]
        columns = np.arange(mask.shape[1]) < mask.sum(axis=1, keepdims=True)
        return {**given, "attention_mask": columns.astype(np.int64)}

    return {"feed": feed}


@faulty("onnx-past-dropped", "wenet-e2e/wenet#1651", "ONNX-4")
def past_dropped() -> Mapping[str, Any]:
    """Whether there is a past was decided by the first call: later ones begin anew."""

    def keep(kept: Feed) -> Feed:
        return {name: value[:, :, :0] if value.ndim == 4 else value for name, value in kept.items()}

    def feed(given: Feed, inputs: list[str]) -> Feed:
        T = given["input_ids"].shape[1]
        return {**given, "attention_mask": given["attention_mask"][:, -T:]}

    return {"keep": keep, "feed": feed}


@faulty("onnx-inputs-by-position", "pytorch/pytorch#52667", "ONNX-6")
def inputs_by_position() -> Mapping[str, Any]:
    """Inputs are fed in the caller's order, whatever their names are in the file."""

    def feed(given: Feed, inputs: list[str]) -> Feed:
        own = ["input_ids", "attention_mask", "token_type_ids"]
        places = [name for name in inputs if name in own]
        values = [given[name] for name in own if name in given]
        return {**given, **dict(zip(places, values, strict=False))}

    return {"feed": feed}


@faulty("onnx-int8-made", "InfiniTensor/InfiniLM#553", "ONNX-1")
def int8_made() -> Mapping[str, Any]:
    """Every graph is quantised to 8 bits when it is loaded, behind a claim of float32."""
    return {"tamper": spoiled.quantised}


# ── what must be refused, and what must not ─────────────────────────────────────────────────────────────────────────


@faulty("onnx-future-opset", "microsoft/onnxruntime#2371", "ONNX-8")
def future_opset() -> Mapping[str, Any]:
    """An operator set that nobody here knows is taken for the last one that is known."""

    class Lenient(contract.Contract):
        def operators(self, model: Model, name: str) -> None:
            super().operators(replace(model, opsets={"": 17}), name)

    return {"rules": Lenient(), "tamper": lambda model: replace(model, opsets={"": 17})}


@faulty("onnx-document-unread", "huggingface/transformers#585", "ONNX-7")
def document_unread() -> Mapping[str, Any]:
    """The graph is run as it is; whether the document says the same is not looked at."""

    class Lenient(contract.Contract):
        def notes(self, model: Model, name: str, architecture: str, config: Mapping[str, Any]) -> str:
            return str(model.notes.get("llmasos.dtype", "float32"))

        def weights(self, model: Model, name: str, digest: str | None) -> None:
            if digest is not None:
                super().weights(model, name, digest)

    return {"rules": Lenient()}


@faulty("onnx-stale-graph", "lightly-ai/lightly-train#396", "ONNX-14")
def stale_graph() -> Mapping[str, Any]:
    """A graph that lies there is run, also when the weights beside it have changed since it was made."""

    class Lenient(contract.Contract):
        def weights(self, model: Model, name: str, digest: str | None) -> None:
            super().weights(model, name, None)

    return {"rules": Lenient()}


@faulty("onnx-own-operators", "microsoft/onnxruntime#8635", "ONNX-9")
def own_operators() -> Mapping[str, Any]:
    """Operators that this runtime alone has are run as if they were ONNX's."""

    class Lenient(contract.Contract):
        def operators(self, model: Model, name: str) -> None:
            nodes = (replace(node, domain="") if node.domain == "com.microsoft" else node for node in model.nodes)
            super().operators(replace(model, nodes=tuple(nodes)), name)

    return {"rules": Lenient()}


@faulty("onnx-precision-unread", "onnx/onnx#6959", "ONNX-12")
def precision_unread() -> Mapping[str, Any]:
    """A file of 8 or 16 bits runs behind its claim of float32."""

    class Lenient(contract.Contract):
        def precision(self, model: Model, name: str, dtype: str) -> None:
            return

    return {"rules": Lenient()}


@faulty("onnx-names-guessed", "huggingface/transformers#2506", "ONNX-6")
def names_guessed() -> Mapping[str, Any]:
    """Unknown names are matched by their place, and other integer types are converted without a word."""

    class Lenient(contract.Contract):
        def interface(self, model: Model, name: str, due: tuple[tuple[Value, ...], tuple[Value, ...]]) -> None:
            return

    return {"rules": Lenient()}


@faulty("onnx-initialisers-fed", "onnx/onnx#1021", "ONNX-15")
def initialisers_fed() -> Mapping[str, Any]:
    """Every entry among the inputs has to be fed, initialisers too, so that files which list them do not load."""

    class Narrow(contract.Contract):
        def interface(self, model: Model, name: str, due: tuple[tuple[Value, ...], tuple[Value, ...]]) -> None:
            super().interface(replace(model, tensors=()), name, due)

    return {"rules": Narrow()}


@faulty("onnx-data-from-cwd", "microsoft/onnxruntime#6696", "ONNX-10")
def data_from_cwd() -> Mapping[str, Any]:
    """Tensors outside are looked for in the working directory, not in that of the file."""

    class Elsewhere(contract.Contract):
        def placed(self, each: Tensor, name: str, files: contract.Files) -> tuple[str, int, int]:
            return super().placed(each, name, contract.Folder(Path.cwd()))

    return {"rules": Elsewhere()}


class _Anywhere:
    """Files wherever a name leads, through links and out of the directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self, name: str) -> int | None:
        place = self.path / name
        return place.stat().st_size if place.is_file() else None

    def read(self, name: str, offset: int, length: int) -> bytes:
        return (self.path / name).read_bytes()[offset : offset + length]


@faulty("onnx-data-anywhere", "onnx/onnx#3991", "ONNX-10")
def data_anywhere() -> Mapping[str, Any]:
    """A tensor's bytes are read wherever its location says."""

    class Lenient(contract.Contract):
        def location(self, location: str, what: str) -> None:
            return

    return {"rules": Lenient(), "folder": _Anywhere, "tamper": lambda model: model}


@faulty("onnx-data-links", "onnx/onnx#7686", "ONNX-10")
def data_links() -> Mapping[str, Any]:
    """Names inside the bundle are checked, and links followed that lie under them."""
    return {"folder": _Anywhere, "tamper": lambda model: model}


@faulty("onnx-data-padded", "Comfy-Org/ComfyUI#15602", "ONNX-11")
def data_padded() -> Mapping[str, Any]:
    """Tensors whose bytes end early are filled up with zeros."""

    class Lenient(contract.Contract):
        def placed(self, each: Tensor, name: str, files: contract.Files) -> tuple[str, int, int]:
            assert each.outside is not None
            self.location(each.outside.location, name)
            return each.outside.location, each.outside.offset, each.size

    class Padded(contract.Folder):
        def size(self, name: str) -> int | None:
            return super().size(name)

        def read(self, name: str, offset: int, length: int) -> bytes:
            found = super().read(name, offset, length) if super().size(name) is not None else b""
            return found.ljust(length, b"\0")

    return {"rules": Lenient(), "folder": Padded, "tamper": lambda model: model}


@faulty("onnx-sizes-believed", "ollama/ollama#17042", "ONNX-13")
def sizes_believed() -> Mapping[str, Any]:
    """Room is made for as many bytes as a file announces, before anything is compared."""

    class Believing(contract.Contract):
        def read(self, files: contract.Files, name: str) -> Model | None:
            try:
                return super().read(files, name)
            except Refusal as refusal:
                if "bytes" in refusal.message:
                    raise MemoryError(f"cannot allocate: {refusal.message}") from None
                raise

    return {"rules": Believing()}


@faulty("onnx-cut-file-taken", "Comfy-Org/ComfyUI#15602", "ONNX-13")
def cut_file_taken() -> Mapping[str, Any]:
    """A reader that stops at what it does not understand takes what it has for the whole file."""

    class Lenient(contract.Contract):
        def read(self, files: contract.Files, name: str) -> Model | None:
            try:
                return super().read(files, name)
            except Refusal:
                size = files.size(name) or 0
                raw = files.read(name, 0, size)
                for end in range(size, max(size - 64, 0), -1):
                    try:
                        return super().read(contract.Held({name: raw[:end]}), name)
                    except Refusal:
                        continue
                raise

        def weights(self, model: Model, name: str, digest: str | None) -> None:
            if digest is not None:
                super().weights(model, name, digest)

    return {"rules": Lenient(), "tamper": lambda model: model}


@faulty("onnx-refusal-unloads", "ollama/ollama#17042", "ONNX-16")
def refusal_unloads() -> Mapping[str, Any]:
    """After a file that could not be loaded, the runtime starts anew, and the models it had are gone."""

    def refused(models: list[Any]) -> None:
        for model in models:
            model._graphs = None

    return {"refused": refused}


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@faulty("export-length-folded", "pytorch/pytorch#69605", "ONNX-17")
def export_length_folded() -> Mapping[str, Any]:
    """The length of the example row has become a constant of the graph."""

    class Folded(making.Exporter):
        def heads(self, x: str, count: int) -> str:
            cut = self.node("Reshape", x, self.whole_numbers(0, 8, count, self.K))
            return self.node("Transpose", cut, perm=(0, 2, 1, 3))

    return {"exporter": Folded}


@faulty("export-mask-lost", "pytorch/pytorch#120075", "ONNX-18")
def export_mask_lost() -> Mapping[str, Any]:
    """The padding mask was filled in place, and the exporter has lost it."""

    class Maskless(making.Exporter):
        def real(self, mask: str) -> str:
            ones = self.node("GreaterOrEqual", mask, np.array(0, np.int64))
            return self.node("Unsqueeze", ones, self.whole_numbers(1))

    return {"exporter": Maskless}


@faulty("export-gelu-erf", "huggingface/transformers#29402", "ONNX-17")
def export_gelu_erf() -> Mapping[str, Any]:
    """The exact GELU is written where the model has the tanh form, because it is one operator."""

    class Erf(making.Exporter):
        def gelu_tanh(self, x: str) -> str:
            return self.gelu(x)

    return {"exporter": Erf}


@faulty("export-always-tied", "microsoft/onnxruntime-genai#2306", "ONNX-17")
def export_always_tied() -> Mapping[str, Any]:
    """The head is the embedding also where the bundle has a head of its own."""

    class Tied(making.Exporter):
        def head(self, x: str) -> str:
            return self.node("MatMul", x, self.node("Transpose", self.weight("token_embedding"), perm=(1, 0)))

    return {"exporter": Tied}


@faulty("export-tied-twice", "huggingface/optimum#1326", "ONNX-23")
def export_tied_twice() -> Mapping[str, Any]:
    """A tied head is transposed while the graph is written, and so is in the file once more."""

    class Twice(making.Exporter):
        def head(self, x: str) -> str:
            name = "token_embedding" if self.config["tie_embeddings"] else "head.weight"
            self.tensors["head.turned"] = np.ascontiguousarray(np.asarray(self.weights[name]).T).astype(self.dtype)
            return self.node("MatMul", x, "head.turned")

    return {"exporter": Twice}


@faulty("export-opset-ignored", "pytorch/pytorch#150592", "ONNX-20")
def export_opset_ignored() -> Mapping[str, Any]:
    """The file needs the operator set that the exporter likes, not the one that was asked for."""

    class Own(making.Exporter):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "opset": 18})

    return {"exporter": Own}


@faulty("export-data-absolute", "onnx/onnx#5552", "ONNX-20")
def export_data_absolute() -> Mapping[str, Any]:
    """Tensors outside are named by the whole path of the machine that wrote them."""

    def pack(model: Model, name: str, external: bool) -> Files:
        if not external:
            return {name: encode(model)}
        files = spoiled.elsewhere(model, f"/srv/models/{name}{contract.DATA}")
        return {name: files[contract.FILE], name + contract.DATA: files[contract.FILE + contract.DATA]}

    return {"pack": pack}


@faulty("export-names-of-the-day", "onnx/tensorflow-onnx#2006", "ONNX-21")
def export_names_of_the_day() -> Mapping[str, Any]:
    """Names of values are drawn at random, so that no two files are the same."""

    class Random(making.Exporter):
        def node(self, operator: str, *inputs: str | float | Array, **attributes: Any) -> str:
            made = super().node(operator, *inputs, **attributes)
            named = f"{made}.{secrets.token_hex(4)}"
            self.nodes[-1] = replace(self.nodes[-1], outputs=(named,))
            return named

    return {"exporter": Random}


@faulty("export-weightless", "huggingface/transformers#43429", "ONNX-22")
def export_weightless() -> Mapping[str, Any]:
    """A bundle whose weights are missing is exported with initial ones."""
    return {"bare": True}


@faulty("export-int8", "microsoft/onnxruntime#14363", "ONNX-20")
def export_int8() -> Mapping[str, Any]:
    """What is written as float32 has matrices of 8 bits."""

    def pack(model: Model, name: str, external: bool) -> Files:
        return {name: encode(spoiled.quantised(model))}

    return {"pack": pack}


# ── other architectures ─────────────────────────────────────────────────────────────────────────────────────────────


@faulty("onnx-types-left-out", "huggingface/optimum#1758", "ONNX-5")
def types_left_out() -> Mapping[str, Any]:
    """Token types are not fed, or are always 0."""

    def feed(given: Feed, inputs: list[str]) -> Feed:
        types = {name: np.zeros_like(value) for name, value in given.items() if name == "token_type_ids"}
        return {**given, **types}

    return {"feed": feed}


@faulty("export-types-left-out", "huggingface/optimum#1758", "ONNX-17")
def export_types_left_out() -> Mapping[str, Any]:
    """token_type_ids go in, and the type of the example stays in the graph."""

    class Typeless(making.Exporter):
        def types(self) -> str:
            return self.rows("type_embedding", self.node("Mul", "token_type_ids", np.array(0, np.int64)))

    return {"exporter": Typeless}


@faulty("export-groups-in-turn", "microsoft/onnxruntime#13050", "ONNX-17")
def export_groups_in_turn() -> Mapping[str, Any]:
    """Query heads take the shared keys in turn, not neighbours the same."""

    class Turned(making.Exporter):
        def repeated(self, x: str) -> str:
            return x if self.G == self.H else self.node("Concat", *[x] * (self.H // self.G), axis=1)

    return {"exporter": Turned}


@faulty("export-pairs-of-neighbours", "jmaczan/tiny-vllm#4", "ONNX-17")
def export_pairs_of_neighbours() -> Mapping[str, Any]:
    """Channels 2i and 2i + 1 are turned as a pair, where weights lie for pairs of i and i + K/2."""

    class Neighbours(making.Exporter):
        def rotate(self, x: str, turn: tuple[str, str]) -> str:
            order = np.concatenate([np.arange(0, self.K, 2), np.arange(1, self.K, 2)])
            halves = super().rotate(self.node("Gather", x, order, axis=3), turn)
            return self.node("Gather", halves, np.argsort(order), axis=3)

    return {"exporter": Neighbours}


@faulty("export-pooled-column-zero", "huggingface/optimum#877", "ONNX-18")
def export_pooled_column_zero() -> Mapping[str, Any]:
    """The vector of a row is made of its first column, be it padding or not."""

    class Zero(making.Exporter):
        def node(self, operator: str, *inputs: str | float | Array, **attributes: Any) -> str:
            if operator == "ArgMax":
                return super().node("Mul", super().node(operator, *inputs, **attributes), np.array(0, np.int64))
            return super().node(operator, *inputs, **attributes)

    return {"exporter": Zero}


@faulty("export-gelu-tanh", "huggingface/transformers#29402", "ONNX-17")
def export_gelu_tanh() -> Mapping[str, Any]:
    """The tanh form is written where the model has the exact GELU, because it is faster."""

    class Tanh(making.Exporter):
        def gelu(self, x: str) -> str:
            return self.gelu_tanh(x)

    return {"exporter": Tanh}
