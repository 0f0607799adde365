"""`llmasos evaluate`: BLEU, ROUGE and perplexity of a JSONL file, computed by the reference.

A line is a JSON object. What a metric reads of it:

    bleu, rouge   hypothesis   a text; for bleu with tokenize none also a list of tokens
                  references   a list of one or more of the same
    perplexity    text         a text, or instead of it
                  ids          a list of token ids

Other members are left alone, empty lines too. Lines are scored one after another, and their counts added up, so that a
line which cannot be scored is named; what is wrong with several is said at once, and nothing is written then.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from llmasos_conformance import __version__
from llmasos_conformance.canonical import Unacceptable, parse, sha256
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.protocol import ROUGE, ROUGE_PARTS, Refusal

if TYPE_CHECKING:
    from llmasos_conformance.adapters.reference import ReferenceModel

METRICS = ("bleu", "rouge", "perplexity")
SHOWN = 8
"""Lines that an error names; what is wrong with so many is mostly one thing."""

Row = dict[str, Any]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be scored.

    Attributes:
        data: JSONL file. metrics: names of METRICS, at least one.
        model: bundle whose perplexity is asked; None for other metrics.
        bleu: options of BLEU. stride: of perplexity's windows, None for the usual one.
        out: file to write, which must not exist; None writes nothing.
    """

    data: Path
    metrics: Sequence[str]
    model: Path | None = None
    bleu: Mapping[str, Any] = field(default_factory=dict)
    stride: int | None = None
    out: Path | None = None


