"""Mutants whose loader lets through, or reads wrongly, what the format forbids or settles."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.catalogue import Mutant, record
from llmasos_conformance.mutants.loader import ARCHITECTURES, Config, Loader, Opened, refuse, seeded
from llmasos_conformance.mutants.runtime import Runtime, Serving
from llmasos_conformance.protocol import Array, Refusal


def faulty(name: str, source: str, requirement: str) -> Any:
    """Record a Loader subclass as the loader of an otherwise right runtime."""

    def note(kind: type[Loader]) -> type[Loader]:
        runtime = type(kind.__name__, (Runtime,), {"loader": kind})
        bug = " ".join((kind.__doc__ or "").split())
        record(
            Mutant(
                name=name,
                group="loading",
                source=source,
                requirement=requirement,
                bug=bug,
                adapter=lambda: Serving(runtime, f"mutant:{name}"),
            )
        )
        return kind

    return note


# The document.


@faulty("unknown-keys-accepted", "MakazhanAlpamys/Soup#627", "FMT-6")
class UnknownKeysAccepted(Loader):
    """Unknown keys are ignored, so that a misspelt one has no effect."""

    def closed(self, members: Mapping[str, Any], known: frozenset[str]) -> None:
        return


@faulty("duplicate-keys-accepted", "ggml-org/llama.cpp#1603", "FMT-7")
class DuplicateKeysAccepted(Loader):
    """Of a key that stands twice the last one counts."""

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs)


@faulty("lenient-json", "huggingface/huggingface.js#2028", "FMT-7")
class LenientJson(Loader):
    """The standard library's JSON reader decides: NaN, Infinity, lone surrogates and any depth pass."""

    def parse(self, raw: bytes) -> Any:
        try:
            return json.loads(raw, object_pairs_hook=self.members)
        except (ValueError, RecursionError) as error:
            raise refuse(str(error)) from None


@faulty("document-repaired", "tailcallhq/forgecode#2136", "FMT-7")
class DocumentRepaired(Loader):
    """A document that broke off behind a whole member has its objects closed for it."""

    def parse(self, raw: bytes) -> Any:
        for closing in (b"", b"}", b"}}"):
            try:
                return super().parse(raw + closing)
            except Refusal as refusal:
                last = refusal
        raise last


@faulty("first-value-counts", "ggml-org/llama.cpp#1603", "FMT-7")
class FirstValueCounts(Loader):
    """What follows the first JSON value is not looked at."""

    def parse(self, raw: bytes) -> Any:
        try:
            end = json.JSONDecoder().raw_decode(raw.decode("utf-8-sig").lstrip())[1]
            raw = raw.decode("utf-8-sig").lstrip()[:end].encode()
        except ValueError:
            pass  # the strict parser says what is wrong
        return super().parse(raw)


@faulty("wrapped-document-accepted", "MakazhanAlpamys/Soup#627", "FMT-8")
class WrappedDocumentAccepted(Loader):
    """A list around the document is taken off."""

    def config(self, document: Any) -> Config:
        return super().config(document[0] if isinstance(document, list) and document else document)


@faulty("byte-order-mark-refused", "volcengine/OpenViking#500", "FMT-4")
class ByteOrderMarkRefused(Loader):
    """A UTF-8 byte-order mark at the start of model.json is taken for content."""

    def parse(self, raw: bytes) -> Any:
        if raw.startswith(b"\xef\xbb\xbf"):
            raise refuse("unexpected character")
        return super().parse(raw)


@faulty("metadata-refused", "huggingface/huggingface.js#2028", "FMT-5")
class MetadataRefused(Loader):
    """The metadata object may not hold objects or lists."""

    def config(self, document: Any) -> Config:
        metadata = document.get("metadata") if isinstance(document, dict) else None
        if isinstance(metadata, dict) and any(isinstance(value, dict | list) for value in metadata.values()):
            raise refuse("metadata is nested")
        return super().config(document)


@faulty("loose-types", "NVIDIA/TensorRT-LLM#1173", "FMT-8")
class LooseTypes(Loader):
    """Booleans, fractions and numbers in quotes pass for integers."""

    def integer(self, value: Any, low: int, high: int) -> int:
        try:
            return super().integer(int(value), low, high)
        except (TypeError, ValueError, OverflowError):
            raise refuse("not an integer") from None


