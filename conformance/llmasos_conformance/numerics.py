"""Honest error, bounds, and what "equal" means. All constants of numeric judgement live here.

Truth z is the float64 reference. An honest computation is the reference in the claimed dtype; several orders of
summation give several of them. For a row of logits [T, V], with s the standard deviation of z over the row, a
computation x is measured three ways:

    E(x)  rms over the row of (x - z)/s
    P(x)  largest rms over one position of (x - z)/s
    M(x)  largest |x - z|/s

and is equal to the truth if and only if

    E(x) <= KAPPA_RMS · max E(h)     P(x) <= KAPPA_POSITION · max P(h)     M(x) <= KAPPA_MAX · max M(h)

over the honest computations h and over z + u·|z|, one rounding of the result at its worst. Nothing is compared
relative to a single logit, because logits cross zero; nothing is compared with a fixed tolerance, because what honest
arithmetic costs depends on the model. A ratio such as E(x)/max E(h) is "x times the honest error" in messages and
reports.

Calibration (`bench/calibrate_honest_error.py`): over random probes and lengths 1 to 32, with the baseline of plain,
sequential, split-k and online, no other honest order has reached half of a bound. The figures stand in
`docs/numerics.md`.

Source:
    LLMasOS specification, NUM-1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import ml_dtypes  # noqa: F401 (NumPy then knows bfloat16 by name)
import numpy as np
import numpy.typing as npt

from llmasos_conformance.protocol import DTYPES, HALF, Array
from llmasos_conformance.verdict import TWO_WAYS, Finding, State, failed, passed

KAPPA_RMS: Mapping[str, float] = dict.fromkeys(DTYPES, 6.0)
"""Honest orders outside the baseline come to 2.6 at most, and the nearest arithmetic that only pretends (products of
float32 emulated by three bfloat16 terms) to about 18: 6 lies between, more than twice from either."""

KAPPA_POSITION: Mapping[str, float] = dict.fromkeys(DTYPES, 8.0)
"""A position has fewer independent errors than a row, so its rms scatters more: honest orders come to 3.0 at most. A
fault at one position of 32 is diluted by √32 = 5.7 in E and not at all in P."""

KAPPA_MAX: Mapping[str, float] = dict.fromkeys(DTYPES, 12.0)
"""Twice KAPPA_RMS: the largest of many errors scatters more than their rms. Honest orders come to 3.7 at most. It is
what sees a fault in one logit of a row, which E dilutes by √(T·V)."""

UNIT_ROUNDOFF: Mapping[str, float] = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Largest relative error of one rounding."""


OWN = 2.0
"""In honest errors of a dtype, what computations in it come to on ordinary rows. float16 and bfloat16 are a factor of
eight apart, so that the bounds of the one hold much of the other."""

ROUNDINGS = 8.0
"""Of float32, what a sampler's arithmetic behind the logits may cost: bias, factor, two subtractions and a division
round once each; of the noise, two logarithms err by one or two units each, and its addition rounds."""

CANCELLED = 16.0
"""A tensor of this many roundoffs of the largest one holds nothing but what a cancellation left: sums of some dozens of
terms, which cancel, leave a few roundoffs of them."""

SLACK = 4.0
"""Of scores that are made of counts: how many times the roundings of one way to compute them any other way may cost. A
library's logarithm or exponential errs by one or two units where the derivation has half of one; see `judge_score`."""


