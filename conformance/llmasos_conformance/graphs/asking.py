"""Rows of ids through the ONNX files of a bundle, as a caller that pads them would send them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmasos_conformance.graphs import running
from llmasos_conformance.graphs.contract import ENCODER_FILE, FILE, FLOATS, Opened
from llmasos_conformance.graphs.proto import DTYPES, Model, Tensor
from llmasos_conformance.protocol import Array

Feed = dict[str, Array]
FILLER = 1
"""Stands in columns of padding. It is an ordinary id: only the mask keeps it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a batch.

    Attributes:
        source, types: where the architecture has them.
        columns: where the ids stand, from left to right; None for one after the other, without padding in front.
        source_columns: the same of the source.
    """

    ids: Sequence[int]
    source: Sequence[int] = ()
    types: Sequence[int] = ()
    columns: Sequence[int] | None = None
    source_columns: Sequence[int] | None = None


@dataclass(slots=True)
class Asker:
    """The files of a bundle, ready to be asked.

    Attributes:
        run: computes one of the files.
    """

    opened: Opened
    run: Callable[..., dict[str, Array]] = running.run
    arrays: dict[tuple[str, str], Array] = field(default_factory=dict)

    def outputs(self, name: str, feed: Feed) -> dict[str, Array]:
        """What comes out of the file of that name."""
        model = self.opened.models[name]
        inputs = {value.name for value in model.inputs}
        return self.run(model, {key: value for key, value in feed.items() if key in inputs}, self._values(name))

    def _values(self, name: str) -> Callable[[Tensor], Array]:
        def values(each: Tensor) -> Array:
            key = (name, each.name)
            if key not in self.arrays:
                self.arrays[key] = self.opened.array(each, name)
            return self.arrays[key]

        return values

    def answers(self, rows: Sequence[Row], pieces: Sequence[int] = ()) -> list[dict[str, Array]]:
        """What comes out for each row, padding cut off: logits [T, V], and of BERT both heads.

        Args:
            pieces: columns after which the batch is cut; what follows is fed behind the keys and values of what was.

        Raises:
            running.Unknown, running.Fails: see there.
        """
        ids, mask = padded([(row.ids, row.columns) for row in rows])
        feed: Feed = {"attention_mask": mask}
        names = ("input_ids", "attention_mask")
        if any(row.types for row in rows):
            feed["token_type_ids"], _ = padded([(row.types, row.columns) for row in rows], filler=0)
        if any(row.source for row in rows):
            names = ("decoder_input_ids", "decoder_attention_mask")
            feed["input_ids"], feed["attention_mask"] = padded([(row.source, row.source_columns) for row in rows])
            if ENCODER_FILE in self.opened.models:
                feed |= behind(self.outputs(ENCODER_FILE, feed))
        feed |= empty_past(self.opened.models[FILE], len(rows))
        made: dict[str, Array] = {}
        logits, start = [], 0
        for end in [*(cut for cut in pieces if 0 < cut < ids.shape[1]), ids.shape[1]]:
            made = self.outputs(FILE, {**feed, names[0]: ids[:, start:end], names[1]: mask[:, :end]})
            logits.append(made["logits"])
            feed |= behind(made)
            start = end
        made["logits"] = np.concatenate(logits, axis=1)
        kept = {name: made[name] for name in ("logits", "last_hidden_state", "pooler_output") if name in made}
        return [
            {name: value[i] if value.ndim == 2 else value[i][mask[i] == 1] for name, value in kept.items()}
            for i in range(len(rows))
        ]


def padded(rows: Sequence[tuple[Sequence[int], Sequence[int] | None]], filler: int = FILLER) -> tuple[Array, Array]:
    """Ids and mask [B, T] of rows, each with the columns in which its ids stand."""
    placed = [(ids, range(len(ids)) if columns is None else columns) for ids, columns in rows]
    T = max(max(columns) for _, columns in placed) + 1
    made, mask = np.full((len(rows), T), filler, np.int64), np.zeros((len(rows), T), np.int64)
    for i, (ids, columns) in enumerate(placed):
        made[i, list(columns)], mask[i, list(columns)] = ids, 1
    return made, mask


def behind(made: Mapping[str, Array]) -> Feed:
    """Keys and values that came out, under the names by which they go in."""
    return {f"past_key_values{name[7:]}": value for name, value in made.items() if name.startswith("present.")}


def empty_past(model: Model, B: int) -> Feed:
    """Keys and values of no columns, for the inputs that hold a past, but those of a source."""
    kinds: Mapping[int, Any] = {number: DTYPES[number] for number in FLOATS.values()}
    feed: Feed = {}
    for value in model.inputs:
        if value.name.startswith("past_key_values.") and ".encoder." not in value.name:
            heads, width = ((value.sizes or ())[axis] for axis in (1, 3))
            feed[value.name] = np.zeros((B, int(heads), 0, int(width)), kinds[value.dtype])
    return feed
