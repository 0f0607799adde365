"""A bundle's weights in Hugging Face's own models: witnesses that we did not write.

    architecture    model                          what of it is not float64 in float64
    GPT-3           GPT2LMHeadModel                nothing; of a banded one every second block gets its mask by a hook
    BERT            BertForMaskedLM, and a pooler  nothing
    Transformer     MarianMTModel                  its table of positions, which is replaced
    Transformer     BartForConditionalGeneration   nothing
    Llama           LlamaForCausalLM               RMS norm, angles of rotary positions, and eager attention's softmax
    Llama, windows  MistralForCausalLM             the same

GPT-Neo is no witness of a banded GPT-3: it has no query bias and computes attention in float32.

Two libraries that agree on random weights agree on the formula; where theirs has a float32 step, agreement ends at
float32. `exact=True` replaces those steps of Llama, so that the rest of their code can be compared in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from llmasos import weights as stored
from llmasos.architectures import ENCODER, ENCODER_DECODER, KIND
from llmasos.bundle import Bundle
from llmasos.config import ModelConfig
from llmasos.errors import Unsupported
from llmasos.ops import Array
from llmasos.tools import links

try:
    import torch
    import transformers
    from torch import nn
    from transformers.models.bert.modeling_bert import BertPooler
except ImportError as error:
    raise Unsupported(f"{error.name} is not installed", "witness", "pip install 'llmasos[runtimes]'") from None

ACTIVATION = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
"""Their names of our activations."""


class Witness:
    """One of their models beside a configuration of ours.

    Attributes:
        module: theirs. config: ours.
    """

    def __init__(self, module: Any, config: ModelConfig) -> None:
        self.module, self.config = module, config

    def logits(
        self, ids: Sequence[int], *, source: Sequence[int] | None = None, types: Sequence[int] | None = None
    ) -> Array:
        """[T, V] of one row."""
        with torch.inference_mode():
            if KIND[self.config.architecture] == ENCODER_DECODER:
                answer = self.module(
                    input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([ids]), use_cache=False
                )
            elif KIND[self.config.architecture] == ENCODER:
                kinds = torch.zeros(1, len(ids), dtype=torch.long) if types is None else torch.tensor([types])
                answer = self.module(input_ids=torch.tensor([ids]), token_type_ids=kinds)
            else:
                answer = self.module(input_ids=torch.tensor([ids]), use_cache=False)
        found: Array = answer.logits[0].numpy()
        return found

    def encoded(self, ids: Sequence[int], types: Sequence[int]) -> tuple[Array, Array]:
        """What leaves BERT's last block [T, D], and its pooled output [D]."""
        with torch.inference_mode():
            answer = self.module.bert(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
            return answer.last_hidden_state[0].numpy(), answer.pooler_output[0].numpy()

    def generate(self, ids: Sequence[int], count: int, *, refused: Sequence[int] = (), **options: Any) -> list[int]:
        """New ids by their own loop, an end of sequence included; `ids` is the source of a Transformer.

        Args:
            refused: ids that are not chosen. options: of their GenerationConfig.
        """
        settings = transformers.GenerationConfig(
            do_sample=False,
            max_new_tokens=count,
            eos_token_id=list(self.config.eos_token_ids) or None,
            pad_token_id=0,  # fills what ended early, and is cut off
            decoder_start_token_id=self.config.decoder_start_token_id,
            suppress_tokens=list(refused) or None,
            # Their cache of a window of one position keeps all: it slices from -0.
            use_cache=self.config.sliding_window != 1,
            **options,
        )
        given = torch.tensor([ids])
        with torch.inference_mode():
            made = self.module.generate(given, attention_mask=torch.ones_like(given), generation_config=settings)
        start = 1 if KIND[self.config.architecture] == ENCODER_DECODER else len(ids)
        new: list[int] = made[0, start:].tolist()
        ends = [i for i, token in enumerate(new) if token in self.config.eos_token_ids]
        return new[: ends[0] + 1] if ends else new


def carrying(bundle: Bundle, dtype: str = "float64", *, exact: bool = False, attention: str = "sdpa") -> Witness:
    """Their model with a bundle's weights.

    Args:
        bundle: its weights, or those of its seed.
        dtype: "float64" or "float32".
        exact: for Llama, norm and rotary angles in the dtype of the rest.
        attention: "eager" or "sdpa".

    Raises:
        Unsupported: none of their models computes this configuration.
    """
    config, family = bundle.config, family_of(bundle)
    given = bundle.weights if bundle.weights is not None else stored.initialise(config)
    weights = {name: stored.in_dtype(array, dtype, name) for name, array in given.items()}
    if family == "marian":
        weights = links.reordered(weights, np.argsort(links.channel_order(config.embedding_dim)))
    module = _BUILDERS[family](config, attention).to(getattr(torch, dtype)).eval()
    module.generation_config = transformers.GenerationConfig()
    _load(module, family, config, weights)
    if family == "marian":
        replace_positions(module, config)
    if family == "gpt2" and config.local_attention_window is not None:
        _band(module, config.local_attention_window)
    if family == "llama" and exact:
        without_float32(module, config)
    return Witness(module, config)


def family_of(bundle: Bundle) -> str:
    """Which of their families computes what a bundle asks for.

    Raises:
        Unsupported: none does.
    """
    config = bundle.config
    if config.architecture == "Transformer":
        kind = (config.positions, config.embedding_norm)
        family = {("learned", True): "bart", ("sinusoidal", False): "marian"}.get(kind)
        if family is None:
            what = f"{config.positions} positions with{'' if config.embedding_norm else 'out'} embedding_norm"
            raise Unsupported(f"no model of Hugging Face has {what}", "model.json parameters", "ask the torch twin")
        return family
    return {"GPT-3": "gpt2", "BERT": "bert", "Llama": "llama"}[config.architecture]


def _load(module: Any, family: str, config: ModelConfig, ours: Mapping[str, Array]) -> None:
    """Put the weights in, under all names that theirs have."""
    theirs = module.state_dict()
    state: dict[str, Any] = {}
    for link in links.links(family, config):
        tensor = torch.tensor(np.ascontiguousarray(link.join(ours)))
        names = [each for name in link.theirs for each in (name, links.PREFIX[family] + name)]
        state |= {name: tensor for name in names if name in theirs}
    # No weights of ours: a bias that the format does not have, and Marian's table of positions.
    state |= {name: torch.zeros_like(theirs[name]) for name in theirs if name == "final_logits_bias"}
    state |= {name: theirs[name] for name in theirs if name.endswith("embed_positions.weight") and name not in state}
    module.load_state_dict(state, strict=True)


def _gpt2(config: ModelConfig, attention: str) -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.embedding_dim,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            n_inner=config.feed_forward_dim,
            activation_function="gelu_new",
            layer_norm_epsilon=config.layer_norm_epsilon,
            tie_word_embeddings=config.tie_embeddings,
            bos_token_id=None,
            eos_token_id=None,
            # A band is added to a mask of numbers, which eager attention has.
            attn_implementation="eager" if config.local_attention_window is not None else attention,
        )
    )


