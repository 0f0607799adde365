"""What the rooms of the architectures share: weights into modules, padding, the runtime's cache, its own generation."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transformers

from llmasos_conformance.adapters import kit
from llmasos_conformance.protocol import Array, Generation, Refusal

PAD = 0
"""Fills short rows. Any id will do, because it is masked."""

ACTIVATIONS: Mapping[str, str] = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
"""The runtime's name of each activation."""


def with_weights(module: Any, weights: Mapping[str, Array], dtype: Any) -> Any:
    """The module in a dtype, with the weights under the names of its state, ready to answer.

    Raises:
        Refusal: invalid_format, when a weight is too large for the dtype.
    """
    state = {name: torch.tensor(array).to(dtype) for name, array in weights.items()}
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise Refusal("invalid_format", f"{name} holds a number too large for {dtype}")
    module = module.to(dtype).eval()
    module.load_state_dict(state)
    for name, tensor in module.state_dict().items():
        if not torch.equal(tensor, state[name]):
            raise RuntimeError(f"{name} is not what was loaded: transformers {transformers.__version__} ties it")
    return module


def both(theirs: str, ours: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Weight and bias of a norm under the runtime's name."""
    return {f"{theirs}.{kind}": weights[f"{ours}.{kind}"] for kind in ("weight", "bias")}


def turned(theirs: str, ours: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    """A linear map under the runtime's name: torch puts weights left of activations. The bias, if there is one."""
    named = {f"{theirs}.weight": weights[f"{ours}.weight"].T}
    return named | ({f"{theirs}.bias": weights[f"{ours}.bias"]} if f"{ours}.bias" in weights else {})


def padded(rows: Sequence[Sequence[int]], *, left: bool = False) -> tuple[Any, Any]:
    """Rows [B, T] filled up to the longest, and a mask that is 1 where a row stands."""
    longest = max(map(len, rows))

    def filled(row: Sequence[int]) -> list[int]:
        pads = [PAD] * (longest - len(row))
        return [*pads, *row] if left else [*row, *pads]

    return torch.tensor([filled(row) for row in rows]), torch.tensor([filled([1] * len(row)) for row in rows])


def behind(module: Any, cache: Any) -> dict[str, Any]:
    """A cache by the name that the installed version gives it: `past_key_values` at first, `cache` later."""
    named = inspect.signature(module.forward).parameters
    return {"cache" if "cache" in named else "past_key_values": cache}


class Session:
    """The runtime's cache. A fork copies it.

    Args:
        ids: the first; `name` is what the module's forward calls ids.
        fixed: what every call is given beside them.
    """

    def __init__(
        self, module: Any, config: Mapping[str, Any], ids: Sequence[int], cache: Any, name: str, **fixed: Any
    ) -> None:
        self._module, self._config, self._length, self._cache = module, config, 0, cache
        self._name, self._fixed = name, fixed
        self.logits = self.extend(ids)

    def extend(self, ids: Sequence[int]) -> Array:
        if self._cache is None:
            raise Refusal("invalid_argument", "the session is closed")
        new = kit.check_ids(self._config, ids, held=self._length)
        given = {self._name: torch.tensor([new]), **self._fixed, **behind(self._module, self._cache)}
        with torch.inference_mode():
            logits: Array = self._module(**given, use_cache=True).logits[0].numpy()
        self._length += len(new)
        self.logits = logits
        return logits

    def fork(self) -> Session:
        if self._cache is None:
            raise Refusal("invalid_argument", "the session is closed")
        twin = object.__new__(Session)
        twin.__dict__.update(self.__dict__, _cache=copy.deepcopy(self._cache))
        return twin

    def close(self) -> None:
        self._cache = None


def log_probabilities(logits: Array, row: Sequence[int]) -> list[float | None]:
    """Log-probability of each id of a row under the logits before it, by the runtime; None for the first."""
    law = torch.log_softmax(torch.from_numpy(logits).double(), -1)
    return [None, *(float(law[t, token]) for t, token in enumerate(row[1:]))]


class Generating(kit.KitModel):
    """A model whose runtime generates by itself where it can: greedily, or with beams."""

    _module: Any

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        request = kit.check_request(self.config, max_length, temperature, options)
        if not self._native(request):
            return super().generate_ids(ids, max_length, temperature, **options)
        prompt = self.prompt(ids)
        return self.generation(prompt, self.generated([prompt], request)[0])

    def generate_batch(
        self, batch: Sequence[Sequence[int]], max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        request = kit.check_request(self.config, max_length, temperature, options)
        if not self._native(request) or not request.greedy:
            return [self.generate_ids(ids, max_length, temperature, **options) for ids in batch]
        prompts = [self.prompt(ids) for ids in batch]
        made = self.generated(prompts, request)
        return [self.generation(prompt, ids) for prompt, ids in zip(prompts, made, strict=True)]

    def generated(self, prompts: Sequence[Sequence[int]], request: kit.Request) -> list[list[int]]:
        """New ids of every prompt, by the runtime's own loop."""
        raise NotImplementedError

    def settings(self, request: kit.Request, limit: int, **more: Any) -> Any:
        """What `generate` is told."""
        if request.beams > 1:
            more |= {"early_stopping": "never", "length_penalty": float(request.length_penalty)}
        eos = self.config["eos_token_ids"] or None
        return transformers.GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=eos,
            pad_token_id=PAD,
            num_beams=int(request.beams),
            **more,
        )

    def until_eos(self, ids: list[int]) -> list[int]:
        """Rows that ended before the others are filled up behind their end."""
        ends = [i for i, token in enumerate(ids) if token in self.config["eos_token_ids"]]
        return ids[: ends[0] + 1] if ends else ids

    def _native(self, request: kit.Request) -> bool:
        # `generate` chooses on logits rounded to float32, which a claim of float64 does not allow.
        if self._module.dtype is not torch.float32:
            return False
        if request.beams == 1:
            return request.greedy
        # With k > 1 end-of-sequence ids the runtime looks at k + 1 candidates per beam where the standard looks at two;
        # it needs as many ids as candidates; and its powers are those of float32.
        narrow = len(self.config["eos_token_ids"]) <= 1 and 2 * request.beams <= self.config["vocab_size"]
        return narrow and request.length_penalty * math.log(self.config["context_length"]) < 64


class Decoder(Generating):
    """A bundle in one of the runtime's causal models."""

    def __init__(self, bundle: kit.KitBundle, module: Any) -> None:
        super().__init__(bundle)
        self._module = module

    def forward(self, batch: Sequence[Sequence[int]], sources: Any = None, types: Any = None) -> list[Array]:
        """One padded call for all rows; the padding's logits are cut off."""
        kit.refuse_beside(sources=sources, types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        if not rows:
            return []
        ids, mask = padded(rows, left=True)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = self._module(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        return [row[-len(given) :].numpy() for row, given in zip(logits, rows, strict=True)]

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Session:
        kit.refuse_beside(source=source)
        config = None if self._keeps_all() else self._module.config  # of which it takes the window
        return Session(self._module, self.config, ids, transformers.DynamicCache(config=config), "input_ids")

    def _keeps_all(self) -> bool:
        """Whether the cache must hold more than the window: the runtime's keeps the last window - 1, and -0 are all."""
        return bool(self.config.get("sliding_window") == 1)

    def _native(self, request: kit.Request) -> bool:
        return super()._native(request) and not self._keeps_all()

    def score(self, ids: Sequence[int], source: Sequence[int] | None = None) -> list[float | None]:
        kit.refuse_beside(source=source)
        row = kit.check_ids(self.config, ids)
        return log_probabilities(self.forward([row])[0], row)

    def generated(self, prompts: Sequence[Sequence[int]], request: kit.Request) -> list[list[int]]:
        """One left-padded batch. With beams, there is one prompt."""
        made: list[list[int]] = [[] for _ in prompts]
        limits = [self.limit(prompt, request) for prompt in prompts]
        limit = min(limits, default=0)
        if limit > 0:
            ids, mask = padded(prompts, left=True)
            settings = self.settings(request, limit)
            with torch.inference_mode():
                whole = self._module.generate(ids, attention_mask=mask, generation_config=settings)
            made = [self.until_eos(row[ids.shape[1] :].tolist()) for row in whole]
        # The longest prompt fills the context first; the others go on alone.
        for i, prompt in enumerate(prompts):
            ended = bool(made[i]) and made[i][-1] in self.config["eos_token_ids"]
            if not ended and len(made[i]) < limits[i]:
                rest = kit.Request(max_length=limits[i] - len(made[i]), temperature=0)
                made[i] += self.generated([[*prompt, *made[i]]], rest)[0]
        return made
