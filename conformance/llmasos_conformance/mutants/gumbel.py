"""Mutants that sample with the standard's noise, and get something about it wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.drawing import Bits, Drawing
from llmasos_conformance.mutants.llama_runtime import LlamaRuntime
from llmasos_conformance.mutants.runtime import Request, Row
from llmasos_conformance.mutants.transformer_runtime import TransformerRuntime
from llmasos_conformance.protocol import Array, Generation

# ── what the noise is made of ───────────────────────────────────────────────────────────────────────────────────────


@mutant("gumbel-seed-of-32-bits", "numpy/numpy#4676", "GUM-1")
class SeedOf32Bits(Drawing):
    """A seed is cut to its lower 32 bits."""

    def seed(self, seed: int) -> int:
        return seed % 2**32


@mutant("gumbel-seed-in-float32", "vllm-project/vllm-ascend#9693", "GUM-1")
class SeedInFloat32(Drawing):
    """A seed passes through float32, which has 24 bits."""

    def seed(self, seed: int) -> int:
        return int(np.float32(seed))


@mutant("gumbel-seed-zero-is-none", "paiml/aprender#2102", "GUM-1")
class SeedZeroIsNone(Drawing):
    """Seed 0 is taken for no seed, and replaced by a fixed one."""

    def seed(self, seed: int) -> int:
        return seed or 42


@mutant("gumbel-seed-constant", "warpfront/hipfire#627", "GUM-1")
class SeedConstant(Drawing):
    """Every request has the same noise, whatever its seed."""

    def seed(self, seed: int) -> int:
        return 0x13579BDF


@mutant("gumbel-lower-bits", "vllm-project/vllm-ascend#9693", "GUM-1")
class LowerBits(Drawing):
    """u is made of the lower 32 bits of a word."""

    def gumbel(self, words: Bits) -> Array:
        return super().gumbel(words << np.uint64(32))


@mutant("gumbel-sign", "chainer/chainerrl#104", "GUM-1")
class Sign(Drawing):
    """The noise is subtracted."""

    def gumbel(self, words: Bits) -> Array:
        return -super().gumbel(words)


@mutant("gumbel-one-logarithm", "aakhundov/tf-attend-infer-repeat#11", "GUM-1")
class OneLogarithm(Drawing):
    """The noise is -ln u, of the exponential law and not of Gumbel's."""

    def gumbel(self, words: Bits) -> Array:
        return np.exp(-super().gumbel(words))


@mutant("gumbel-logistic", "aakhundov/tf-attend-infer-repeat#11", "GUM-1")
class Logistic(Drawing):
    """The noise is ln u - ln(1 - u), which is right for two ids alone."""

    def gumbel(self, words: Bits) -> Array:
        e = np.exp(-super().gumbel(words).astype(np.float64))  # -ln u
        return np.asarray(-e - np.log(-np.expm1(-e)))


# ── what is chosen ──────────────────────────────────────────────────────────────────────────────────────────────────


@mutant("gumbel-temperature-of-the-noise", "lucidrains/muse-maskgit-pytorch#42", "GUM-2")
class TemperatureOfTheNoise(Drawing):
    """Noise is added before the temperature divides, so that the temperature changes nothing."""

    def heated(self, logits: Array, request: Request) -> Array:
        return super().heated(logits, replace(request, temperature=1.0))


@mutant("gumbel-temperature-twice", "ML-GSAI/LLaDA#65", "GUM-2")
class TemperatureTwice(Drawing):
    """Noise is multiplied by a temperature that has divided the logits already."""

    def noise(self, row: Row) -> Array:
        return super().noise(row) * np.float32(row.request.temperature)


@mutant("gumbel-temperature-lost", "nec-research/tf-imle#1", "GUM-2")
class TemperatureLost(Drawing):
    """The temperature goes where another number was expected: noise of (u + T/100) and logits that are not divided."""

    def heated(self, logits: Array, request: Request) -> Array:
        return super().heated(logits, replace(request, temperature=1.0))

    def small(self, n: Any) -> Array:
        return np.minimum(super().small(n) + np.float32(0.01), np.float32(1))


class FiltersBeforeTemperature(Drawing):
    """The filters weigh ids as they are at temperature 1."""

    def stays(self, logits: Array, request: Request) -> Array:
        return super().stays(logits, replace(request, temperature=1.0))


