"""Models of the protocol that need a runtime's numbers alone: a decoder, an encoder-decoder, an encoder."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from llmasos_conformance import gumbel
from llmasos_conformance.adapters.kit.bundle import KitBundle
from llmasos_conformance.adapters.kit.choosing import beam_search, choose, likeliest, log_law, shaped, top_logprobs
from llmasos_conformance.adapters.kit.requests import (
    Request,
    allow,
    check_count,
    check_ids,
    check_names,
    check_request,
    known_ids,
    refuse_beside,
    require_beside,
)
from llmasos_conformance.adapters.kit.text import KitTokenizer
from llmasos_conformance.protocol import Array, Encoding, Generation, Refusal

Chooser = Callable[[Array, Sequence[int]], int]
"""The next id, by the logits [V] for it and the ids that were chosen before it."""


def _refusing(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward pass that refuses what it has no parameter for, as the contract has it, instead of a TypeError."""
    takes = inspect.signature(forward).parameters
    if any(each.kind is each.VAR_KEYWORD for each in takes.values()):
        return forward

    @functools.wraps(forward)
    def refusing(self: Any, *args: Any, **beside: Any) -> Any:
        refuse_beside(**{name: value for name, value in beside.items() if name not in takes})
        return forward(self, *args, **{name: value for name, value in beside.items() if name in takes})

    return refusing


