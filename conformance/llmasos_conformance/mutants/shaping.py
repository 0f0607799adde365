"""Bias for the runtime of the mutants: what is added to logits before one of them is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.loader import refuse
from llmasos_conformance.mutants.runtime import Request, Row, Runtime, Shape
from llmasos_conformance.protocol import Array


class Shaping(Runtime):
    """A runtime that shapes logits; mixed into those of all architectures that generate."""

    offers: ClassVar[frozenset[str]] = frozenset({"logit_bias"})

    # Requests.

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        rest = {name: value for name, value in options.items() if name != "logit_bias"}
        checked = super().request(max_length, temperature, rest)
        checked.shape = Shape(bias=self.bias(options.get("logit_bias", {})))
        if getattr(checked, "beams", 1) > 1 and checked.shape != Shape():
            raise refuse("beams follow likelihood alone", "invalid_argument")
        return checked

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
        """Logits [V] with the bias; float32, a copy."""
        made = logits.copy()
        for token, number in self.biases(row).items():
            made[token] += np.float32(number)
        return made

    def biases(self, row: Row) -> Mapping[int, float]:
        """The bias of one step."""
        return row.request.shape.bias
