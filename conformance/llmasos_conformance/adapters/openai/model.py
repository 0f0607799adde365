"""What the API needs of a model, and a bundle behind an adapter as one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llmasos_conformance.adapters.kit.document import parse, read_document
from llmasos_conformance.protocol import Array, Refusal


class Model(Protocol):
    """What is served.

    Attributes:
        eos: ids that end a text. context: positions. allowed: [V] True for ids that may be chosen.
    """

    eos: frozenset[int]
    context: int
    allowed: Array

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def logits(self, ids: Sequence[int]) -> Array:
        """[V] behind ids."""
        ...

    def all_logits(self, ids: Sequence[int]) -> Array:
        """[T, V] behind each of the ids."""
        ...

    def template(self, messages: Sequence[tuple[str, str]]) -> str:
        """What a chat becomes, up to where the assistant speaks."""
        ...


def plain_template(messages: Sequence[tuple[str, str]]) -> str:
    """A line for each turn. A bundle has no template of its own."""
    return "".join(f"{role}: {text}\n" for role, text in messages) + "assistant:"


class BundleModel:
    """A bundle behind a connection to an adapter that declares tokenize and forward or session.

    Args:
        connection: answers one call after another. path: of the bundle.

    Raises:
        Refusal: of the adapter, or a bundle that generates nothing.
    """

    KEPT = 4096
    """Rows of logits that are remembered: a stream, a repeat and an echo ask for the same ones."""

    def __init__(self, connection: Any, path: str) -> None:
        config = _config(path)
        if config["architecture"] not in ("GPT-3", "Llama"):
            raise Refusal("unsupported", f"{config['architecture']} is no decoder that continues a text")
        lacking = {"tokenize", "forward"} - connection.description.capabilities
        if lacking:
            raise Refusal("unsupported", f"the adapter does not declare {', '.join(sorted(lacking))}")
        self._connection, self._lock = connection, threading.Lock()
        self._model = connection.call("load_model", {"path": path})["model"]
        self._rows: OrderedDict[tuple[int, ...], Array] = OrderedDict()
        self.eos, self.context = frozenset(config["eos_token_ids"]), int(config["context_length"])
        self.allowed = np.array([bool(self.decode([token])) for token in range(config["vocab_size"])])
        self.allowed[sorted(self.eos)] = True

    def encode(self, text: str) -> list[int]:
        return list(self._call("tokenize", text=text)["ids"])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._call("detokenize", ids=list(ids))["text"])

    def logits(self, ids: Sequence[int]) -> Array:
        key = tuple(ids)
        row = self._rows.get(key)
        if row is None:
            row = self.all_logits(ids)[-1]
            with self._lock:
                self._rows[key] = row
                while len(self._rows) > self.KEPT:
                    self._rows.popitem(last=False)
        return row

    def all_logits(self, ids: Sequence[int]) -> Array:
        return np.asarray(self._call("forward", ids=[list(ids)])["logits"][0], dtype=np.float64)

    def template(self, messages: Sequence[tuple[str, str]]) -> str:
        return plain_template(messages)

    def _call(self, method: str, **params: Any) -> Mapping[str, Any]:
        with self._lock:
            answer: Mapping[str, Any] = self._connection.call(method, {"model": self._model, **params})
        return answer


def _config(path: str) -> Mapping[str, Any]:
    """Of a bundle's model.json, defaults filled in.

    Raises:
        Refusal: not_found or invalid_format.
    """
    try:
        raw = (Path(path) / "model.json").read_bytes()
    except OSError:
        raise Refusal("not_found", f"no bundle in {path}") from None
    return read_document(parse(raw))
