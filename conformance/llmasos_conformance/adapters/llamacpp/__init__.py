"""llama.cpp as a candidate: GPT-3 and Llama, converted from a bundle in `converting`, through llama-cpp-python.

    llamacpp             float32: weights, keys and values; no flash attention, which is float16 whatever is asked for
    llamacpp:float16     weights in float16; keys, values and attention as the runtime has them by default, in float16
    llamacpp:bfloat16    weights, keys and values in bfloat16, whose range float16 does not have
    llamacpp:defaults    weights in float32, the rest by default; held to float32, and not expected to be conformant
    llamacpp:q8_0        weights of eight bits where 32 divides a row, the rest by default; held to bfloat16, because
                         the standard has no claim for them, and not expected to be conformant

GPT-3 in float32 is not conformant either: the runtime reads GELU from a table of float16.

The runtime's own: logits of a batch of rows, keys and values of a session, the state that a fork copies, a batch that
grows together, and every choice of an id: bias, penalties, temperature, filters, chance. The adapter's, and declared:
the file of the model. The adapter kit's: everything else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance.adapters import kit
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import Array, Claims, Description, Generation, Refusal

try:
    import llama_cpp
except ImportError as error:
    raise AddressError(
        f"{error.name} is not installed", where="llamacpp", hint="pip install 'llmasos[llamacpp]'"
    ) from None

from llmasos_conformance.adapters.llamacpp import converting, running  # they need llama_cpp


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What the runtime computes with.

    Attributes:
        weights: one of `converting.FILE_TYPES`. claim: the dtype that it is held to.
    """

    weights: str
    claim: str
    settings: running.Settings


NO_FLASH: int = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
_EXACT = running.Settings(cache=llama_cpp.GGML_TYPE_F32, flash=NO_FLASH)
_DEFAULTS = running.Settings()
_WIDE = running.Settings(cache=running.BFLOAT16)
VARIANTS: Mapping[str, Variant] = {
    "float32": Variant(weights="float32", claim="float32", settings=_EXACT),
    "defaults": Variant(weights="float32", claim="float32", settings=_DEFAULTS),
    "float16": Variant(weights="float16", claim="float16", settings=_DEFAULTS),
    "bfloat16": Variant(weights="bfloat16", claim="bfloat16", settings=_WIDE),
    "q8_0": Variant(weights="q8_0", claim="bfloat16", settings=_DEFAULTS),
}
_OWN = (
    "session", "batch", "seed", "top_k", "top_p", "min_p", "logit_bias", "repetition_penalty", "frequency_penalty",
    "presence_penalty",
)  # fmt: skip
_OFFERED = (
    *_OWN, "load_model", "tokenize", "forward", "generate_ids", "score", "stream", "stop", "logprobs", "beams",
    "perplexity",
)  # fmt: skip

Rows = Sequence[Sequence[int]]


class LlamacppAdapter:
    """llama.cpp on the processor, with one thread.

    Args:
        argument: one of VARIANTS; "" is "float32".

    Raises:
        AddressError: no such variant.
    """

    def __init__(self, argument: str = "") -> None:
        name = argument or "float32"
        if name not in VARIANTS:
            hint = f"llamacpp:VARIANT with {', '.join(VARIANTS)}"
            raise AddressError(f"no such variant: {argument!r:.60}", where=f"llamacpp:{argument}", hint=hint)
        self.variant = VARIANTS[name]

    def describe(self) -> Description:
        return Description(
            name="llama.cpp",
            version=llama_cpp.__version__,
            capabilities=frozenset(_OFFERED),
            claims=Claims(dtype=self.variant.claim, determinism="D1"),
            emulated={
                **kit.emulated(*_OWN),
                "generate_ids": "the decoding loop is the adapter kit's; the runtime chooses each id",
                "seeds of more than 32 bits": "the adapter makes them as short as the runtime's",
                "conversion": "the adapter writes a bundle as GGUF, in float32; the runtime quantises it",
            },
            runtime={"llama-cpp-python": llama_cpp.__version__, "numpy": np.__version__},
            architectures=converting.ARCHITECTURES,
        )

    def load_model(self, path: str) -> Any:
        bundle = kit.read_bundle(path, converting.ARCHITECTURES)
        _refuse_narrow(bundle.config, self.variant)
        with tempfile.TemporaryDirectory() as directory:
            made = Path(directory) / "model.gguf"
            converting.write(bundle, made, dtype=self.variant.weights)
            return Decoder(bundle, running.Runtime(made, self.variant.settings))


