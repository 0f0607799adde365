"""Logits to law to token.

The order is fixed: bias, penalties, temperature, top-k, top-p, min-p. All of it is computed in float64, whatever the
dtype of the logits. Randomness enters only as noise that is passed in: the
id of the largest score is taken, and a score is z/T + noise (the Gumbel-max trick).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llmasos import counter, ops
from llmasos.errors import Unsupported
from llmasos.ops import Array

MAX_SEED = 2**64 - 1

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """How a token is chosen. The defaults change nothing.

    Attributes:
        temperature: 0 takes the largest logit, ties to the lowest id; otherwise logits are divided by it.
        top_k: keep the k likeliest ids, ties to the lowest; 0 keeps all.
        top_p: keep the likeliest ids, ties to the lowest, until their mass reaches p; 1 keeps all.
        min_p: keep ids at least min_p times as likely as the likeliest; 0 keeps all.
        logit_bias: id -> number added to its logit.
        repetition_penalty: logits of ids that were given or chosen are divided by it where positive, multiplied where
            not; 1 changes nothing.
        frequency_penalty: subtracted from an id's logit for each time that it was chosen.
        presence_penalty: subtracted once from the logit of each id that was chosen.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0

    @property
    def shapes(self) -> bool:
        """Whether logits are changed before anything is chosen by them."""
        penalties = (self.repetition_penalty, self.frequency_penalty, self.presence_penalty)
        return bool(self.logit_bias) or penalties != (1, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What stands before a choice.

    Attributes:
        given: ids that the model was fed before the first choice. chosen: those that were chosen since.
    """

    given: Sequence[int] = ()
    chosen: Sequence[int] = ()


NOTHING = Past()


def noise(seed: int, step: int, V: int) -> Float64:
    """Gumbel noise of every id in one step of a generation.

    With W(k, n) for word n of the stream of key k, as in `counter`:

        w = W(W(W(seed, 0), step), id)      u = (⌊w / 2¹²⌋ + ½) · 2⁻⁵²      g = -ln(-ln u)

    u has 53 bits, so that float64 holds it exactly and it is never 0 or 1.

    Args:
        seed: 0 … 2⁶⁴-1. step: new ids that came before. V: ids of the vocabulary.

    Returns:
        [V] from -3.61 to 36.74; the id of the largest ln p + g is one drawn from p.

    Source:
        LLMasOS specification, GUM-1.
    """
    w = counter.words(counter.word(counter.word(seed, 0), step), 0, V)
    u = ((w >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return np.asarray(-np.log(-np.log(u)))


def log_law(logits: Array) -> Float64:
    """Natural-log probabilities of the unmodified logits: no temperature, no filter, no mask.

    Args:
        logits: [..., V].

    Returns:
        [..., V] float64.

    Source:
        LLMasOS API semantics, logprobs are raw.
    """
    return ops.log_softmax(logits.astype(np.float64))


def law(logits: Array, sampler: Sampler, allowed: npt.NDArray[np.bool_] | None = None, past: Past = NOTHING) -> Float64:
    """The probabilities from which a token is drawn.

    Args:
        logits: [V].
        sampler: temperature 0 gives all mass to one id.
        allowed: [V] True for ids that may be chosen; None allows all.
        past: what penalties count.

    Returns:
        [V] float64, sums to 1 within rounding, exactly 0 where excluded.

    Raises:
        Unsupported: the logits hold NaN or infinity, so no law exists.

    Source:
        LLMasOS API semantics, order of transforms.
    """
    z = _admissible(logits, sampler, allowed, past)
    if sampler.temperature == 0:
        p = np.zeros_like(z)
        p[np.argmax(z)] = 1.0  # argmax returns the first of equals
        return p
    with np.errstate(over="ignore"):  # a tiny temperature sends the rest to -inf, as it should
        p = ops.softmax((z - np.max(z)) / sampler.temperature)
    # Likeliest first, ties by id; by logits, because exponentials may round different ones to one.
    order = np.argsort(-z, kind="stable")
    kept = p[order]
    if 0 < sampler.top_k < len(kept):
        kept[sampler.top_k :] = 0.0
        kept /= kept.sum()
    if sampler.top_p < 1:
        # The smallest prefix whose mass reaches p: an id stays if the mass before it has not.
        kept[1:][np.cumsum(kept)[:-1] >= sampler.top_p] = 0.0
    kept[kept < sampler.min_p * kept[0]] = 0.0
    p[order] = kept / kept.sum()
    return p


def log_of(logits: Array, sampler: Sampler, allowed: npt.NDArray[np.bool_] | None = None) -> Float64:
    """Natural logarithms of the law at temperature 1 without filters: bias and what may be chosen count.

    Returns:
        [V] float64, -inf where excluded.
    """
    return ops.log_softmax(_admissible(logits, sampler, allowed))


def _admissible(
    logits: Array, sampler: Sampler, allowed: npt.NDArray[np.bool_] | None, past: Past = NOTHING
) -> Float64:
    """Logits with bias and penalties, and -inf where an id may not be chosen; [V] float64."""
    z = logits.astype(np.float64)
    if not np.all(np.isfinite(z)):
        raise Unsupported("logits are not finite", "forward", "the weights overflow this dtype; try float64")
    for token, bias in sampler.logit_bias.items():
        z[token] += bias
    if sampler.repetition_penalty != 1:
        seen = sorted({*past.given, *past.chosen})
        r = sampler.repetition_penalty
        z[seen] = np.where(z[seen] > 0, z[seen] / r, z[seen] * r)
    for token, times in Counter(past.chosen).items():
        z[token] -= sampler.frequency_penalty * times + sampler.presence_penalty
    if allowed is not None:
        z[~allowed] = -np.inf
    return z


def choose(
    logits: Array,
    sampler: Sampler,
    allowed: npt.NDArray[np.bool_] | None,
    g: Callable[[], Float64],
    past: Past = NOTHING,
) -> int:
    """The next id: `draw` from `law`, without making the law, or noise, where one id has all of it.

    Args:
        logits, sampler, allowed, past: as in `law`. g: gives noise [V], as `noise`.
    """
    if sampler.temperature == 0:
        return int(np.argmax(_admissible(logits, sampler, allowed, past)))
    return draw(law(logits, sampler, allowed, past), g())


def draw(p: Float64, g: Float64) -> int:
    """The id of the largest ln p + g, the lowest of equals. ln p is z/T but for a number that all ids share.

    Args:
        p: [V] law. g: [V] noise.

    Returns:
        An id of positive probability.
    """
    with np.errstate(divide="ignore"):
        return int(np.argmax(np.log(p) + g))
