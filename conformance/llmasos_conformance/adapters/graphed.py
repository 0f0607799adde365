"""Models that a runtime of ONNX graphs runs: what onnxruntime and OpenVINO share.

    GraphAdapter   loads a bundle: its own model.onnx, or the graph that the harness makes of its weights
    Runner         a graph in a runtime, all that an adapter has to bring
    Graphs         the graphs of a bundle, fed by name
    Decoder, EncoderDecoder, Encoder   models of the protocol

The runtime's own: every number, from ids, masks, keys and values to logits. The harness's, and declared: the bundle
format, the graph of a bundle that holds none, the judging of one that it holds, text, choosing. What is certified is
therefore the runtime's computation of an interchanged graph.

Rows of a batch share one padded tensor, and sessions and batches keep the runtime's own keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llmasos_conformance.adapters import kit
from llmasos_conformance.canonical import sha256
from llmasos_conformance.errors import AddressError
from llmasos_conformance.graphs import contract, making
from llmasos_conformance.graphs.proto import encode
from llmasos_conformance.protocol import (
    ARCHITECTURES,
    CAPABILITIES,
    Array,
    Claims,
    Description,
    Encoding,
    Generation,
    Refusal,
)

SIDES = ("left", "right")
OFFERED = (
    "load_model", "tokenize", "forward", "session", "generate_ids", "batch", "score", "stream", "stop", "seed",
    "gumbel", "top_k", "top_p", "min_p", "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty",
    "logprobs", "beams", "encode", "fill_mask", "onnx", "window",
)  # fmt: skip
NO_FILE = "0" * 64
"""Digest of weights in a graph that becomes no file."""
PAD = 0
"""Fills short rows. Any id will do, because it is masked."""

Feed = dict[str, Array]
Rows = Sequence[Sequence[int]]


class Runner(Protocol):
    """A graph in a runtime.

    Attributes:
        inputs: name -> dtype and sizes, None where a size is open.
    """

    @property
    def inputs(self) -> Mapping[str, tuple[str, Sequence[int | None]]]: ...

    def run(self, feed: Feed) -> Feed:
        """Outputs by name."""


class GraphAdapter:
    """A runtime that runs graphs. One of them says who it is, and hands over a `Runner`.

    Attributes:
        name, dtypes: of the runtime; the first dtype is the default.
        takes_arrays: tensors need not be copied into the file that the runtime is handed.

    Args:
        argument: "DTYPE" or "DTYPE/SIDE", the side on which rows are padded; "" is the default dtype and left.

    Raises:
        AddressError: no such variant.
    """

    name: str
    dtypes: tuple[str, ...]
    takes_arrays: bool = False

    def __init__(self, argument: str = "") -> None:
        dtype, _, side = argument.partition("/")
        self.dtype, self.side, self.contract = dtype or self.dtypes[0], side or "left", contract.STRICT
        if self.dtype not in self.dtypes or self.side not in SIDES:
            known = f"{self.name}:DTYPE/SIDE with {', '.join(self.dtypes)} and {', '.join(SIDES)}"
            raise AddressError(f"no such variant: {argument!r:.60}", where=f"{self.name}:{argument}", hint=known)

    def version(self) -> str:
        """The runtime's."""
        raise NotImplementedError

    def runner(self, source: str | bytes, held: Mapping[str, Array] | None = None) -> Runner:
        """A file or its bytes in the runtime.

        Args:
            held: tensors that lie in no file, by name.

        Raises:
            Refusal: invalid_format, when the runtime does not take it.
        """
        raise NotImplementedError

    def describe(self) -> Description:
        return Description(
            name=self.name,
            version=self.version(),
            capabilities=frozenset(OFFERED) & frozenset(CAPABILITIES),
            claims=Claims(dtype=self.dtype, determinism="D1"),
            emulated={
                **kit.emulated("session"),
                "batch": "the adapter chooses ids; the rows share one padded tensor and the runtime's keys and values",
                "format": "bundles and their ONNX files are read and judged by the harness",
                "graph": "a bundle that holds no model.onnx is written as one by the harness",
            },
            runtime={self.name: self.version(), "numpy": np.__version__},
            architectures=ARCHITECTURES,
        )

    def load_model(self, path: str) -> Any:
        bundle = kit.read_bundle(path, ARCHITECTURES, graphs=True, windows=True)
        graphs = self.graphs(bundle, Path(path) if Path(path).is_dir() else Path(path).parent)
        return MODELS.get(bundle.config["architecture"], Decoder)(bundle, graphs, self.side)

    def graphs(self, bundle: kit.KitBundle, directory: Path) -> Graphs:
        """The bundle's own graphs, or those that the harness makes of its weights."""
        files = contract.Folder(directory)
        size = files.size("model.safetensors")
        digest = None if size is None else sha256(files.read("model.safetensors", 0, size))
        config = bundle.config
        found = self.contract.opened(files, config["architecture"], config, digest)
        if found is not None:
            if found.dtype == "float32" and self.dtype == "float64":
                raise Refusal("unsupported", "model.onnx computes in float32, and float64 is claimed here")
            return Graphs({name: self.runner(str(directory / name)) for name in found.models}, config)
        return Graphs(self.made(bundle), config)

    def made(self, bundle: kit.KitBundle) -> dict[str, Runner]:
        """A bundle's weights as graphs in the runtime.

        Raises:
            Refusal: invalid_format, for a weight too large for the dtype.
        """
        written = contract.WRITTEN[self.dtype]
        kit.refuse_large(bundle.weights, self.dtype)
        architecture, runners = bundle.config["architecture"], {}
        for name, form in making.forms(architecture, architecture != "BERT").items():
            held: dict[str, Array] | None = {} if self.takes_arrays else None
            maker = making.Exporter(architecture, bundle.config, bundle.weights, dtype=written, digest=NO_FILE)
            runners[name] = self.runner(encode(maker.model(form, held)), held)
        return runners