def _refuse_narrow(config: Mapping[str, Any], variant: Variant) -> None:
    """Refuse what would end the process: heads of width 1, where attention is several operations.

    Raises:
        Refusal: unsupported.
    """
    if config["embedding_dim"] == config["num_heads"] and variant.settings.flash == NO_FLASH:
        raise Refusal("unsupported", "llama.cpp does not compute heads of width 1 without flash attention")


class Decoder(kit.KitModel):
    """GPT-3 or Llama in the runtime."""

    def __init__(self, bundle: kit.KitBundle, runtime: running.Runtime) -> None:
        super().__init__(bundle)
        self.runtime = runtime

    def forward(self, batch: Rows, sources: Any = None, types: Any = None) -> list[Array]:
        """Each row is a sequence of one batch."""
        kit.refuse_beside(sources=sources, types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        made = list[Array]()
        for some in _parted(rows):
            context = running.Context(self.runtime, len(some), max(map(len, some)))
            made += context.decode([(i, 0, row) for i, row in enumerate(some)])
        return made

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Session:
        kit.refuse_beside(source=source)
        return Session(self, ids)

    def chooser(self, request: kit.Request, given: Sequence[int], allowed: Array | None) -> kit.Chooser:
        return running.Chain(request, self.config["vocab_size"], self.config["context_length"], given, allowed)

    def generate_batch(
        self, batch: Rows, max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        """Each row is a sequence of one context; those that have ended are no longer in the batch."""
        request = kit.check_request(self.config, max_length, temperature, options)
        if request.stop or request.logprobs is not None or request.beams > 1:
            return super().generate_batch(batch, max_length, temperature, **options)
        prompts = [self.prompt(ids) for ids in batch]
        made = [ids for some in _parted(prompts) for ids in self._together(some, request)]
        return [self.generation(prompt, ids) for prompt, ids in zip(prompts, made, strict=True)]

    def _together(self, prompts: Rows, request: kit.Request) -> list[list[int]]:
        """New ids of every prompt."""
        limits = [self.limit(prompt, request) for prompt in prompts]
        choosers = [self.chooser(request, prompt, None) for prompt in prompts]
        longest = max(len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True))
        context = running.Context(self.runtime, len(prompts), longest)
        made: list[list[int]] = [[] for _ in prompts]
        fed = [(i, 0, prompt) for i, prompt in enumerate(prompts) if limits[i] > 0]
        while fed:
            rows, fed = zip(fed, context.decode(fed, last=True), strict=True), []
            for (i, held, given), logits in rows:
                made[i].append(choosers[i](logits[-1], made[i]))
                if made[i][-1] not in self.config["eos_token_ids"] and len(made[i]) < limits[i]:
                    fed.append((i, held + len(given), made[i][-1:]))
        return made


def _parted(rows: Rows) -> list[Rows]:
    """Rows in as many parts as contexts are needed."""
    return [rows[i : i + running.SEQUENCES] for i in range(0, len(rows), running.SEQUENCES)]


class Session:
    """A sequence in the runtime. A fork is a copy of its state."""

    def __init__(self, model: Decoder, ids: Sequence[int]) -> None:
        self._config, self._length = model.config, 0
        new = kit.check_ids(self._config, ids)
        self._context: running.Context | None = running.Context(model.runtime, 1, self._config["context_length"])
        self.logits = self.extend(new)

    def extend(self, ids: Sequence[int]) -> Array:
        context = kit.still_open(self._context)
        new = kit.check_ids(self._config, ids, held=self._length)
        self.logits = context.decode([(0, self._length, new)])[0]
        self._length += len(new)
        return self.logits

    def fork(self) -> Session:
        context = kit.still_open(self._context)
        twin = object.__new__(Session)
        twin.__dict__.update(self.__dict__, _context=context.twin())
        return twin

    def close(self) -> None:
        self._context = None
