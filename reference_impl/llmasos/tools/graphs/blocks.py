"""What the pages of the graphs share: linear maps, norms, heads, attention, activations, and rows with padding.

Letters as in `llmasos.ops`; S counts the columns of past and new ids together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from llmasos.tools.graphs.nodes import Graph, Value

# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Ids with the columns before them, and which of all these columns are real.

    Attributes:
        ids: [B, T]. real: [B, S], True where a column is no padding.
        positions: [B, S], how many real columns stand before each; 0 for padding in front.
        columns: [S], 0 … S-1. first: [1], S - T, the first column of ids. end: [1], S.
    """

    ids: Value
    real: Value
    positions: Value
    columns: Value
    first: Value
    end: Value

    @property
    def own_positions(self) -> Value:
        """Positions of the ids themselves; [B, T]."""
        return self.positions.from_to(self.first, self.end, 1)

    def causal(self, window: int | None = None) -> Value:
        """Which columns each of the ids may see; [B, 1, T, S].

        Real ones, up to its own, and with a window the last `window` positions alone.
        """
        own = self.columns.from_to(self.first, self.end, 0)  # [T]
        visible = (self.columns.unsqueezed(0) <= own.unsqueezed(1)).unsqueezed(0) & self.real.unsqueezed(1)  # [B, T, S]
        if window is not None:
            distance = self.own_positions.unsqueezed(2) - self.positions.unsqueezed(1)  # [B, T, S]
            visible = visible & (distance < distance.graph.constant(window, np.int64))
        return visible.unsqueezed(1)


def rows(ids: Value, mask: Value) -> Rows:
    """Ids [B, T] and a mask [B, S] that covers them and what stands before them."""
    graph = ids.graph
    counted = graph.make("CumSum", mask, graph.constant(1, np.int64)) - graph.constant(1, np.int64)
    end = mask.size(1)
    return Rows(
        ids=ids,
        real=mask.as_booleans(),
        positions=counted.at_least(graph.constant(0, np.int64)),
        columns=graph.count(end),
        first=end - ids.size(1),
        end=end,
    )


def seen_by_all(mask: Value) -> Value:
    """Real columns, for queries that see them all; [B, S] -> [B, 1, 1, S]."""
    return mask.as_booleans().unsqueezed(1, 2)


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def linear(x: Value, name: str) -> Value:
    """x · W; [B, T, D_in] -> [B, T, D_out]."""
    return x @ x.graph.weight(f"{name}.weight")


def affine(x: Value, name: str) -> Value:
    """x · W + b; [B, T, D_in] -> [B, T, D_out]."""
    return linear(x, name) + x.graph.weight(f"{name}.bias")


def head(x: Value, tied: bool) -> Value:
    """Logits without a bias; [B, T, D] -> [B, T, V]. A tied head is the embedding itself, which the file holds once."""
    return x @ x.graph.weight("token_embedding" if tied else "head.weight").transposed(1, 0)


def layer_norm(x: Value, name: str, epsilon: float) -> Value:
    """(x - μ) / sqrt(σ² + epsilon) · weight + bias over the last axis.

    Written out, because the operator for it computes μ and σ in float32 unless it is told otherwise.
    """
    centred = x - x.mean()
    normed = centred / ((centred * centred).mean() + epsilon).apply("Sqrt")
    return normed * x.graph.weight(f"{name}.weight") + x.graph.weight(f"{name}.bias")


def rms_norm(x: Value, name: str, epsilon: float) -> Value:
    """x / sqrt(mean(x²) + epsilon) · weight over the last axis."""
    return x / ((x * x).mean() + epsilon).apply("Sqrt") * x.graph.weight(f"{name}.weight")


def heads(x: Value, H: int, K: int) -> Value:
    """[B, T, H·K] -> [B, H, T, K]."""
    return x.reshaped(0, 0, H, K).transposed(0, 2, 1, 3)


def beside(x: Value, H: int, K: int) -> Value:
    """Heads side by side again; [B, H, T, K] -> [B, T, H·K]."""
    return x.transposed(0, 2, 1, 3).reshaped(0, 0, H * K)


def attention(q: Value, k: Value, v: Value, visible: Value, K: int) -> Value:
    """softmax(q kᵀ / sqrt(K) + mask) v; [B, H, T, K], two [B, H, S, K], [B, 1, T, S] -> [B, H, T, K]."""
    return weights_of(q @ k.transposed(0, 1, 3, 2), visible, K) @ v