def evaluate(order: Order, progress: Progress = lambda done, total, what: None) -> dict[str, Any]:
    """Score a file.

    Args:
        progress: told how many lines are done, how many there are, and what is computed.

    Returns:
        The result as JSON: data, metrics, and the scores of each line. Also in `out`, if that was ordered.

    Raises:
        HarnessError: the file cannot be read or scored, naming lines; the model cannot be loaded; `out` exists.
    """
    with _prepared(order.out) as write:
        raw = _read(order.data)
        lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
        if not lines:
            raise HarnessError("holds no line to score", where=order.data, hint="one JSON object per line")
        scorers = {metric: _SCORERS[metric](order) for metric in order.metrics}
        rows: list[Row] = []
        problems: list[tuple[str, str]] = []
        for done, (number, line) in enumerate(lines):
            progress(done, len(lines), ", ".join(scorers))
            try:
                record = _record(line, order.data)
                rows.append({"line": number, **{name: scorer.take(record) for name, scorer in scorers.items()}})
            except Refusal as refusal:
                problems.append((f"{order.data}:{number}", _in_line(refusal.message)))
                if len(problems) > SHOWN:
                    break
        progress(len(lines), len(lines), "")
        if problems:
            raise _unscorable(problems)
        result = {
            "schemaVersion": "1.0",
            "llmasos": __version__,
            "data": {"path": str(order.data), "sha256": sha256(raw), "segments": len(rows)},
            "metrics": {name: scorer.result() for name, scorer in scorers.items()},
            "segments": rows,
        }
        write(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    return result


# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(data: Path) -> bytes:
    try:
        return data.read_bytes()
    except OSError as error:
        raise HarnessError(f"cannot be read: {error.strerror}", where=data, hint="check the path") from error


def _record(line: bytes, data: Path) -> Mapping[str, Any]:
    """A line as an object."""
    try:
        record = parse(line.strip(), where=data)
    except Unacceptable as error:
        what = error.what.replace("at line 1, column", "at column")  # of the line, which is named beside
        raise Refusal("invalid_format", f"{what} (write one JSON object per line)") from None
    if not isinstance(record, dict):
        raise Refusal("invalid_format", "a line is a JSON object (put what is compared into members)")
    return record


def _member(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        known = ", ".join(sorted(record)) or "none"
        raise Refusal("invalid_format", f"the member {name!r} is missing; there are {known:.80} (add it)")
    return record[name]


def _in_line(message: str) -> str:
    """The reference's message with the member's name in the line, where the reference counts segments."""
    return re.sub(r"\bhypotheses\[0\]", "hypothesis", re.sub(r"\breferences\[0\]", "references", message))


def _unscorable(problems: Sequence[tuple[str, str]]) -> HarnessError:
    if len(problems) == 1:
        where, what = problems[0]
        return HarnessError(what, where=where, hint="mend the line, or leave it out; nothing was written")
    shown = [f"{where}: {what}" for where, what in problems[:SHOWN]]
    more = ["and more lines like these"] if len(problems) > SHOWN else []
    return HarnessError(
        "lines that cannot be scored:\n  " + "\n  ".join([*shown, *more]),
        hint="mend them, or leave them out; nothing was written",
    )


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Scorer(Protocol):
    """One metric over the lines of a file."""

    def take(self, record: Mapping[str, Any]) -> Any:
        """Score a line; returns what the result says of it. Raises Refusal."""

    def result(self) -> dict[str, Any]:
        """What the result says of all lines."""


class _Bleu:
    def __init__(self, order: Order) -> None:
        self._options = order.bleu
        self._counts: Any = None

    def take(self, record: Mapping[str, Any]) -> dict[str, Any]:
        from llmasos_conformance.adapters.reference import count_bleu

        counts = count_bleu(_member(record, "hypothesis"), _member(record, "references"), **self._options)
        self._counts = counts if self._counts is None else self._counts + counts
        return {"matches": list(counts.matches), "totals": list(counts.totals), "score": counts.score}

    def result(self) -> dict[str, Any]:
        counts = self._counts
        return {
            "score": counts.score,
            "precisions": list(counts.precisions),
            "brevityPenalty": counts.brevity_penalty,
            "hypothesisLength": counts.hypothesis_length,
            "referenceLength": counts.reference_length,
            "matches": list(counts.matches),
            "totals": list(counts.totals),
            "options": {
                "tokenize": self._options.get("tokenize", "none"),
                "max_order": len(counts.totals),
                "smoothing": counts.smoothing,
                "smoothing_value": counts.smoothing_value,
                "effective_order": counts.effective_order,
                "fold_case": self._options.get("fold_case", False),
            },
        }


class _Rouge:
    def __init__(self, order: Order) -> None:
        self._segments: list[Any] = []

    def take(self, record: Mapping[str, Any]) -> dict[str, Any]:
        from llmasos_conformance.adapters.reference import score_rouge

        scores = score_rouge(_member(record, "hypothesis"), _member(record, "references"))
        self._segments.append(scores)
        return _parts(scores.segments[0])

    def result(self) -> dict[str, Any]:
        from llmasos_conformance.adapters.reference import rouge_of

        return _parts(rouge_of(self._segments).mean)


def _parts(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {part: getattr(scores[name], part) for part in ROUGE_PARTS} for name in ROUGE}


class _Perplexity:
    def __init__(self, order: Order) -> None:
        if order.model is None:
            raise HarnessError("perplexity is of a model, and none is given", hint="--model BUNDLE")
        self._model, self._place, self._stride = _loaded(order.model), order.model, order.stride
        self._sum: Any = None

    def take(self, record: Mapping[str, Any]) -> dict[str, Any]:
        try:
            found = self._model.surprise(_text_or_ids(record), stride=self._stride)
        except Refusal as refusal:
            if refusal.code != "unsupported":
                raise
            # It is of the model: no line can mend it, so it is said once.
            what = refusal.message.removeprefix("model: ")
            raise HarnessError(what, where=self._place, hint="take another; nothing was written") from None
        self._sum = found if self._sum is None else self._sum + found
        return {"perplexity": _number(found.value), "tokens": found.tokens}

    def result(self) -> dict[str, Any]:
        context = self._model.context
        return {
            "perplexity": _number(self._sum.value),
            "bitsPerToken": _number(self._sum.bits / self._sum.tokens),
            "tokens": self._sum.tokens,
            "model": str(self._place),
            "context": context,
            "stride": self._stride or max(context // 2, 1),
        }


def _text_or_ids(record: Mapping[str, Any]) -> str | list[int]:
    """What a line has a perplexity of."""
    found = [name for name in ("text", "ids") if name in record]
    if len(found) != 1:
        what = "there are both 'text' and 'ids'" if found else "the member 'text' is missing, and so is 'ids'"
        raise Refusal("invalid_format", f"{what} (give one of them)")
    given = record[found[0]]
    if found == ["text"] and isinstance(given, str):
        return given
    if found == ["ids"] and isinstance(given, list) and all(type(token) is int for token in given):
        return given
    due = "a text" if found == ["text"] else "a list of integers"
    raise Refusal("invalid_format", f"{found[0]}: expected {due}, found {given!r:.40} (write {due})")


def _loaded(model: Path) -> ReferenceModel:
    from llmasos_conformance.adapters.reference import ReferenceAdapter

    try:
        return ReferenceAdapter().load_model(str(model))
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=model, hint="llmasos inspect it") from refusal


def _number(value: float) -> float | None:
    """A number as JSON can say it; null for infinity."""
    return value if math.isfinite(value) else None


_SCORERS: Mapping[str, Callable[[Order], Scorer]] = {"bleu": _Bleu, "rouge": _Rouge, "perplexity": _Perplexity}


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _prepared(out: Path | None) -> Iterator[Callable[[bytes], None]]:
    """A function that writes the whole file or nothing.

    The place is tried before anything is computed. Until the end the file has a name of its own; what is left of it
    when something goes wrong is removed.
    """
    if out is None:
        yield lambda content: None
        return
    if out.exists() or out.is_symlink():
        raise HarnessError("exists already, and nothing is overwritten", where=out, hint="choose another name")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        stream: IO[bytes] = part.open("xb")
    except OSError as error:
        raise HarnessError(f"cannot be written: {error.strerror}", where=out, hint="check the directory") from error
    try:
        with stream:

            def write(content: bytes) -> None:
                try:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                except OSError as error:
                    hint = "make room, or choose another place"
                    raise HarnessError(f"cannot be written: {error.strerror}", where=out, hint=hint) from error

            yield write
        part.replace(out)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
