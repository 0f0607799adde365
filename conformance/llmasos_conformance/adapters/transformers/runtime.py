"""What the rooms of the architectures share: weights into modules, padding, the runtime's cache, its own generation."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers

from llmasos_conformance.adapters import kit
from llmasos_conformance.protocol import Array, Generation, Refusal

PAD = 0
"""Fills short rows. Any id will do, because it is masked."""

ACTIVATIONS: Mapping[str, str] = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
"""The runtime's name of each activation."""


def with_weights(module: Any, weights: Mapping[str, Array], dtype: Any, device: str) -> Any:
    """The module in a dtype and on a device, with the weights under the names of its state, ready to answer.

    Raises:
        Refusal: invalid_format, when a weight is too large for the dtype.
    """
    state = {name: torch.tensor(array).to(dtype) for name, array in weights.items()}
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise Refusal("invalid_format", f"{name} holds a number too large for {dtype}")
    frequencies = {name: buffer for name, buffer in module.named_buffers() if name.endswith("inv_freq")}
    module = module.to(dtype).eval()
    # `to` rounds them, and angles far out are then others; loading a checkpoint in a dtype leaves them in float32.
    for name, buffer in frequencies.items():
        owner, _, last = name.rpartition(".")
        setattr(module.get_submodule(owner), last, buffer)
    for part in module.modules():
        if isinstance(part, torch.nn.Embedding):
            part.padding_idx = None  # the id that fills short rows is an ordinary token, which learns like the others
    module.load_state_dict(state)
    for name, tensor in module.state_dict().items():
        if not torch.equal(tensor, state[name]):
            raise RuntimeError(f"{name} is not what was loaded: transformers {transformers.__version__} ties it")
    return module.to(device)


def numbers(tensor: Any) -> Array:
    """A tensor as an array; NumPy has no bfloat16, and float32 holds all of its numbers."""
    array: Array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).cpu().numpy()
    return array


def both(theirs: str, ours: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Weight and bias of a norm under the runtime's name."""
    return {f"{theirs}.{kind}": weights[f"{ours}.{kind}"] for kind in ("weight", "bias")}


def turned(theirs: str, ours: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    """A linear map under the runtime's name: torch puts weights left of activations. The bias, if there is one."""
    named = {f"{theirs}.weight": weights[f"{ours}.weight"].T}
    return named | ({f"{theirs}.bias": weights[f"{ours}.bias"]} if f"{ours}.bias" in weights else {})


def padded(rows: Sequence[Sequence[int]], device: Any, *, left: bool = False) -> tuple[Any, Any]:
    """Rows [B, T] filled up to the longest, and a mask that is 1 where a row stands."""
    longest = max(map(len, rows))

    def filled(row: Sequence[int]) -> list[int]:
        pads = [PAD] * (longest - len(row))
        return [*pads, *row] if left else [*row, *pads]

    ids, mask = [filled(row) for row in rows], [filled([1] * len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


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
        kit.still_open(self._cache)
        new = kit.check_ids(self._config, ids, held=self._length)
        ids = torch.tensor([new], device=self._module.device)
        given = {self._name: ids, **self._fixed, **behind(self._module, self._cache)}
        with torch.inference_mode():
            logits = numbers(self._module(**given, use_cache=True).logits[0])
        self._length += len(new)
        self.logits = logits
        return logits

    def fork(self) -> Session:
        kit.still_open(self._cache)
        twin = object.__new__(Session)
        twin.__dict__.update(self.__dict__, _cache=copy.deepcopy(self._cache))
        return twin

    def close(self) -> None:
        self._cache = None


def log_probabilities(logits: Array, row: Sequence[int]) -> list[float | None]:
    """Log-probability of each id of a row under the logits before it, by the runtime; None for the first."""
    law = torch.log_softmax(torch.from_numpy(logits).double(), -1)
    return [None, *(float(law[t, token]) for t, token in enumerate(row[1:]))]


def _sequence_bias(request: kit.Request) -> dict[tuple[int, ...], float]:
    """`logit_bias` as the runtime knows it: a bias of sequences, here of one id."""
    return {(token,): number for token, number in request.logit_bias.items()}


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
        ragged = len({len(ids) for ids in batch}) > 1 and request.repetition_penalty != 1
        if ragged or not self._native(request) or not request.greedy:
            return [self.generate_ids(ids, max_length, temperature, **options) for ids in batch]
        prompts = [self.prompt(ids) for ids in batch]
        made = self.generated(prompts, request)
        return [self.generation(prompt, ids) for prompt, ids in zip(prompts, made, strict=True)]

    def generated(self, prompts: Sequence[Sequence[int]], request: kit.Request) -> list[list[int]]:
        """New ids of every prompt, by the runtime's own loop."""
        raise NotImplementedError

    def settings(self, request: kit.Request, limit: int, **more: Any) -> Any:
        """What `generate` is told."""
        if request.logit_bias:
            more["sequence_bias"] = _sequence_bias(request)
        if request.repetition_penalty != 1:
            more["repetition_penalty"] = float(request.repetition_penalty)
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

    def shaped(self, logits: Array, request: kit.Request, given: Sequence[int], chosen: Sequence[int]) -> Array:
        """By the runtime's processors of logits, in the order of its loop; what it does not have, by the kit."""
        ids, scores = torch.tensor([[*given, *chosen]]), torch.tensor(logits)[None]
        if request.logit_bias:
            scores = transformers.SequenceBiasLogitsProcessor(_sequence_bias(request))(ids, scores)
        if request.repetition_penalty != 1:
            scores = transformers.RepetitionPenaltyLogitsProcessor(float(request.repetition_penalty))(ids, scores)
        rest = replace(request, logit_bias={}, repetition_penalty=1.0)
        return kit.shaped(numbers(scores[0]), rest, given, chosen)

    def until_eos(self, ids: list[int]) -> list[int]:
        """Rows that ended before the others are filled up behind their end."""
        ends = [i for i, token in enumerate(ids) if token in self.config["eos_token_ids"]]
        return ids[: ends[0] + 1] if ends else ids

    def _native(self, request: kit.Request) -> bool:
        # `generate` chooses on logits rounded to float32, which a claim of float64 does not allow.
        if self._module.dtype is torch.float64 or request.counts:
            return False
        if request.beams == 1:
            return request.greedy
        # With k > 1 end-of-sequence ids the runtime looks at k + 1 candidates per beam where the standard looks at two;
        # it needs as many ids as candidates; and its powers are those of float32.
        narrow = len(self.config["eos_token_ids"]) <= 1 and 2 * request.beams <= self.config["vocab_size"]
        return narrow and request.length_penalty * math.log(self.config["context_length"]) < 64
