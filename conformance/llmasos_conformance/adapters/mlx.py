"""MLX as a candidate: Llama, as mlx-lm has it, with a bundle's weights, on the processor.

    mlx             float32
    mlx:DTYPE       float64, bfloat16, float16

mlx-lm's GPT-2 takes one width of the feed-forward, one activation and a tied head alone, so that GPT-3 is not declared;
nor is a window, because its Llama does not start where every layer has one.

The runtime's own: logits of a padded batch, the cache of a session, greedy decoding of one prompt (`generate_step`).
The adapter kit's, and declared: the bundle format, text, stop strings, streaming, sampling, batches one after another.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmasos_conformance.adapters import kit
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import Array, Claims, Description, Generation

try:
    import mlx.core as mx
    import mlx_lm
    from mlx_lm.generate import generate_step
    from mlx_lm.models import cache, llama
except ImportError as error:
    raise AddressError(f"{error.name} is not installed", where="mlx", hint="pip install 'llmasos[mlx]'") from None

DTYPES = ("float32", "float64", "bfloat16", "float16")
PAD = 0
"""Fills short rows behind their end, where a causal model does not look."""
_OFFERED = (
    "load_model", "tokenize", "forward", "session", "generate_ids", "batch", "score", "stream", "stop", "seed",
    "top_k", "top_p", "min_p", "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty", "logprobs",
    "beams", "perplexity",
)  # fmt: skip

Rows = Sequence[Sequence[int]]


class MlxAdapter:
    """mlx-lm on the processor.

    Args:
        argument: a dtype; "" is "float32".

    Raises:
        AddressError: no such variant.
    """

    def __init__(self, argument: str = "") -> None:
        self.dtype = argument or "float32"
        if self.dtype not in DTYPES:
            hint = f"mlx:DTYPE with {', '.join(DTYPES)}"
            raise AddressError(f"no such variant: {argument!r:.60}", where=f"mlx:{argument}", hint=hint)
        mx.set_default_device(mx.cpu)

    def describe(self) -> Description:
        return Description(
            name="mlx-lm",
            version=mlx_lm.__version__,
            capabilities=frozenset(_OFFERED),
            claims=Claims(dtype=self.dtype, determinism="D1"),
            emulated={
                **kit.emulated("session", "generate_ids"),
                "generate_ids beyond greedy": "sampling, shaped logits and log-probabilities loop in the kit",
            },
            runtime={"mlx": mx.__version__, "mlx-lm": mlx_lm.__version__, "numpy": np.__version__},
            architectures=("Llama",),
        )

    def load_model(self, path: str) -> Any:
        bundle = kit.read_bundle(path, ("Llama",))
        return Decoder(bundle, _loaded(bundle, self.dtype))


def _loaded(bundle: kit.KitBundle, dtype: str) -> Any:
    """The bundle in the runtime.

    Raises:
        Refusal: invalid_format, when a weight is too large for the dtype.
    """
    config = bundle.config
    settings = {
        "model_type": "llama",
        "hidden_size": config["embedding_dim"],
        "num_hidden_layers": config["num_layers"],
        "intermediate_size": config["feed_forward_dim"],
        "num_attention_heads": config["num_heads"],
        "num_key_value_heads": config["num_key_value_heads"],
        "rms_norm_eps": config["rms_norm_epsilon"],
        "vocab_size": config["vocab_size"],
        "max_position_embeddings": config["context_length"],
        "rope_theta": config["rope_theta"],
        "tie_word_embeddings": config["tie_embeddings"],
    }
    model = llama.Model(llama.ModelArgs.from_dict(settings))
    kit.refuse_large(bundle.weights, dtype)
    named = {_name(name): mx.array(_turned(name, array), getattr(mx, dtype)) for name, array in bundle.weights.items()}
    model.load_weights(list(model.sanitize(named).items()))
    model.eval()
    mx.eval(model.parameters())
    return model


_NAMES = {
    "token_embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm",
    "head": "lm_head",
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}


def _name(ours: str) -> str:
    """The runtime's name of a tensor."""
    if ours in _NAMES:
        return _NAMES[ours]
    part, _, kind = ours.rpartition(".")
    if not part.startswith("layers."):
        return f"{_NAMES[part]}.{kind}"
    _, layer, part = part.split(".", 2)
    return f"model.layers.{layer}.{_NAMES[part]}.{kind}"


def _turned(name: str, array: Array) -> Array:
    """A linear map stands left of activations in the runtime."""
    return array.T if array.ndim == 2 and name not in ("token_embedding", "head.weight") else array


class Decoder(kit.KitModel):
    """Llama in the runtime."""

    def __init__(self, bundle: kit.KitBundle, model: Any) -> None:
        super().__init__(bundle)
        self._model = model

    def forward(self, batch: Rows, sources: Any = None, types: Any = None) -> list[Array]:
        """One padded call for all rows; the padding's logits are cut off."""
        kit.refuse_beside(sources=sources, types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        if not rows:
            return []
        T = max(map(len, rows))
        logits = numbers(self._model(mx.array([[*row, *[PAD] * (T - len(row))] for row in rows])))
        return [made[: len(row)] for made, row in zip(logits, rows, strict=True)]

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Session:
        kit.refuse_beside(source=source)
        return Session(self._model, self.config, ids)

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        request = kit.check_request(self.config, max_length, temperature, options)
        if not request.greedy or request.shapes:
            return super().generate_ids(ids, max_length, temperature, **options)
        prompt = self.prompt(ids)
        made = list[int]()
        steps = generate_step(mx.array(prompt), self._model, max_tokens=self.limit(prompt, request))
        for token, _ in steps:
            made.append(int(token))
            if made[-1] in self.config["eos_token_ids"]:
                break
        return self.generation(prompt, made)


class Session:
    """The runtime's cache. A fork copies it."""

    def __init__(self, model: Any, config: Any, ids: Sequence[int]) -> None:
        self._model, self._config, self._length = model, config, 0
        self._cache: Any = cache.make_prompt_cache(model)
        self.logits = self.extend(ids)

    def extend(self, ids: Sequence[int]) -> Array:
        held = kit.still_open(self._cache)
        new = kit.check_ids(self._config, ids, held=self._length)
        self.logits = numbers(self._model(mx.array([new]), cache=held))[0]
        self._length += len(new)
        return self.logits

    def fork(self) -> Session:
        held = kit.still_open(self._cache)
        twin = object.__new__(Session)
        twin.__dict__.update(self.__dict__, _cache=copy.deepcopy(held))
        return twin

    def close(self) -> None:
        self._cache = None


def numbers(values: Any) -> Array:
    """An array of the runtime; NumPy has no bfloat16, and float32 holds all of its numbers."""
    return np.array(values.astype(mx.float32) if values.dtype == mx.bfloat16 else values)