def _llama(config: ModelConfig, attention: str) -> Any:
    sizes = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embedding_dim,
        "intermediate_size": config.feed_forward_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
        "attn_implementation": attention,
    }
    if config.sliding_window is None:
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    return transformers.MistralForCausalLM(transformers.MistralConfig(**sizes, sliding_window=config.sliding_window))


def _bert(config: ModelConfig, attention: str) -> Any:
    settings = transformers.BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.embedding_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.feed_forward_dim,
        hidden_act=ACTIVATION[config.activation],
        max_position_embeddings=config.context_length,
        type_vocab_size=config.type_vocab_size,
        layer_norm_eps=config.layer_norm_epsilon,
        tie_word_embeddings=config.tie_embeddings,
        attn_implementation=attention,
    )
    module = transformers.BertForMaskedLM(settings)
    module.bert.pooler = BertPooler(settings)  # which the model with a head leaves out
    return module


def _encoder_decoder(config: ModelConfig, attention: str, kinds: tuple[Any, Any]) -> Any:
    settings, model = kinds
    module = model(
        settings(
            vocab_size=config.vocab_size,
            d_model=config.embedding_dim,
            encoder_layers=config.num_layers,
            decoder_layers=config.num_decoder_layers,
            encoder_attention_heads=config.num_heads,
            decoder_attention_heads=config.num_heads,
            encoder_ffn_dim=config.feed_forward_dim,
            decoder_ffn_dim=config.feed_forward_dim,
            max_position_embeddings=config.context_length,
            activation_function=ACTIVATION[config.activation],
            scale_embedding=config.scale_embeddings,
            tie_word_embeddings=config.tie_embeddings,
            decoder_start_token_id=config.decoder_start_token_id,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
            forced_eos_token_id=None,
            attn_implementation=attention,
        )
    )
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = config.layer_norm_epsilon  # which their configuration cannot say
    return module


