"""Hugging Face transformers as a candidate: GPT2LMHeadModel with a bundle's weights.

The runtime's own: logits of a padded batch, the cache of a session, greedy decoding of one prompt or a batch
(`generate`), log-probabilities of a sequence. The adapter kit's, and declared: the bundle format, text, stop strings,
streaming, sampling.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmasos_conformance.adapters import kit
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import CAPABILITIES, Array, Claims, Description, Generation, Refusal

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported: nothing here asks a network
try:
    import torch
    import transformers
except ImportError as error:
    raise AddressError(
        f"{error.name} is not installed", where="transformers", hint="pip install 'llmasos[runtimes]'"
    ) from None

DTYPES = ("float32", "float64")
ATTENTION = ("sdpa", "eager")
NOT_OFFERED = frozenset(
    {"beams", "encode", "fill_mask", "hidden_states", "attention", "gradients", "train_step", "window"}
)
PAD = 0
"""Fills short rows. Any id will do, because it is masked."""


class TransformersAdapter:
    """GPT-2 of Hugging Face transformers.

    Args:
        argument: "DTYPE" or "DTYPE/ATTENTION"; "" is "float32/sdpa", which is the runtime's default.

    Raises:
        AddressError: no such variant.
    """

    def __init__(self, argument: str = "") -> None:
        dtype, _, attention = argument.partition("/")
        self.dtype, self.attention = dtype or "float32", attention or "sdpa"
        if self.dtype not in DTYPES or self.attention not in ATTENTION:
            known = f"transformers:DTYPE/ATTENTION with {', '.join(DTYPES)} and {', '.join(ATTENTION)}"
            raise AddressError(f"no such variant: {argument!r:.60}", where=f"transformers:{argument}", hint=known)
        torch.set_num_threads(1)  # sums then run in one order, whatever the machine

    def describe(self) -> Description:
        native = ("generate_ids", "session", "batch", "score")
        return Description(
            name="transformers-gpt2",
            version=transformers.__version__,
            capabilities=frozenset(CAPABILITIES) - NOT_OFFERED,
            claims=Claims(dtype=self.dtype, determinism="D1"),
            emulated={
                **kit.emulated(*native),
                "generate_ids beyond greedy": "sampling, and greedy decoding with log-probabilities, loop in the kit",
            },
            runtime={"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__},
        )

    def load_model(self, path: str) -> GPT2:
        return GPT2(kit.read_bundle(path), getattr(torch, self.dtype), self.attention)


class GPT2(kit.KitModel):
    """A bundle in the runtime."""

    def __init__(self, bundle: kit.KitBundle, dtype: Any, attention: str) -> None:
        super().__init__(bundle)
        self._module = _module(bundle, dtype, attention)

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        """One padded call for all rows; the padding's logits are cut off."""
        rows = [kit.check_ids(self.config, row) for row in batch]
        if not rows:
            return []
        ids, mask = _padded(rows)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = self._module(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        return [row[-len(given) :].numpy() for row, given in zip(logits, rows, strict=True)]

    def open(self, ids: Sequence[int]) -> Session:
        return Session(self._module, self.config, ids)

    def score(self, ids: Sequence[int]) -> list[float | None]:
        row = kit.check_ids(self.config, ids)
        law = torch.log_softmax(torch.from_numpy(self.forward([row])[0]).double(), -1)
        return [None, *(float(law[t, token]) for t, token in enumerate(row[1:]))]

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        request = kit.check_request(self.config, max_length, temperature, options)
        if not self._native(request):
            return super().generate_ids(ids, max_length, temperature, **options)
        prompt = self.prompt(ids)
        return self.generation(prompt, self._greedy([prompt], request.max_length)[0])

    def generate_batch(
        self, batch: Sequence[Sequence[int]], max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        request = kit.check_request(self.config, max_length, temperature, options)
        if not self._native(request):
            return super().generate_batch(batch, max_length, temperature, **options)
        prompts = [self.prompt(ids) for ids in batch]
        made = self._greedy(prompts, request.max_length)
        return [self.generation(prompt, ids) for prompt, ids in zip(prompts, made, strict=True)]

    def _native(self, request: kit.Request) -> bool:
        # `generate` chooses on logits rounded to float32, which a claim of float64 does not allow.
        return request.greedy and self._module.dtype is torch.float32

    def _greedy(self, prompts: Sequence[Sequence[int]], max_length: int) -> list[list[int]]:
        """New ids of every row, by the runtime's own loop on one left-padded batch."""
        longest = max(map(len, prompts), default=0)
        room = self.config["context_length"] - longest
        limit = min(max_length, room)
        made: list[list[int]] = [[] for _ in prompts]
        if prompts and limit > 0:
            ids, mask = _padded(prompts)
            with torch.inference_mode():
                whole = self._module.generate(ids, attention_mask=mask, generation_config=self._settings(limit))
            made = [self._until_eos(row[longest:].tolist()) for row in whole]
        # The longest prompt fills the context first; the others go on alone.
        for i, prompt in enumerate(prompts):
            own = min(max_length, self.config["context_length"] - len(prompt))
            ended = bool(made[i]) and made[i][-1] in self.config["eos_token_ids"]
            if not ended and len(made[i]) < own:
                made[i] += self._greedy([[*prompt, *made[i]]], own - len(made[i]))[0]
        return made

    def _settings(self, limit: int) -> Any:
        eos = self.config["eos_token_ids"] or None
        return transformers.GenerationConfig(
            do_sample=False, max_new_tokens=limit, eos_token_id=eos, pad_token_id=PAD, num_beams=1
        )

    def _until_eos(self, ids: list[int]) -> list[int]:
        """Rows that ended before the others are filled up behind their end."""
        ends = [i for i, token in enumerate(ids) if token in self.config["eos_token_ids"]]
        return ids[: ends[0] + 1] if ends else ids


class Session:
    """The runtime's cache. A fork copies it."""

    def __init__(self, module: Any, config: Mapping[str, Any], ids: Sequence[int]) -> None:
        self._module, self._config, self._length = module, config, 0
        self._cache: Any = transformers.DynamicCache()
        self.logits = self.extend(ids)

    def extend(self, ids: Sequence[int]) -> Array:
        if self._cache is None:
            raise Refusal("invalid_argument", "the session is closed")
        new = kit.check_ids(self._config, ids, held=self._length)
        with torch.inference_mode():
            answer = self._module(input_ids=torch.tensor([new]), past_key_values=self._cache, use_cache=True)
        self._length += len(new)
        self.logits = answer.logits[0].numpy()
        return self.logits

    def fork(self) -> Session:
        if self._cache is None:
            raise Refusal("invalid_argument", "the session is closed")
        twin = object.__new__(Session)
        twin.__dict__.update(self.__dict__, _cache=copy.deepcopy(self._cache))
        return twin

    def close(self) -> None:
        self._cache = None


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    """Ids and mask [B, T], padded on the left as `generate` wants it."""
    longest = max(map(len, rows))
    ids = torch.tensor([[PAD] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _module(bundle: kit.KitBundle, dtype: Any, attention: str) -> Any:
    """The runtime's module with the bundle's weights.

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
    module = transformers.GPT2LMHeadModel(settings).to(dtype).eval()
    state = {name: torch.tensor(array).to(dtype) for name, array in _named(bundle).items()}
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise Refusal("invalid_format", f"{name} holds a number too large for {dtype}")
    module.load_state_dict(state)
    return module


def _named(bundle: kit.KitBundle) -> dict[str, Array]:
    """The weights under the runtime's names. Both put weights right of activations; query, key and value become one."""
    weights = bundle.weights
    named = {
        "transformer.wte.weight": weights["token_embedding"],
        "transformer.wpe.weight": weights["position_embedding"],
    }
    named["lm_head.weight"] = weights["token_embedding" if bundle.config["tie_embeddings"] else "head.weight"]
    for kind in ("weight", "bias"):
        named[f"transformer.ln_f.{kind}"] = weights[f"final_norm.{kind}"]
        for i in range(bundle.config["num_layers"]):
            ours, theirs = f"layers.{i}", f"transformer.h.{i}"
            together = [weights[f"{ours}.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            named[f"{theirs}.attn.c_attn.{kind}"] = np.concatenate(together, axis=-1)
            named[f"{theirs}.attn.c_proj.{kind}"] = weights[f"{ours}.attention.output.{kind}"]
            named[f"{theirs}.ln_1.{kind}"] = weights[f"{ours}.attention_norm.{kind}"]
            named[f"{theirs}.ln_2.{kind}"] = weights[f"{ours}.feed_forward_norm.{kind}"]
            named[f"{theirs}.mlp.c_fc.{kind}"] = weights[f"{ours}.feed_forward.up.{kind}"]
            named[f"{theirs}.mlp.c_proj.{kind}"] = weights[f"{ours}.feed_forward.down.{kind}"]
    return named