class _Texts:
    """What every model does with text, whatever its architecture."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in vars(cls):
            cls.forward = _refusing(vars(cls)["forward"])  # type: ignore[attr-defined]

    def __init__(self, bundle: KitBundle) -> None:
        self.config, self.tokenizer = bundle.config, bundle.tokenizer

    def tokenize(self, text: str, allow_special: bool = False, **unknown: Any) -> list[int]:
        check_names(unknown, ("allow_special",))
        allow(isinstance(allow_special, bool), "allow_special", allow_special)
        return self._text().encode(text, allow_special)

    def detokenize(self, ids: Sequence[int]) -> str:
        return self._text().decode(known_ids(self.config, ids))

    def _text(self) -> KitTokenizer:
        if self.tokenizer is None:
            raise Refusal("unsupported", "the model has no tokenizer")
        return self.tokenizer

    def _no(self, what: str) -> NoReturn:
        raise Refusal("unsupported", f"{self.config['architecture']} does not {what}")


class KitModel(_Texts):
    """A decoder of the protocol, made from `forward` alone. Whatever a runtime does itself is overridden.

    Args:
        bundle: from `read_bundle`.
    """

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        """Logits [T, V] of every row; the runtime's own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def encode(self, batch: Sequence[Sequence[int]], **options: Any) -> list[Encoding]:
        self._no("encode")

    def fill_mask(self, ids: Sequence[int], count: int = 5, **options: Any) -> list[dict[int, float]]:
        self._no("fill masks")

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Any:
        """A session with logits, extend, fork and close."""
        refuse_beside(source=source)
        return PrefixSession(self, ids)

    def score(self, ids: Sequence[int], source: Sequence[int] | None = None) -> list[float | None]:
        refuse_beside(source=source)
        return scores(self.forward([check_ids(self.config, ids)])[0], ids)

    def perplexity(self, ids: Sequence[int], **options: Any) -> dict[str, Any]:
        """Perplexity from the scores of windows; the first id is scored behind BOS, if the model has one."""
        check_names(options, ("stride",))
        size, bos = self.config["context_length"], self.config["bos_token_id"]
        stride = options.get("stride", max(size // 2, 1))
        whole = isinstance(stride, int | np.integer) and not isinstance(stride, bool)
        allow(whole and 1 <= stride <= max(size - 1, 1), "stride", stride)
        row = known_ids(self.config, ids)
        if bos is not None and row[:1] != [bos]:
            row = [bos, *row]
        allow(len(row) > 1, "ids without anything to score", list(ids))
        if size == 1:
            raise Refusal("context_overflow", "a context of 1 holds no token and one before it")
        nats, scored, begin = 0.0, 1, 0
        while scored < len(row):
            for logprob in self.score(row[begin : begin + size])[scored - begin :]:
                nats -= math.inf if logprob is None else logprob
                scored += 1
            begin += stride
        mean = nats / (scored - 1)
        # exp of more is beyond float64.
        return {"perplexity": math.exp(mean) if mean < 709.78 else None, "tokens": scored - 1}

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        *_, last = self.stream_text(prompt, max_length, temperature, **options)
        assert isinstance(last, Generation)
        return last

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        request = check_request(self.config, max_length, temperature, options)
        *_, last = self.stream(self.prompt(ids), request)
        assert isinstance(last, Generation)
        return last

    def generate_batch(
        self, batch: Sequence[Sequence[int]], max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        return [self.generate_ids(row, max_length, temperature, **options) for row in batch]

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        request = check_request(self.config, max_length, temperature, options)
        ids = self.prompt(self._text().encode(prompt, request.allow_special))
        return self.stream(ids, request, self.allowed())

    def prompt(self, ids: Sequence[int]) -> list[int]:
        """The ids that a generation starts from: those given, or BOS for none."""
        bos = self.config["bos_token_id"]
        return check_ids(self.config, [bos] if len(ids) == 0 and bos is not None else ids)

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        """Most new ids that request and context leave."""
        return min(request.max_length, int(self.config["context_length"]) - len(prompt))

    def begin(self, prompt: Sequence[int]) -> Any:
        """A session whose last logits say what comes first."""
        return self.open(prompt)

    def allowed(self) -> Array:
        """[V] True for ids that may continue a text: those with text, and those that end it."""
        mask = np.zeros(self.config["vocab_size"], dtype=bool)
        mask[sorted(self._text().text_ids | set(self.config["eos_token_ids"]))] = True
        if not mask.any():
            raise Refusal("unsupported", "no id has text")
        return mask

    def generation(
        self,
        prompt: Sequence[int],
        ids: Sequence[int],
        *,
        text: str | None = None,
        stopped: bool = False,
        laws: Any = None,
    ) -> Generation:
        """New ids as a Generation; `text` None decodes them, `stopped` says that a stop string ended them."""
        eos = self.config["eos_token_ids"]
        if text is None and self.tokenizer is not None:
            text = self.tokenizer.decode([token for token in ids if token not in eos])
        ended = stopped or (bool(ids) and ids[-1] in eos)
        return Generation(
            finish_reason="stop" if ended else "length",
            text=text,
            ids=list(ids),
            prompt_tokens=len(prompt),
            completion_tokens=len(ids),
            logprobs=laws,
        )

    def stream(
        self, prompt: Sequence[int], request: Request, allowed: Array | None = None
    ) -> Iterator[str | Generation]:
        """Pieces of text, then the Generation. A piece never ends in half a character or half a stop string."""
        if request.beams > 1:
            yield from self._stream_beams(prompt, request, allowed)
            return
        if request.stop:
            self._text()
        ids: list[int] = []
        laws: list[dict[int, float]] = []
        sent = text = ""
        stopped = False
        limit = self.limit(prompt, request)
        with contextlib.closing(self.chosen(prompt, request, allowed, limit, laws)) as chosen:
            for token in chosen:
                ids.append(token)
                done = len(ids) == limit or token in self.config["eos_token_ids"]
                if self.tokenizer is not None:
                    words = [each for each in ids if each not in self.config["eos_token_ids"]]
                    text = settled = self.tokenizer.decode(words, unfinished=not done)
                    found = [at for at in map(settled.find, request.stop) if at >= 0]
                    if found:
                        done, stopped, text = True, True, settled[: min(found)]
                    ready = text if done else settled[: len(settled) - _held_back(settled, request.stop)]
                    if len(ready) > len(sent):
                        yield ready[len(sent) :]
                        sent = ready
                if done:
                    break
        told = None if self.tokenizer is None else text
        laws_or_none = laws if request.logprobs is not None else None
        yield self.generation(prompt, ids, text=told, stopped=stopped, laws=laws_or_none)

    def chosen(
        self,
        prompt: Sequence[int],
        request: Request,
        allowed: Array | None,
        limit: int,
        laws: list[dict[int, float]],
    ) -> Generator[int, None, None]:
        """New ids, one after the other, up to a limit; whoever takes them knows when they have ended before.

        Args:
            laws: gets the raw log-probabilities of each, where they are asked for.
        """
        next_id = self.chooser(request, self.fed(prompt), allowed)
        ids: list[int] = []
        session: Any = None
        try:
            while len(ids) < limit:
                session = self._advanced(session, prompt if session is None else ids[-1:])
                logits = session.logits[-1]
                ids.append(next_id(logits, ids))
                if request.logprobs is not None:
                    laws.append(top_logprobs(logits, ids[-1], request.logprobs))
                yield ids[-1]
        finally:
            if session is not None:
                session.close()

    def fed(self, prompt: Sequence[int]) -> Sequence[int]:
        """What the ids that are generated stand behind."""
        return prompt

    def chooser(self, request: Request, given: Sequence[int], allowed: Array | None) -> Chooser:
        """What chooses the ids of one generation. A runtime that samples itself overrides it.

        Args:
            given: ids that the model is fed before the first choice.
            allowed: [V] True for ids that may be chosen; None allows all.
        """
        seed = secrets.randbits(64) if request.seed is None else int(request.seed)

        def chosen(logits: Array, ids: Sequence[int]) -> int:
            noise = gumbel.noise(seed, len(ids), self.config["vocab_size"])
            return choose(self.shaped(logits, request, given, ids), request, allowed, noise)

        return chosen

    def shaped(self, logits: Array, request: Request, given: Sequence[int], chosen: Sequence[int]) -> Array:
        """Logits [V] with bias and penalties, as `choosing.shaped`. A runtime that has them itself overrides it."""
        return shaped(logits, request, given, chosen)

    def _advanced(self, session: Any, ids: Sequence[int]) -> Any:
        if session is None:
            return self.begin(ids)
        session.extend(ids)
        return session

    def _stream_beams(
        self, prompt: Sequence[int], request: Request, allowed: Array | None
    ) -> Iterator[str | Generation]:
        """The whole text in one piece, because the best continuation is known at the end, then the Generation."""
        ids, limit = list[int](), self.limit(prompt, request)
        if limit > 0:
            ids = beam_search(self.begin(prompt), request, limit, self.config["eos_token_ids"], allowed)
        made = self.generation(prompt, ids)
        if made.text:
            yield made.text
        yield made


class KitEncoderDecoder(KitModel):
    """An encoder-decoder of the protocol, made from `forward` alone: a prompt is its source, the target is generated.

    Args:
        bundle: from `read_bundle`.
    """

    def forward(self, batch: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None) -> list[Array]:
        """Logits [T, V] of every row of target ids; the runtime's own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Any:
        require_beside(source=source)
        return PrefixSession(self, ids, source)

    def score(self, ids: Sequence[int], source: Sequence[int] | None = None) -> list[float | None]:
        require_beside(source=source)
        assert source is not None
        return scores(self.forward([check_ids(self.config, ids)], sources=[source])[0], ids)

    def perplexity(self, ids: Sequence[int], **options: Any) -> dict[str, Any]:
        raise Refusal("unsupported", "perplexity is of models that continue what they are given")

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        """Most new ids that request and context leave; the target begins with one that is not new."""
        return min(request.max_length, int(self.config["context_length"]) - 1)

    def fed(self, prompt: Sequence[int]) -> Sequence[int]:
        return [self.config["decoder_start_token_id"]]

    def begin(self, prompt: Sequence[int]) -> Any:
        return self.open(self.fed(prompt), source=prompt)


class KitEncoder(_Texts):
    """An encoder of the protocol: it fills masks and does not generate.

    Args:
        bundle: from `read_bundle`.
    """

    def forward(self, batch: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> list[Array]:
        """Logits [T, V] of what stands at each position, for every row; the runtime's own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def encode(self, batch: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> list[Encoding]:
        """Hidden states and pooled output of every row; the runtime's own."""
        self._no("encode here")

    def fill_mask(
        self, ids: Sequence[int], count: int = 5, types: Sequence[int] | None = None, **unknown: Any
    ) -> list[dict[int, float]]:
        """Per mask its likeliest ids, likeliest first; the other masks stay."""
        check_names(unknown, ("count", "types"))
        mask = self.config["mask_token_id"]
        if mask is None:
            raise Refusal("unsupported", "the model has no mask")
        row = check_ids(self.config, ids)
        places = [place for place, token in enumerate(row) if token == mask]
        allow(bool(places), "ids", "without a mask")
        many = check_count(self.config, count)
        laws = log_law(self.forward([row], types=None if types is None else [types])[0])
        return [{token: float(laws[place, token]) for token in likeliest(laws[place], many)} for place in places]

    def open(self, ids: Sequence[int], **options: Any) -> Any:
        self._no("continue a sequence")

    def score(self, ids: Sequence[int], **options: Any) -> list[float | None]:
        self._no("give an id a law without what follows")

    def perplexity(self, ids: Sequence[int], **options: Any) -> dict[str, Any]:
        self._no("give an id a law without what follows")

    def generate_text(self, prompt: str, *arguments: Any, **options: Any) -> Generation:
        self._no("generate")

    def generate_ids(self, ids: Sequence[int], *arguments: Any, **options: Any) -> Generation:
        self._no("generate")

    def generate_batch(self, batch: Sequence[Sequence[int]], *arguments: Any, **options: Any) -> list[Generation]:
        self._no("generate")

    def stream_text(self, prompt: str, *arguments: Any, **options: Any) -> Iterator[str | Generation]:
        self._no("generate")


def scores(logits: Array, ids: Sequence[int]) -> list[float | None]:
    """Log-probability of each id under the logits [T, V] before it; None for the first, which has none before."""
    law = log_law(logits[:-1])
    return [None, *(float(row[token]) for row, token in zip(law, ids[1:], strict=True))]


def _held_back(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of a text that begins a stop string."""
    ends = [n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])]
    return max(ends, default=0)


class PrefixSession:
    """A session without a cache: the whole prefix is computed again. Right, and slow.

    Args:
        source: of an encoder-decoder.
    """

    def __init__(self, model: Any, ids: Sequence[int], source: Sequence[int] | None = None) -> None:
        self._model, self._ids, self._open = model, list[int](), True
        self._beside = {} if source is None else {"sources": [source]}
        self.logits = self.extend(ids)

    def extend(self, ids: Sequence[int]) -> Array:
        if not self._open:
            raise Refusal("invalid_argument", "the session is closed")
        new = check_ids(self._model.config, ids, held=len(self._ids))
        logits: Array = self._model.forward([[*self._ids, *new]], **self._beside)[0]
        self.logits = logits[-len(new) :]
        self._ids += new
        return self.logits

    def fork(self) -> PrefixSession:
        if not self._open:
            raise Refusal("invalid_argument", "the session is closed")
        twin = object.__new__(PrefixSession)
        twin.__dict__.update(self.__dict__, _ids=list(self._ids))
        return twin

    def close(self) -> None:
        self._open = False
