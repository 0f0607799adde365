"""The architectures as torch modules that hold a bundle's weights under the bundle's names.

For gradients, for export, and as a witness of the reference: the same formulas by another library's operations. A
forward pass branches on what it is given, never on numbers, so it can be traced with any batch and length.

Rows of a batch may have different lengths. Where the mask is False a position is padding: no other position sees it, it
does not count as a position, and what comes out there means nothing. Padding may stand on either side.

Letters as in `llmasos.ops`; P positions of the past, S = P + T.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from llmasos import weights
from llmasos.bundle import Bundle
from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, Unsupported
from llmasos.ops import Array

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    raise Unsupported("torch is not installed", "torch twin", "pip install 'llmasos[torch]'") from None

DTYPES = ("float64", "float32")
IGNORED = -100
"""A label where nothing is predicted."""

Tensor = Any
Held = tuple[Tensor, Tensor]
"""Keys and values of one attention, [B, G, S, K] each."""


class Output(NamedTuple):
    """What a forward pass returns; tuples hold an entry per layer.

    Attributes:
        logits: [B, T, V].
        cache: keys and values of all positions so far, [B, G, S, K] each; empty for BERT.
        hidden: what enters the first block, then what leaves each block, the last one with the final norm applied if
            there is one; [B, T, D] each.
        attention: weights of the self-attention, [B, H, T, S]; like `cross`, empty unless `inside` is asked for.
        cross: weights of the cross-attention. source: of the encoder, if this pass ran it.
        pooled: [B, D] of BERT.
    """

    logits: Tensor
    cache: tuple[Held, ...] = ()
    hidden: tuple[Tensor, ...] = ()
    attention: tuple[Tensor, ...] = ()
    cross: tuple[Tensor, ...] = ()
    source: Source | None = None
    pooled: Tensor | None = None


class Source(NamedTuple):
    """A source as a decoder sees it.

    Attributes:
        held: per layer of the decoder, keys and values of the source.
        hidden, attention: of the encoder, as in Output.
    """

    held: tuple[Held, ...]
    hidden: tuple[Tensor, ...] = ()
    attention: tuple[Tensor, ...] = ()


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Affine(nn.Module):
    """x · W + b with W [D_in, D_out], the other way round than `nn.Linear` stores it."""

    def __init__(self, D_in: int, D_out: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(D_in, D_out))
        self.bias = nn.Parameter(torch.empty(D_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.t(), self.bias)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis; spelled out, because exporters do not know torch's own."""

    def __init__(self, D: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.empty(D)), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


class Rotary(nn.Module):
    """Rotary positions: of a head, channels i and i + K/2 are turned by the position's angle."""

    def __init__(self, K: int, theta: float) -> None:
        super().__init__()
        exponent = torch.arange(0, K, 2, dtype=torch.float64, device="cpu") / K
        self.register_buffer("frequency", torch.pow(theta, -exponent), persistent=False)  # [K/2]

    def forward(self, places: Tensor, dtype: Any) -> Held:
        """Cosines and sines [B, 1, T, K] of places [B, T]; angles are float64 and rounded last."""
        angle = places[:, None, :, None] * torch.cat([self.frequency, self.frequency])
        return angle.cos().to(dtype), angle.sin().to(dtype)


def turned(x: Tensor, turn: Held) -> Tensor:
    """[B, H, T, K] -> the same, rotated."""
    low, high = x.chunk(2, dim=-1)
    return x * turn[0] + torch.cat([-high, low], dim=-1) * turn[1]


class Sinusoids(nn.Module):
    """Sinusoidal positions: channels 2i and 2i + 1 are the sine and cosine of one angle."""

    def __init__(self, D: int) -> None:
        super().__init__()
        pair = torch.arange(D, dtype=torch.float64, device="cpu").div(2, rounding_mode="floor")
        self.register_buffer("frequency", torch.exp(-math.log(10000.0) * 2 * pair / D), persistent=False)  # [D]
        self.register_buffer("even", torch.arange(D, device="cpu") % 2 == 0, persistent=False)

    def forward(self, places: Tensor, dtype: Any) -> Tensor:
        """[B, T] -> [B, T, D]."""
        angle = places[..., None] * self.frequency
        return torch.where(self.even, angle.sin(), angle.cos()).to(dtype)