@mutant("gumbel-filters-before-temperature", "ggml-org/llama.cpp#4091", "GUM-2")
class FiltersBeforeTemperatureOfGPT(FiltersBeforeTemperature):
    """The filters weigh ids as they are at temperature 1."""


@mutant("llama-gumbel-filters-before-temperature", "ggml-org/llama.cpp#4091", "GUM-2")
class FiltersBeforeTemperatureOfLlama(FiltersBeforeTemperature, LlamaRuntime):
    """In a Llama, the filters weigh ids as they are at temperature 1."""


@mutant("gumbel-filters-behind-noise", "lucidrains/muse-maskgit-pytorch#42", "GUM-2")
class FiltersBehindNoise(Drawing):
    """The filters keep the largest scores, noise included, which always hold the largest of all."""

    def stays(self, logits: Array, request: Request) -> Array:
        return np.isfinite(logits)


@mutant("gumbel-top-p-not-renormalised", "flashinfer-ai/flashinfer#2120", "GUM-2")
class TopPNotRenormalised(Drawing):
    """top_p counts masses as they were before top_k took some away."""

    def filtered(self, p: Array, request: Request) -> Array:
        kept = self.top_p(p, request.top_p) * (self.top_k(p, request.top_k) > 0)
        return np.where(kept < request.min_p * p[0], 0.0, kept)


@mutant("gumbel-top-p-drops-crossing", "Biohub/esm#360", "GUM-2")
class TopPDropsCrossing(Drawing):
    """top_p leaves out the id that crosses it."""

    def top_p(self, p: Array, mass: float) -> Array:
        return p if mass == 1 else np.where((np.cumsum(p) < mass) | (np.arange(len(p)) == 0), p, 0.0)


@mutant("gumbel-top-k-plus-one", "BlinkDL/ChatRWKV#170", "GUM-2")
class TopKPlusOne(Drawing):
    """top_k keeps one more."""

    def top_k(self, p: Array, k: int) -> Array:
        return super().top_k(p, k + 1 if k else 0)


@mutant("gumbel-min-p-of-the-whole", "ggml-org/llama.cpp#4091", "GUM-2")
class MinPOfTheWhole(Drawing):
    """min_p is a part of the whole mass, not of the likeliest's."""

    def filtered(self, p: Array, request: Request) -> Array:
        kept = super().filtered(p, replace(request, min_p=0.0))
        return np.where(kept < request.min_p, 0.0, kept) if kept.max() >= request.min_p else kept


class PenaltiesBehindTemperature(Drawing):
    """Penalties are subtracted from logits that the temperature has divided."""

    def subtract(self, logits: Array, row: Row) -> None:
        shape, T = row.request.shape, np.float32(row.request.temperature)
        for token in set(row.ids):
            logits[token] -= T * np.float32(shape.frequency * row.ids.count(token) + shape.presence)


@mutant("gumbel-penalties-behind-temperature", "ggml-org/llama.cpp#4091", "GUM-2")
class PenaltiesBehindTemperatureOfGPT(PenaltiesBehindTemperature):
    """Penalties are subtracted from logits that the temperature has divided."""


@mutant("trf-gumbel-penalties-behind-temperature", "ggml-org/llama.cpp#4091", "GUM-2")
class PenaltiesBehindTemperatureOfTransformer(PenaltiesBehindTemperature, TransformerRuntime):
    """In a Transformer, penalties are subtracted from logits that the temperature has divided."""


@mutant("gumbel-repetition-divides-negative", "huggingface/transformers#2302", "GUM-2")
class RepetitionDividesNegative(Drawing):
    """Negative logits are divided by repetition_penalty, too, where ids are sampled."""

    def repeated(self, logit: Any, factor: Any) -> Any:
        return logit / factor


@mutant("gumbel-bias-behind-filters", "ggml-org/llama.cpp#4091", "GUM-2")
class BiasBehindFilters(Drawing):
    """The bias is added to what the filters have kept."""

    def choose(self, logits: Array, row: Row) -> int:
        if row.request.temperature == 0:
            return super().choose(logits, row)
        stays = self.stays(logits, row.request)
        shaped = self.shaped(logits, row)
        scores = self.heated(shaped, row.request) + self.noise(row)
        return self.taken(np.where(stays, scores, -np.inf))


# ── which step it is ────────────────────────────────────────────────────────────────────────────────────────────────


@mutant("gumbel-same-noise-each-step", "kekzl/imp#1143", "GUM-3")
class SameNoiseEachStep(Drawing):
    """All steps have the noise of the first."""

    def step(self, row: Row) -> int:
        return 0


