"""The loop: prompt, cache, choice, end of sequence, stop strings, limits, streaming.

One path serves all callers. `stream` yields pieces of text and then the `Generation`; `generate` throws the pieces
away. So what is streamed and what is returned cannot differ.

Rules where the source document is silent:

    max_length        counts new tokens; an end-of-sequence id counts as one and is no text
    context           a prompt longer than the context is refused; a continuation ends at the context with "length"
    empty prompt      starts from BOS if the model has one, else is refused
    stop strings      matched on the decoded text, across tokens; the earliest start wins; excluded from the text
    finish_reason     "stop" or "length"; "stop" when both fall on one step
    ids without text  are not chosen when text is generated, end-of-sequence ids excepted
    seed              same model, request and seed give the same ids, by the noise of `sampling.noise`; without one each
                      call has fresh entropy
    beams             several continuations are followed, and the best of those found is the result; see `beam_search`
    options           an unknown one is refused
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos import sampling
from llmasos.config import ModelConfig
from llmasos.errors import ContextOverflow, InvalidArgument, UnknownParameter, Unsupported, shown
from llmasos.ops import Array
from llmasos.sampling import Sampler
from llmasos.tokenizer import Tokenizer, check_text

STOP, LENGTH = "stop", "length"

Step = Callable[[Sequence[int]], Array]
"""Feeds ids to the model, after those fed before, and returns the logits [V] behind the last."""

Advance = Callable[[Any, Sequence[int]], tuple[Array, Any]]
"""Feeds ids to the model behind a cache, and returns the logits [V] behind the last, and the cache behind them."""

MAX_BEAMS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A checked request.

    Attributes:
        max_length: most new tokens.
        sampler: how each is chosen.
        seed: of the random stream; None asks for a fresh one.
        stop: strings that end the text.
        logprobs: how many of the likeliest ids to report beside the chosen one; None reports nothing.
        allow_special: literals of special tokens in the prompt are those tokens.
        beams: continuations that are followed; 1 follows the chosen one alone.
        length_penalty: power of the length by which the log-probability of a continuation is divided.
    """

    max_length: int = 100
    sampler: Sampler = field(default_factory=Sampler)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    allow_special: bool = False
    beams: int = 1
    length_penalty: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a sequence starts from.

    Attributes:
        ids: fed before the first choice.
        given: tokens that the caller gave, as they are counted; of a Transformer those of the source.
    """

    ids: Sequence[int]
    given: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The result of one generation.

    Attributes:
        text: the continuation alone; None if the model has no tokenizer.
        ids: the new ids, an end-of-sequence id and those of a stop string included.
        finish_reason: "stop" or "length".
        prompt_tokens: ids that the model was given, a BOS put before an empty prompt included.
        completion_tokens: number of new ids.
        seed: reproduces the result.
        logprobs: per new id a mapping id -> natural-log probability under the unmodified logits; None unless asked.
    """

    text: str | None
    ids: tuple[int, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seed: int
    logprobs: tuple[Mapping[int, float], ...] | None = None


def check_request(config: ModelConfig, max_length: object, temperature: object, options: Mapping[str, Any]) -> Request:
    """Judge the options of a call.

    Args:
        config: for the limits on ids.
        max_length: integer from 0. temperature: finite number from 0.
        options: seed (0 … 2⁶⁴-1 or None), top_k (integer from 0), top_p (0 < p <= 1), min_p (0 … 1), logit_bias
            (id -> finite number), repetition_penalty (finite number above 0), frequency_penalty and presence_penalty
            (finite numbers), stop (a text or a list of texts, none empty), logprobs (0 … V or None),
            allow_special (boolean), beams (1 … MAX_BEAMS), length_penalty (finite number from 0).

    Raises:
        UnknownParameter: an option of another name.
        InvalidArgument: a value of the wrong type or out of range.
    """
    known = (
        *("seed", "top_k", "top_p", "min_p", "logit_bias", "stop", "logprobs", "allow_special"),
        *("repetition_penalty", "frequency_penalty", "presence_penalty", "beams", "length_penalty"),
    )
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UnknownParameter(f"unknown option {unknown[0]!r}", unknown[0], f"known are {', '.join(known)}")
    V = config.vocab_size
    seed, logprobs = options.get("seed"), options.get("logprobs")
    top_p = _number(options.get("top_p", 1.0), "top_p", 0, 1)
    if top_p == 0:
        raise InvalidArgument("0 keeps no token", "top_p", "a number above 0 and up to 1")
    repetition = _number(options.get("repetition_penalty", 1.0), "repetition_penalty", 0)
    if repetition == 0:
        raise InvalidArgument("nothing is divided by 0", "repetition_penalty", "a number above 0; 1 changes nothing")
    allow_special = options.get("allow_special", False)
    if not isinstance(allow_special, bool):
        raise InvalidArgument(f"expected a boolean, found {shown(allow_special)}", "allow_special")
    request = Request(
        max_length=_integer(max_length, "max_length", 0),
        sampler=Sampler(
            temperature=_number(temperature, "temperature", 0),
            top_k=_integer(options.get("top_k", 0), "top_k", 0),
            top_p=top_p,
            min_p=_number(options.get("min_p", 0.0), "min_p", 0, 1),
            logit_bias=_bias(options.get("logit_bias", {}), V),
            repetition_penalty=repetition,
            frequency_penalty=_number(options.get("frequency_penalty", 0.0), "frequency_penalty"),
            presence_penalty=_number(options.get("presence_penalty", 0.0), "presence_penalty"),
        ),
        seed=None if seed is None else _integer(seed, "seed", 0, sampling.MAX_SEED),
        stop=_stop(options.get("stop", ())),
        logprobs=None if logprobs is None else _integer(logprobs, "logprobs", 0, V),
        allow_special=allow_special,
        beams=_integer(options.get("beams", 1), "beams", 1, MAX_BEAMS),
        length_penalty=_number(options.get("length_penalty", 1.0), "length_penalty", 0),
    )
    sampler, alone = request.sampler, not request.stop and request.logprobs is None
    if request.beams > 1 and (sampler.temperature > 0 or sampler.shapes or not alone):
        hint = "with beams, set temperature to 0 and leave logit_bias, penalties, stop and logprobs out"
        raise InvalidArgument("beams follow likelihood alone", "beams", hint)
    return request


def _integer(value: object, where: str, low: int, high: int | None = None) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InvalidArgument(f"expected an integer, found {shown(value)}", where)
    number = int(value)
    if number < low or (high is not None and number > high):
        raise InvalidArgument(
            f"{shown(number)} is out of range", where, f"from {low}" if high is None else f"{low} to {high}"
        )
    return number


def _number(value: object, where: str, low: float = -math.inf, high: float = math.inf) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InvalidArgument(f"expected a number, found {shown(value)}", where)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not low <= number <= high or not math.isfinite(number):  # NaN fails every comparison
        raise InvalidArgument(f"{number} is out of range", where, f"a finite number from {low} to {high}")
    return number


def _bias(value: object, vocab_size: int) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"expected a mapping id -> number, found {shown(value)}", "logit_bias")
    return {
        _integer(token, "logit_bias", 0, vocab_size - 1): _number(bias, f"logit_bias[{token}]")
        for token, bias in value.items()
    }