class Attention(nn.Module):
    """Scaled dot-product attention of H query heads over G key-value heads.

    Args:
        fused: leave the middle to `scaled_dot_product_attention`, which has kernels of its own.
    """

    def __init__(self, D: int, H: int, G: int, *, bias: bool, fused: bool) -> None:
        super().__init__()
        self.H, self.G, self.K, self.fused = H, G, D // H, fused
        self.query = Affine(D, D, bias=bias)
        self.key = Affine(D, G * self.K, bias=bias)
        self.value = Affine(D, G * self.K, bias=bias)
        self.output = Affine(D, D, bias=bias)

    def queries(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, K]."""
        return self.query(x).unflatten(-1, (self.H, self.K)).transpose(1, 2)

    def held(self, x: Tensor) -> Held:
        """Keys and values [B, G, T, K] of positions [B, T, D]."""
        k, v = (part(x).unflatten(-1, (self.G, self.K)).transpose(1, 2) for part in (self.key, self.value))
        return k, v

    def forward(self, q: Tensor, held: Held, visible: Tensor | None, seen: list[Tensor] | None = None) -> Tensor:
        """Mix values and map them back to the width.

        Args:
            q: [B, H, T, K]. held: [B, G, S, K] each. visible: broadcasts to [B, H, T, S], True in every row.
            seen: gets the weights [B, H, T, S], if given.

        Returns:
            [B, T, D].
        """
        k, v = (self.shared(part) for part in held)
        if self.fused:
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        if seen is not None or not self.fused:
            scores = q.matmul(k.transpose(-1, -2)) / math.sqrt(self.K)
            if visible is not None:
                scores = scores.masked_fill(~visible, -math.inf)
            law = scores.softmax(-1)
            if seen is not None:
                seen.append(law)
        if not self.fused:
            mixed = law.matmul(v)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def shared(self, x: Tensor) -> Tensor:
        """Each key-value head as often as query heads share it; [B, G, S, K] -> [B, H, S, K]."""
        if self.G == self.H:
            return x
        return x[:, :, None].expand(-1, -1, self.H // self.G, -1, -1).flatten(1, 2)


ACTIVATIONS: Mapping[str, Any] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}


class FeedForward(nn.Module):
    """Up, activation, down."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, hidden = config.embedding_dim, config.feed_forward_dim
        self.up, self.down, self.activation = Affine(D, hidden), Affine(hidden, D), ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class Gated(nn.Module):
    """Up, times an activated gate, down; without biases."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, hidden = config.embedding_dim, config.feed_forward_dim
        self.gate, self.up = Affine(D, hidden, bias=False), Affine(D, hidden, bias=False)
        self.down = Affine(hidden, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    """The named parts of one layer; how they are joined is the architecture's business."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


# ── who sees whom ───────────────────────────────────────────────────────────────────────────────────────────────────


def places_of(ids: Tensor, past: int, mask: Tensor | None) -> Tensor:
    """Positions of all S columns, which padding does not use up; [B, S], or [1, S] without a mask."""
    if mask is None:
        return torch.arange(past + ids.shape[1], device=ids.device)[None]
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def looking_back(ids: Tensor, past: int, mask: Tensor | None, window: int | None) -> Tensor:
    """What the T new columns see of all S: themselves and what is before, within the window; [B or 1, 1, T, S].

    A column of padding sees itself too, so that its softmax is a law and no NaN spreads from it.
    """
    column = torch.arange(past + ids.shape[1], device=ids.device)
    own = column[past:, None]
    visible = (column <= own)[None]
    if window is not None:
        place = places_of(ids, past, mask)
        visible = visible & (place[:, None, :] > place[:, past:, None] - window)
    if mask is not None:
        visible = visible & (mask.bool()[:, None, :] | (column == own))
    return visible[:, None]