def _marian(config: ModelConfig, attention: str) -> Any:
    return _encoder_decoder(config, attention, (transformers.MarianConfig, transformers.MarianMTModel))


def _bart(config: ModelConfig, attention: str) -> Any:
    return _encoder_decoder(config, attention, (transformers.BartConfig, transformers.BartForConditionalGeneration))


_BUILDERS = {"gpt2": _gpt2, "llama": _llama, "bert": _bert, "marian": _marian, "bart": _bart}


# ── steps of theirs that we change ──────────────────────────────────────────────────────────────────────────────────


def replace_positions(module: Any, config: ModelConfig) -> None:
    """Put Marian's table of positions in place of the one that is rounded to float32.

    Raises:
        Unsupported: theirs is another table.
    """
    exact = torch.tensor(links.half_split_sinusoids(config.context_length, config.embedding_dim))
    for side in (module.model.encoder, module.model.decoder):
        own = side.embed_positions.create_weight().double()
        if not torch.allclose(own, exact, rtol=0, atol=2.0**-23):
            raise Unsupported("Marian's positions are not the sinusoids that they were", "transformers")
        side.embed_positions.weight = nn.Parameter(exact.to(module.dtype), requires_grad=False)


def _band(module: Any, window: int) -> None:
    """Every second block of GPT-2, from the second on, sees the nearest keys alone."""

    def banded(block: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = kwargs["attention_mask"]  # [B, 1, T, S], added to the scores
        T, S = mask.shape[-2:]
        far = torch.arange(S)[None, :] <= torch.arange(S - T, S)[:, None] - window
        return args, {**kwargs, "attention_mask": mask.masked_fill(far, torch.finfo(mask.dtype).min)}

    for block in module.transformer.h[1::2]:
        block.attn.register_forward_pre_hook(banded, with_kwargs=True)


class _RMSNorm(nn.Module):
    """Their norm without its detour through float32."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.weight, self.epsilon = theirs.weight, theirs.variance_epsilon

    def forward(self, x: Any) -> Any:
        return nn.functional.rms_norm(x, x.shape[-1:], self.weight, self.epsilon)


class _Rotary(nn.Module):
    """Their rotary angles without float32."""

    def __init__(self, K: int, theta: float) -> None:
        super().__init__()
        self.frequency = theta ** (-torch.arange(0, K, 2, dtype=torch.float64) / K)

    def forward(self, x: Any, position_ids: Any) -> tuple[Any, Any]:
        angle = position_ids[..., None].double() * self.frequency
        both = torch.cat([angle, angle], dim=-1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)


FLOAT32_STEPS = ("norm", "rotary")
"""Steps of Llama and Mistral that are float32 in any dtype; a third, softmax, is so in eager attention and not in sdpa.
Over 56 drawn configurations the largest error relative to the spread is 6.4e-6, with the norm replaced 5.5e-6, with
both replaced 1.6e-14; eager attention then still has 1.6e-6."""


def without_float32(module: Any, config: ModelConfig, steps: Sequence[str] = FLOAT32_STEPS) -> None:
    """Replace float32 steps of Llama or Mistral by the same in the dtype of the rest."""
    model = module.model
    if "norm" in steps:
        for layer in model.layers:
            layer.input_layernorm = _RMSNorm(layer.input_layernorm)
            layer.post_attention_layernorm = _RMSNorm(layer.post_attention_layernorm)
        model.norm = _RMSNorm(model.norm)
    if "rotary" in steps:
        model.rotary_emb = _Rotary(config.head_dim, config.rope_theta)


# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def text_of(raw: bytes) -> tuple[Callable[[str], list[int]], Callable[[list[int]], str]]:
    """Text to ids and ids to text by their tokenizer class, for the content of a tokenizer.json."""
    import tokenizers

    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(raw.decode()))

    def decode(ids: list[int]) -> str:
        return str(theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return lambda text: list(theirs(text, add_special_tokens=False)["input_ids"]), decode
