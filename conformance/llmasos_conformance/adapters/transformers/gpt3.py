"""GPT-3 as GPT2LMHeadModel. The runtime has no bands: masks of every second block are narrowed on their way."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
import transformers

from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.transformers.decoder import Decoder
from llmasos_conformance.adapters.transformers.runtime import both, with_weights
from llmasos_conformance.protocol import Array


def load(bundle: kit.KitBundle, dtype: Any, attention: str, device: str) -> Decoder:
    """The bundle in the runtime.

    Raises:
        Refusal: invalid_format, when a weight is too large for the dtype.
    """
    config = bundle.config
    settings = transformers.GPT2Config(
        vocab_size=config["vocab_size"],
        n_positions=config["context_length"],
        n_embd=config["embedding_dim"],
        n_layer=config["num_layers"],
        n_head=config["num_heads"],
        n_inner=config["feed_forward_dim"],
        layer_norm_epsilon=config["layer_norm_epsilon"],
        activation_function="gelu_new",
        tie_word_embeddings=config["tie_embeddings"],
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation=attention,
    )
    module = with_weights(transformers.GPT2LMHeadModel(settings), _named(bundle), dtype, device)
    window = config["local_attention_window"]
    for block in module.transformer.h[1::2] if window is not None else ():
        narrow(block, window)
    return Decoder(bundle, module, _named)


def _named(bundle: kit.KitBundle) -> dict[str, Array]:
    """The weights under the runtime's names. Both put weights right of activations; query, key and value become one."""
    weights = bundle.weights
    named = {
        "transformer.wte.weight": weights["token_embedding"],
        "transformer.wpe.weight": weights["position_embedding"],
        "lm_head.weight": weights["token_embedding" if bundle.config["tie_embeddings"] else "head.weight"],
        **both("transformer.ln_f", "final_norm", weights),
    }
    for i in range(bundle.config["num_layers"]):
        ours, theirs = f"layers.{i}", f"transformer.h.{i}"
        for kind in ("weight", "bias"):
            together = [weights[f"{ours}.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            named[f"{theirs}.attn.c_attn.{kind}"] = np.concatenate(together, axis=-1)
        named |= both(f"{theirs}.attn.c_proj", f"{ours}.attention.output", weights)
        named |= both(f"{theirs}.ln_1", f"{ours}.attention_norm", weights)
        named |= both(f"{theirs}.ln_2", f"{ours}.feed_forward_norm", weights)
        named |= both(f"{theirs}.mlp.c_fc", f"{ours}.feed_forward.up", weights)
        named |= both(f"{theirs}.mlp.c_proj", f"{ours}.feed_forward.down", weights)
    return named


def narrow(block: Any, window: int) -> None:
    """Let a block's queries see the nearest keys alone, their own included."""
    named = inspect.signature(block.forward)

    def hook(_: Any, args: Any, kwargs: Any) -> Any:
        given = named.bind(*args, **kwargs)
        given.arguments["attention_mask"] = banded(given.arguments, block.attn, window)
        return given.args, given.kwargs

    block.register_forward_pre_hook(hook, with_kwargs=True)


def banded(given: dict[str, Any], attention: Any, window: int) -> Any:
    """The mask of a block's call without the keys that are too far; [B or 1, 1, T, S], boolean or added to scores.

    Args:
        given: arguments of the call. Its mask may be None: causal then, as the kernel has it without being told.
    """
    mask, hidden = given.get("attention_mask"), given["hidden_states"]
    T = hidden.shape[-2]
    if mask is None:
        held = next((value for value in given.values() if isinstance(value, transformers.Cache)), None)
        S = T + (held.get_seq_length(attention.layer_idx) if held is not None else 0)
        mask = torch.ones(1, 1, T, S, dtype=torch.bool, device=hidden.device).tril(S - T)
    S = mask.shape[-1]
    near = torch.ones(T, S, dtype=torch.bool, device=hidden.device).triu(S - T - window + 1)  # key > query - window
    if mask.dtype is torch.bool:
        return mask & near
    return mask.masked_fill(~near, torch.finfo(mask.dtype).min)