def padding(mask: Tensor | None) -> Tensor | None:
    """What every position sees of S columns when it looks both ways; [B, 1, 1, S], None for all."""
    return None if mask is None else mask.bool()[:, None, None, :]


def appended(held: Held | None, k: Tensor, v: Tensor) -> Held:
    """Keys and values behind those held already."""
    return (k, v) if held is None else (torch.cat([held[0], k], dim=2), torch.cat([held[1], v], dim=2))


def _gathering(inside: bool) -> list[Tensor] | None:
    """Where attention weights go; nowhere if nobody asks for them."""
    return [] if inside else None


def length_of(cache: Sequence[Held]) -> int:
    """P, the number of columns that a cache holds."""
    held: int = cache[0][0].shape[2] if cache else 0
    return held


# ── architectures ───────────────────────────────────────────────────────────────────────────────────────────────────


class Twin(nn.Module):
    """A bundle as a torch module.

    Attributes:
        config: of the bundle.

    Call it with ids [B, T] of dtype int64 and, by name, as far as the architecture takes them:

        mask         [B, S] True where a column, of the past or new, is no padding
        cache        of an earlier Output
        source       [B, S'] ids that a Transformer reads, or a Source that it has read; source_mask as mask
        types        [B, T] token types of BERT
        inside       attention weights too
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Parameter(torch.empty(config.vocab_size, config.embedding_dim))

    def embedded(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.token_embedding)

    def add_head(self) -> None:
        """A head of its own, unless the token embedding is the head."""
        if not self.config.tie_embeddings:
            self.head = nn.Linear(self.config.embedding_dim, self.config.vocab_size, bias=False)

    def headed(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, V]."""
        return functional.linear(x, self.token_embedding if self.config.tie_embeddings else self.head.weight)

    def loss(self, ids: Tensor, labels: Tensor | None = None, **given: Any) -> Tensor:
        """Mean over what is predicted of -ln p(label).

        Args:
            ids, given: as for a call.
            labels: [B, T], what each position predicts, IGNORED where nothing; None for the id behind it, where
                neither is padding. BERT needs them.
        """
        if labels is None:
            labels = self.following(ids, given.get("mask"))
        return functional.cross_entropy(self(ids, **given).logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    def following(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Labels that predict the next id; [B, T]."""
        labels = ids.roll(-1, dims=1)
        if mask is not None:
            labels = labels.masked_fill(~(mask.bool() & mask.bool().roll(-1, dims=1)), IGNORED)
        labels[:, -1] = IGNORED
        return labels

    def arrays(self) -> dict[str, Array]:
        """The weights as they are now; name -> array."""
        return {name: parameter.detach().numpy().copy() for name, parameter in self.named_parameters()}


class GPT3Twin(Twin):
    """GPT-3, dense or with every second layer banded."""

    def __init__(self, config: ModelConfig, *, fused: bool) -> None:
        super().__init__(config)
        D, H, epsilon = config.embedding_dim, config.num_heads, config.layer_norm_epsilon
        self.position_embedding = nn.Parameter(torch.empty(config.context_length, D))
        self.layers = nn.ModuleList(
            Layer(
                attention_norm=nn.LayerNorm(D, epsilon),
                attention=Attention(D, H, H, bias=True, fused=fused),
                feed_forward_norm=nn.LayerNorm(D, epsilon),
                feed_forward=FeedForward(config),
            )
            for _ in range(config.num_layers)
        )
        self.final_norm = nn.LayerNorm(D, epsilon)
        self.add_head()

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, cache: Sequence[Held] = (), *, inside: bool = False
    ) -> Output:
        past = length_of(cache)
        x = self.embedded(ids) + functional.embedding(places_of(ids, past, mask)[:, past:], self.position_embedding)
        dense = looking_back(ids, past, mask, None)
        banded = looking_back(ids, past, mask, self.config.local_attention_window)
        hidden, now = [x], []
        seen = _gathering(inside)
        for i, layer in enumerate(self.layers):
            normed = layer.attention_norm(x)
            held = appended(cache[i] if cache else None, *layer.attention.held(normed))
            x = x + layer.attention(layer.attention.queries(normed), held, banded if i % 2 else dense, seen)
            x = x + layer.feed_forward(layer.feed_forward_norm(x))
            now.append(held)
            hidden.append(x)
        hidden[-1] = x = self.final_norm(x)
        return Output(self.headed(x), tuple(now), tuple(hidden), tuple(seen or ()))


class LlamaTwin(Twin):
    """Llama."""

    def __init__(self, config: ModelConfig, *, fused: bool) -> None:
        super().__init__(config)
        D, epsilon = config.embedding_dim, config.rms_norm_epsilon
        self.rotary = Rotary(config.head_dim, config.rope_theta)
        self.layers = nn.ModuleList(
            Layer(
                attention_norm=RMSNorm(D, epsilon),
                attention=Attention(D, config.num_heads, config.num_key_value_heads, bias=False, fused=fused),
                feed_forward_norm=RMSNorm(D, epsilon),
                feed_forward=Gated(config),
            )
            for _ in range(config.num_layers)
        )
        self.final_norm = RMSNorm(D, epsilon)
        self.add_head()

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, cache: Sequence[Held] = (), *, inside: bool = False
    ) -> Output:
        past = length_of(cache)
        x = self.embedded(ids)
        turn = self.rotary(places_of(ids, past, mask)[:, past:], x.dtype)
        visible = looking_back(ids, past, mask, self.config.sliding_window)
        hidden, now = [x], []
        seen = _gathering(inside)
        for i, layer in enumerate(self.layers):
            normed = layer.attention_norm(x)
            k, v = layer.attention.held(normed)
            held = appended(cache[i] if cache else None, turned(k, turn), v)
            x = x + layer.attention(turned(layer.attention.queries(normed), turn), held, visible, seen)
            x = x + layer.feed_forward(layer.feed_forward_norm(x))
            now.append(held)
            hidden.append(x)
        hidden[-1] = x = self.final_norm(x)
        return Output(self.headed(x), tuple(now), tuple(hidden), tuple(seen or ()))


class MaskedHead(nn.Module):
    """BERT's head over the vocabulary; its last map may be the token embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        V, D = config.vocab_size, config.embedding_dim
        self.transform, self.norm = Affine(D, D), nn.LayerNorm(D, config.layer_norm_epsilon)
        self.activation = ACTIVATIONS[config.activation]
        self.weight = None if config.tie_embeddings else nn.Parameter(torch.empty(V, D))
        self.bias = nn.Parameter(torch.empty(V))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.norm(self.activation(self.transform(x)))
        return functional.linear(x, embedding if self.weight is None else self.weight, self.bias)


class BERTTwin(Twin):
    """BERT."""

    def __init__(self, config: ModelConfig, *, fused: bool) -> None:
        super().__init__(config)
        D, H, epsilon = config.embedding_dim, config.num_heads, config.layer_norm_epsilon
        self.position_embedding = nn.Parameter(torch.empty(config.context_length, D))
        self.type_embedding = nn.Parameter(torch.empty(config.type_vocab_size, D))
        self.embedding_norm = nn.LayerNorm(D, epsilon)
        self.layers = nn.ModuleList(
            Layer(
                attention=Attention(D, H, H, bias=True, fused=fused),
                attention_norm=nn.LayerNorm(D, epsilon),
                feed_forward=FeedForward(config),
                feed_forward_norm=nn.LayerNorm(D, epsilon),
            )
            for _ in range(config.num_layers)
        )
        self.pooler = Affine(D, D)
        self.head = MaskedHead(config)

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, *, types: Tensor | None = None, inside: bool = False
    ) -> Output:
        place, kind = places_of(ids, 0, mask), torch.zeros_like(ids) if types is None else types
        x = (
            self.embedded(ids)
            + functional.embedding(place, self.position_embedding)
            + functional.embedding(kind, self.type_embedding)
        )
        x = self.embedding_norm(x)
        visible = padding(mask)
        hidden, seen = [x], _gathering(inside)
        for layer in self.layers:
            attention = layer.attention
            x = layer.attention_norm(x + attention(attention.queries(x), attention.held(x), visible, seen))
            x = layer.feed_forward_norm(x + layer.feed_forward(x))
            hidden.append(x)
        # The first position is the first that is no padding.
        first = x[:, 0] if mask is None else x[torch.arange(x.shape[0], device=x.device), mask.long().argmax(-1)]
        pooled = self.pooler(first).tanh()
        logits = self.head(x, self.token_embedding)
        return Output(logits, hidden=tuple(hidden), attention=tuple(seen or ()), pooled=pooled)

    def following(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        raise InvalidArgument("BERT predicts no next id", "labels", "give the labels of the masked positions")


class Side(nn.Module):
    """Embedding side and layers of a Transformer's encoder or decoder."""

    def __init__(self, config: ModelConfig, *, decoder: bool, fused: bool) -> None:
        super().__init__()
        D, H, epsilon = config.embedding_dim, config.num_heads, config.layer_norm_epsilon
        self.scale = math.sqrt(D) if config.scale_embeddings else 1.0
        self.learned = config.positions == "learned"
        if self.learned:
            self.position_embedding = nn.Parameter(torch.empty(config.context_length, D))
        else:
            self.sinusoids = Sinusoids(D)
        self.embedding_norm = nn.LayerNorm(D, epsilon) if config.embedding_norm else None
        kinds = ("attention", "cross_attention") if decoder else ("attention",)
        self.layers = nn.ModuleList()
        for _ in range(config.num_decoder_layers if decoder else config.num_layers):
            parts: dict[str, Any] = {kind: Attention(D, H, H, bias=True, fused=fused) for kind in kinds}
            norms = {f"{kind}_norm": nn.LayerNorm(D, epsilon) for kind in (*kinds, "feed_forward")}
            self.layers.append(Layer(**parts, **norms, feed_forward=FeedForward(config)))

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Token embeddings [B, T, D] with what stands between them and the first layer."""
        where = (
            functional.embedding(places, self.position_embedding)
            if self.learned
            else self.sinusoids(places, tokens.dtype)
        )
        x = tokens * self.scale + where
        return x if self.embedding_norm is None else self.embedding_norm(x)


class TransformerTwin(Twin):
    """Transformer, encoder and decoder."""

    def __init__(self, config: ModelConfig, *, fused: bool) -> None:
        super().__init__(config)
        self.encoder = Side(config, decoder=False, fused=fused)
        self.decoder = Side(config, decoder=True, fused=fused)
        self.add_head()

    def read(self, source: Tensor, mask: Tensor | None = None, *, inside: bool = False) -> Source:
        """What the decoder needs of a source; source: [B, S'] ids, mask: [B, S'] True where no padding."""
        x, visible = self.encoder(self.embedded(source), places_of(source, 0, mask)), padding(mask)
        hidden, seen = [x], _gathering(inside)
        for layer in self.encoder.layers:
            attention = layer.attention
            x = layer.attention_norm(x + attention(attention.queries(x), attention.held(x), visible, seen))
            x = layer.feed_forward_norm(x + layer.feed_forward(x))
            hidden.append(x)
        held = tuple(layer.cross_attention.held(x) for layer in self.decoder.layers)
        return Source(held, tuple(hidden), tuple(seen or ()))

    def forward(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        cache: Sequence[Held] = (),
        *,
        source: Tensor | Source,
        source_mask: Tensor | None = None,
        inside: bool = False,
    ) -> Output:
        read = source if isinstance(source, Source) else self.read(source, source_mask, inside=inside)
        past = length_of(cache)
        x = self.decoder(self.embedded(ids), places_of(ids, past, mask)[:, past:])
        visible, of_source = looking_back(ids, past, mask, None), padding(source_mask)
        hidden, now = [x], []
        seen, crossed = _gathering(inside), _gathering(inside)
        for i, layer in enumerate(self.decoder.layers):
            held = appended(cache[i] if cache else None, *layer.attention.held(x))
            x = layer.attention_norm(x + layer.attention(layer.attention.queries(x), held, visible, seen))
            cross = layer.cross_attention
            x = layer.cross_attention_norm(x + cross(cross.queries(x), read.held[i], of_source, crossed))
            x = layer.feed_forward_norm(x + layer.feed_forward(x))
            now.append(held)
            hidden.append(x)
        return Output(self.headed(x), tuple(now), tuple(hidden), tuple(seen or ()), tuple(crossed or ()), read)


TWINS: Mapping[str, Any] = {
    "Transformer": TransformerTwin,
    "GPT-3": GPT3Twin,
    "BERT": BERTTwin,
    "Llama": LlamaTwin,
}


# ── the door ────────────────────────────────────────────────────────────────────────────────────────────────────────


def twin(bundle: Bundle, dtype: str = "float64", *, fused: bool = False) -> Twin:
    """A bundle as a torch module in evaluation mode, whose parameters are named as the bundle's tensors.

    Args:
        bundle: as `read_bundle` returns it; without weights they come from its seed.
        dtype: "float64" or "float32".
        fused: attention by torch's fused kernels; plain operations otherwise, which exporters want.

    Raises:
        InvalidArgument: another dtype.
        InvalidFormat: a weight is too large for the dtype.
    """
    if dtype not in DTYPES:
        raise InvalidArgument(f"dtype {dtype!r:.40} is not offered", "dtype", f"one of {', '.join(DTYPES)}")
    stored = bundle.weights if bundle.weights is not None else weights.initialise(bundle.config)
    with torch.device("meta"):  # shapes alone: nothing is drawn, and no generator moves
        module: Twin = TWINS[bundle.config.architecture](bundle.config, fused=fused)
    state = {name: torch.tensor(weights.in_dtype(array, dtype, name)) for name, array in stored.items()}
    module.load_state_dict(state, strict=True, assign=True)
    module.eval()
    return module


def padded(rows: Sequence[Sequence[int]], side: str = "right") -> tuple[Tensor, Tensor]:
    """Rows of ids as one tensor and its mask, [B, T] each; short rows are filled up with 0 on the given side."""
    T = max(map(len, rows))
    ids, mask = np.zeros((len(rows), T), dtype=np.int64), np.zeros((len(rows), T), dtype=bool)
    for i, row in enumerate(rows):
        columns = slice(len(row)) if side == "right" else slice(T - len(row), None)
        ids[i, columns], mask[i, columns] = row, True
    return torch.from_numpy(ids), torch.from_numpy(mask)


def gradients(module: Twin, ids: Tensor, labels: Tensor | None = None, **given: Any) -> tuple[float, dict[str, Array]]:
    """The loss, and its derivative by every weight; arguments as for `Twin.loss`.

    Returns:
        loss, and name -> array of the weight's shape. A tied embedding has the sum over both of its uses.
    """
    names, parameters = zip(*module.named_parameters(), strict=True)
    loss = module.loss(ids, labels, **given)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return float(loss.detach()), {name: gradient.numpy() for name, gradient in zip(names, found, strict=True)}


def sgd_step(module: Twin, rate: float, ids: Tensor, labels: Tensor | None = None, **given: Any) -> float:
    """One step of plain gradient descent, in place: w becomes w - rate · dL/dw.

    Returns:
        The loss before the step.
    """
    optimiser = torch.optim.SGD(module.parameters(), lr=rate)
    optimiser.zero_grad()
    loss = module.loss(ids, labels, **given)
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    return float(loss.detach())
