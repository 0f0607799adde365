"""Samplers whose tokens all may come, and that draw them by another law or not independently."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.runtime import Request, Row, Runtime
from llmasos_conformance.protocol import Array


@mutant("draft-accepted-if-equal", "ml-explore/mlx-swift-lm#459", "API-27")
class DraftAcceptedIfEqual(Runtime):
    """A drafted token is kept if the model happens to draw the same; if not, the model draws again."""

    def choose(self, logits: Array, row: Row) -> int:
        drafted, drawn = super().choose(logits, row), super().choose(logits, row)
        return drafted if drafted == drawn else super().choose(logits, row)


@mutant("draft-residual-forgotten", "vllm-project/vllm-ascend#7807", "API-27")
class DraftResidualForgotten(Runtime):
    """Behind a drafted token that was not accepted comes one of the whole law, not of what the draft left of it."""

    def choose(self, logits: Array, row: Row) -> int:
        if row.request.temperature == 0:
            return super().choose(logits, row)
        law = self.law(logits, row.request)
        drafts = np.flatnonzero(law > 1e-9)
        drafted = int(row.random.choice(drafts))
        if row.random.random() < min(1.0, law[drafted] * len(drafts)):
            return drafted
        return super().choose(logits, row)


@mutant("repeat-penalty-by-default", "ollama/ollama#17679", "API-27")
class RepeatPenaltyByDefault(Runtime):
    """Tokens that came among the last 64 are penalised by 1.1, though nobody asked for it."""

    def choose(self, logits: Array, row: Row) -> int:
        if row.request.temperature == 0:
            return super().choose(logits, row)
        seen = sorted({*row.prompt, *row.ids[-64:]})
        changed = logits.copy()
        changed[seen] = np.where(changed[seen] > 0, changed[seen] / 1.1, changed[seen] * 1.1)
        return super().choose(changed, row)


@mutant("same-quantile-each-step", "kekzl/imp#1143", "API-27")
class SameQuantileEachStep(Runtime):
    """The random number hardly moves from one token to the next, so that the same rank is drawn again and again."""

    def choose(self, logits: Array, row: Row) -> int:
        if row.request.temperature == 0:
            return super().choose(logits, row)
        first = float(copy.deepcopy(row.random).random())  # the generator stays where it is
        mass = np.cumsum(self.law(logits, row.request))
        quantile = (first + 0.0004 * len(row.ids)) % 1.0
        return int(np.searchsorted(mass, quantile * mass[-1], side="right"))


@mutant("top-p-in-order-of-ids", "ggml-org/llama.cpp#1977", "API-8")
class TopPInOrderOfIds(Runtime):
    """top_p adds up masses in the order of ids, because nothing has sorted them."""

    def law(self, logits: Array, request: Request) -> Array:
        law = super().law(logits, request)
        if request.top_p == 1 or request.temperature == 0:
            return law
        whole = super().law(logits, replace(request, top_p=1.0))
        before = np.cumsum(whole) - whole
        kept = np.where(before < request.top_p, whole, 0.0)
        return np.asarray(kept / kept.sum())
