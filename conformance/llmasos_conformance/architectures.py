"""What an architecture is, for whoever is to build it: order, parameters, tensors, and the page of code that is right.

Tensors are told with letters for their sizes. They come from `layout`, which makes the bundles that candidates get: the
letters are read off a small model whose sizes are all different, and what an option adds off a model that has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmasos_conformance import layout
from llmasos_conformance.protocol import ARCHITECTURES

SIZES: Mapping[str, tuple[str, int]] = {
    "V": ("vocab_size", 101),
    "D": ("embedding_dim", 24),
    "F": ("feed_forward_dim", 53),
    "C": ("context_length", 31),
    "Y": ("type_vocab_size", 7),
}
"""The letter of a size -> its parameter, and what it is in the small model."""

_SHARED = ("G·K", {"num_heads": 6, "num_key_value_heads": 2}, 8)
"""Of Llama: heads of the small model, so that K is 4, and the width of its keys and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of an architecture beside its tensors.

    Attributes:
        presented: in a few words, "en" and "zh". page: file of the reference that computes it.
        defaults: requirements that say what a document may leave out. chapters: of the standard that are its own.
        options: parameters that add tensors, each with the value that does, in the order in which tensors are told.
    """

    presented: Mapping[str, str]
    page: str
    defaults: tuple[str, ...]
    chapters: tuple[str, ...]
    options: tuple[tuple[str, Any], ...] = (("tie_embeddings", False),)


KNOWN: Mapping[str, About] = {
    "GPT-3": About(
        presented={
            "en": "A decoder: learned positions, layer norm before each block and behind the last, gelu_tanh, biases "
            "on all maps but the head. With local_attention_window layers 1, 3, 5 and so on see the nearest keys "
            "alone.",
            "zh": "解码器:可学习的位置,每个块之前及最后一块之后有层归一化,gelu_tanh,除输出头外所有线性映射都有偏置。"
            "若有 local_attention_window,则第 1、3、5 等层只看最近的键。",
        },
        page="gpt3.py",
        defaults=("FMT-3",),
        chapters=("attention", "bands"),
    ),
    "Llama": About(
        presented={
            "en": "A decoder: rotary positions, RMS norm before each block and behind the last, gated feed-forward "
            "with silu, query heads that share key-value heads, no bias anywhere.",
            "zh": "解码器:旋转位置,每个块之前及最后一块之后有 RMS 归一化,以 silu 为门的前馈,查询头共享键值头,"
            "处处无偏置。",
        },
        page="llama.py",
        defaults=("LLAMA-19",),
        chapters=("llama",),
    ),
    "BERT": About(
        presented={
            "en": "An encoder: learned positions and token types, layer norm behind the embeddings and behind each "
            "block, biases everywhere, a head over the vocabulary at every position and a pooled vector of the first.",
            "zh": "编码器:可学习的位置与词元类型,嵌入之后及每个块之后有层归一化,处处有偏置;每个位置有词表上的输出头,"
            "第一个位置另有池化向量。",
        },
        page="bert.py",
        defaults=("BERT-20", "FMT-3"),
        chapters=("bert",),
    ),
    "Transformer": About(
        presented={
            "en": "An encoder and a decoder: one token embedding for both and for the head, sinusoidal positions, a "
            "norm behind each sum, and in each layer of the decoder an attention over the encoder's last layer.",
            "zh": "编码器与解码器:两者与输出头共用一个词元嵌入,正弦位置,每次相加之后归一化,"
            "解码器每层另有对编码器末层的注意力。",
        },
        page="transformer.py",
        defaults=("TRF-26", "FMT-3"),
        chapters=("transformer",),
        options=(("positions", "learned"), ("embedding_norm", True), ("tie_embeddings", False)),
    ),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a bundle, or with `i` in its name one of each layer.

    Attributes:
        shape: its sizes as letters. where: the option that it needs, "" for none.
    """

    name: str
    shape: tuple[str, ...]
    where: str = ""


def named(text: str) -> str | None:
    """The architecture that somebody means: gpt3, GPT and gpt-3 are GPT-3."""
    plain = re.sub(r"[\W_]", "", text.lower())
    spellings = {name: (re.sub(r"\W", "", name.lower()), name.lower().partition("-")[0]) for name in ARCHITECTURES}
    return next((name for name, known in spellings.items() if plain in known), None)


def letter(size: int) -> str:
    """What a size of the small model stands for."""
    letters = {value: each for each, (_, value) in SIZES.items()} | {_SHARED[2]: _SHARED[0]}
    return letters[size]


def tensors(architecture: str) -> list[Tensor]:
    """Every tensor that a bundle may hold, in the order of `layout`; those of an option last."""
    made = [Tensor(name, shape) for name, shape in _shapes(architecture, {}).items()]
    for parameter, value in KNOWN[architecture].options:
        known = {tensor.name for tensor in made}
        where = f"{parameter} {str(value).lower()}"
        more = _shapes(architecture, {parameter: value}).items()
        made += [Tensor(name, shape, where) for name, shape in more if name not in known]
    return made


def _shapes(architecture: str, options: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Names and shapes of a small model with one layer on each side, whose number is written as i."""
    small = {**dict(SIZES.values()), "num_layers": 1, **_SHARED[1], **options}
    config = layout.with_defaults(small, architecture)
    shapes = layout.shapes(config, architecture)
    return {name.replace("layers.0.", "layers.i."): tuple(map(letter, shape)) for name, shape in shapes.items()}


def letters(architecture: str) -> dict[str, str]:
    """Letters that its shapes use, each with its parameter."""
    used = {each for tensor in tensors(architecture) for each in tensor.shape}
    shared = {"G": "num_key_value_heads", "K": "D / num_heads"} if _SHARED[0] in used else {}
    return {each: name for each, (name, _) in SIZES.items() if each in used} | shared


def code(architecture: str) -> str:
    """Path of the page of the reference that computes it."""
    found = find_spec("llmasos")  # not imported: who asks what an architecture is needs none of its numbers
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "architectures" / KNOWN[architecture].page)