def found(ratio: float, dtype: str) -> str:
    """The finest dtype that explains an error; empty if it is larger than that of any.

    The claimed one explains what its bound allows, another what computations in it come to (OWN).

    Args:
        ratio: rms over a row, in honest errors of `dtype`, the claimed one; that of another is as many times larger
            as its roundoff is.
    """
    for each in DTYPES:
        allowed = KAPPA_RMS[dtype] if each == dtype else OWN
        if ratio * UNIT_ROUNDOFF[dtype] <= allowed * UNIT_ROUNDOFF[each]:
            return each
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far a row of logits is from the truth, in units of honest error.

    Attributes:
        ratio_rms, ratio_position, ratio_max: E, P and M as multiples of the largest honest one.
        index: of the largest error. got, due: both values there.
        worst_position: index of the position with the largest rms.
        scale: s, standard deviation of the truth over the row.
        dtype: claimed.
    """

    ratio_rms: float
    ratio_position: float
    ratio_max: float
    index: tuple[int, ...]
    got: float
    due: float
    worst_position: int
    scale: float
    dtype: str

    @property
    def rules(self) -> tuple[tuple[float, float, str], ...]:
        """Measure, bound and where it was taken, one per rule."""
        return (
            (self.ratio_rms, KAPPA_RMS[self.dtype], "over the row"),
            (self.ratio_position, KAPPA_POSITION[self.dtype], "over a position"),
            (self.ratio_max, KAPPA_MAX[self.dtype], "at its largest"),
        )

    @property
    def ok(self) -> bool:
        return all(ratio <= bound for ratio, bound, _ in self.rules)

    @property
    def figures(self) -> dict[str, float]:
        return {"ratio": self.ratio_rms, "position": self.ratio_position, "peak": self.ratio_max}


@dataclass(frozen=True, slots=True, kw_only=True)
class Honest:
    """What honest computations cost on one row: the largest E, P and M, in units of the scale, and the scale."""

    rms: float
    position: float
    peak: float
    scale: float
    dtype: str


def honest_error(truth: Array, honest: Sequence[Array], dtype: str) -> Honest:
    """The baselines of a row.

    Whoever writes a result down rounds it once, by u of it at most. Without that, a row on which the orders of the
    baseline happen to be exact would ask the same of everyone; where one logit is far beyond the spread, even its last
    digit. A row of zeros counts as one of ones.

    Args:
        truth: [T, V] float64. honest: several [T, V] in the claimed dtype.

    Raises:
        ValueError: no honest computation, one of another shape, or one that is not finite where the truth is: then the
            probe is wrong for this dtype, and no candidate may be judged by it.
    """
    if not honest:
        raise ValueError("no honest computation to compare with")
    exact = np.asarray(truth, dtype=np.float64)
    finite = np.isfinite(exact)
    scale = _scale(exact)
    sizes = []
    for computation in honest:
        values = np.asarray(computation, dtype=np.float64)
        if values.shape != exact.shape:
            raise ValueError(f"an honest computation has shape {list(values.shape)}, the truth {list(exact.shape)}")
        if not np.all(np.isfinite(values) | ~finite):
            raise ValueError(f"an honest {dtype} computation is not finite where the truth is")
        sizes.append(_sizes(_errors(values, exact), scale))
    written = np.abs(np.where(finite, exact, 0.0)) if np.any(exact[finite]) else np.ones_like(exact)
    sizes.append(_sizes(UNIT_ROUNDOFF[dtype] * written, scale))
    rms, position, peak = (max(size[i] for size in sizes) for i in range(3))
    return Honest(rms=rms, position=position, peak=peak, scale=scale, dtype=dtype)


def compare(got: Array, truth: Array, honest: Sequence[Array], dtype: str = "float32") -> Comparison:
    """Measure one row of logits.

    Args:
        got: [T, V], finite wherever the truth is. truth, honest: as in `honest_error`.
    """
    exact = np.asarray(truth, dtype=np.float64)
    return _compare(np.asarray(got, dtype=np.float64), exact, honest_error(exact, honest, dtype))


def _compare(values: Array, due: Array, unit: Honest) -> Comparison:
    errors = _errors(values, due)
    rms, position, peak = _sizes(errors, unit.scale)
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.abs(errors))), errors.shape))
    by_position = np.mean(errors * errors, axis=-1)
    return Comparison(
        ratio_rms=rms / unit.rms,
        ratio_position=position / unit.position,
        ratio_max=peak / unit.peak,
        index=at,
        got=float(values[at]),
        due=float(due[at]),
        worst_position=int(np.argmax(by_position)),
        scale=unit.scale,
        dtype=unit.dtype,
    )


def by_position(got: Array, truth: Array, honest: Sequence[Array], dtype: str) -> Array | None:
    """How much of its bound each position uses: rms over a position, in units of KAPPA_POSITION honest ones.

    The largest, times KAPPA_POSITION, is the figure `position` of `judge_logits`.

    Args:
        got: [T, V]. truth, honest: as in `honest_error`. dtype: that the candidate claims.

    Returns:
        [T]; None where the row has no error to speak of: another shape, or no numbers where numbers are due.
    """
    values, exact = np.asarray(got, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if _unfit("", values, exact, None):
        return None
    unit, errors = honest_error(exact, honest, dtype), _errors(values, exact)
    shares: Array = np.sqrt(np.mean(errors * errors, axis=-1)) / (unit.scale * unit.position * KAPPA_POSITION[dtype])
    return shares


def judge_logits(
    label: str, got: Array, truth: Array, honest: Sequence[Array], dtype: str, *, row: int | None = None
) -> Finding:
    """Whether a row of logits is equal to the truth.

    Args:
        label: what the row is called in the message, for example "logits".
        got: [T, V] from the candidate. truth: [T, V] float64. honest: several [T, V] in the claimed dtype.
        dtype: that the candidate claims.
        row: index in a batch, shown before position and token.

    Returns:
        A finding with figures `ratio` (rms over the row), `position` and `peak`, in units of honest error.
    """
    values, exact = np.asarray(got, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    finding = _unfit(label, values, exact, row)
    finding = finding or _verdict(label, _compare(values, exact, honest_error(exact, honest, dtype)), row, "was due")
    return _naming_coarse(finding, label, dtype, got)


def wrong_positions(got: Array, truth: Array, honest: Sequence[Array], dtype: str) -> npt.NDArray[np.bool_]:
    """Positions of a row whose logits break the bound of a position or of one logit, or are not finite; [T].

    What is wrong over the row alone is wrong at no position. The honest errors are those of the row.

    Args:
        got, truth, honest, dtype: as in `judge_logits`, got of the shape of the truth.
    """
    values, exact = np.asarray(got, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    unit = honest_error(exact, honest, dtype)
    errors = _errors(np.where(np.isfinite(values), values, 0.0), exact) / unit.scale
    far = np.sqrt(np.mean(errors * errors, axis=-1)) > KAPPA_POSITION[dtype] * unit.position
    peak = np.max(np.abs(errors), axis=-1) > KAPPA_MAX[dtype] * unit.peak
    wrong: npt.NDArray[np.bool_] = np.any(_odd(values, exact), axis=-1) | far | peak
    return wrong


def judge_rows(
    label: str, got: Sequence[Array], truth: Sequence[Array], honest: Sequence[Sequence[Array]], dtype: str
) -> Finding:
    """Whether every row of a batch is equal to its truth; the worst row's finding.

    Args:
        got: R rows [T_r, V]. truth: as many.
        honest: per row its honest computations, R lists of [T_r, V].
    """
    if not len(got) == len(truth) == len(honest):
        return failed(f"{label}: {len(got)} rows came, {len(truth)} were due", expected=len(truth), got=len(got))
    findings = [
        judge_logits(label, row, due, baseline, dtype, row=i)
        for i, (row, due, baseline) in enumerate(zip(got, truth, honest, strict=True))
    ]
    return worst(findings)


def judge_same(
    label: str,
    a: Array,
    b: Array,
    truth: Array,
    honest: Sequence[Array],
    dtype: str,
    *,
    row: int | None = None,
) -> Finding:
    """Whether two answers of one candidate are the same computation, up to honest error.

    Two computations that err independently differ by √2 times what each errs, so the bounds are √2 times those of
    `judge_logits`.

    Args:
        a, b: [T, V], b is the one that a should equal. truth, honest: as in `judge_logits`.
    """
    first, second, exact = (np.asarray(x, dtype=np.float64) for x in (a, b, truth))
    finding = _unfit(label, first, exact, row) or _unfit(label, second, exact, row)
    if finding:
        return _naming_coarse(finding, label, dtype, a, b)
    unit = honest_error(exact, honest, dtype)
    root = math.sqrt(2.0)
    wider = Honest(
        rms=root * unit.rms, position=root * unit.position, peak=root * unit.peak, scale=unit.scale, dtype=dtype
    )
    finding = _verdict(label, _compare(first, second, wider), row, TWO_WAYS)
    return _naming_coarse(finding, label, dtype, a, b)


def judge_tensors(
    label: str,
    got: Mapping[str, Array],
    truth: Mapping[str, Array],
    honest: Sequence[Mapping[str, Array]],
    dtype: str,
    other: Mapping[str, Array] | None = None,
) -> Finding:
    """Whether tensors that come of one computation, such as gradients, are the truth's or those of another answer.

    Each is measured in units of its own size, the rms of its truth, and held to the largest E, P and M that any of them
    has in any honest computation. Its own honest errors would not do: what errs in one norm or in the law of the loss
    errs in all that follows, in one direction, so that a tensor has as good as one error. One of a Gaussian law exceeds
    six times the largest of four others once in a thousand times.

    A tensor in which everything cancels has no size: as in the gradient by the keys' bias, which moves all scores of a
    row alike, what is left is rounding. It may err by as much as any other does.

    Args:
        label: what they are, for example "gradient". got: of the candidate, of the truth's names.
        truth: float64. honest: several computations in the claimed dtype. dtype: that the candidate claims.
        other: the candidate's other answer, which got should equal; bounds are √2 times as wide then.
    """
    exact = {name: np.atleast_2d(np.asarray(due, dtype=np.float64)) for name, due in truth.items()}
    sizes = {name: math.sqrt(float(np.mean(due * due))) for name, due in exact.items()}
    least = CANCELLED * UNIT_ROUNDOFF[dtype] * max(sizes.values())
    scales = {name: size if size > least else 0.0 for name, size in sizes.items()}
    errors = [
        (name, error)
        for name, due in exact.items()
        for error in (UNIT_ROUNDOFF[dtype] * due, *(np.atleast_2d(order[name]) - due for order in honest))
    ]
    root = 1.0 if other is None else math.sqrt(2.0)
    relative = _largest(((error, scales[name]) for name, error in errors if scales[name]), root, dtype)
    absolute = _largest(((error, 1.0) for _, error in errors), root, dtype)
    findings = []
    for name, due in exact.items():
        title, values = f"{label} of {name}", np.atleast_2d(np.asarray(got[name], dtype=np.float64))
        unit = replace(relative, scale=scales[name]) if scales[name] else absolute
        finding = _unfit(title, values, due, None)
        if finding is None:
            wanted = due if other is None else np.atleast_2d(np.asarray(other[name], dtype=np.float64))
            said = "was due" if other is None else TWO_WAYS
            finding = _verdict(title, _compare(values, wanted, unit), None, said)
        findings.append(_naming_coarse(finding, title, dtype, got[name]))
    return worst(findings)


def _largest(errors: Iterable[tuple[Array, float]], times: float, dtype: str) -> Honest:
    """The largest E, P and M of errors in units of the scales beside them, so many times; its own scale is 1."""
    rms, position, peak = (times * max(each) for each in zip(*(_sizes(*pair) for pair in errors), strict=True))
    return Honest(rms=rms, position=position, peak=peak, scale=1.0, dtype=dtype)


def log_softmax(logits: Array) -> Array:
    """Natural logarithm of the probabilities, float64; [..., V] -> [..., V]."""
    z = np.asarray(logits, dtype=np.float64)
    shifted = z - np.max(z, axis=-1, keepdims=True)
    law: Array = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return law


def _law_cost(exact: Array, law: Array, honest: Sequence[Array], dtype: str) -> float:
    """The largest error of an honest logarithm of a softmax, one rounding of the logits and of the result included.

    The honest one takes the logarithm in its own dtype, as a candidate does.
    """
    written = max(float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0)) for values in (exact, law))
    once = UNIT_ROUNDOFF[dtype] * max(written, _scale(exact))
    return max(once, *(float(np.max(np.abs(_law_in(h, dtype) - law))) for h in honest))


def judge_logprobs(
    label: str, got: Sequence[Mapping[int, float | None]], truth: Array, honest: Sequence[Array], dtype: str
) -> Finding:
    """Whether chosen log-probabilities are those of the true logits.

    A few values of a row have no rms worth the name, so each is held to the largest error of a whole honest row:
    |x - z| <= KAPPA_MAX · max |h - z|, all of z - log Σ exp z, one rounding of the largest among the h.

    Args:
        got: per position a mapping id -> natural-log probability; positions may be empty.
        truth: [T, V] float64 logits. honest: several [T, V] logits in the claimed dtype.

    Returns:
        A finding with figure `peak`.
    """
    exact = np.asarray(truth, dtype=np.float64)
    if len(got) != len(exact):
        return failed(f"{label}: {len(got)} positions came, {len(exact)} were due", expected=len(exact), got=len(got))
    law = log_softmax(exact)
    cost = _law_cost(exact, law, honest, dtype)
    most, where, value = 0.0, (0, 0), math.nan
    for t, named in enumerate(got):
        for token, logprob in named.items():
            if not 0 <= token < exact.shape[-1]:
                return failed(f"{label}[{t}] names id {token}, outside the vocabulary", got=token)
            if logprob is None or not math.isfinite(logprob):
                due = float(law[t, token])
                return failed(f"{label}[{t}, {token}] is {logprob}, {due:.9g} was due", expected=due, got=logprob)
            error = abs(float(logprob) - float(law[t, token])) / cost
            if not error <= most:
                most, where, value = error, (t, token), float(logprob)
    if most <= KAPPA_MAX[dtype]:
        return passed(peak=most)
    due = float(law[where])
    message = (
        f"{label}{list(where)} is {value:.9g}, {due:.9g} was due: off by {abs(value - due):.3g}, "
        f"{most:.3g}x the honest {dtype} error, bound {KAPPA_MAX[dtype]:g}x"
    )
    return failed(message, expected=f"{due:.9g}", got=f"{value:.9g}", peak=most)


def judge_perplexity(
    label: str, got: float | None, truth: Array, honest: Sequence[Array], ids: Sequence[int], dtype: str
) -> Finding:
    """Whether a perplexity is that of the true logits.

    Its logarithm is a mean of log-probabilities, which errs no more than the worst of them. Each may err as in
    `judge_logprobs`; the mean and the exponential add roundings of their own to it, of u each, relative to the mean and
    to the result:

        |ln x - ln z| <= KAPPA_MAX · (max |law_h - law| + u · (1 + ln z))

    Args:
        got: from the candidate; None for an infinite one.
        truth: [N, V] float64 logits behind which the N ids were scored. honest: several [N, V] in the claimed dtype.
        ids: [N].

    Returns:
        A finding with figure `peak`, the error of the logarithm in units of the sum in brackets.
    """
    exact = np.asarray(truth, dtype=np.float64)
    law = log_softmax(exact)
    nats = -math.fsum(float(law[t, token]) for t, token in enumerate(ids)) / len(ids)
    infinite = nats > _LARGEST_LOG
    due = "an infinite one, null," if infinite else f"{math.exp(nats):.9g}"
    if got is None or infinite:
        if got is None and infinite:
            return passed()
        came = "null" if got is None else f"{got:.9g}"
        return failed(f"{label} is {came}, {due} was due", expected=due, got=came)
    cost = _law_cost(exact, law, honest, dtype)
    unit = cost + UNIT_ROUNDOFF[dtype] * (1 + nats)
    error = abs(math.log(got) - nats) / unit if got > 0 else math.inf
    if error <= KAPPA_MAX[dtype]:
        return passed(peak=error)
    message = f"{label} is {got:.9g}, {due} was due: {error:.3g}x the honest {dtype} error, bound {KAPPA_MAX[dtype]:g}x"
    return failed(message, expected=due, got=f"{got:.9g}", peak=error)


_LARGEST_LOG = math.log(np.finfo(np.float64).max)


def judge_score(label: str, got: float, due: float, roundings: float, dtype: str) -> Finding:
    """Whether a score that is made of counts is the exact one, up to roundings.

        |x - z| <= SLACK · roundings · u · z

    u is that of the claimed dtype, and of float32 where half precision is claimed, which says something of models:
    nobody counts words in it.

    A score that is 0 has no roundings: it is 0. Quotients of counts and F1 made of them take 8 roundings at most, their
    mean over S segments S more. BLEU of M orders takes 12 + (M + 3) · |ln z|: an error of u in an argument of the
    exponential is one of u in the result, and the logarithms of the precisions, their sum and its M-th part err
    relative to themselves.

    Args:
        got: from the candidate. due: exact but for the last digit.
        roundings: of an ordinary computation. dtype: that the candidate claims.

    Returns:
        A finding with figure `rounding`, the part of the bound that was used.
    """
    bound = SLACK * roundings * UNIT_ROUNDOFF["float32" if dtype in HALF else dtype] * due
    error = abs(got - due)
    if error <= bound:
        return passed(rounding=error / bound if bound else 0.0)
    message = f"{label} is {got:.9g}, {due:.9g} was due: off by {error:.3g}, rounding explains {bound:.2g}"
    return failed(message, expected=f"{due:.9g}", got=f"{got:.9g}", rounding=error / bound if bound else math.inf)


def _law_in(logits: Array, dtype: str) -> Array:
    """`log_softmax` with every step in one dtype; [..., V] -> [..., V] float64.

    Of half precision in float32 and rounded once, as libraries compute it: a sum of thousands of terms in bfloat16
    would be off by a nat.
    """
    z = np.asarray(logits, dtype="float32" if dtype in HALF else dtype)
    shifted = z - np.max(z, axis=-1, keepdims=True)
    law = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return np.asarray(law.astype(dtype), dtype=np.float64)


def margin(truth: Array, honest: Sequence[Array], dtype: str) -> float:
    """The gap between two logits that every equal computation keeps in order.

    Each of the two may be off by KAPPA_MAX · max M(h) · s, in opposite directions. A smaller gap decides nothing: a
    candidate that chooses the other id is right as well.

    Args:
        truth: [V] or [T, V] float64. honest: as many of the same shape; more positions make a steadier baseline.
    """
    exact = np.atleast_2d(np.asarray(truth, dtype=np.float64))
    unit = honest_error(exact, [np.atleast_2d(np.asarray(h)) for h in honest], dtype)
    return 2.0 * KAPPA_MAX[dtype] * unit.peak * unit.scale


def first_doubtful(
    truth: Array, honest: Sequence[Array], dtype: str, *, allowed: npt.NDArray[np.bool_] | None = None
) -> int | None:
    """The first position at which honest computations may choose different ids; None if there is none.

    A judge of greedy choice compares up to there and no further, because all that follows depends on that choice.
    Logits that are equal bit for bit in the truth count as doubtful too; only a probe whose ties survive every order
    of computation can be judged on them, and such a judge does not ask here.

    Args:
        truth: [T, V] float64. honest: several [T, V].
        allowed: [V] True for ids that may be chosen; None allows all.
    """
    exact = np.asarray(truth, dtype=np.float64)
    least = margin(exact, honest, dtype)
    contenders = exact if allowed is None else exact[:, allowed]
    if contenders.shape[-1] < 2:
        return None
    two = np.partition(contenders, contenders.shape[-1] - 2, axis=-1)[:, -2:]
    close = np.flatnonzero(two[:, 1] - two[:, 0] <= least)
    return int(close[0]) if close.size else None


def worst(findings: Sequence[Finding]) -> Finding:
    """The first finding that is not right, else a pass; with the largest of each figure over all of them.

    Among several failures one without figures (a wrong shape, a NaN) speaks, else the one with the largest `ratio`.
    """
    figures: dict[str, float] = {}
    for finding in findings:
        for name, value in finding.figures.items():
            if name not in figures or not value <= figures[name]:
                figures[name] = value
    wrong = [finding for finding in findings if not finding.ok]
    if not wrong:
        return passed(**figures)
    chosen = max(wrong, key=lambda finding: finding.figures.get("ratio", math.inf))
    return Finding(
        state=chosen.state, message=chosen.message, expected=chosen.expected, got=chosen.got, figures=figures
    )


def _scale(exact: Array) -> float:
    """Standard deviation over the finite part; of a constant row its magnitude, and 1 if that is zero too."""
    finite = exact[np.isfinite(exact)]
    if not finite.size:
        return 1.0
    return float(np.std(finite)) or float(np.max(np.abs(finite))) or 1.0


def _errors(values: Array, exact: Array) -> Array:
    """values - exact, and 0 where the truth is not finite."""
    finite = np.isfinite(exact)
    errors: Array = np.where(finite, values, 0.0) - np.where(finite, exact, 0.0)
    return errors


def _sizes(errors: Array, scale: float) -> tuple[float, float, float]:
    """E, P and M of errors [T, V]."""
    squares = errors * errors
    rms = math.sqrt(float(np.mean(squares)))
    position = math.sqrt(float(np.max(np.mean(squares, axis=-1))))
    return rms / scale, position / scale, float(np.max(np.abs(errors))) / scale


def _place(label: str, at: Sequence[int], row: int | None) -> str:
    return f"{label}{list(at) if row is None else [row, *at]}"


def _odd(values: Array, exact: Array) -> npt.NDArray[np.bool_]:
    """Values that are not finite where the truth is, or finite where it is not, or another infinity."""
    same = (values == exact) | (np.isnan(values) & np.isnan(exact))  # equal infinities, or both NaN
    odd: npt.NDArray[np.bool_] = ~(np.isfinite(values) & np.isfinite(exact)) & ~same
    return odd


def _unfit(label: str, values: Array, exact: Array, row: int | None) -> Finding | None:
    """A failure if a row has another shape, or is not finite where the truth is, or finite where the truth is not."""
    if values.shape != exact.shape:
        name = label if row is None else f"{label}[{row}]"
        came, due = list(values.shape), list(exact.shape)
        return failed(f"{name} has shape {came}, {due} was due", expected=due, got=came)
    odd = np.argwhere(_odd(values, exact))
    if not odd.size:
        return None
    at = tuple(int(i) for i in odd[0])
    value, due_value = float(values[at]), float(exact[at])
    message = f"{_place(label, at, row)} is {value:.9g}, {due_value:.9g} was due"
    if len(odd) > 1:
        message += f"; {len(odd)} of {exact.size} values are like it"
    return failed(message, expected=f"{due_value:.9g}", got=f"{value:.9g}")


def _naming_coarse(finding: Finding, label: str, dtype: str, *came: Array) -> Finding:
    """A failure that also says that values came in a dtype coarser than the claimed one, which may be all there is."""
    dtypes = {np.asarray(values).dtype for values in came}
    coarse = sorted(each.name for each in dtypes if each.itemsize < np.dtype(dtype).itemsize)
    if finding.ok or not coarse:
        return finding
    said = f"the {label} came as {' and '.join(coarse)}, {dtype} is claimed"
    return replace(finding, message=f"{finding.message}; {said}")


def _verdict(label: str, found: Comparison, row: int | None, due: str) -> Finding:
    """Pass, or a failure that names the largest error and the rule that it breaks most."""
    if found.ok:
        return Finding(state=State.PASS, figures=found.figures)
    ratio, bound, how = max(found.rules, key=lambda rule: rule[0] / rule[1])
    message = (
        f"{_place(label, found.index, row)} is {found.got:.9g}, {found.due:.9g} {due}: "
        f"{ratio:.3g}x the honest {found.dtype} error {how}, bound {bound:g}x"
    )
    return failed(message, expected=f"{found.due:.9g}", got=f"{found.got:.9g}", **found.figures)
