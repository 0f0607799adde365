"""Bias and penalties for the runtime of the mutants: what changes logits before one of them is chosen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.loader import refuse
from llmasos_conformance.mutants.runtime import Request, Row, Runtime, Shape
from llmasos_conformance.protocol import Array

PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")


class Shaping(Runtime):
    """A runtime that shapes logits; mixed into those of all architectures that generate."""

    offers: ClassVar[frozenset[str]] = frozenset({"logit_bias", *PENALTIES})

    # Requests.

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        rest = {name: value for name, value in options.items() if name not in ("logit_bias", *PENALTIES)}
        checked = super().request(max_length, temperature, rest)
        checked.shape = self.shape(options)
        if getattr(checked, "beams", 1) > 1 and checked.shape != Shape():
            raise refuse("beams follow likelihood alone", "invalid_argument")
        return checked

    def shape(self, options: Mapping[str, Any]) -> Shape:
        return Shape(
            bias=self.bias(options.get("logit_bias", {})),
            repetition=self.repetition_factor(options.get("repetition_penalty", 1.0)),
            frequency=self.number(options.get("frequency_penalty", 0.0), -np.inf),
            presence=self.number(options.get("presence_penalty", 0.0), -np.inf),
        )

    def repetition_factor(self, value: Any) -> float:
        number = self.number(value, 0)
        if number == 0:
            raise refuse("nothing is divided by 0", "invalid_argument")
        return number

    def bias(self, value: Any) -> dict[int, float]:
        """Numbers by id, which JSON spells as texts."""
        if not isinstance(value, Mapping):
            raise refuse("logit_bias is no mapping", "invalid_argument")
        return {self.bias_id(token): self.number(number, -np.inf) for token, number in value.items()}

    def bias_id(self, token: Any) -> int:
        if not isinstance(token, str) or not re.fullmatch("0|[1-9][0-9]{0,18}", token):
            raise refuse(f"{token!r:.40} is no id", "invalid_argument")
        return self.integer(int(token), 0, self.config.V - 1)

    # Choosing.

    def choose(self, logits: Array, row: Row) -> int:
        return super().choose(self.shaped(logits, row), row)

    def shaped(self, logits: Array, row: Row) -> Array:
        """Logits [V] with bias and penalties; float32, a copy."""
        made = logits.copy()
        self.add_bias(made, row)
        self.penalise(made, row)
        return made

    def add_bias(self, logits: Array, row: Row) -> None:
        for token, number in self.biases(row).items():
            logits[token] += np.float32(number)

    def biases(self, row: Row) -> Mapping[int, float]:
        """The bias of one step."""
        return row.request.shape.bias

    def penalise(self, logits: Array, row: Row) -> None:
        """First the factor, then what is subtracted."""
        self.repeat(logits, row)
        self.subtract(logits, row)

    def repeat(self, logits: Array, row: Row) -> None:
        """Positive logits of what came are divided, others multiplied, each once."""
        for token in set(self.repeated_ids(row)):
            logits[token] = self.repeated(logits[token], np.float32(row.request.shape.repetition))

    def repeated(self, logit: Any, factor: Any) -> Any:
        return logit / factor if logit > 0 else logit * factor

    def subtract(self, logits: Array, row: Row) -> None:
        """The one penalty for each time that an id came, the other once."""
        shape = row.request.shape
        for token, times in Counter(self.came(row)).items():
            logits[token] -= np.float32(shape.frequency * self.times(times) + shape.presence)

    def times(self, times: int) -> int:
        return times

    def repeated_ids(self, row: Row) -> Sequence[int]:
        """Ids that the factor counts: all that the model was given, and all that it chose."""
        return [*self.stands_behind(row), *row.ids]

    def came(self, row: Row) -> Sequence[int]:
        """Ids that the subtracted penalties count."""
        return row.ids
