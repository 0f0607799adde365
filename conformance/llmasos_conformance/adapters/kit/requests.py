"""The arguments of calls, judged: options of a generation, ids, and what stands beside them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from llmasos_conformance.adapters.kit.text import utf8
from llmasos_conformance.protocol import Refusal

Held = TypeVar("Held")
"""What a session of a runtime is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of a generation, checked."""

    max_length: int
    temperature: float
    seed: int | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    allow_special: bool = False
    beams: int = 1
    length_penalty: float = 1.0

    @property
    def shapes(self) -> bool:
        """Logits are changed before anything is chosen by them."""
        return bool(self.logit_bias) or self.repetition_penalty != 1 or self.counts

    @property
    def counts(self) -> bool:
        """Ids are penalised for having been chosen."""
        return (self.frequency_penalty, self.presence_penalty) != (0, 0)

    @property
    def greedy(self) -> bool:
        """Nothing but the likeliest token is asked for: no chance, no stop strings, no log-probabilities, no beams."""
        return self.temperature == 0 and not self.stop and self.logprobs is None and self.beams == 1


_WHOLE: Mapping[str, tuple[float, float]] = {
    "max_length": (0, math.inf),
    "seed": (0, 2**64 - 1),
    "top_k": (0, math.inf),
    "beams": (1, 1024),
}
_REAL: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("temperature", "length_penalty", "repetition_penalty"), (0, math.inf)),
    **dict.fromkeys(("top_p", "min_p"), (0, 1)),
    **dict.fromkeys(("frequency_penalty", "presence_penalty"), (-math.inf, math.inf)),
}
_ID = re.compile("0|[1-9][0-9]{0,18}")


def check_request(config: Mapping[str, Any], max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
    """Judge the arguments of a generation.

    Raises:
        Refusal: invalid_argument or unknown_parameter.
    """
    known = [name for name in Request.__dataclass_fields__ if name not in ("max_length", "temperature")]
    check_names(options, known)
    given = {name: value for name, value in options.items() if value is not None or name not in ("seed", "logprobs")}
    stop = given.get("stop", ())
    stops = (stop,) if isinstance(stop, str) else stop
    allow(isinstance(stops, list | tuple) and all(utf8(string) for string in stops), "stop", stop)
    allow(isinstance(given.get("allow_special", False), bool), "allow_special", given.get("allow_special"))
    values = {"max_length": max_length, "temperature": temperature, **given}
    for name, (low, high) in {**_WHOLE, "logprobs": (0, config["vocab_size"])}.items():
        if name in values:
            allow(_whole(values[name]) and low <= values[name] <= high, name, values[name])
    for name, (low, high) in _REAL.items():
        if name in values:
            allow(_finite(values[name]) and low <= values[name] <= high, name, values[name])
    if "logit_bias" in values:
        values["logit_bias"] = _bias(config["vocab_size"], values["logit_bias"])
    request = Request(**{**values, "stop": tuple(stops)})
    allow(request.top_p > 0, "top_p", request.top_p)
    allow(request.repetition_penalty > 0, "repetition_penalty", request.repetition_penalty)
    alone = request.temperature == 0 and not request.stop and request.logprobs is None and not request.shapes
    allow(request.beams == 1 or alone, "beams", "together with temperature, bias, penalties, stop or logprobs")
    return request


def check_names(options: Iterable[str], known: Sequence[str]) -> None:
    """Refuse an option that is not known with unknown_parameter."""
    for name in options:
        if name not in known:
            raise Refusal("unknown_parameter", f"unknown option {name!r:.60}; known: {', '.join(known)}")


def allow(condition: bool, name: str, value: Any) -> None:
    """Refuse an argument with invalid_argument unless the condition holds."""
    if not condition:
        raise Refusal("invalid_argument", f"{name} is {value!r:.60}")


def _bias(size: int, value: Any) -> dict[int, float]:
    """Numbers by id; an id is spelled as JSON spells a number, "7" and not "07"."""
    allow(isinstance(value, Mapping), "logit_bias", value)
    for token, number in value.items():
        allow(isinstance(token, str) and bool(_ID.fullmatch(token)) and int(token) < size, "logit_bias", token)
        allow(_finite(number), f"logit_bias[{token}]", number)
    return {int(token): float(number) for token, number in value.items()}


def _finite(value: Any) -> bool:
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return real and -sys.float_info.max <= value <= sys.float_info.max


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_count(config: Mapping[str, Any], count: Any) -> int:
    """How many ids to report, from 1 to the whole vocabulary.

    Raises:
        Refusal: invalid_argument.
    """
    allow(_whole(count) and 1 <= count <= config["vocab_size"], "count", count)
    return int(count)


def check_ids(config: Mapping[str, Any], ids: Sequence[int], held: int = 0) -> list[int]:
    """Ids for a model: at least one, each of the vocabulary, no more than the context.

    Args:
        held: ids that the context holds already.

    Raises:
        Refusal: invalid_argument or context_overflow.
    """
    checked = known_ids(config, ids)
    allow(bool(checked), "ids", "empty")
    if held + len(checked) > config["context_length"]:
        raise Refusal("context_overflow", f"{held + len(checked)} tokens, the context holds {config['context_length']}")
    return checked


def known_ids(config: Mapping[str, Any], ids: Sequence[int]) -> list[int]:
    """Ids of the vocabulary.

    Raises:
        Refusal: invalid_argument.
    """
    return _below(config["vocab_size"], ids, "ids")


def check_types(config: Mapping[str, Any], types: Sequence[int] | None, count: int) -> list[int]:
    """A token type for each of `count` ids; None stands for all 0.

    Raises:
        Refusal: invalid_argument.
    """
    if types is None:
        return [0] * count
    row = _below(config["type_vocab_size"], types, "types")
    allow(len(row) == count, "types", f"{len(row)} for {count} ids")
    return row


def beside(batch: Sequence[Any], given: Sequence[Any] | None, what: str) -> Sequence[Any]:
    """One entry of `given` per row of a batch; None for each, where nothing was given.

    Raises:
        Refusal: invalid_argument, for another number of entries.
    """
    if given is None:
        return [None] * len(batch)
    allow(len(given) == len(batch), what, f"{len(given)} for {len(batch)} rows")
    return given


def refuse_beside(**given: Any) -> None:
    """Refuse what the architecture does not take, such as token types of a decoder.

    Raises:
        Refusal: invalid_argument, for the first that is not None.
    """
    for name, value in given.items():
        allow(value is None, name, "of no use to this architecture")


def _below(size: int, values: Any, what: str) -> list[int]:
    allow(isinstance(values, list | tuple | np.ndarray), what, values)
    for i, value in enumerate(values):
        allow(_whole(value) and 0 <= value < size, f"{what}[{i}]", value)
    return [int(value) for value in values]


def still_open(held: Held | None) -> Held:
    """What a session holds of its runtime.

    Raises:
        Refusal: invalid_argument, for None: the session was closed.
    """
    if held is None:
        raise Refusal("invalid_argument", "the session is closed")
    return held


def require_beside(**given: Any) -> None:
    """Refuse a call that lacks what the architecture takes beside the ids.

    Raises:
        Refusal: invalid_argument, for the first that is None.
    """
    for name, value in given.items():
        allow(value is not None, name, value)
