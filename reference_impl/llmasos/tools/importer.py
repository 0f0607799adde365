"""A local Hugging Face checkpoint as a bundle.

    model_type   becomes        refused, because the format has nothing of the kind
    gpt2         GPT-3          other activations, scores scaled by layer, cross-attention
    llama        Llama          scaled or partial rotary positions, biases, heads of another width than D/H
    mistral      Llama with a   the same, and windows in some layers only
                 window
    bert         BERT           relative positions, causal or cross-attention
    bart         Transformer    norms in front, other heads or hidden widths on either side, a bias on the head
    marian       Transformer    the same, and separate vocabularies

Weights keep their dtype and every bit; they are transposed, cut and permuted where the format lays them out otherwise
(`links`). What a checkpoint holds and a bundle cannot is an error, unless it means nothing for the function computed.
The bundle is put in its place when all of it is known to be right.

The conversion needs neither torch nor transformers. Where both are installed, the finished bundle is held against the
checkpoint as they load it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from llmasos import weights
from llmasos.bundle import read_bundle, write_bundle
from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, InvalidFormat, NotFound, Unsupported, UnsupportedArchitecture, shown
from llmasos.ops import Array
from llmasos.tokenizer import BYTES, FileTokenizer
from llmasos.tools import links
from llmasos.tools.checkpoint import Checkpoint, Held, Settings, mask_token, read_checkpoint, same, tokenizer_json

TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate")
ACTIVATIONS: Mapping[str, str] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "silu": "silu",
    "swish": "silu",
    **dict.fromkeys(TANH_GELU, "gelu_tanh"),
}
"""Our names of their activations."""

_OF_THE_REQUEST: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id", "bad_words_ids"), ()),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), ([],)),
    **dict.fromkeys(("no_repeat_ngram_size", "min_length", "min_new_tokens"), (0,)),
    "repetition_penalty": (1, 1.0),
}
"""Settings of theirs that change what is generated without being asked, and the values beside null that say nothing; in
the standard they are the caller's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import made.

    Attributes:
        path: of the bundle. document: its model.json.
        tokenizer: where its tokenizer comes from.
        notes: what was left out, or filled in, and why.
        checked: what was compared with transformers and how well it agreed; None if nothing was.
        unchecked: why nothing was compared; empty if something was.
    """

    path: Path
    document: Mapping[str, Any]
    tokenizer: str
    notes: tuple[str, ...]
    checked: Mapping[str, Any] | None
    unchecked: str = ""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One model_type: the family of its tensors, and its settings as an architecture and parameters."""

    family: str
    architecture: str
    parameters: Callable[[Settings], dict[str, Any]]