class StepIsPosition(Drawing):
    """Steps are counted from the beginning of the prompt."""

    def step(self, row: Row) -> int:
        return len(row.prompt) + len(row.ids)


@mutant("gumbel-step-is-position", "vllm-project/vllm#34854", "GUM-3")
class StepIsPositionOfGPT(StepIsPosition):
    """Steps are counted from the beginning of the prompt."""


@mutant("llama-gumbel-step-is-position", "vllm-project/vllm#34854", "GUM-3")
class StepIsPositionOfLlama(StepIsPosition, LlamaRuntime):
    """In a Llama, steps are counted from the beginning of the prompt."""


@mutant("trf-gumbel-step-from-one", "vllm-project/vllm#34854", "GUM-3")
class StepFromOneOfTransformer(Drawing, TransformerRuntime):
    """In a Transformer, the start id counts as a step."""

    def step(self, row: Row) -> int:
        return 1 + len(row.ids)


@mutant("gumbel-drafts-take-steps", "vllm-project/vllm-ascend#13608", "GUM-3")
class DraftsTakeSteps(Drawing):
    """A drafted id that was thrown away, every sixth, has used up the noise of a step."""

    def step(self, row: Row) -> int:
        return len(row.ids) + len(row.ids) // 6


@mutant("gumbel-step-of-six-bits", "numpy/numpy#4676", "GUM-3")
class StepOf6Bits(Drawing):
    """The number of a step is kept in a field of six bits."""

    def step(self, row: Row) -> int:
        return len(row.ids) % 64


@mutant("gumbel-step-in-a-signed-byte", "flashinfer-ai/flashinfer#3324", "GUM-3")
class StepInASignedByte(Drawing):
    """The number of a step is kept in a signed byte, and steps beyond 127 begin again at 0."""

    def step(self, row: Row) -> int:
        return len(row.ids) % 128


# ── on what else it depends ─────────────────────────────────────────────────────────────────────────────────────────


class _Together(Drawing):
    """A runtime that knows the rows that are generated together."""

    together: Sequence[Row] = ()

    def generate(self, rows: list[Row], allowed: Array | None) -> Iterator[tuple[int, str]]:
        self.together = rows
        yield from super().generate(rows, allowed)

    def place(self, row: Row) -> int:
        """The row's place among those that have not ended."""
        return sum(1 for other in self.together[: self.index(row)] if not other.reason)

    def index(self, row: Row) -> int:
        """The row's place in the batch."""
        return next(i for i, other in enumerate(self.together) if other is row)

    def reseeded(self, row: Row, by: int) -> Bits:
        """The state of a step under a seed that is larger by so much."""
        request = replace(row.request, seed=(row.request.seed or 0) + by)
        return super().key(Row(row.prompt, request, row.limit, row.random, row.ids))


class NoiseOfTheRow(_Together):
    """The noise of a row depends on its place in the batch."""

    def key(self, row: Row) -> Bits:
        return self.reseeded(row, self.index(row))


@mutant("gumbel-noise-of-the-row", "vllm-project/vllm#51226", "GUM-4")
class NoiseOfTheRowOfGPT(NoiseOfTheRow):
    """The noise of a row depends on its place in the batch."""


@mutant("llama-gumbel-noise-of-the-row", "vllm-project/vllm#51226", "GUM-4")
class NoiseOfTheRowOfLlama(NoiseOfTheRow, LlamaRuntime):
    """In a Llama, the noise of a row depends on its place in the batch."""


@mutant("trf-gumbel-noise-of-the-row", "vllm-project/vllm#51226", "GUM-4")
class NoiseOfTheRowOfTransformer(NoiseOfTheRow, TransformerRuntime):
    """In a Transformer, the noise of a row depends on its place in the batch."""


@mutant("gumbel-rows-close-up", "vllm-project/vllm#51226", "GUM-4")
class RowsCloseUp(_Together):
    """When a row ends, those behind it move up, and get the noise of another seed."""

    def key(self, row: Row) -> Bits:
        return self.reseeded(row, self.index(row) - self.place(row))


