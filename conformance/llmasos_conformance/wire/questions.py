"""Questions: which members each method has, judged by structure alone.

Their values may be wrong on purpose: refusing them is what the candidate is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmasos_conformance.errors import Malformed
from llmasos_conformance.wire.values import MAX_HANDLE, ids_of, is_object, items_of, members_of, text_of, wrong

Params = Mapping[str, Any]

PARAMS: Mapping[str, tuple[str, ...]] = {
    "describe": (),
    "load_model": ("path",),
    "unload_model": ("model",),
    "tokenize": ("model", "text"),
    "detokenize": ("model", "ids"),
    "forward": ("model", "batch"),
    "score": ("model", "ids"),
    "generate_text": ("model", "prompt"),
    "generate_ids": ("model", "ids"),
    "generate_batch": ("model", "batch"),
    "stream_text": ("model", "prompt"),
    "open": ("model", "ids"),
    "extend": ("session", "ids"),
    "fork": ("session",),
    "close": ("session",),
    "encode": ("model", "batch"),
    "fill_mask": ("model", "ids"),
    "hidden_states": ("model", "ids"),
    "attention": ("model", "ids"),
    "cross_attention": ("model", "ids", "source"),
    "gradients": ("model", "batch"),
    "train_step": ("model", "batch", "learning_rate"),
    "export": ("model",),
    "perplexity": ("model", "ids"),
    "bleu": ("hypotheses", "references"),
    "rouge": ("hypotheses", "references"),
    "completions": ("request",),
    "chat": ("request",),
    "template": ("request",),
    "together": ("requests",),
}
"""Required members of each method's params; `batch` is a list of id lists, sent under the name `ids`."""

METHODS = tuple(PARAMS)

BESIDE: Mapping[str, Mapping[str, str]] = {
    "forward": {"sources": "batch", "types": "batch"},
    "score": {"source": "ids"},
    "open": {"source": "ids"},
    "encode": {"types": "batch"},
    "hidden_states": {"source": "ids", "types": "ids"},
    "attention": {"source": "ids", "types": "ids"},
    "gradients": {"labels": "batch", "sources": "batch", "types": "batch"},
    "train_step": {"labels": "batch", "sources": "batch", "types": "batch"},
}
"""Members that may be there, and what each is: source ids of an encoder-decoder, token types of an encoder."""

OPTIONAL = frozenset(
    {
        "tokenize", "generate_text", "generate_ids", "generate_batch", "stream_text", "fill_mask", "export",
        "perplexity", "bleu", "rouge",
    }
)  # fmt: skip
"""Methods that take options beside: any name, any JSON value, because refusing wrong ones is the candidate's task."""

LOWEST_ID = -(2**31)
"""Ids of a question may be negative: a candidate must refuse them, not count from the end."""


def check_params(method: str, params: Any) -> Params:
    """A question, if it has the structure of the method.

    Raises:
        ValueError: it has not; names method and member.
    """
    if method not in PARAMS:
        raise ValueError(f"unknown method {method!r:.60}; known: {', '.join(METHODS)}")
    required = PARAMS[method]
    try:
        if not is_object(params):
            wrong("params", params, "an object")
        for role in required:
            name = "ids" if role == "batch" else role
            if name not in params:
                raise Malformed(f"params lacks {name!r}")
            _check_param(role, params[name], name)
        if len(params) > len(required):
            names = {"ids" if role == "batch" else role for role in required}
            for name, value in params.items():
                if name in names:
                    continue
                if name in BESIDE.get(method, ()):
                    _check_param(BESIDE[method][name], value, name)
                else:
                    if method not in OPTIONAL:
                        raise Malformed(f"params has an unknown member {name!r:.60}")
                    _json(text_of(name, "the name of an option", MAX_HANDLE, 1), value)
    except Malformed as fault:
        raise ValueError(f"{method}: {fault.message}") from None
    return params


def _check_param(role: str, value: Any, name: str) -> None:
    if role in ("ids", "source"):
        ids_of(value, name, LOWEST_ID)
    elif role == "batch":
        for i, row in enumerate(items_of(value, name)):
            ids_of(row, f"{name}[{i}]", LOWEST_ID)
    elif role == "learning_rate":
        _json(name, value)
    elif role == "request":
        _request(value, name)
    elif role == "requests":
        for i, entry in enumerate(items_of(value, name)):
            members = members_of(entry, f"{name}[{i}]", ("over", "request"))
            if members["over"] not in ("completions", "chat"):
                wrong(f"{name}[{i}].over", members["over"], "'completions' or 'chat'")
            _request(members["request"], f"{name}[{i}].request")
    elif role in ("text", "prompt"):
        text_of(value, role)
    elif role == "hypotheses":
        _segments(value, role)
    elif role == "references":
        for i, several in enumerate(items_of(value, role)):
            _segments(several, f"{role}[{i}]")
    else:
        text_of(value, role, 4096 if role == "path" else MAX_HANDLE, 1)


def _segments(value: Any, where: str) -> None:
    """Texts, or lists of tokens."""
    for i, segment in enumerate(items_of(value, where)):
        if isinstance(segment, str):
            text_of(segment, f"{where}[{i}]")
        else:
            for k, token in enumerate(items_of(segment, f"{where}[{i}]")):
                text_of(token, f"{where}[{i}][{k}]")


def _request(value: Any, where: str) -> None:
    """A body: any name, any JSON value."""
    if not isinstance(value, Mapping):
        wrong(where, value, "an object")
    for name, item in value.items():
        _json(f"{where}.{text_of(name, where, MAX_HANDLE, 1)}", item)


def _json(where: str, value: Any, depth: int = 8) -> None:
    """A value that JSON can carry without loss."""
    if isinstance(value, str):
        text_of(value, where)
    elif isinstance(value, bool | int) or value is None:
        return
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed(f"{where} is {value}, which JSON cannot carry")
    elif depth and isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _json(f"{where}[{i}]", item, depth - 1)
    elif depth and isinstance(value, Mapping):
        for key, item in value.items():
            _json(f"{where}.{text_of(key, where)}", item, depth - 1)
    else:
        wrong(where, value, f"a JSON value nested at most {depth} levels")
