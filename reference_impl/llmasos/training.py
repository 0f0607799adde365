"""The loss of a model on rows of ids, its gradients, and one step of training.

The loss is the mean of -ln p over all scored positions of all rows, base e. Each row is computed alone, so neither
padding nor company changes it, and the loss of a batch is that of its parts weighted by their scored positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmasos import derivatives, generation, ops
from llmasos.architectures import ENCODER, ENCODER_DECODER, KIND, MODULES
from llmasos.config import ModelConfig
from llmasos.errors import ContextOverflow, InvalidArgument
from llmasos.ops import Array
from llmasos.orders import PLAIN, Arithmetic

NOT_SCORED = -1
"""Label of a position that has no part in the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A row to learn from.

    Attributes:
        ids: T of them. labels: for each position the id that its logits should predict, or NOT_SCORED.
        source: of a Transformer. types: of BERT.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    source: tuple[int, ...] = ()
    types: tuple[int, ...] = ()


def examples(
    config: ModelConfig,
    batch: Sequence[Sequence[int]],
    *,
    labels: Sequence[Sequence[int]] | None = None,
    sources: Sequence[Sequence[int]] | None = None,
    types: Sequence[Sequence[int]] | None = None,
) -> list[Example]:
    """Rows as they are learnt from.

    Args:
        labels: per row one id per position, or -1 for one that is not scored. None scores every next id, which BERT,
            which sees it, cannot be asked for.

    Raises:
        InvalidArgument: an empty batch or row, an id outside the vocabulary, a number of labels, sources or types that
            does not fit, labels or sources that are missing, or no position that is scored.
        ContextOverflow: a row longer than the context.
    """
    kind, made = KIND[config.architecture], []
    if labels is None and kind == ENCODER:
        raise InvalidArgument("missing", "labels", "BERT sees every id: say which positions are scored, and as what")
    if (sources is None) == (kind == ENCODER_DECODER):
        what = "missing" if sources is None else "not taken"
        raise InvalidArgument(what, "sources", "a Transformer, and no other, has a source for each row")
    if types is not None and kind != ENCODER:
        raise InvalidArgument("not taken", "types", "BERT alone has token types")
    for what, given in (("labels", labels), ("sources", sources), ("types", types)):
        if given is not None and len(given) != len(batch):
            raise InvalidArgument(f"{len(given)} for {len(batch)} rows", what, "give one per row")
    for i, given_ids in enumerate(batch):
        ids = _row(config, given_ids, f"ids[{i}]")
        following = (*ids[1:], NOT_SCORED)
        made.append(
            Example(
                ids=ids,
                labels=following if labels is None else _labels(config, labels[i], len(ids), f"labels[{i}]"),
                source=() if sources is None else _row(config, sources[i], f"sources[{i}]"),
                types=tuple(generation.check_types(config, types[i] if types else None, len(ids))),
            )
        )
    if not any(label != NOT_SCORED for example in made for label in example.labels):
        raise InvalidArgument("no position is scored", "ids", "give a row of at least two ids, or labels")
    return made


def _row(config: ModelConfig, ids: Sequence[int], where: str) -> tuple[int, ...]:
    row = tuple(generation.check_ids(config, ids, where))
    if not row:
        raise InvalidArgument("empty", where, "give at least one token")
    if len(row) > config.context_length:
        raise ContextOverflow(f"{len(row)} tokens, the context holds {config.context_length}", where, "shorten the row")
    return row


def _labels(config: ModelConfig, labels: Sequence[int], count: int, where: str) -> tuple[int, ...]:
    if len(labels) != count:
        raise InvalidArgument(f"{len(labels)} labels for {count} ids", where, "give one per id, -1 for none")
    scored = generation.check_ids(config, [label for label in labels if label != NOT_SCORED], where)
    rest = iter(scored)
    return tuple(NOT_SCORED if label == NOT_SCORED else next(rest) for label in labels)


def loss(
    weights: Mapping[str, Any], config: ModelConfig, rows: Sequence[Example], arithmetic: Arithmetic = PLAIN
) -> Any:
    """Mean of -ln p over all scored positions, base e.

    Args:
        weights: name -> array or node, all of one dtype.

    Returns:
        A scalar of that dtype, or its node.
    """
    count = sum(label != NOT_SCORED for row in rows for label in row.labels)
    shares = []
    for row in rows:
        places = [t for t, label in enumerate(row.labels) if label != NOT_SCORED]
        if places:
            law = ops.log_softmax(logits(weights, config, row, arithmetic))  # [1, T, V]
            chosen = law[np.zeros(len(places), dtype=int), places, [row.labels[t] for t in places]]
            shares.append(chosen.sum(axis=-1, keepdims=True))
    return -derivatives.total(shares)[0] / count


def logits(weights: Mapping[str, Any], config: ModelConfig, row: Example, arithmetic: Arithmetic) -> Any:
    """Logits [1, T, V] of one row without a past."""
    module, ids = MODULES[config.architecture], np.array([row.ids])
    if KIND[config.architecture] == ENCODER:
        return module.forward(weights, config, ids, np.array([row.types]), arithmetic)
    cache = None
    if KIND[config.architecture] == ENCODER_DECODER:
        cache = module.read(weights, config, np.array([row.source]), arithmetic)
    return module.forward(weights, config, ids, cache, arithmetic)[0]


def gradients(
    weights: Mapping[str, Array], config: ModelConfig, rows: Sequence[Example], arithmetic: Arithmetic = PLAIN
) -> tuple[float, dict[str, Array]]:
    """Loss, and its gradient by every weight, in the dtype of the weights."""
    nodes = derivatives.as_nodes(weights)
    result = loss(nodes, config, rows, arithmetic)
    return float(result.value), derivatives.gradients_of(result, nodes)


def stepped(weights: Mapping[str, Array], gradient: Mapping[str, Array], learning_rate: float) -> dict[str, Array]:
    """Weights after one step of gradient descent: w - learning_rate · gradient, each operation rounded to the dtype."""
    return {name: array - array.dtype.type(learning_rate) * gradient[name] for name, array in weights.items()}