def import_checkpoint(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    tokenizer: bool = True,
    check: bool = True,
) -> Imported:
    """Turn a checkpoint into a bundle.

    Args:
        source: directory of the checkpoint.
        out: directory of the bundle; absent or empty, its parent must exist.
        name: of the model; None for the name of the source's directory.
        tokenizer: take the tokenizer over, too.
        check: hold the bundle against transformers where it is installed.

    Raises:
        NotFound: no checkpoint, or no place for the bundle.
        InvalidArgument: the place is taken.
        UnsupportedArchitecture: another model_type.
        Unsupported: the checkpoint computes something that the format does not have, or stores its weights in another
            way.
        InvalidFormat: the checkpoint contradicts itself, or the bundle computes something else.
    """
    target = _free(Path(out))
    made = convert(source, name=name, tokenizer=tokenizer)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        bundle = write_bundle(scratch / "bundle", made.document, made.tensors, made.tokenizer_json)
        checked, unchecked = _check(bundle, Path(source), made.absent) if check else (None, "it was not asked for")
        if target.exists():
            target.rmdir()
        bundle.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Imported(
        path=target,
        document=made.document,
        tokenizer=made.origin,
        notes=tuple(made.notes),
        checked=checked,
        unchecked=unchecked,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A checkpoint in the terms of a bundle.

    Attributes:
        document: model.json. tensors: by our names. tokenizer_json: content of the file, None for none.
        origin: where the tokenizer comes from. notes: as in Imported.
        absent: beginnings of their names of parts that the checkpoint lacks.
    """

    document: dict[str, Any]
    tensors: Mapping[str, Array]
    tokenizer_json: bytes | None
    origin: str
    notes: list[str]
    absent: Sequence[str]


def convert(source: str | os.PathLike[str], *, name: str | None = None, tokenizer: bool = True) -> Converted:
    """A checkpoint in the terms of a bundle, nothing written; arguments and errors as `import_checkpoint`."""
    checkpoint = read_checkpoint(source)
    model_type = checkpoint.config.text("model_type", "")
    kind = _KINDS.get(model_type)
    if kind is None:
        raise UnsupportedArchitecture(
            f"model_type {model_type!r:.60} is not imported", checkpoint.config.where, f"one of {', '.join(_KINDS)}"
        )
    if checkpoint.config.given.get("quantization_config") is not None:
        where = f"{checkpoint.config.where} quantization_config"
        raise Unsupported("quantised weights are not read", where, "import the original")
    raw, origin = tokenizer_json(checkpoint, model_type) if tokenizer else (None, "left out")
    notes: list[str] = []
    document = _document(checkpoint, kind, name or _name(checkpoint), raw, notes)
    config = ModelConfig.from_document(document, f"{checkpoint.config.where} as model.json")
    if raw is not None:
        _fits(raw, config)
    elif config.vocab_size >= BYTES:
        notes.append("no tokenizer: ids below 256 are bytes to the bundle, whatever they were to the checkpoint")
    absent = _absent_parts(checkpoint, kind.family, notes)
    tensors = _tensors(checkpoint, kind.family, config, absent, notes)
    document["metadata"] = {"imported": {"from": "Hugging Face", "model_type": model_type, "notes": notes}}
    return Converted(document=document, tensors=tensors, tokenizer_json=raw, origin=origin, notes=notes, absent=absent)


def _free(target: Path) -> Path:
    """A place where a bundle can be put."""
    if not target.parent.is_dir():
        raise NotFound(f"{target.parent} is no directory", "out", "make it first")
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise InvalidArgument(f"{target} is taken", "out", "give a directory that is absent or empty")
    return target


def _name(checkpoint: Checkpoint) -> str:
    return checkpoint.directory.resolve().name or "imported"


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _activation(settings: Settings, key: str, default: str, allowed: Sequence[str]) -> str:
    """Our name of an activation.

    Raises:
        Unsupported: the architecture does not have it.
    """
    theirs = settings.text(key, default)
    ours = ACTIVATIONS.get(theirs)
    if ours not in allowed:
        hint = f"the format has {', '.join(name for name, known in ACTIVATIONS.items() if known in allowed)} here"
        raise Unsupported(f"activation {theirs!r:.60} is not supported", f"{settings.where} {key}", hint)
    assert ours is not None
    return ours


def _gpt2(settings: Settings) -> dict[str, Any]:
    settings.demand("scale_attn_weights", [True, None], "scores are divided by the root of the head width")
    settings.demand("scale_attn_by_inverse_layer_idx", [False, None], "scores are not scaled by layer")
    settings.demand("add_cross_attention", [False, None], "a GPT-3 is a decoder alone")
    D = settings.size("n_embd", 768)
    return {
        "vocab_size": settings.size("vocab_size", 50257),
        "embedding_dim": D,
        "num_layers": settings.size("n_layer", 12),
        "num_heads": settings.size("n_head", 12),
        "feed_forward_dim": settings.size("n_inner", 4 * D),
        "context_length": settings.size("n_positions", 1024),
        "layer_norm_epsilon": settings.number("layer_norm_epsilon", 1e-5),
        "activation": _activation(settings, "activation_function", "gelu_new", ("gelu_tanh",)),
        "tie_embeddings": settings.flag("tie_word_embeddings", True),
    }


def _llama(settings: Settings, *, window: bool = False) -> dict[str, Any]:
    for key in ("attention_bias", "mlp_bias"):
        settings.demand(key, [False, None], "Llama has no biases")
    D, H = settings.size("hidden_size", 4096), settings.size("num_attention_heads", 32)
    if D % H or settings.size("head_dim", D // H) != D // H:
        what = f"heads of width {settings.size('head_dim', 0)}" if D % H == 0 else f"{H} heads"
        raise Unsupported(f"{what} do not fill the width {D}", f"{settings.where} head_dim", "heads of width D/H")
    parameters = {
        "vocab_size": settings.size("vocab_size", 32000),
        "embedding_dim": D,
        "num_layers": settings.size("num_hidden_layers", 32),
        "num_heads": H,
        "feed_forward_dim": settings.size("intermediate_size", 14336 if window else 11008),
        "context_length": settings.size("max_position_embeddings", 131072 if window else 2048),
        "num_key_value_heads": settings.size("num_key_value_heads", 8 if window else H),
        "rms_norm_epsilon": settings.number("rms_norm_eps", 1e-6),
        "rope_theta": _rope_theta(settings),
        "activation": _activation(settings, "hidden_act", "silu", ("silu",)),
        "tie_embeddings": settings.flag("tie_word_embeddings", False),
    }
    if window:
        kinds = settings.given.get("layer_types") or []
        if not isinstance(kinds, list) or any(kind != "sliding_attention" for kind in kinds):
            raise Unsupported(
                "windows in some layers only", f"{settings.where} layer_types", "one window for all layers"
            )
        # Absent is their default and null is none, which `size` cannot tell apart.
        none = "sliding_window" in settings.given and settings.given["sliding_window"] is None
        parameters["sliding_window"] = None if none else settings.size("sliding_window", 4096)
    return parameters


def _rope_theta(settings: Settings) -> float:
    """Base of the rotary positions, which stands in one of two places.

    Raises:
        Unsupported: the positions are scaled, or turn a part of the channels only.
    """
    theta = settings.number("rope_theta", 10000.0)
    settings.demand("partial_rotary_factor", [1.0, 1, None], "all channels of a head are turned")
    for key in ("rope_parameters", "rope_scaling"):
        members = settings.given.get(key)
        if members is None:
            continue
        if not isinstance(members, dict):
            raise InvalidFormat(f"expected an object, found {shown(members)}", f"{settings.where} {key}")
        inner = Settings(members, f"{settings.where} {key}")
        for name in ("rope_type", "type"):
            inner.demand(name, ["default", None], "rotary positions are not scaled")
        inner.demand("factor", [1.0, 1, None], "rotary positions are not scaled")
        inner.demand("partial_rotary_factor", [1.0, 1, None], "all channels of a head are turned")
        theta = inner.number("rope_theta", theta)
    return theta


def _bert(settings: Settings) -> dict[str, Any]:
    settings.demand("position_embedding_type", ["absolute", None], "positions are learned and absolute")
    for key in ("is_decoder", "add_cross_attention"):
        settings.demand(key, [False, None], "BERT sees both ways and nothing else")
    return {
        "vocab_size": settings.size("vocab_size", 30522),
        "embedding_dim": settings.size("hidden_size", 768),
        "num_layers": settings.size("num_hidden_layers", 12),
        "num_heads": settings.size("num_attention_heads", 12),
        "feed_forward_dim": settings.size("intermediate_size", 3072),
        "context_length": settings.size("max_position_embeddings", 512),
        "type_vocab_size": settings.size("type_vocab_size", 2),
        "layer_norm_epsilon": settings.number("layer_norm_eps", 1e-12),
        "activation": _activation(settings, "hidden_act", "gelu", ("gelu", "gelu_tanh", "relu")),
        "tie_embeddings": settings.flag("tie_word_embeddings", True),
    }


def _encoder_decoder(settings: Settings, *, bart: bool) -> dict[str, Any]:
    settings.demand("normalize_before", [False, None], "norms stand behind the blocks")
    settings.demand("add_final_layer_norm", [False, None], "no norm stands behind the last block's own")
    settings.demand(
        "normalize_embedding", [bart, None], "the embeddings of BART have a norm, those of Marian have none"
    )
    settings.demand("static_position_embeddings", [not bart, None], "BART's positions are learned, Marian's are not")
    settings.demand("is_encoder_decoder", [True, None], "a Transformer has both")
    sides = {
        "num_heads": ("attention_heads", 16),
        "feed_forward_dim": ("ffn_dim", 4096),
    }
    shared = {}
    for ours, (theirs, default) in sides.items():
        encoder, decoder = (settings.size(f"{side}_{theirs}", default) for side in ("encoder", "decoder"))
        if encoder != decoder:
            raise Unsupported(
                f"encoder has {encoder}, decoder {decoder}",
                f"{settings.where} decoder_{theirs}",
                "the same on both sides",
            )
        shared[ours] = encoder
    return {
        "vocab_size": settings.size("vocab_size", 50265 if bart else 58101),
        "embedding_dim": settings.size("d_model", 1024),
        "num_layers": settings.size("encoder_layers", 12),
        "num_decoder_layers": settings.size("decoder_layers", 12),
        **shared,
        "context_length": settings.size("max_position_embeddings", 1024),
        "layer_norm_epsilon": 1e-5,  # of torch's LayerNorm, which their settings do not name
        "positions": "learned" if bart else "sinusoidal",
        "embedding_norm": bart,
        "scale_embeddings": settings.flag("scale_embedding", False),
        "activation": _activation(settings, "activation_function", "gelu", ("relu", "gelu", "gelu_tanh", "silu")),
        "tie_embeddings": settings.flag("tie_word_embeddings", True),
    }


def _marian(settings: Settings) -> dict[str, Any]:
    parameters = _encoder_decoder(settings, bart=False)
    settings.demand("share_encoder_decoder_embeddings", [True, None], "source and target share one embedding")
    settings.demand("decoder_vocab_size", [parameters["vocab_size"], None], "source and target share one vocabulary")
    return parameters


_KINDS: Mapping[str, _Kind] = {
    "gpt2": _Kind("gpt2", "GPT-3", _gpt2),
    "llama": _Kind("llama", "Llama", _llama),
    "mistral": _Kind("llama", "Llama", lambda settings: _llama(settings, window=True)),
    "bert": _Kind("bert", "BERT", _bert),
    "bart": _Kind("bart", "Transformer", lambda settings: _encoder_decoder(settings, bart=True)),
    "marian": _Kind("marian", "Transformer", _marian),
}
_STARTS: Mapping[str, Mapping[str, int]] = {
    "gpt2": {"bos_token_id": 50256, "eos_token_id": 50256},
    "llama": {"bos_token_id": 1, "eos_token_id": 2},
    "mistral": {"bos_token_id": 1, "eos_token_id": 2},
    "bert": {},
    "bart": {"bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2},
    "marian": {"eos_token_id": 0, "decoder_start_token_id": 58100},
}
"""Ids that a config.json means when it leaves them out."""


def _document(checkpoint: Checkpoint, kind: _Kind, name: str, raw: bytes | None, notes: list[str]) -> dict[str, Any]:
    """model.json of a checkpoint."""
    parameters = kind.parameters(checkpoint.config)
    V = parameters["vocab_size"]
    bos, eos = (_ids(checkpoint, key, V, notes) for key in ("bos_token_id", "eos_token_id"))
    parameters |= {"bos_token_id": bos[0] if bos else None, "eos_token_ids": list(dict.fromkeys(eos))}
    if kind.architecture == "Transformer":
        start = _ids(checkpoint, "decoder_start_token_id", V, notes)
        if not start:
            where = f"{checkpoint.config.where} decoder_start_token_id"
            raise InvalidFormat("no id of the vocabulary starts a target", where, "name one in generation_config.json")
        parameters["decoder_start_token_id"] = start[0]
    if kind.architecture == "BERT":
        mask = mask_token(checkpoint, raw)
        if mask is not None and not 0 <= mask < V:
            notes.append(f"mask_token_id {mask} is outside the vocabulary and was left out")
            mask = None
        parameters["mask_token_id"] = mask
    asked = [key for key, nothing in _OF_THE_REQUEST.items() if _set(checkpoint, key) not in (None, *nothing)]
    if asked:
        notes.append(f"left to the request, not taken over: {', '.join(asked)}")
    return {"name": name, "version": "1.0", "architecture": kind.architecture, "parameters": parameters}


def _ids(checkpoint: Checkpoint, key: str, V: int, notes: list[str]) -> list[int]:
    """Ids that a checkpoint gives a meaning; those outside the vocabulary can never occur and are left out."""
    found = checkpoint.generation.ids(key)
    if found is None:
        found = checkpoint.config.ids(key)
    if found is None and key not in {**checkpoint.config.given, **checkpoint.generation.given}:
        default = _STARTS[checkpoint.config.given["model_type"]].get(key)
        found = None if default is None else [default]
    outside = [token for token in found or [] if not 0 <= token < V]
    if outside:
        notes.append(f"{key} {outside[0]} is outside the vocabulary and was left out")
    return [token for token in found or [] if token not in outside]


def _set(checkpoint: Checkpoint, key: str) -> Any:
    """A setting for generation, from the file that speaks first."""
    return checkpoint.generation.given.get(key, checkpoint.config.given.get(key))


def _fits(raw: bytes, config: ModelConfig) -> None:
    """Refuse a tokenizer that does not go with the vocabulary."""
    try:
        FileTokenizer(raw, config.vocab_size)
    except InvalidFormat as error:
        raise InvalidFormat(error.what, error.where, "mend it, or import without a tokenizer") from None


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_BUFFERS: Mapping[str, str] = {
    "gpt2": r"h\.\d+\.attn\.(bias|masked_bias)",
    "llama": r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",
    "bert": r"embeddings\.(position_ids|token_type_ids)",
    "bart": r"(encoder|decoder)\.version",
    "marian": r"(encoder|decoder)\.version",
}
"""Tensors that follow from the settings."""

_LEFT_OUT: Mapping[str, tuple[str, str]] = {
    "bert": ("cls.seq_relationship.", "the head that tells whether two texts follow each other"),
}
_PARTS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "bert": {
        "cls.predictions.": ("head over the vocabulary", "every logit is 0"),
        "pooler.": ("pooler", "every pooled vector is 0"),
    }
}
"""Parts that a family may lack as a whole; they are filled with zeros, and what that means."""


def _tensors(
    checkpoint: Checkpoint, family: str, config: ModelConfig, absent: Sequence[str], notes: list[str]
) -> dict[str, Array]:
    """The bundle's tensors."""
    held = _named(checkpoint, family)
    expected = weights.expected_tensors(config)
    tensors: dict[str, Array] = {}
    used: set[str] = set()
    for link in links.links(family, config):
        names = [name for name in link.theirs if name in held]
        if not names and link.theirs[0].startswith(tuple(absent)):
            tensors |= {name: _neutral(name, expected[name]) for name in link.ours}
            continue
        if not names:
            where = checkpoint.directory.name
            raise InvalidFormat(f"tensor {link.theirs[0]!r} is missing", where, "fetch the whole checkpoint")
        for name in names:
            if held[name].entry.shape != link.shape(expected):
                found, due = list(held[name].entry.shape), list(link.shape(expected))
                raise InvalidFormat(f"shape {found}, config.json needs {due}", f"{held[name].file.name} {name}")
        arrays = [held[name].read(name) for name in (names[:1] if link.first else names)]
        if not same(arrays):
            hint = "a bundle has one tensor for both; or tie_word_embeddings of config.json is wrong"
            raise InvalidFormat(f"{names[0]} and {names[-1]} differ", held[names[0]].file.name, hint)
        tensors |= link.split(arrays[0])
        used |= set(names)
    if family == "marian":
        tensors = links.reordered(tensors, links.channel_order(config.embedding_dim))
    _rest(family, config, {name: where for name, where in held.items() if name not in used}, notes)
    return tensors


def _named(checkpoint: Checkpoint, family: str) -> dict[str, Held]:
    """The tensors by the names of `links`: without the prefix, and with today's names of norms."""
    named: dict[str, Held] = {}
    for name, where in checkpoint.tensors.items():
        short = name.removeprefix(links.PREFIX[family])
        short = re.sub(
            r"\bLayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"\bLayerNorm\.beta$", "LayerNorm.bias", short)
        )
        if short in named:
            raise InvalidFormat(f"{short!r:.80} is there twice, with and without a prefix", where.file.name)
        named[short] = where
    return named


def _absent_parts(checkpoint: Checkpoint, family: str, notes: list[str]) -> list[str]:
    """Beginnings of the names of parts that are not there at all."""
    held, parts = _named(checkpoint, family), _PARTS.get(family, {})
    absent = [prefix for prefix in parts if not any(name.startswith(prefix) for name in held)]
    notes += [f"no {parts[prefix][0]} in the checkpoint: {parts[prefix][1]}" for prefix in absent]
    return absent


def _neutral(name: str, shape: tuple[int, ...]) -> Array:
    """A tensor of a part that is absent: zeros, and a norm that changes nothing."""
    return np.ones(shape, np.float32) if name.endswith("norm.weight") else np.zeros(shape, np.float32)


def _rest(family: str, config: ModelConfig, rest: Mapping[str, Held], notes: list[str]) -> None:
    """Judge what no link asked for.

    Raises:
        Unsupported: a bias on the head, or other positions than Marian's.
        InvalidFormat: a tensor that has no place.
    """
    prefix, what = _LEFT_OUT.get(family, ("\0", ""))
    for name, where in rest.items():
        place = f"{where.file.name} {name}"
        if re.fullmatch(_BUFFERS[family], name):
            continue
        if name.startswith(prefix):
            if (note := f"left out: {what}") not in notes:
                notes.append(note)
        elif name == "final_logits_bias" and family in ("bart", "marian"):
            if np.any(where.read(name) != 0):
                raise Unsupported("the head has a bias that is not 0", place, "a Transformer's head has none")
        elif family == "marian" and name.endswith("embed_positions.weight"):
            _demand_sinusoids(where, name, place, config)
        else:
            raise InvalidFormat(
                f"{name!r:.80} has no place in {config.architecture}",
                where.file.name,
                "a head for another task, perhaps",
            )


def _demand_sinusoids(where: Held, name: str, place: str, config: ModelConfig) -> None:
    array = where.read(name)
    due = links.half_split_sinusoids(len(array), config.embedding_dim) if array.ndim == 2 else None
    # Rounded to the dtype, and before that perhaps to float32.
    tolerance = {"F64": 2.0**-22, "F32": 2.0**-22, "F16": 2.0**-10, "BF16": 2.0**-7}[where.entry.dtype]
    if due is None or array.shape != due.shape or np.max(np.abs(array.astype(np.float64) - due)) > tolerance:
        raise Unsupported("positions are not sinusoids, sines in front", place, "Marian's are")


# ── the check ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _check(bundle: Path, source: Path, absent: Sequence[str]) -> tuple[Mapping[str, Any] | None, str]:
    """Compare a finished bundle with what transformers makes of the checkpoint, but for the parts that it lacks."""
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        return None, f"{missing[0]} is not installed (pip install 'llmasos[runtimes]')"
    from llmasos.tools import original

    return original.compare(read_bundle(bundle), source, absent), ""