@faulty("sizes-unbounded", "ggml-org/llama.cpp#25378", "FMT-9")
class SizesUnbounded(Loader):
    """Sizes have no upper bound, and epsilon may be anything that is not negative."""

    def integer(self, value: Any, low: int, high: int) -> int:
        if type(value) is int and low == 1 and value > high:
            raise MemoryError(f"cannot allocate {value} elements")
        return super().integer(value, low, high)

    def epsilon(self, value: Any) -> float:
        return float(value) if type(value) in (int, float) and value >= 0 else super().epsilon(value)


@faulty("heads-need-not-divide", "microsoft/onnxruntime#13050", "FMT-10")
class HeadsNeedNotDivide(Loader):
    """A head count that does not divide the width is rounded to one that does."""

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        D, H = given.get("embedding_dim"), given.get("num_heads")
        if type(D) is int and type(H) is int and H > 0 and D % H:
            given = {**given, "num_heads": math.gcd(D, H)}
        return super().parameters(given, seed, sha256)


@faulty("foreign-end-ids", "huggingface/transformers#3108", "FMT-11")
class ForeignEndIds(Loader):
    """Special ids outside the vocabulary, and end ids listed twice, pass."""

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        V, mended = given.get("vocab_size"), dict(given)
        if type(V) is int and isinstance(given.get("eos_token_ids"), list):
            ends = given["eos_token_ids"]
            mended["eos_token_ids"] = list(dict.fromkeys(i for i in ends if type(i) is not int or 0 <= i < V))
        if type(V) is int and type(given.get("bos_token_id")) is int and not 0 <= given["bos_token_id"] < V:
            mended["bos_token_id"] = None
        return super().parameters(mended, seed, sha256)


@faulty("required-keys-optional", "MakazhanAlpamys/Soup#627", "FMT-12")
class RequiredKeysOptional(Loader):
    """What a document lacks is filled in, the required keys too."""

    def config(self, document: Any) -> Config:
        if isinstance(document, dict) and isinstance(document.get("parameters", {}), dict):
            sizes = {"vocab_size": 256, "embedding_dim": 64, "num_layers": 2, **document.get("parameters", {})}
            document = {"name": "model", "version": "1.0", "architecture": "GPT-3", **document, "parameters": sizes}
        return super().config(document)


@faulty("version-ignored", "certik/fastGPT#30", "FMT-13")
class VersionIgnored(Loader):
    """The version is not looked at."""

    def version(self, version: Any) -> None:
        return


@faulty("minor-version-refused", "jubatus/jubatus#1179", "FMT-14")
class MinorVersionRefused(Loader):
    """Only version 1.0 loads."""

    def version(self, version: Any) -> None:
        super().version(version)
        if version not in ("1.0", "1.0.0"):
            raise refuse(f"format {version}", "unsupported_version")


@faulty("architectures-all-alike", "ggml-org/llama.cpp#7452", "FMT-15")
class ArchitecturesAllAlike(Loader):
    """Every architecture is run as if it were GPT-3."""

    architectures = ARCHITECTURES

    def architecture(self, name: Any) -> None:
        super().architecture(name if name in ARCHITECTURES else "GPT-3" if isinstance(name, str) and name else name)


@faulty("heads-default-wrong", "vllm-project/vllm#2622", "FMT-3")
class HeadsDefaultWrong(Loader):
    """Where the document leaves the number of heads out, heads of width 32 are made."""

    def default_heads(self, D: int) -> int:
        return D // 32 if D % 32 == 0 else 1


@faulty("epsilon-hard-coded", "huggingface/transformers#585", "FMT-16")
class EpsilonHardCoded(Loader):
    """The epsilon of the document is checked and not used."""

    def epsilon(self, value: Any) -> float:
        super().epsilon(value)
        return 1e-5


@faulty("context-ignored", "meta-pytorch/torchtune#1341", "ERR-6")
class ContextIgnored(Loader):
    """The context is as long as the default, whatever the document says; missing positions repeat."""

    def weights(self, directory: Path, config: Config) -> Mapping[str, Array]:
        loaded = dict(super().weights(directory, config))
        table = loaded["position_embedding"]
        loaded["position_embedding"] = table[np.arange(1024) % len(table)]
        object.__setattr__(config, "C", 1024)
        return loaded