class Graphs:
    """The ONNX files of a bundle in the runtime.

    Attributes:
        cached: keys and values go in and out.
    """

    def __init__(self, runners: Mapping[str, Runner], config: Mapping[str, Any]) -> None:
        self._main = runners[contract.FILE]
        self._encoder = runners.get(contract.ENCODER_FILE)
        self._past = {name: kind for name, kind in self._main.inputs.items() if name.startswith("past_key_values.")}
        self.cached = bool(self._past)
        decoder = config["architecture"] != "Transformer"
        self._ids, self._mask = ("input_ids", "attention_mask") if decoder else TARGET

    def run(self, feed: Feed) -> Feed:
        """Outputs by name."""
        return self._main.run(feed)

    def begin(self, B: int, source: tuple[Array, Array] | None = None) -> Feed:
        """What every call for B rows is fed with: no past, and what was read of a source [B, S] with its mask."""
        feed: Feed = {
            name: np.zeros((B, sizes[1] or 0, 0, sizes[3] or 0), dtype)
            for name, (dtype, sizes) in self._past.items()
            if ".encoder." not in name
        }
        if source is None:
            return feed
        ids, mask = source
        read = {"input_ids": ids, "attention_mask": mask}
        if self._encoder is None:
            return feed | read
        return feed | {"attention_mask": mask} | behind(self._encoder.run(read))

    def step(self, feed: Feed, ids: Array, mask: Array) -> tuple[Array, Feed]:
        """Logits [B, T, V] of ids [B, T] whose mask [B, S] covers the past too, and what to feed behind them."""
        made = self.run({**feed, self._ids: ids, self._mask: mask})
        return made["logits"], feed | behind(made)


TARGET = ("decoder_input_ids", "decoder_attention_mask")


def behind(made: Feed) -> Feed:
    """Keys and values that came out, under the names by which they go in."""
    return {f"past_key_values{name[7:]}": value for name, value in made.items() if name.startswith("present.")}


def padded(rows: Rows, side: str) -> tuple[Array, Array]:
    """Rows of ids as one tensor; ids and mask, [B, T]."""
    T = max(map(len, rows))
    ids, mask = np.full((len(rows), T), PAD, np.int64), np.zeros((len(rows), T), np.int64)
    for i, row in enumerate(rows):
        place = slice(T - len(row), T) if side == "left" else slice(len(row))
        ids[i, place], mask[i, place] = row, 1
    return ids, mask


class Session:
    """A row that grows behind the runtime's keys and values. A fork shares them, because nothing changes them."""

    def __init__(self, graphs: Graphs, config: Mapping[str, Any], feed: Feed, ids: Sequence[int]) -> None:
        self._graphs, self._config, self._length = graphs, config, 0
        self._feed: Feed | None = feed
        self.logits = self.extend(ids)

    def extend(self, ids: Sequence[int]) -> Array:
        feed = kit.still_open(self._feed)
        new = kit.check_ids(self._config, ids, held=self._length)
        mask = np.ones((1, self._length + len(new)), np.int64)
        logits, self._feed = self._graphs.step(feed, np.array([new]), mask)
        self._length += len(new)
        self.logits = logits[0]
        return self.logits

    def fork(self) -> Session:
        kit.still_open(self._feed)
        twin = object.__new__(Session)
        twin.__dict__.update(self.__dict__)
        return twin

    def close(self) -> None:
        self._feed = None


