"""Mutants that shape logits wrongly before one is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmasos_conformance.mutants.beam_search import BeamRequest, Beams
from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.llama_runtime import LlamaRuntime
from llmasos_conformance.mutants.runtime import PAD, Request, Row, Shape
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


# ── penalties ───────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant("repetition-divides-negative", "huggingface/transformers#2302", "API-32")
class RepetitionDividesNegative(Shaping):
    """Negative logits are divided by repetition_penalty, too, and so rise."""

    def repeated(self, logit: Any, factor: Any) -> Any:
        return logit / factor


class RepetitionPerOccurrence(Shaping):
    """repetition_penalty applies once for each time that an id came."""

    def repeat(self, logits: Array, row: Row) -> None:
        for token, times in Counter(self.repeated_ids(row)).items():
            logits[token] = self.repeated(logits[token], np.float32(row.request.shape.repetition**times))


@mutant("repetition-per-occurrence", "huggingface/transformers.js#1062", "API-32")
class RepetitionOfEachOccurrence(RepetitionPerOccurrence):
    """repetition_penalty applies once for each time that an id came."""


@mutant("llama-repetition-per-occurrence", "huggingface/transformers.js#1062", "API-32")
class LlamaRepetitionPerOccurrence(RepetitionPerOccurrence, LlamaRuntime):
    """In a Llama, repetition_penalty applies once for each time that an id came."""


@mutant("repetition-twice", "sgl-project/sglang-omni#1360", "API-32")
class RepetitionTwice(Shaping):
    """Two layers apply repetition_penalty, one after the other."""

    def repetition_factor(self, value: Any) -> float:
        return super().repetition_factor(value) ** 2


@mutant("repetition-without-prompt", "huggingface/text-generation-inference#1765", "API-32")
class RepetitionWithoutPrompt(Shaping):
    """repetition_penalty does not count the prompt."""

    def repeated_ids(self, row: Row) -> Sequence[int]:
        return row.ids


@mutant("repetition-of-prompt", "huggingface/text-generation-inference#1765", "API-32")
class RepetitionOfPrompt(Shaping):
    """repetition_penalty counts the prompt and not what was generated."""

    def repeated_ids(self, row: Row) -> Sequence[int]:
        return self.stands_behind(row)


@mutant("repetition-of-the-last-64", "ollama/ollama#17679", "API-32")
class RepetitionOfTheLast64(Shaping):
    """repetition_penalty looks back on 64 tokens."""

    def repeated_ids(self, row: Row) -> Sequence[int]:
        return super().repeated_ids(row)[-64:]


@mutant("repetition-counts-pads", "huggingface/text-generation-inference#1765", "API-32")
class RepetitionCountsPads(Shaping):
    """The ids that fill short rows of a batch are penalised."""

    width = 0

    def generate(self, rows: list[Row], allowed: Array | None) -> Iterator[tuple[int, str]]:
        self.width = max(len(row.prompt) for row in rows)
        yield from super().generate(rows, allowed)

    def repeated_ids(self, row: Row) -> Sequence[int]:
        return [PAD] * (self.width - len(row.prompt)) + [*super().repeated_ids(row)]


@mutant("penalties-of-the-neighbour", "huggingface/text-generation-inference#1765", "API-32")
class PenaltiesOfTheNeighbour(Shaping):
    """Every row of a batch is penalised for what the first holds."""

    first_row: Row | None = None

    def generate(self, rows: list[Row], allowed: Array | None) -> Iterator[tuple[int, str]]:
        self.first_row = rows[0]
        yield from super().generate(rows, allowed)

    def repeated_ids(self, row: Row) -> Sequence[int]:
        return super().repeated_ids(self.first_row or row)


@mutant("frequency-of-the-neighbour", "huggingface/text-generation-inference#1765", "API-33")
class FrequencyOfTheNeighbour(Shaping):
    """What the rows of a batch generate is counted together."""

    together: Sequence[Row] = ()

    def generate(self, rows: list[Row], allowed: Array | None) -> Iterator[tuple[int, str]]:
        self.together = rows
        yield from super().generate(rows, allowed)

    def came(self, row: Row) -> Sequence[int]:
        return [token for other in self.together for token in other.ids]


@mutant("penalties-stay", "vllm-project/vllm#11898", "API-33")
class PenaltiesStay(Shaping):
    """What one request generated is counted against the next."""

    def __init__(self, opened: Any) -> None:
        super().__init__(opened)
        self.history: list[int] = []

    def choose(self, logits: Array, row: Row) -> int:
        chosen = super().choose(logits, row)
        self.history.append(chosen)
        return chosen

    def came(self, row: Row) -> Sequence[int]:
        return self.history


@mutant("frequency-counts-prompt", "huggingface/text-generation-inference#1765", "API-33")
class FrequencyCountsPrompt(Shaping):
    """frequency_penalty and presence_penalty count the prompt."""

    def came(self, row: Row) -> Sequence[int]:
        return [*self.stands_behind(row), *row.ids]


@mutant("presence-counts-prompt", "huggingface/text-generation-inference#1765", "API-34")
class PresenceCountsPrompt(FrequencyCountsPrompt):
    """presence_penalty and frequency_penalty count the prompt."""


@mutant("frequency-as-presence", "huggingface/transformers.js#1062", "API-33")
class FrequencyAsPresence(Shaping):
    """frequency_penalty is subtracted once, however often an id came."""

    def times(self, times: int) -> int:
        return 1


@mutant("presence-as-frequency", "huggingface/transformers.js#1062", "API-34")
class PresenceAsFrequency(Shaping):
    """presence_penalty is subtracted for each time that an id came."""

    def subtract(self, logits: Array, row: Row) -> None:
        for token in self.came(row):
            logits[token] -= np.float32(row.request.shape.frequency + row.request.shape.presence)


@mutant("frequency-and-presence-swapped", "mlc-ai/mlc-llm#951", "API-33")
class FrequencyAndPresenceSwapped(Shaping):
    """frequency_penalty is passed on as presence_penalty, and the other way round."""

    def shape(self, options: Mapping[str, Any]) -> Shape:
        checked = super().shape(options)
        return replace(checked, frequency=checked.presence, presence=checked.frequency)


@mutant("frequency-before-repetition", "timtoole02/Camelid#534", "API-35")
class FrequencyBeforeRepetition(Shaping):
    """What is subtracted is subtracted first, and the factor applies to the rest."""

    def penalise(self, logits: Array, row: Row) -> None:
        self.subtract(logits, row)
        self.repeat(logits, row)


@mutant("bias-behind-penalties", "timtoole02/Camelid#534", "API-35")
class BiasBehindPenalties(Shaping):
    """The bias is added to logits that are penalised already."""

    def shaped(self, logits: Array, row: Row) -> Array:
        made = logits.copy()
        self.penalise(made, row)
        self.add_bias(made, row)
        return made


@mutant("penalties-behind-temperature", "ggml-org/llama.cpp#4091", "API-35")
class PenaltiesBehindTemperature(Shaping):
    """Penalties are subtracted from logits that the temperature has divided already."""

    def subtract(self, logits: Array, row: Row) -> None:
        logits /= np.float32(row.request.temperature or 1.0)
        super().subtract(logits, row)
        logits *= np.float32(row.request.temperature or 1.0)


@mutant("penalties-greedy-alone", "sgl-project/sglang#10617", "API-32")
class PenaltiesGreedyAlone(Shaping):
    """Penalties count with temperature 0, and not where tokens are drawn."""

    def penalise(self, logits: Array, row: Row) -> None:
        if row.request.temperature == 0:
            super().penalise(logits, row)


@mutant("penalties-sampled-alone", "sgl-project/sglang#10617", "API-32")
class PenaltiesSampledAlone(Shaping):
    """Penalties count where tokens are drawn, and not with temperature 0."""

    def penalise(self, logits: Array, row: Row) -> None:
        if row.request.temperature > 0:
            super().penalise(logits, row)


@mutant("repetition-below-one-ignored", "huggingface/transformers#2302", "API-32")
class RepetitionBelowOneIgnored(Shaping):
    """A repetition_penalty below 1 is taken for 1."""

    def repetition_factor(self, value: Any) -> float:
        return max(super().repetition_factor(value), 1.0)


@mutant("repetition-zero-accepted", "mlc-ai/mlc-llm#951", "API-36")
class RepetitionZeroAccepted(Shaping):
    """A repetition_penalty of 0 is taken for none."""

    def repetition_factor(self, value: Any) -> float:
        return super().repetition_factor(value if value != 0 or isinstance(value, bool) else 1.0)


@mutant("penalty-by-default", "ollama/ollama#17679", "API-36")
class PenaltyByDefault(Shaping):
    """Where no repetition_penalty is given, it is 1.1."""

    def shape(self, options: Mapping[str, Any]) -> Shape:
        return super().shape({"repetition_penalty": 1.1, **options})


@mutant("transformer-repetition-counts-source", "huggingface/text-generation-inference#1765", "API-32")
class TransformerRepetitionCountsSource(Shaping, TransformerRuntime):
    """The source counts as repeated."""

    def repeated_ids(self, row: Row) -> Sequence[int]:
        return [*row.prompt, *super().repeated_ids(row)]


@mutant("penalties-in-logprobs", "vllm-project/vllm#9453", "SCO-3")
class PenaltiesInLogprobs(Shaping):
    """Reported log-probabilities are those of the penalised logits."""

    def choose(self, logits: Array, row: Row) -> int:
        chosen = super().choose(logits, row)
        logits[:] = self.shaped(logits, row)
        return chosen


@mutant("penalties-beside-beams", "huggingface/transformers#46612", "API-31")
class PenaltiesBesideBeams(Shaping, Beams):
    """With beams, penalties are accepted and have no effect."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        checked = super().request(max_length, temperature, {**options, "beams": 1})
        if isinstance(checked, BeamRequest):
            checked.beams = self.beam_count(options.get("beams", 1))
        return checked