@faulty("seed-not-used", "huggingface/transformers#43429", "FMT-2")
class SeedNotUsed(Loader):
    """Weights of a bundle without weights are new at every load."""

    def weights(self, directory: Path, config: Config) -> Mapping[str, Array]:
        if (directory / "model.safetensors").exists():
            return super().weights(directory, config)
        noise = np.random.default_rng()
        return {name: noise.normal(0, 0.02, shape).astype(np.float32) for name, shape in self.shapes(config).items()}


class FreshSeed(Loader):
    """Seeds are not read, in a loader of any architecture; each counts its own loads."""

    loads: ClassVar[int] = 0

    def weights(self, directory: Path, config: Config) -> Mapping[str, Array]:
        type(self).loads += 1
        return super().weights(directory, replace(config, seed=self.loads))


@faulty("weightless-refused", "huggingface/transformers#43429", "FMT-1")
class WeightlessRefused(Loader):
    """A bundle that is only a document is refused."""

    def weights(self, directory: Path, config: Config) -> Mapping[str, Array]:
        if not (directory / "model.safetensors").exists():
            raise refuse("no weights", "not_found")
        return super().weights(directory, config)


# The files.


@faulty("missing-is-malformed", "ollama/ollama#17042", "LOAD-1")
class MissingIsMalformed(Loader):
    """A path without a bundle is answered as if there were a bad one."""

    def open(self, path: str) -> Opened:
        if not (Path(path) / "model.json").exists() and Path(path).name != "model.json":
            raise refuse(f"cannot read {path}")
        return super().open(path)


@faulty("directory-only", "ollama/ollama#17042", "LOAD-2")
class DirectoryOnly(Loader):
    """A bundle opens by its directory alone."""

    def open(self, path: str) -> Opened:
        if not Path(path).is_dir():
            raise refuse(f"no directory at {path}", "not_found")
        return super().open(path)


@faulty("additional-tensor-ignored", "vllm-project/vllm#3344", "LOAD-3")
class AdditionalTensorIgnored(Loader):
    """Tensors that the architecture does not have are skipped."""

    def names(self, found: set[str], due: set[str]) -> None:
        super().names(found & due, due)