@mutant("gumbel-noise-per-rank", "vllm-project/vllm#34854", "GUM-4")
class NoisePerRank(Drawing):
    """Noise is drawn for the likeliest, the second and so on, and not for ids, once a filter has sorted them."""

    def perturbed(self, logits: Array, row: Row) -> Array:
        request = row.request
        if not request.top_k and request.top_p == 1 and not request.min_p:
            return super().perturbed(logits, row)
        noise = np.empty(len(logits), np.float32)
        noise[np.argsort(-logits, kind="stable")] = self.noise(row)
        return np.where(self.stays(logits, request), self.heated(logits, request) + noise, -np.inf)


@mutant("gumbel-noise-of-the-kept", "vllm-project/vllm#34854", "GUM-4")
class NoiseOfTheKept(Drawing):
    """Noise is drawn for what the filters have kept alone, from the first id on."""

    def perturbed(self, logits: Array, row: Row) -> Array:
        stays = self.stays(logits, row.request)
        scores = np.full(len(logits), -np.inf)
        scores[stays] = self.heated(logits, row.request)[stays] + self.noise(row)[: int(stays.sum())]
        return scores


@mutant("gumbel-noise-goes-on", "openvinotoolkit/openvino.genai#3721", "GUM-4")
class NoiseGoesOn(Drawing):
    """A request goes on with the noise where the one before it, with the same seed, has ended."""

    def __init__(self, opened: Any) -> None:
        super().__init__(opened)
        self.used: dict[int | None, int] = {}
        self.first: dict[int, int] = {}

    def begin(self, prompt: list[int], request: Request) -> Row:
        row = super().begin(prompt, request)
        self.first = {id(row): self.used.get(row.request.seed, 0)}
        return row

    def step(self, row: Row) -> int:
        now = self.first.get(id(row), 0) + len(row.ids)
        self.used[row.request.seed] = now + 1
        return now


@mutant("gumbel-other-noise-where-streamed", "ggml-org/llama.cpp#7381", "GUM-4")
class OtherNoiseWhereStreamed(Drawing):
    """A stream looks one id ahead, and so is a step further."""

    ahead = 0

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        self.ahead = 0
        return super().generate_text(prompt, max_length, temperature, **options)

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        self.ahead = 1
        yield from super().stream_text(prompt, max_length, temperature, **options)

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        self.ahead = 0
        return super().generate_ids(ids, max_length, temperature, **options)

    def step(self, row: Row) -> int:
        return len(row.ids) + self.ahead


@mutant("gumbel-stop-string-shifts", "ggml-org/llama.cpp#7381", "GUM-4")
class StopStringShifts(Drawing):
    """Where stop strings are looked for, the noise is that of the step before."""

    def step(self, row: Row) -> int:
        return max(len(row.ids) - 1, 0) if row.request.stop else len(row.ids)


@mutant("gumbel-noise-of-the-options", "openvinotoolkit/openvino.genai#3721", "GUM-4")
class NoiseOfTheOptions(Drawing):
    """With top_k the noise comes from another kernel, with another counter."""

    def step(self, row: Row) -> int:
        return len(row.ids) + (2**32 if row.request.top_k else 0)


# ── how exact it is ─────────────────────────────────────────────────────────────────────────────────────────────────


@mutant("gumbel-noise-in-float16", "pytorch/pytorch#41663", "GUM-5")
class NoiseInFloat16(Drawing):
    """Noise is rounded to float16."""

    def gumbel(self, words: Bits) -> Array:
        return super().gumbel(words).astype(np.float16).astype(np.float32)


@mutant("gumbel-scores-in-bfloat16", "vllm-project/vllm#34854", "GUM-5")
class ScoresInBfloat16(Drawing):
    """Scores are rounded to bfloat16; among the many that are equal then, the first is taken."""

    def perturbed(self, logits: Array, row: Row) -> Array:
        return super().perturbed(logits, row).astype("bfloat16").astype(np.float32)


@mutant("gumbel-clamped", "clab/dynet#561", "GUM-5")
class Clamped(Drawing):
    """u is kept away from 1 by 10⁻⁶, so that no noise is above 13.8."""

    def gumbel(self, words: Bits) -> Array:
        return np.minimum(super().gumbel(words), np.float32(-math.log(-math.log1p(-1e-6))))


@mutant("gumbel-u-in-float32", "tenstorrent/tt-metal#52973", "GUM-5")
class UniformInFloat32(Drawing):
    """u is rounded to float32, so that 1 is among its values, and the noise there infinite."""

    def gumbel(self, words: Bits) -> Array:
        u = (((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52).astype(np.float32)
        with np.errstate(divide="ignore"):
            return np.asarray(-np.log(-np.log(u)))
