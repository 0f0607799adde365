"""Whether onnxruntime computes with a file what the reference computes with the bundle.

Rows of several lengths are asked alone, as one batch padded on the left, and as one padded on the right; a file with a
cache is fed in pieces, and with a batch. Lengths and batch sizes are chosen here: a graph knows none of them.

The rule is that of the standard (NUM-1). z being the float64 reference, s its standard deviation over a row and h the
reference in the file's dtype in several honest orders, a result x passes if

    rms (x - z)/s  <=  KAPPA · max over h of rms (h - z)/s
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmasos import counter
from llmasos.architectures import ENCODER, ENCODER_DECODER, KIND
from llmasos.bundle import Bundle
from llmasos.config import ModelConfig
from llmasos.errors import Unsupported
from llmasos.model import Model
from llmasos.ops import Array

try:
    import onnxruntime
except ImportError:
    raise Unsupported("onnxruntime is not installed", "export", "pip install 'llmasos[onnx]'") from None

KAPPA = 6.0
FLOOR: Mapping[str, float] = {"float64": 2.0**-53, "float32": 2.0**-24}
"""Smallest honest error that is believed: u, what rounding the result once costs at its worst."""
ORDERS = ("plain", "split-k", "reversed", "online")
"""Honest orders. One term after the other is honest too, and takes minutes on a model of ordinary size."""
LENGTHS = (1, 2, 5, 13, 29)
SPENT = 2**31
"""Products of weights and positions up to which the whole context is asked for as well."""

Ids = list[int]
Feed = dict[str, Array]
Answer = dict[str, Array]
"""Of one row, padding cut off: logits [T, V], and of BERT last_hidden_state [T, D] and pooler_output [D]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one row of a batch consists of; source and types where the architecture has them."""

    ids: Ids
    source: Ids
    types: Ids


def check(bundle: Bundle, files: Sequence[Path], dtype: str, parameters: int) -> float:
    """Ask onnxruntime and the reference the same.

    Args:
        bundle: with weights. files: of one form: a whole graph, one with a cache, or encoder and decoder.
        parameters: number of weights.

    Returns:
        The largest error of a row, in honest errors.

    Raises:
        Unsupported: onnxruntime does not take a file, or a row is off by more than KAPPA honest errors, or the
            reference itself overflows in the dtype.
    """
    config = bundle.config
    rows = drawn(config, parameters)
    due = _Due(bundle, rows, dtype)
    sessions = [_session(path) for path in files]
    alone = [_asked(sessions, config, [row], "right", pieces=False)[0] for row in rows]
    worst = due.worst(alone, "alone")
    for side in ("left", "right"):
        worst = max(worst, due.worst(_asked(sessions, config, rows, side, pieces=False), f"padded on the {side}"))
    if any(value.name.startswith("past_key_values") for value in sessions[-1].get_inputs()):
        worst = max(worst, due.worst(_asked(sessions, config, rows, "left", pieces=True), "in pieces behind a cache"))
    return worst


def drawn(config: ModelConfig, parameters: int) -> list[Row]:
    """Rows that are the same on every machine."""
    lengths = sorted({min(length, config.context_length) for length in LENGTHS})
    if parameters * config.context_length <= SPENT and config.context_length > lengths[-1]:
        lengths.append(config.context_length)
    key, at = counter.stream_key("llmasos-export-check/v1"), 0
    rows = []
    for i, length in enumerate(lengths):
        sizes = (length, lengths[-1 - i], length)  # short targets have long sources
        parts: list[Ids] = []
        for size, below in zip(sizes, (config.vocab_size, config.vocab_size, config.type_vocab_size), strict=True):
            parts.append([int(word) % below for word in counter.words(key, at, size)])
            at += size
        rows.append(Row(ids=parts[0], source=parts[1], types=parts[2]))
    return rows


class _Due:
    """What the reference answers, and how far honest computations in the dtype are from it."""

    def __init__(self, bundle: Bundle, rows: Sequence[Row], dtype: str) -> None:
        self.truth = _answers(Model(bundle), rows)
        self.unit = [dict.fromkeys(answer, FLOOR[dtype]) for answer in self.truth]
        with np.errstate(over="ignore", invalid="ignore"):
            for order in ORDERS:
                for unit, honest, due in zip(
                    self.unit, _answers(Model(bundle, dtype=dtype, order=order), rows), self.truth, strict=True
                ):
                    unit.update({name: max(unit[name], _error(honest[name], due[name])) for name in due})
        if not all(math.isfinite(error) for unit in self.unit for error in unit.values()):
            raise Unsupported(f"the model overflows in {dtype}", "export", "export as float64")

    def worst(self, answers: Sequence[Answer], how: str) -> float:
        """The largest error of a row, in honest errors.

        Raises:
            Unsupported: it is larger than KAPPA.
        """
        most = 0.0
        for got, due, unit in zip(answers, self.truth, self.unit, strict=True):
            for name in due:
                ratio = _error(got[name], due[name]) / unit[name]
                if not ratio <= KAPPA:
                    what = f"onnxruntime's {name} of {len(got['logits'])} ids {how} is off by {ratio:.3g} honest errors"
                    raise Unsupported(f"{what}, {KAPPA:g} is the bound", "export", "report it; nothing was written")
                most = max(most, ratio)
        return most


def _answers(model: Model, rows: Sequence[Row]) -> list[Answer]:
    """What the reference makes of each row."""
    ids = [row.ids for row in rows]
    if model.kind == ENCODER_DECODER:
        return [{"logits": logits} for logits in model.forward(ids, sources=[row.source for row in rows])]
    if model.kind != ENCODER:
        return [{"logits": logits} for logits in model.forward(ids)]
    types = [row.types for row in rows]
    return [
        {"logits": logits, "last_hidden_state": made.hidden, "pooler_output": made.pooled}
        for logits, made in zip(model.forward(ids, types=types), model.encode(ids, types=types), strict=True)
    ]


def _error(x: Array, z: Array) -> float:
    """rms (x - z)/s; NaN counts as infinite."""
    if x.shape != z.shape:
        return math.inf
    scale = float(np.std(z)) or float(np.max(np.abs(z))) or 1.0
    error = math.sqrt(float(np.mean((np.asarray(x, np.float64) - z) ** 2))) / scale
    return math.inf if math.isnan(error) else error


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions share no base class
        raise Unsupported(f"onnxruntime does not take the file: {error!s:.300}", path.name, "another opset") from None


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _asked(
    sessions: Sequence[Any], config: ModelConfig, rows: Sequence[Row], side: str, *, pieces: bool
) -> list[Answer]:
    """What comes out for each row, padding cut off.

    Args:
        side: of the padding. pieces: a third of the columns first, then one, then the rest, behind their cache.
    """
    ids, mask = _padded([row.ids for row in rows], side)
    feed: Feed = {}
    names = ("input_ids", "attention_mask")
    if KIND[config.architecture] == ENCODER:
        feed["token_type_ids"], _ = _padded([row.types for row in rows], side)
    if KIND[config.architecture] == ENCODER_DECODER:
        names = ("decoder_input_ids", "decoder_attention_mask")
        feed["input_ids"], feed["attention_mask"] = _padded([row.source for row in rows], side)
        if len(sessions) == 2:  # the source is read once
            feed.update(_as_past(_run(sessions[0], feed)))
            del feed["input_ids"]
    T = ids.shape[1]
    ends = sorted({T // 3, T // 3 + 1, T} - {0}) if pieces else [T]
    feed.update(_empty_past(sessions[-1], len(rows)))
    logits: list[Array] = []
    made: Feed = {}
    start = 0
    for end in ends:
        made = _run(sessions[-1], {**feed, names[0]: ids[:, start:end], names[1]: mask[:, :end]})
        logits.append(made["logits"])
        feed.update(_as_past(made))
        start = end
    answers = [{"logits": row} for row in np.concatenate(logits, axis=1)]
    if KIND[config.architecture] == ENCODER:
        for answer, hidden, pooled in zip(answers, made["last_hidden_state"], made["pooler_output"], strict=True):
            answer.update(last_hidden_state=hidden, pooler_output=pooled)
    return [
        {name: part if part.ndim == 1 else part[real == 1] for name, part in answer.items()}
        for answer, real in zip(answers, mask, strict=True)
    ]


def _padded(rows: Sequence[Ids], side: str) -> tuple[Array, Array]:
    """Ids and mask [B, T]. Padding is id 0, which is an id like others."""
    T = max(map(len, rows))
    ids, mask = np.zeros((len(rows), T), np.int64), np.zeros((len(rows), T), np.int64)
    for i, row in enumerate(rows):
        place = slice(T - len(row), T) if side == "left" else slice(len(row))
        ids[i, place], mask[i, place] = row, 1
    return ids, mask


def _run(session: Any, feed: Feed) -> Feed:
    names = [value.name for value in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:  # its own exceptions share no base class
        raise Unsupported(f"onnxruntime does not run the file: {error!s:.300}", "export", "report it") from None


def _as_past(made: Feed) -> Feed:
    """Keys and values that came out, under the names by which they go in."""
    return {f"past_key_values{name[7:]}": value for name, value in made.items() if name.startswith("present.")}


def _empty_past(session: Any, B: int) -> Feed:
    """Keys and values of no columns, for all inputs that hold a past but those of a source."""
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    return {
        value.name: np.zeros((B, value.shape[1], 0, value.shape[3]), kinds[value.type])
        for value in session.get_inputs()
        if value.name.startswith("past_key_values.") and ".encoder." not in value.name
    }
