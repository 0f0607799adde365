"""A candidate that runs and writes ONNX, right as it stands: onnxruntime behind its adapter, and an exporter of ours.

The mutants of the group `onnx` differ from it in one place each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.graphed import Graphs, Runner
from llmasos_conformance.adapters.onnxruntime import OnnxruntimeAdapter
from llmasos_conformance.canonical import sha256
from llmasos_conformance.graphs import contract, making
from llmasos_conformance.graphs.proto import Model, encode, tensor
from llmasos_conformance.protocol import ARCHITECTURES, Array, Description, Refusal

OFFERED = frozenset({"load_model", "forward", "session", "batch", "encode", "onnx", "export", "window"})
"""What the faults need. Text and choosing are the kit's, and others have mutants for them."""

Feed = dict[str, Array]
Files = dict[str, bytes]


@dataclass(slots=True)
class Steps:
    """What the candidate does in steps, each of which a mutant may do otherwise.

    Attributes:
        rules: hold a bundle's files against the standard. folder: finds them.
        tamper: what becomes of a graph before the runtime gets it; None hands over the file itself.
        feed: what becomes of what the runtime is fed with, in a file that has these inputs.
        keep: what becomes of keys and values between two calls.
        exporter: writes graphs. pack: a graph and its name as files. bare: exports bundles without weights.
        refused: told of a refusal to load, and of the models that are loaded.
    """

    rules: contract.Contract = contract.STRICT
    folder: Callable[[Path], contract.Files] = contract.Folder
    tamper: Callable[[Model], Model] | None = None
    feed: Callable[[Feed, list[str]], Feed] = lambda feed, inputs: feed
    keep: Callable[[Feed], Feed] = lambda feed: feed
    exporter: type[making.Exporter] = making.Exporter
    pack: Callable[[Model, str, bool], Files] | None = None
    bare: bool = False
    refused: Callable[[list[Any]], None] = lambda models: None


class Served(OnnxruntimeAdapter):
    """The candidate.

    Args:
        name: as reported. steps: how it does what.
    """

    def __init__(self, name: str, steps: Steps) -> None:
        super().__init__()
        self.name, self.steps, self.contract = name, steps, steps.rules
        self.loaded: list[Any] = []

    def describe(self) -> Description:
        described = super().describe()
        return replace(
            described, name=self.name, version="1", capabilities=OFFERED, emulated={},
            architectures=("GPT-3", "Llama", "BERT", "Transformer"),
        )  # fmt: skip

    def load_model(self, path: str) -> Any:
        try:
            model = super().load_model(path)
        except Refusal:
            self.steps.refused(self.loaded)
            raise
        directory = Path(path) if Path(path).is_dir() else Path(path).parent
        bundle = kit.read_bundle(path, ARCHITECTURES, graphs=True, windows=True)
        model.export = functools.partial(self.export, bundle, (directory / "model.safetensors").exists())
        self.loaded.append(model)
        return model

    # Running.

    def graphs(self, bundle: kit.KitBundle, directory: Path) -> Graphs:
        files = self.steps.folder(directory)
        size = files.size("model.safetensors")
        digest = None if size is None else sha256(files.read("model.safetensors", 0, size))
        found = self.contract.opened(files, bundle.config["architecture"], bundle.config, digest)
        if found is None:
            return Tampered(self.made(bundle), bundle.config, self.steps)
        runners = {
            name: self.runner(str(directory / name) if self.steps.tamper is None else self._inside(found, name))
            for name in found.models
        }
        return Tampered(runners, bundle.config, self.steps)

    def _inside(self, found: contract.Opened, name: str) -> bytes:
        """A file with all its tensors in it, tampered with."""
        model = found.models[name]
        tensors = tuple(tensor(each.name, found.array(each, name)) if each.outside else each for each in model.tensors)
        assert self.steps.tamper is not None
        return encode(self.steps.tamper(replace(model, tensors=tensors)))

    def made(self, bundle: kit.KitBundle) -> dict[str, Runner]:
        if self.steps.tamper is None:
            return super().made(bundle)
        architecture = bundle.config["architecture"]
        made = making.models(architecture, bundle.config, bundle.weights, cached=architecture != "BERT")
        return {name: self.runner(encode(self.steps.tamper(model))) for name, model in made.items()}

    # Writing.

    def export(
        self, bundle: kit.KitBundle, whole: bool, *, opset: Any = 17, cached: Any = False, external: Any = False
    ) -> Files:
        low, high = contract.OPSETS
        flags = isinstance(cached, bool) and isinstance(external, bool)
        if not flags or type(opset) is not int or not low <= opset <= high:
            raise Refusal("invalid_argument", f"opset {opset!r:.40}, cached {cached!r:.40}, external {external!r:.40}")
        if not whole and not self.steps.bare:
            raise Refusal("unsupported", "the bundle holds no weights")
        architecture, files = bundle.config["architecture"], Files()
        for name, form in making.forms(architecture, cached).items():
            exporter = self.steps.exporter(architecture, bundle.config, bundle.weights, opset=opset)
            files |= (self.steps.pack or packed)(exporter.model(form), name, external)
        return files


def packed(model: Model, name: str, external: bool) -> Files:
    """A graph as one file or two."""
    return making.apart(model, name) if external else {name: encode(model)}


class Tampered(Graphs):
    """Graphs in the runtime whose feeds and results pass through the steps of a mutant."""

    def __init__(self, runners: Mapping[str, Runner], config: Mapping[str, Any], steps: Steps) -> None:
        super().__init__(runners, config)
        self._steps = steps

    def run(self, feed: Feed) -> Feed:
        return super().run(self._steps.feed(feed, list(self._main.inputs)))

    def step(self, feed: Feed, ids: Array, mask: Array) -> tuple[Array, Feed]:
        logits, kept = super().step(feed, ids, mask)
        return logits, self._steps.keep(kept)