@faulty("missing-tensor-made-up", "sgl-project/sglang#16235", "LOAD-3")
class MissingTensorMadeUp(Loader):
    """A tensor that is missing keeps its initial values."""

    def names(self, found: set[str], due: set[str]) -> None:
        super().names(found | due, due)

    def tensors(self, raw: bytes, due: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        return {**{name: np.zeros(shape, np.float32) for name, shape in due.items()}, **super().tensors(raw, due)}


class Partial(Loader):
    """Names are not compared, in a loader of any architecture; what is missing is drawn."""

    def names(self, found: set[str], due: set[str]) -> None:
        return

    def tensors(self, raw: bytes, due: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        held = super().tensors(raw, due)
        return {name: held.get(name, seeded(0, name, shape)) for name, shape in due.items()}


@faulty("shapes-reshaped", "huggingface/transformers#24404", "LOAD-4")
class ShapesReshaped(Loader):
    """A tensor with the right number of elements is given the shape that is due."""

    due: Mapping[str, tuple[int, ...]] = {}

    def tensors(self, raw: bytes, due: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        self.due = due
        return super().tensors(raw, due)

    def entry(self, name: str, value: Any) -> Any:
        dtype, shape, span = super().entry(name, value)
        due = self.due.get(name, shape)
        return dtype, due if math.prod(shape) == math.prod(due) else shape, span


@faulty("bfloat16-read-as-float16", "ikawrakow/ik_llama.cpp#1005", "LOAD-5")
class BFloat16ReadAsFloat16(Loader):
    """bfloat16 weights are read as float16."""

    def entry(self, name: str, value: Any) -> Any:
        if isinstance(value, dict) and value.get("dtype") == "BF16":
            value = {**value, "dtype": "F16"}
        return super().entry(name, value)

    def finite(self, name: str, array: Array) -> None:
        return


@faulty("integers-read-as-weights", "NVIDIA/TensorRT-LLM#1173", "LOAD-5")
class IntegersReadAsWeights(Loader):
    """Integer tensors are taken for weights."""

    def entry(self, name: str, value: Any) -> Any:
        names = {"I64": "F64", "I32": "F32", "I16": "F16", "U32": "F32", "U64": "F64", "U16": "F16"}
        if isinstance(value, dict) and value.get("dtype") in names:
            value = {**value, "dtype": names[value["dtype"]]}
        return super().entry(name, value)

    def finite(self, name: str, array: Array) -> None:
        return


@faulty("truncated-weights-padded", "Comfy-Org/ComfyUI#15602", "LOAD-6")
class TruncatedWeightsPadded(Loader):
    """A weights file that ends early is filled up with zeros; what follows the data is ignored."""

    def tensors(self, raw: bytes, due: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        length = int.from_bytes(raw[:8], "little")
        try:
            ends = [value["data_offsets"][1] for key, value in json.loads(raw[8 : 8 + length]).items() if key[0] != "_"]
            raw = raw[: 8 + length + max(ends)].ljust(8 + length + max(ends), b"\0")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise refuse("no header") from None
        return super().tensors(raw, due)


@faulty("header-trusted", "ollama/ollama#17042", "LOAD-6")
class HeaderTrusted(Loader):
    """The length of the header is believed and allocated."""

    def tensors(self, raw: bytes, due: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        if int.from_bytes(raw[:8], "little") > 2**31:
            raise MemoryError("cannot allocate the header")
        return super().tensors(raw, due)


@faulty("shape-product-overflows", "ggml-org/ggml#709", "LOAD-7")
class ShapeProductOverflows(Loader):
    """Room for a tensor is made by the product of its sizes, before anything is compared."""

    def entry(self, name: str, value: Any) -> Any:
        shape = value.get("shape") if isinstance(value, dict) else None
        if isinstance(shape, list) and all(type(size) is int for size in shape) and max(shape, default=0) >= 2**31:
            raise MemoryError(f"cannot allocate {math.prod(shape)} elements")
        return super().entry(name, value)


@faulty("overlaps-accepted", "QuintinShaw/openasr#73", "LOAD-7")
class OverlapsAccepted(Loader):
    """Byte ranges are used without a look at their neighbours."""

    def tiled(self, spans: list[tuple[int, int]], size: int) -> None:
        if spans and spans[-1][1] > size:
            super().tiled(spans, size)


@faulty("nan-weights-accepted", "JustVugg/colibri#369", "LOAD-8")
class NanWeightsAccepted(Loader):
    """Weights that are not finite pass."""

    def finite(self, name: str, array: Array) -> None:
        return


@faulty("digest-ignored", "onnx/onnx#3991", "LOAD-9")
class DigestIgnored(Loader):
    """The digest of the weights is not compared."""

    def digest(self, raw: bytes, config: Config) -> None:
        return


@faulty("links-followed", "onnx/onnx#5917", "LOAD-10")
class LinksFollowed(Loader):
    """Links are followed wherever they lead."""

    def read(self, path: Path) -> bytes | None:
        return super().read(path.resolve())


@faulty("pickle-opened", "vllm-project/vllm#12366", "LOAD-11")
class PickleOpened(Loader):
    """Pickled weights beside the bundle are loaded first, which executes what is in them."""

    def open(self, path: str) -> Opened:
        directory = Path(path) if Path(path).is_dir() else Path(path).parent
        for file in sorted(directory.glob("*")) if directory.is_dir() else ():
            if file.suffix in (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt") and file.is_file():
                try:
                    pickle.loads(file.read_bytes())
                except Exception:  # what cannot be unpickled is not used, as in the real bug
                    continue
        return super().open(path)


class SharedArena(Runtime):
    """Models of one adapter share an arena, which a refused bundle leaves half overwritten."""

    arena: ClassVar[list[Runtime]] = []

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.arena.append(self)


class ArenaLoader(Loader):
    """Writes into the arena before it judges."""

    def open(self, path: str) -> Opened:
        try:
            return super().open(path)
        except Refusal:
            for model in SharedArena.arena:
                model.weights = {name: array[::-1] for name, array in model.weights.items()}
            raise


SharedArena.loader = ArenaLoader
record(
    Mutant(
        name="refused-bundle-spoils-others",
        group="loading",
        source="ollama/ollama#17475",
        requirement="LOAD-12",
        bug="A refused bundle changes the models that are already loaded.",
        adapter=lambda: Serving(SharedArena, "mutant:refused-bundle-spoils-others"),
    )
)


@faulty("graph-overlooked", "sgl-project/sglang#16235", "ONNX-24")
class GraphOverlooked(Loader):
    """Where the weights are in model.onnx alone, initial ones run in their place."""

    def graph(self, directory: Path, document: Any) -> None:
        return