def _stop(value: object) -> tuple[str, ...]:
    strings = (value,) if isinstance(value, str) else value
    if not isinstance(strings, list | tuple):
        raise InvalidArgument(f"expected texts, found {shown(value)}", "stop")
    for i, string in enumerate(strings):
        if not check_text(string, f"stop[{i}]"):
            raise InvalidArgument("an empty text would stop everywhere", f"stop[{i}]", "leave it out")
    return tuple(strings)


def check_prompt(config: ModelConfig, ids: Sequence[int]) -> list[int]:
    """The ids that the model is given for a prompt.

    Raises:
        InvalidArgument: an id that is no integer of the vocabulary, or an empty prompt without BOS.
        ContextOverflow: more ids than the context holds.
    """
    prompt = check_ids(config, ids)
    if not prompt:
        if config.bos_token_id is None:
            raise InvalidArgument("empty, and the model has no BOS to start from", "prompt", "give at least one token")
        prompt = [config.bos_token_id]
    if len(prompt) > config.context_length:
        raise ContextOverflow(
            f"{len(prompt)} tokens, the context holds {config.context_length}", "prompt", "shorten the prompt"
        )
    return prompt


def check_ids(config: ModelConfig, ids: object, where: str = "ids") -> list[int]:
    """A list of ids of the vocabulary.

    Raises:
        InvalidArgument: anything else.
    """
    return _below(config.vocab_size, ids, where, "token ids")


