"""Models, contexts and samplers of llama.cpp, through its C interface: what Python has to free, count and point to."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from llmasos_conformance.adapters import kit
from llmasos_conformance.protocol import Array, Refusal

SEQUENCES: int = llama_cpp.llama_max_parallel_sequences()
"""Most sequences that a context holds."""
BFLOAT16 = 30
"""GGML_TYPE_BF16, which llama-cpp-python does not name."""
_BY_CHANCE = 0xFFFFFFFF
"""The seed by which the runtime draws one."""


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(level: int, text: bytes, user: Any) -> None:
    """The runtime tells on standard error what it loads."""


llama_cpp.llama_log_set(_silent, ctypes.c_void_p(None))
llama_cpp.llama_backend_init()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a context computes; None leaves it to the runtime.

    Attributes:
        cache: kind of keys and values, as `llama_cpp.GGML_TYPE_F32`.
        flash: whether attention is one operation, as `llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED`.
    """

    cache: int | None = None
    flash: int | None = None


class Runtime:
    """A GGUF file in the runtime, on the processor alone.

    Args:
        path: may be deleted afterwards.

    Raises:
        Refusal: unsupported, when the runtime does not take it.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        how = llama_cpp.llama_model_default_params()
        how.n_gpu_layers, how.load_mode = 0, llama_cpp.LLAMA_LOAD_MODE_NONE
        self.settings, self.model = settings, llama_cpp.llama_model_load_from_file(str(path).encode(), how)
        if not self.model:
            raise Refusal("unsupported", "llama.cpp does not load this model")
        weakref.finalize(self, llama_cpp.llama_model_free, self.model)
        self.size: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))


class Context:
    """Sequences in the runtime, each with its keys and values. One thread.

    Args:
        sequences: how many. length: most ids of each.

    Raises:
        Refusal: unsupported, when the runtime has no memory for as many.
    """

    def __init__(self, runtime: Runtime, sequences: int, length: int) -> None:
        how = llama_cpp.llama_context_default_params()
        how.n_seq_max, how.n_ctx = sequences, sequences * _padded(length)
        how.n_batch, how.n_outputs_max_per_seq = how.n_ctx, 0
        how.n_threads = how.n_threads_batch = 1
        if runtime.settings.cache is not None:
            how.type_k = how.type_v = runtime.settings.cache
        if runtime.settings.flash is not None:
            how.flash_attn_type = runtime.settings.flash
        self._runtime, self._sequences, self._length = runtime, sequences, length
        self._context = llama_cpp.llama_init_from_model(runtime.model, how)
        if not self._context:
            raise Refusal("unsupported", f"llama.cpp makes no context for {sequences} times {length} ids")
        weakref.finalize(self, _free, self._context, runtime)  # a model is freed behind its contexts

    def decode(self, rows: Sequence[tuple[int, int, Sequence[int]]], *, last: bool = False) -> list[Array]:
        """Logits [T, V] of ids behind what the sequences hold, or [1, V] of the last of each, all in one batch.

        Args:
            rows: number of a sequence, how many ids it holds, ids.

        Raises:
            RuntimeError: the runtime says that it did not compute them.
        """
        total = sum(len(ids) for _, _, ids in rows)
        batch = llama_cpp.llama_batch_init(total, 0, 1)
        try:
            for place, (sequence, position, token, wanted) in enumerate(_tokens(rows, last)):
                batch.token[place], batch.pos[place], batch.logits[place] = token, position, wanted
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
            batch.n_tokens = total
            code = llama_cpp.llama_decode(self._context, batch)
        finally:
            llama_cpp.llama_batch_free(batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code} for {total} ids")
        counts = [1 if last else len(ids) for _, _, ids in rows]
        # Logits lie in the order of the batch, however it was cut.
        shape = (sum(counts), self._runtime.size)
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), shape).copy()
        return np.split(logits, np.cumsum(counts)[:-1])

    def twin(self) -> Context:
        """Another context that holds the same of the first sequence, by the runtime's own copy of its state.

        Raises:
            RuntimeError: the runtime did not take the copy.
        """
        made = Context(self._runtime, self._sequences, self._length)
        size = llama_cpp.llama_state_seq_get_size(self._context, 0)
        state = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data(self._context, state, size, 0)
        if written != size or llama_cpp.llama_state_seq_set_data(made._context, state, size, 0) != size:
            raise RuntimeError(f"the state of a sequence, {size} bytes, was not copied")
        return made


def _free(context: Any, runtime: Runtime) -> None:
    llama_cpp.llama_free(context)


def _padded(length: int) -> int:
    """The runtime makes contexts of multiples of 256."""
    return -(-length // 256) * 256


def _tokens(rows: Iterable[tuple[int, int, Sequence[int]]], last: bool) -> Iterable[tuple[int, int, int, bool]]:
    """Sequence, position, id, and whether logits are wanted, of each id."""
    for sequence, held, ids in rows:
        for i, token in enumerate(ids):
            yield sequence, held + i, token, not last or i == len(ids) - 1


class Chain:
    """The runtime's samplers for one generation, one behind the other, in the standard's order.

    Args:
        size, length: of vocabulary and context.
        given: ids that the model is fed before the first choice.
        allowed: [V] True for ids that may be chosen; None allows all.
    """

    def __init__(
        self, request: kit.Request, size: int, length: int, given: Sequence[int], allowed: Array | None
    ) -> None:
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        weakref.finalize(self, llama_cpp.llama_sampler_free, self._chain)
        self._held = np.zeros(size, _DATA)
        bias = {} if allowed is None else dict.fromkeys(np.flatnonzero(~allowed).tolist(), -np.inf)
        bias = {**request.logit_bias, **bias}
        if bias:
            pairs = (llama_cpp.llama_logit_bias * len(bias))(*bias.items())
            self._add(llama_cpp.llama_sampler_init_logit_bias(size, len(bias), pairs))
        if request.repetition_penalty != 1:
            self._add(llama_cpp.llama_sampler_init_penalties(size, length, request.repetition_penalty, 0, 0))
            for token in given:  # of the other penalties these are no business
                llama_cpp.llama_sampler_accept(self._chain, token)
        if request.counts:
            counted = (1, request.frequency_penalty, request.presence_penalty)
            self._add(llama_cpp.llama_sampler_init_penalties(size, length, *counted))
        for sampler in _drawing(request, size):
            self._add(sampler)

    def _add(self, sampler: Any) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def __call__(self, logits: Array, ids: Sequence[int]) -> int:
        """The next id; the chain knows those before it.

        Raises:
            Refusal: unsupported, when logits are not finite.
        """
        if not np.isfinite(logits).all():
            raise Refusal("unsupported", "logits are not finite")
        held = self._held
        held["id"], held["logit"], held["p"] = np.arange(len(held)), logits, 0
        pointer = ctypes.cast(held.ctypes.data, llama_cpp.llama_token_data_p)
        row = llama_cpp.llama_token_data_array(pointer, len(held), -1, False)
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(row))
        token = int(row.data[row.selected].id)
        llama_cpp.llama_sampler_accept(self._chain, token)
        return token


_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""`llama_token_data`."""


def _drawing(request: kit.Request, size: int) -> Iterable[Any]:
    """The samplers behind bias and penalties."""
    if request.temperature == 0:
        yield llama_cpp.llama_sampler_init_greedy()
        return
    yield llama_cpp.llama_sampler_init_temp(request.temperature)
    if request.top_k:
        yield llama_cpp.llama_sampler_init_top_k(min(request.top_k, size))
    if request.top_p < 1:
        yield llama_cpp.llama_sampler_init_top_p(request.top_p, 1)
    if request.min_p > 0:
        yield llama_cpp.llama_sampler_init_min_p(request.min_p, 1)
    yield llama_cpp.llama_sampler_init_dist(_BY_CHANCE if request.seed is None else seed32(request.seed))


def seed32(seed: int) -> int:
    """A seed of the runtime, which has 32 bits, for one of the standard, which has 53.

    Smaller ones stay as they are; of the others all bits count, by the finaliser of MurmurHash3.
    """
    if seed < _BY_CHANCE:
        return seed
    mixed = seed
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> 33)) * factor % 2**64
    return (mixed ^ (mixed >> 33)) % _BY_CHANCE