def weights_of(scores: Value, visible: Value, K: int) -> Value:
    """Attention weights from products of queries and keys, any number of leading axes.

    What must not be seen gets the smallest number of the dtype, not minus infinity: a column of padding may see nothing
    at all, and a row of minus infinities would be NaN, which the next layer spreads to real columns. Elsewhere the
    exponential of that number is 0 as well.
    """
    least = float(np.finfo(scores.graph.dtype).min)
    return scores.graph.chosen(visible, scores / math.sqrt(K), least).apply("Softmax", axis=-1)


# ── activations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def gelu(x: Value) -> Value:
    """x/2 · (1 + erf(x / sqrt(2)))."""
    return x * 0.5 * (erf(x * math.sqrt(0.5)) + 1.0)


def gelu_tanh(x: Value) -> Value:
    """x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³)))."""
    inner = (x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)
    return x * 0.5 * (inner.apply("Tanh") + 1.0)


def relu(x: Value) -> Value:
    """max(x, 0)."""
    return x.apply("Relu")


def silu(x: Value) -> Value:
    """x / (1 + exp(-x))."""
    return x * x.apply("Sigmoid")


ACTIVATIONS: Mapping[str, Callable[[Value], Value]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
}
"""Activations by their name in model.json."""


def erf(x: Value) -> Value:
    """The error function.

    ONNX has it for every dtype, onnxruntime for float32 alone. In float64 it is therefore computed as

        erf(x) = sign(x) · (1 - exp(-x²) · P(t) / (1 + 2|x|)),   t = (|x| - 3.75) / (|x| + 3.75)

    where P is a polynomial for (1 + 2y) · exp(y²) · erfc(y), y from 0 to infinity. It errs by less than 1e-15.

    Source:
        The variable t: Shepherd and Laframboise, Chebyshev Approximation of (1 + 2x) exp(x²) erfc x, 1981. The
        coefficients were computed anew, in 50 digits.
    """
    if x.graph.dtype == np.float32:
        return x.apply("Erf")
    y = x.apply("Abs")
    t = (y - 3.75) / (y + 3.75)
    polynomial = x.graph.constant(ERFCX[-1])
    for coefficient in ERFCX[-2::-1]:
        polynomial = polynomial * t + coefficient
    rest = (y * y).apply("Neg").apply("Exp") * polynomial / (y * 2.0 + 1.0)
    return x.apply("Sign") * (x.graph.constant(1.0) - rest)


ERFCX = (
    1.2375126308378275, -0.14024059858554702, 0.00358541548546369, 0.08227673849015102, -0.10880393014170746,
    0.09230432116019834, -0.05869339859054762, 0.0283622774215156, -0.009746579547619623, 0.0017556258324217529,
    0.00029371359480570737, -0.00029015397928986765, 5.164940777546399e-05, 2.2383912036550678e-05,
    -1.1445049125831309e-05, -9.72849582211122e-07, 1.7534434251106334e-06, -5.826281078800777e-08,
    -2.6114702359900956e-07, 2.4289762925488707e-08, 4.0971223152703005e-08, -4.389284159986328e-09,
    -6.545560212480267e-09, 5.457157304704688e-10, 9.02214970034059e-10, -3.75315827795962e-11, -7.33950500852954e-11,
)  # fmt: skip
"""Coefficients of P in `erf`, those of low powers first."""

# ── inputs and outputs ──────────────────────────────────────────────────────────────────────────────────────────────


def ids_and_mask(graph: Graph, *, past: bool) -> Rows:
    """The inputs of a decoder alone."""
    total = "total" if past else "length"
    return rows(graph.integers("input_ids", "batch", "length"), graph.integers("attention_mask", "batch", total))


def held(graph: Graph, name: str, G: int, K: int, size: str = "past") -> tuple[Value, Value]:
    """Inputs for keys and values of one attention, [B, G, columns, K] each."""
    key, value = (graph.floats(f"past_key_values.{name}.{part}", "batch", G, size, K) for part in ("key", "value"))
    return key, value


def kept(name: str, k: Value, v: Value, G: int, K: int, size: str = "total") -> None:
    """Outputs for the same, under the name that leads them to the next call's inputs."""
    for part, value in (("key", k), ("value", v)):
        value.graph.output(f"present.{name}.{part}", value, "batch", G, size, K)