class Decoder(kit.KitModel):
    """GPT-3 or Llama in the runtime."""

    def __init__(self, bundle: kit.KitBundle, graphs: Graphs, side: str) -> None:
        super().__init__(bundle)
        self._graphs, self._side = graphs, side

    def forward(self, batch: Rows, sources: Any = None, types: Any = None) -> list[Array]:
        """One padded call for all rows; the padding's logits are cut off."""
        kit.refuse_beside(sources=sources, types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        if not rows:
            return []
        ids, mask = padded(rows, self._side)
        logits, _ = self._graphs.step(self._graphs.begin(len(rows)), ids, mask)
        return [row[real == 1] for row, real in zip(logits, mask, strict=True)]

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Any:
        kit.refuse_beside(source=source)
        if not self._graphs.cached:
            return super().open(ids)
        return Session(self._graphs, self.config, self._graphs.begin(1), ids)

    def generate_batch(
        self, batch: Rows, max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        request = kit.check_request(self.config, max_length, temperature, options)
        if not request.greedy or request.shapes or not self._graphs.cached:
            return super().generate_batch(batch, max_length, temperature, **options)
        prompts = [self.prompt(ids) for ids in batch]
        limits = [self.limit(prompt, request) for prompt in prompts]
        made = self._greedy(prompts, limits) if prompts else []
        return [self.generation(prompt, ids) for prompt, ids in zip(prompts, made, strict=True)]

    def _start(self, prompts: Rows) -> tuple[Feed, Array, Array]:
        """What rows are fed with first: a past, ids and their mask. New columns come behind, so padding is in front."""
        return (self._graphs.begin(len(prompts)), *padded(prompts, "left"))

    def _greedy(self, prompts: Rows, limits: Sequence[int]) -> list[list[int]]:
        """New ids of every row. Rows that have ended get columns that are masked."""
        feed, ids, mask = self._start(prompts)
        made: list[list[int]] = [[] for _ in prompts]
        going = [limit > 0 for limit in limits]
        while any(going):
            logits, feed = self._graphs.step(feed, ids, mask)
            for i, row in enumerate(logits[:, -1]):
                if going[i]:
                    made[i].append(int(np.argmax(row)))
                    going[i] = made[i][-1] not in self.config["eos_token_ids"] and len(made[i]) < limits[i]
            ids = np.array([[row[-1] if row else PAD] for row in made])
            mask = np.concatenate([mask, np.array(going, np.int64)[:, None]], axis=1)
        return made


class EncoderDecoder(Decoder, kit.KitEncoderDecoder):
    """A Transformer in the runtime. What a decoder of the runtime leaves open, the kit's encoder-decoder answers."""

    def forward(self, batch: Rows, sources: Rows | None = None, types: Any = None) -> list[Array]:
        kit.refuse_beside(types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        given = kit.beside(rows, sources, "sources")
        if not rows:
            return []
        feed = self._graphs.begin(len(rows), self._source(given))
        ids, mask = padded(rows, self._side)
        logits, _ = self._graphs.step(feed, ids, mask)
        return [row[real == 1] for row, real in zip(logits, mask, strict=True)]

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Any:
        read = self._source([source])
        if not self._graphs.cached:
            return kit.PrefixSession(self, ids, source)
        return Session(self._graphs, self.config, self._graphs.begin(1, read), ids)

    def _source(self, sources: Sequence[Any]) -> tuple[Array, Array]:
        """Sources as one tensor, with their mask."""
        for source in sources:
            kit.require_beside(source=source)
        return padded([kit.check_ids(self.config, source) for source in sources], self._side)

    def _start(self, prompts: Rows) -> tuple[Feed, Array, Array]:
        first = np.full((len(prompts), 1), self.config["decoder_start_token_id"], np.int64)
        return self._graphs.begin(len(prompts), self._source(prompts)), first, np.ones_like(first)


class Encoder(kit.KitEncoder):
    """BERT in the runtime."""

    def __init__(self, bundle: kit.KitBundle, graphs: Graphs, side: str) -> None:
        super().__init__(bundle)
        self._graphs, self._side = graphs, side

    def forward(self, batch: Rows, types: Rows | None = None, sources: Any = None) -> list[Array]:
        kit.refuse_beside(sources=sources)
        made, mask = self._run(batch, types)
        return [row[real == 1] for row, real in zip(made.get("logits", ()), mask, strict=True)]

    def encode(self, batch: Rows, types: Rows | None = None) -> list[Encoding]:
        made, mask = self._run(batch, types)
        rows = zip(made.get("last_hidden_state", ()), made.get("pooler_output", ()), mask, strict=True)
        return [Encoding(hidden=hidden[real == 1], pooled=pooled) for hidden, pooled, real in rows]

    def _run(self, batch: Rows, types: Rows | None) -> tuple[Feed, Array]:
        """One padded call for all rows; outputs by name, and the mask."""
        rows = [kit.check_ids(self.config, row) for row in batch]
        given = kit.beside(rows, types, "types")
        kinds = [kit.check_types(self.config, kind, len(row)) for kind, row in zip(given, rows, strict=True)]
        if not rows:
            return {}, np.zeros((0, 0), np.int64)
        ids, mask = padded(rows, self._side)
        return self._graphs.run(
            {"input_ids": ids, "attention_mask": mask, "token_type_ids": padded(kinds, self._side)[0]}
        ), mask


MODELS: Mapping[str, Any] = {"Transformer": EncoderDecoder, "BERT": Encoder}
"""Model classes of architectures that are no decoders."""
