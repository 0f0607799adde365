"""Mutants that shape logits wrongly before one is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmasos_conformance.mutants.beam_search import BeamRequest, Beams
from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.llama_runtime import LlamaRuntime
from llmasos_conformance.mutants.runtime import Request, Row, Shape
from llmasos_conformance.mutants.shaping import Shaping
from llmasos_conformance.mutants.transformer_runtime import TransformerRuntime
from llmasos_conformance.protocol import Array


@mutant("bias-ignored", "ggml-org/llama.cpp#19699", "API-29")
class BiasIgnored(Shaping):
    """A bias is checked and not used."""

    def biases(self, row: Row) -> Mapping[int, float]:
        return {}


@mutant("llama-bias-ignored", "ggml-org/llama.cpp#19699", "API-29")
class LlamaBiasIgnored(BiasIgnored, LlamaRuntime):
    """A bias is checked and not used, in a Llama."""


@mutant("transformer-bias-ignored", "ggml-org/llama.cpp#19699", "API-29")
class TransformerBiasIgnored(BiasIgnored, TransformerRuntime):
    """A bias is checked and not used, in a Transformer."""


@mutant("bias-not-on-drafts", "sgl-project/sglang#10617", "API-29")
class BiasNotOnDrafts(Shaping):
    """The bias counts in every second step alone; the others are drafted without it."""

    def biases(self, row: Row) -> Mapping[int, float]:
        return {} if len(row.ids) % 2 else super().biases(row)


@mutant("bias-on-first-step", "sgl-project/sglang#10617", "API-29")
class BiasOnFirstStep(Shaping):
    """The bias counts in the first step alone."""

    def biases(self, row: Row) -> Mapping[int, float]:
        return {} if row.ids else super().biases(row)


@mutant("bias-negated", "ggml-org/llama.cpp#19699", "API-29")
class BiasNegated(Shaping):
    """The bias is subtracted."""

    def biases(self, row: Row) -> Mapping[int, float]:
        return {token: -number for token, number in super().biases(row).items()}


@mutant("bias-of-one-id", "ggml-org/llama.cpp#19699", "API-29")
class BiasOfOneId(Shaping):
    """Only the first id of a bias gets its number."""

    def biases(self, row: Row) -> Mapping[int, float]:
        return dict([*super().biases(row).items()][:1])


@mutant("bias-behind-temperature", "ggml-org/llama.cpp#4091", "API-29")
class BiasBehindTemperature(Shaping):
    """The bias is added to logits that the temperature has divided already."""

    def biases(self, row: Row) -> Mapping[int, float]:
        scale = row.request.temperature or 1.0
        return {token: number * scale for token, number in super().biases(row).items()}


@mutant("bias-sampled-alone", "sgl-project/sglang#10617", "API-29")
class BiasSampledAlone(Shaping):
    """The bias counts where tokens are drawn, and not with temperature 0."""

    def biases(self, row: Row) -> Mapping[int, float]:
        return super().biases(row) if row.request.temperature else {}


@mutant("bias-greedy-alone", "sgl-project/sglang#10617", "API-29")
class BiasGreedyAlone(Shaping):
    """The bias counts with temperature 0, and not where tokens are drawn."""

    def biases(self, row: Row) -> Mapping[int, float]:
        return {} if row.request.temperature else super().biases(row)


@mutant("bias-clamped", "ggml-org/llama.cpp#19699", "API-29")
class BiasClamped(Shaping):
    """Numbers of a bias are cut off at 10."""

    def biases(self, row: Row) -> Mapping[int, float]:
        return {token: max(-10.0, min(10.0, number)) for token, number in super().biases(row).items()}


@mutant("bias-stays", "vllm-project/vllm#11898", "API-29")
class BiasStays(Shaping):
    """The bias of a request is still there for the next one that brings none."""

    last_bias: Mapping[int, float] = {}

    def biases(self, row: Row) -> Mapping[int, float]:
        self.last_bias = super().biases(row) or self.last_bias
        return self.last_bias


@mutant("bias-frees-textless", "NVIDIA/Megatron-LM#52", "API-25")
class BiasFreesTextless(Shaping):
    """Ids without text, once they have a bias, may come in a text."""

    def shaped(self, logits: Array, row: Row) -> Array:
        made = super().shaped(np.where(np.isfinite(logits), logits, np.float32(0)), row)
        biased = list(self.biases(row))
        kept = np.isfinite(logits)
        kept[biased] = True
        return np.where(kept, made, np.float32(-np.inf))


@mutant("bias-of-unknown-ids-dropped", "esengine/DeepSeek-Reasonix#10245", "API-30")
class BiasOfUnknownIdsDropped(Shaping):
    """Ids that the vocabulary does not hold are left out of a bias."""

    def bias(self, value: Any) -> dict[int, float]:
        if not isinstance(value, Mapping):
            return super().bias(value)
        known = {token for token in value if str(token).isdecimal() and int(token) < self.config.V}
        return super().bias({token: value[token] for token in known})


@mutant("bias-in-logprobs", "vllm-project/vllm#9453", "SCO-3")
class BiasInLogprobs(Shaping):
    """Reported log-probabilities are those of the logits with the bias."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        made = logits.copy()
        for token, number in request.shape.bias.items():
            made[token] += np.float32(number)
        return super().top_logprobs(made, chosen, request)


@mutant("bias-beside-beams", "huggingface/transformers#46612", "API-31")
class BiasBesideBeams(Shaping, Beams):
    """With beams, a bias is accepted and has no effect."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        checked = super().request(max_length, temperature, {**options, "beams": 1})
        if isinstance(checked, BeamRequest):
            checked.beams = self.beam_count(options.get("beams", 1))
            checked.shape = Shape() if checked.beams > 1 else checked.shape
        return checked