def check_types(config: ModelConfig, types: object, count: int) -> list[int]:
    """A token type for each of `count` ids; None stands for all 0.

    Raises:
        InvalidArgument: anything else.
    """
    if types is None:
        return [0] * count
    row = _below(config.type_vocab_size, types, "types", "token types")
    if len(row) != count:
        raise InvalidArgument(f"{len(row)} types for {count} ids", "types", "give one per id")
    return row


def check_count(count: object, V: int) -> int:
    """How many ids to report.

    Raises:
        InvalidArgument: no integer of 1 … V.
    """
    return _integer(count, "count", 1, V)


def check_rate(rate: object) -> float:
    """A learning rate.

    Raises:
        InvalidArgument: no finite number from 0.
    """
    return _number(rate, "learning_rate", 0)


def _below(size: int, values: object, where: str, what: str) -> list[int]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise InvalidArgument(f"expected a list of {what}, found {type(values).__name__}", where)
    return [_integer(value, f"{where}[{i}]", 0, size - 1) for i, value in enumerate(values)]


def stream(
    step: Step,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    prompt: Prompt,
    request: Request,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Iterator[str | Generation]:
    """Generate, piece by piece.

    Args:
        step: the model, with nothing fed yet.
        tokenizer: None if ids have no text; then no pieces are yielded.
        allowed: [V] True for ids that may be chosen; None allows all.

    Yields:
        Pieces of text, none empty, that join to the text of the last item; then the Generation.

    Raises:
        Unsupported: stop strings without a tokenizer. Raised by the call, before the first piece is asked for.
    """
    if request.stop and tokenizer is None:
        raise Unsupported("the model has no tokenizer, so no text to stop at", "stop", "leave it out")
    if request.seed is None:
        request = replace(request, seed=secrets.randbits(53))
    return _steps(step, config, tokenizer, prompt, request, allowed)


def _steps(
    step: Step,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    prompt: Prompt,
    request: Request,
    allowed: npt.NDArray[np.bool_] | None,
) -> Iterator[str | Generation]:
    assert request.seed is not None
    limit = min(request.max_length, config.context_length - len(prompt.ids))
    ids: list[int] = []
    logprobs: list[Mapping[int, float]] = []
    reason = LENGTH
    emitted = text = ""
    decoding = None if tokenizer is None else tokenizer.decoding()
    fed: Sequence[int] = prompt.ids
    while len(ids) < limit and reason == LENGTH:
        logits = step(fed)
        g = partial(sampling.noise, request.seed, len(ids), config.vocab_size)
        past = sampling.Past(given=prompt.ids, chosen=ids)
        chosen = sampling.choose(logits, request.sampler, allowed, g, past)
        ids.append(chosen)
        fed = [chosen]
        if request.logprobs is not None:
            logprobs.append(top_logprobs(logits, chosen, request.logprobs))
        if chosen in config.eos_token_ids:
            reason = STOP
        if decoding is None:
            continue
        ends = reason == STOP or len(ids) == limit
        if reason != STOP:  # an end-of-sequence id is no text
            text += decoding.feed(chosen)
        if ends:
            text += decoding.end()
        cut = first_stop(text, request.stop)
        if cut is not None:
            reason, ends, text = STOP, True, text[:cut]
        safe = text if ends else text[: len(text) - held_back(text, request.stop)]
        if len(safe) > len(emitted):
            yield safe[len(emitted) :]
            emitted = safe
    yield Generation(
        text=None if tokenizer is None else text,
        ids=tuple(ids),
        finish_reason=reason,
        prompt_tokens=prompt.given,
        completion_tokens=len(ids),
        seed=request.seed,
        logprobs=None if request.logprobs is None else tuple(logprobs),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beam:
    """A continuation: its ids, the sum of their log-probabilities, and the cache in front of the last of them."""

    ids: tuple[int, ...]
    total: float
    cache: Any

    def score(self, penalty: float) -> float:
        return self.total / _powered(len(self.ids), penalty) if self.ids else 0.0


def _powered(length: int, penalty: float) -> float:
    """length^penalty; infinite where no float64 holds it, so that all scores are then 0."""
    try:
        return math.pow(length, penalty)
    except OverflowError:
        return math.inf


def beam_search(
    advance: Advance,
    cache: Any,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    prompt: Prompt,
    request: Request,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Generation:
    """The best of the continuations that beam search finds.

    A continuation of L ids scores Σ ln p / L^length_penalty, p by the law at temperature 1 over what may be chosen,
    an end-of-sequence id counted in both. Each step looks at the best one-id extensions of the n continuations that are
    followed, by Σ ln p, ties to the earlier continuation and then to the lower id: at (1 + E) · n of them where E ids
    end a sequence, and at 2n where none does, so that n that do not end are always among them. Of these, an extension
    that ends is put aside if it is among the first n, and dropped if not; the first n others are followed. It ends at
    the limit, where what is followed is put aside too, or as soon as nothing that is followed can still score better
    than n put aside. The result is the best of all that was put aside, ties to the one put aside first.

    Args:
        advance: the model. cache: before the prompt.
        allowed: [V] True for ids that may be chosen; None allows all.

    Source:
        LLMasOS API semantics, beams; main libraries agree on the candidates, and differ on when to end.
    """
    n, penalty = request.beams, request.length_penalty
    looked_at = n * (1 + max(1, len(config.eos_token_ids)))
    limit = min(request.max_length, config.context_length - len(prompt.ids))
    aside: list[_Beam] = []
    followed = [_Beam(ids=(), total=0.0, cache=cache)]
    fed: list[Sequence[int]] = [prompt.ids]
    for _ in range(limit):
        candidates = _extended(advance, followed, fed, looked_at, request.sampler, allowed)
        ending = [beam for beam in candidates[:n] if beam.ids[-1] in config.eos_token_ids]
        aside = sorted([*aside, *ending], key=lambda beam: -beam.score(penalty))[:n]
        followed = [beam for beam in candidates if beam.ids[-1] not in config.eos_token_ids][:n]
        fed = [beam.ids[-1:] for beam in followed]
        # A sum of log-probabilities only falls: the best score in reach is today's sum over the longest length.
        reach = max((beam.total for beam in followed), default=-math.inf) / _powered(limit, penalty)
        if not followed or (len(aside) == n and aside[-1].score(penalty) >= reach):
            followed = []
            break
    best = max([*aside, *followed], key=lambda beam: beam.score(penalty))
    return Generation(
        text=None if tokenizer is None else tokenizer.decode([i for i in best.ids if i not in config.eos_token_ids]),
        ids=best.ids,
        finish_reason=STOP if best.ids and best.ids[-1] in config.eos_token_ids else LENGTH,
        prompt_tokens=prompt.given,
        completion_tokens=len(best.ids),
        seed=0 if request.seed is None else request.seed,
    )


def _extended(
    advance: Advance,
    followed: Sequence[_Beam],
    fed: Sequence[Sequence[int]],
    count: int,
    sampler: Sampler,
    allowed: npt.NDArray[np.bool_] | None,
) -> list[_Beam]:
    """The `count` likeliest extensions by one id, likeliest first; what may not be chosen is left out."""
    reached = [advance(beam.cache, ids) for beam, ids in zip(followed, fed, strict=True)]
    rows = [sampling.log_of(logits, sampler, allowed) for logits, _ in reached]
    totals = np.stack([beam.total + row for beam, row in zip(followed, rows, strict=True)])  # [beams, V]
    best = np.argsort(-totals, axis=None, kind="stable")[:count]
    places = [divmod(int(place), totals.shape[1]) for place in best]
    return [
        _Beam(ids=(*followed[i].ids, token), total=float(totals[i, token]), cache=reached[i][1])
        for i, token in places
        if totals[i, token] > -math.inf
    ]


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the stop string that starts earliest starts; None if the text holds none."""
    return min((start for start in (text.find(string) for string in stop) if start >= 0), default=None)


def held_back(text: str, stop: Sequence[str]) -> int:
    """Length of the longest end of a text that is the beginning of a stop string."""
    longest = max((len(string) - 1 for string in stop), default=0)
    for length in range(min(longest, len(text)), 0, -1):
        if any(string.startswith(text[-length:]) for string in stop):
            return length
    return 0


def top_logprobs(logits: Array, chosen: int, count: int) -> dict[int, float]:
    """Raw log-probabilities of the `count` likeliest ids, ties to the lowest, and of the chosen one."""
    return likeliest(logits, count) | {chosen: float(sampling.log_law(logits)[chosen])}


def likeliest(logits: Array, count: int) -> dict[int, float]:
    """Raw log-probabilities of the `count` likeliest ids, ties to the lowest, likeliest first."""
    law = sampling.log_law(logits)
    return {int(token): float(law[token]) for token in np.argsort(-law, kind="stable")[:count]}


def generate(pieces: Iterator[str | Generation]) -> Generation:
    """Run a stream to its end and return its Generation."""
    *_, last = pieces
    assert isinstance(last, Generation)
    return last
