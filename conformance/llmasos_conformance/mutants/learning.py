"""What the small runtime shows of its inside, and how it learns: backpropagation written out by hand, in float32.

Rows share one left-padded tensor, as in real trainers, because that is where real bugs live. Every step is a method,
so that a mutant overrides one of them.

Letters as in `runtime`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance.mutants.loader import Config, refuse
from llmasos_conformance.protocol import Array

Tape = dict[str, Any]
"""What a forward pass keeps for the way back, by name."""

OUT = -1
"""Label of a position that is not scored."""


class Learning:
    """Inside views and learning of a runtime.

    What it takes from `Runtime`, which it is mixed into, is declared below.
    """

    config: Config
    weights: Mapping[str, Array]

    if TYPE_CHECKING:

        def matmul(self, a: Array, b: Array) -> Array: ...
        def linear(self, x: Array, name: str) -> Array: ...
        def layer_norm(self, x: Array, name: str) -> Array: ...
        def softmax(self, scores: Array) -> Array: ...
        def gelu(self, x: Array) -> Array: ...
        def scale(self) -> float: ...
        def epsilon(self) -> float: ...
        def heads(self, x: Array) -> Array: ...
        def head(self, x: Array) -> Array: ...
        def embed(self, ids: Array, positions: Array) -> Array: ...
        def mask(self, scores: Array, visible: Array) -> Array: ...
        def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Array, Array]: ...
        def row(self, ids: Any) -> list[int]: ...
        def integer(self, value: Any, low: int, high: float = math.inf) -> int: ...
        def number(self, value: Any, low: float, high: float = math.inf) -> float: ...

    # Inside views.

    def hidden_states(self, ids: Sequence[int]) -> list[Array]:
        """[T, D] before the first block and behind each, the last one normed."""
        return [state[0] for state in self.watched(self.row(ids))["hidden"]]

    def attention(self, ids: Sequence[int]) -> list[Array]:
        """[H, T, T] of each layer."""
        return [weights[0] for weights in self.watched(self.row(ids))["attention"]]

    def watched(self, row: Sequence[int]) -> Tape:
        ids, real = self.pad([row])
        return self.forth(ids, real)

    # Forth.

    def forth(self, ids: Array, real: Array) -> Tape:
        """A forward pass over a padded batch [B, T] that keeps all that the way back needs."""
        T = ids.shape[1]
        positions = np.clip(np.cumsum(real, axis=1) - 1, 0, self.config.C - 1)
        visible = (np.arange(T) <= np.arange(T)[:, None]) & real[:, None, :]
        x = self.embed(ids, positions)
        tape: Tape = {"ids": ids, "positions": positions, "hidden": [x], "attention": [], "layers": []}
        for n in range(self.config.N):
            name = f"layers.{n}"
            normed = self.layer_norm(x, f"{name}.attention_norm")
            q, k, v = (self.heads(self.linear(normed, f"{name}.attention.{p}")) for p in ("query", "key", "value"))
            p = self.softmax(self.mask(self.matmul(q, k.swapaxes(-1, -2)) / np.float32(self.scale()), visible))
            mixed = self.matmul(p, v).swapaxes(1, 2).reshape(x.shape)
            middle = x + self.linear(mixed, f"{name}.attention.output")
            fed = self.layer_norm(middle, f"{name}.feed_forward_norm")
            up = self.linear(fed, f"{name}.feed_forward.up")
            active = self.gelu(up)
            tape["layers"].append(
                {"x": x, "normed": normed, "q": q, "k": k, "v": v, "p": p, "mixed": mixed, "middle": middle,
                 "fed": fed, "up": up, "active": active}
            )  # fmt: skip
            x = middle + self.linear(active, f"{name}.feed_forward.down")
            tape["attention"].append(p)
            tape["hidden"].append(x)
        tape["before"] = x
        tape["hidden"][-1] = tape["last"] = self.layer_norm(x, "final_norm")
        tape["logits"] = self.head(tape["last"])
        return tape

    # Back.

    def gradients(self, batch: Any, labels: Any = None) -> tuple[float, dict[str, Array]]:
        """Loss, and its gradient by every tensor."""
        rows, wanted = self.examples(batch, labels)
        ids, real = self.pad(rows)
        padded = np.array([[OUT] * (ids.shape[1] - len(row)) + list(row) for row in wanted])
        tape = self.forth(ids, real)
        loss, slope = self.loss(tape["logits"], padded, real)
        made = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        self.back(tape, slope, made)
        return loss, self.learnt(made)

    def learnt(self, gradients: dict[str, Array]) -> dict[str, Array]:
        return gradients

    def examples(self, batch: Any, labels: Any) -> tuple[list[list[int]], list[list[int]]]:
        """Rows and their labels, each judged."""
        rows = [self.row(row) for row in batch]
        if labels is None:
            wanted = [[*row[1:], OUT] for row in rows]
        else:
            if len(labels) != len(rows) or any(len(a) != len(b) for a, b in zip(labels, rows, strict=True)):
                raise refuse("labels do not fit the rows", "invalid_argument")
            wanted = [[self.integer(label, OUT, self.config.V - 1) for label in row] for row in labels]
        if not any(label != OUT for row in wanted for label in row):
            raise refuse("nothing is scored", "invalid_argument")
        return rows, wanted

    def scored(self, labels: Array, real: Array) -> Array:
        """[B, T] True where a position counts."""
        return np.asarray(labels != OUT)

    def shares(self, scored: Array) -> Array:
        """[B, T] how much each position counts; they sum to 1."""
        return np.asarray(scored / np.float32(scored.sum()), np.float32)

    def loss(self, logits: Array, labels: Array, real: Array) -> tuple[float, Array]:
        """Mean of -ln p, and its gradient by the logits [B, T, V]."""
        law = self.softmax(logits)
        scored = self.scored(labels, real)
        shares = self.shares(scored)
        chosen = np.take_along_axis(law, np.maximum(labels, 0)[..., None], -1)[..., 0]
        top = logits.max(-1)
        log = np.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0] - top
        log -= np.log(np.exp(logits - top[..., None]).sum(-1))
        assert chosen.shape == log.shape
        slope = law.copy()
        np.put_along_axis(slope, np.maximum(labels, 0)[..., None], chosen[..., None] - 1, -1)
        return self.reported(-float(np.sum(np.where(scored, log, 0) * shares))), slope * shares[..., None]

    def reported(self, loss: float) -> float:
        return loss

    def back(self, tape: Tape, slope: Array, made: dict[str, Array]) -> None:
        """Add the gradient by every tensor, from the gradient by the logits."""
        self.back_head(tape, slope, made)
        head = self.weights["token_embedding" if self.config.tied else "head.weight"]
        g = self.back_norm(tape["before"], self.matmul(slope, head), "final_norm", made)
        for n in reversed(range(self.config.N)):
            g = self.back_layer(tape["layers"][n], g, f"layers.{n}", made)
        self.back_embedding(tape, g, made)

    def back_head(self, tape: Tape, slope: Array, made: dict[str, Array]) -> None:
        name = "token_embedding" if self.config.tied else "head.weight"
        made[name] += self.matmul(flat(slope).T, flat(tape["last"]))

    def back_embedding(self, tape: Tape, g: Array, made: dict[str, Array]) -> None:
        np.add.at(made["token_embedding"], tape["ids"], g)
        np.add.at(made["position_embedding"], tape["positions"], g)

    def back_layer(self, kept: Tape, g: Array, name: str, made: dict[str, Array]) -> Array:
        """The gradient by what entered a layer, from that by what left it."""
        inner = self.back_linear(kept["active"], g, f"{name}.feed_forward.down", made)
        inner = self.back_linear(kept["fed"], inner * self.gelu_slope(kept["up"]), f"{name}.feed_forward.up", made)
        g = g + self.back_norm(kept["middle"], inner, f"{name}.feed_forward_norm", made)
        inner = self.heads(self.back_linear(kept["mixed"], g, f"{name}.attention.output", made))
        inner = self.back_attention(kept, inner, f"{name}.attention", made)
        return g + self.back_norm(kept["x"], inner, f"{name}.attention_norm", made)

    def back_attention(self, kept: Tape, g: Array, name: str, made: dict[str, Array]) -> Array:
        """The gradient by what entered the maps of an attention, from that by its mixed values [B, H, T, K]."""
        p, scale = kept["p"], np.float32(self.scale())
        to_p = self.matmul(g, kept["v"].swapaxes(-1, -2))
        to_scores = p * (to_p - (to_p * p).sum(-1, keepdims=True)) / scale
        parts = {
            "query": self.matmul(to_scores, kept["k"]),
            "key": self.matmul(to_scores.swapaxes(-1, -2), kept["q"]),
            "value": self.matmul(p.swapaxes(-1, -2), g),
        }
        total: Array = np.zeros_like(kept["x"])
        for part, inner in parts.items():
            joined = inner.swapaxes(1, 2).reshape(kept["x"].shape)
            total = total + self.back_linear(kept["normed"], joined, f"{name}.{part}", made)
        return total

    def back_linear(self, x: Array, g: Array, name: str, made: dict[str, Array]) -> Array:
        made[f"{name}.weight"] += self.matmul(flat(x).T, flat(g))
        made[f"{name}.bias"] += flat(g).sum(0)
        return self.matmul(g, self.weights[f"{name}.weight"].T)

    def back_norm(self, x: Array, g: Array, name: str, made: dict[str, Array]) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        root = np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(self.epsilon()))
        normed = centred / root
        made[f"{name}.weight"] += flat(g * normed).sum(0)
        made[f"{name}.bias"] += flat(g).sum(0)
        return self.norm_slope(g * self.weights[f"{name}.weight"], normed, root)

    def norm_slope(self, g: Array, normed: Array, root: Array) -> Array:
        """(g - mean g - n · mean(g · n)) / root."""
        inner = g - g.mean(-1, keepdims=True) - normed * (g * normed).mean(-1, keepdims=True)
        return np.asarray(inner / root)

    def gelu_slope(self, x: Array) -> Array:
        """With u = √(2/π)(x + c x³): (1 + tanh u)/2 + x/2 · (1 - tanh² u) · √(2/π)(1 + 3 c x²)."""
        c, factor = np.float32(0.044715), np.float32(math.sqrt(2 / math.pi))
        t = np.tanh(factor * (x + c * x * x * x))
        return np.asarray(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * factor * (1 + 3 * c * x * x), np.float32)

    # A step.

    def train_step(self, batch: Any, learning_rate: Any, labels: Any = None) -> tuple[float, Any]:
        """Loss before the step, and another model behind it."""
        rate = np.float32(self.number(learning_rate, 0))
        loss, gradients = self.gradients(batch, labels)
        return loss, self.moved(rate, gradients)

    def moved(self, rate: np.float32, gradients: Mapping[str, Array]) -> Any:
        twin = copy.copy(self)
        twin.weights = {name: self.stepped(weight, rate, gradients[name]) for name, weight in self.weights.items()}
        twin.pool = []  # type: ignore[attr-defined]
        return twin

    def stepped(self, weight: Array, rate: np.float32, gradient: Array) -> Array:
        return np.asarray(weight - rate * gradient)


def flat(x: Array) -> Array:
    """[..., D] -> [N, D]."""
    return x.reshape(-1, x.shape[-1])
