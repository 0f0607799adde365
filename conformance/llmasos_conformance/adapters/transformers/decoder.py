"""GPT-3 and Llama in the runtime: models that continue what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers

from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.transformers.inside import Looking, Named
from llmasos_conformance.adapters.transformers.runtime import Generating, Session, log_probabilities, numbers, padded
from llmasos_conformance.protocol import Array


class Decoder(Looking, Generating):
    """A bundle in one of the runtime's causal models."""

    def __init__(self, bundle: kit.KitBundle, module: Any, named: Named) -> None:
        Looking.__init__(self, bundle, module, named)
        Generating.__init__(self, bundle)

    def forward(self, batch: Sequence[Sequence[int]], sources: Any = None, types: Any = None) -> list[Array]:
        """One padded call for all rows; the padding's logits are cut off."""
        kit.refuse_beside(sources=sources, types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        if not rows:
            return []
        ids, mask = padded(rows, self._module.device, left=True)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = self._module(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        return [numbers(row[-len(given) :]) for row, given in zip(logits, rows, strict=True)]

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Session:
        kit.refuse_beside(source=source)
        config = None if self._keeps_all() else self._module.config  # of which it takes the window
        return Session(self._module, self.config, ids, transformers.DynamicCache(config=config), "input_ids")

    def _keeps_all(self) -> bool:
        """Whether the cache must hold more than the window: the runtime's keeps the last window - 1, and -0 are all."""
        return bool(self.config.get("sliding_window") == 1)

    def _native(self, request: kit.Request) -> bool:
        return super()._native(request) and not self._keeps_all()

    def score(self, ids: Sequence[int], source: Sequence[int] | None = None) -> list[float | None]:
        kit.refuse_beside(source=source)
        row = kit.check_ids(self.config, ids)
        return log_probabilities(self.forward([row])[0], row)

    def generated(self, prompts: Sequence[Sequence[int]], request: kit.Request) -> list[list[int]]:
        """One left-padded batch. With beams, there is one prompt."""
        made: list[list[int]] = [[] for _ in prompts]
        limits = [self.limit(prompt, request) for prompt in prompts]
        limit = min(limits, default=0)
        if limit > 0:
            ids, mask = padded(prompts, self._module.device, left=True)
            settings = self.settings(request, limit)
            with torch.inference_mode():
                whole = self._module.generate(ids, attention_mask=mask, generation_config=settings)
            made = [self.until_eos(row[ids.shape[1] :].tolist()) for row in whole]
        # The longest prompt fills the context first; the others go on alone.
        for i, prompt in enumerate(prompts):
            ended = bool(made[i]) and made[i][-1] in self.config["eos_token_ids"]
            if not ended and len(made[i]) < limits[i]:
                rest = replace(request, max_length=limits[i] - len(made[i]))
                made[i] += self.generated([[*prompt, *made[i]]], rest)[0]
        return made
