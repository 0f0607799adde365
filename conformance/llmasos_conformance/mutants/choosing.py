"""Mutants that are plainly wrong in how an id is chosen, and in the log-probabilities of choices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import refuse
from llmasos_conformance.mutants.runtime import PAD, Request, Row, Runtime
from llmasos_conformance.protocol import Array, Generation, Refusal

# Choosing.


@mutant("ties-to-highest", "ohdearquant/lattice#280", "API-6")
class TiesToHighest(Runtime):
    """Of equal logits the highest id is taken."""

    def greedy(self, logits: Array) -> int:
        return len(logits) - 1 - int(np.argmax(logits[::-1]))


@mutant("zero-temperature-samples", "mlc-ai/mlc-llm#3142", "API-6")
class ZeroTemperatureSamples(Runtime):
    """Temperature 0 is replaced by a small one."""

    def temperature(self, value: Any) -> float:
        return super().temperature(value) or 0.3


@mutant("always-greedy", "vllm-project/tpu-inference#1386", "API-15")
class AlwaysGreedy(Runtime):
    """The temperature is ignored and the likeliest id taken."""

    def choose(self, logits: Array, row: Row) -> int:
        return self.greedy(logits)


@mutant("small-temperature-overflows", "InternLM/lmdeploy#1985", "GEN-5")
class SmallTemperatureOverflows(Runtime):
    """Logits are divided by the temperature before their maximum is taken off, in float16."""

    def law(self, logits: Array, request: Request) -> Array:
        with np.errstate(over="ignore"):
            scaled = (logits / np.float32(request.temperature)).astype(np.float16)
        return super().law(scaled.astype(np.float32), replace(request, temperature=1.0))


@mutant("greedy-in-bfloat16", "vllm-project/vllm#3653", "GEN-1")
class GreedyInBFloat16(Runtime):
    """The largest logit is looked for after rounding to bfloat16."""

    def greedy(self, logits: Array) -> int:
        import ml_dtypes

        return super().greedy(logits.astype(ml_dtypes.bfloat16).astype(np.float32))


@mutant("top-k-one-is-off", "kingoflolz/mesh-transformer-jax#164", "GEN-4")
class TopKOneIsOff(Runtime):
    """top_k 1 is taken for "no filter"."""

    def top_k(self, p: Array, k: int) -> Array:
        return p if k <= 1 else super().top_k(p, k)


@mutant("seed-ignored", "ggml-org/llama.cpp#7381", "API-13")
class SeedIgnored(Runtime):
    """The seed is accepted and not used."""

    def randomness(self, request: Request) -> np.random.Generator:
        return np.random.default_rng()


@mutant("seed-zero-is-none", "paiml/aprender#2102", "API-13")
class SeedZeroIsNone(Runtime):
    """Seed 0 is taken for no seed."""

    def randomness(self, request: Request) -> np.random.Generator:
        return np.random.default_rng(request.seed or None)


@mutant("seed-ignored-for-ids", "ggml-org/llama.cpp#7381", "API-13")
class SeedIgnoredForIds(Runtime):
    """Generation from ids accepts a seed and does not use it."""

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        self.request(max_length, temperature, options)
        return super().generate_ids(ids, max_length, temperature, **{**options, "seed": None})


@mutant("seed-constant-for-ids", "vllm-project/vllm#11898", "API-14")
class SeedConstantForIds(Runtime):
    """Generation from ids has one result for all seeds."""

    def generate_ids(self, ids: Any, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        self.request(max_length, temperature, options)
        seed = None if options.get("seed") is None else 7
        return super().generate_ids(ids, max_length, temperature, **{**options, "seed": seed})


@mutant("seed-ignored-in-stream", "ggml-org/llama.cpp#7381", "STR-8")
class SeedIgnoredInStream(Runtime):
    """A stream accepts a seed and does not use it."""

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        self.request(max_length, temperature, options)
        yield from super().stream_text(prompt, max_length, temperature, **{**options, "seed": None})

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        *_, last = super().stream_text(prompt, max_length, temperature, **options)
        assert isinstance(last, Generation)
        return last


@mutant("seed-constant", "ggml-org/llama.cpp#7381", "API-14")
class SeedConstant(Runtime):
    """All seeds are the same seed."""

    def randomness(self, request: Request) -> np.random.Generator:
        return np.random.default_rng(None if request.seed is None else 7)


@mutant("unseeded-calls-equal", "vllm-project/vllm#11898", "API-15")
class UnseededCallsEqual(Runtime):
    """Without a seed every call uses the same one."""

    def randomness(self, request: Request) -> np.random.Generator:
        return np.random.default_rng(request.seed or 0)


@mutant("top-k-plus-one", "kingoflolz/mesh-transformer-jax#164", "API-9")
class TopKPlusOne(Runtime):
    """top_k keeps one token too many."""

    def top_k(self, p: Array, k: int) -> Array:
        return super().top_k(p, k + 1 if k else 0)


@mutant("top-k-of-all-refused", "ml-explore/mlx-lm#1377", "API-9")
class TopKOfAllRefused(Runtime):
    """top_k has to be less than the number of ids."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        made = super().request(max_length, temperature, options)
        if made.top_k >= self.config.V:
            raise Refusal("invalid_argument", f"top_k {made.top_k} is not below {self.config.V}")
        return made


@mutant("top-k-beyond-all-fails", "TransformerLensOrg/TransformerLens#1347", "API-9")
class TopKBeyondAllFails(Runtime):
    """The place of the k-th likeliest id is looked up, and there is none."""

    def top_k(self, p: Array, k: int) -> Array:
        return np.where(p < p[k - 1], 0.0, p) if k else p


@mutant("top-p-plus-one", "BlinkDL/ChatRWKV#170", "API-8")
class TopPPlusOne(Runtime):
    """top_p keeps one token beyond the one that crosses."""

    def top_p(self, p: Array, mass: float) -> Array:
        kept = super().top_p(p, mass)
        width = np.count_nonzero(kept) + 1
        return np.where(np.arange(len(p)) < width, p, 0.0)


@mutant("top-p-drops-crossing", "Biohub/esm#360", "API-8")
class TopPDropsCrossing(Runtime):
    """top_p drops the token with which the mass is reached."""

    def top_p(self, p: Array, mass: float) -> Array:
        return p if mass == 1 else np.where((np.cumsum(p) <= mass) | (np.arange(len(p)) == 0), p, 0.0)


@mutant("min-p-ignored", "sgl-project/sglang#10617", "API-10")
class MinPIgnored(Runtime):
    """min_p is accepted and not used."""

    def filtered(self, p: Array, request: Request) -> Array:
        return super().filtered(p, replace(request, min_p=0.0))


class OtherTemperature(Runtime):
    """A law at another temperature than the one asked for."""

    def used(self, asked: float) -> float:
        raise NotImplementedError

    def law(self, logits: Array, request: Request) -> Array:
        return super().law(logits, replace(request, temperature=self.used(request.temperature)))


@mutant("temperature-ignored", "vllm-project/tpu-inference#1386", "API-27")
class TemperatureIgnored(OtherTemperature):
    """Every temperature above 0 is taken for 1."""

    def used(self, asked: float) -> float:
        return 1.0


@mutant("temperature-squared", "mlc-ai/mlc-llm#951", "API-27")
class TemperatureSquared(OtherTemperature):
    """Logits are divided by the temperature twice."""

    def used(self, asked: float) -> float:
        return asked * asked


@mutant("law-flattened", "ggml-org/llama.cpp#4091", "API-27")
class LawFlattened(OtherTemperature):
    """The law is flattened to its power of 0.8, whatever the temperature."""

    def used(self, asked: float) -> float:
        return asked / 0.8


@mutant("temperature-after-filters", "ggml-org/llama.cpp#4091", "API-11")
class TemperatureAfterFilters(Runtime):
    """The filters see the law at temperature 1; the temperature comes last."""

    def law(self, logits: Array, request: Request) -> Array:
        p = super().law(logits, replace(request, temperature=1.0)) ** (1 / request.temperature)
        return np.asarray(p / p.sum())


@mutant("filters-by-default", "vllm-project/tpu-inference#1386", "API-12")
class FiltersByDefault(Runtime):
    """Without top_k, top_p and min_p, filters of 40, 0.95 and 0.05 apply."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        return super().request(max_length, temperature, {"top_k": 40, "top_p": 0.95, "min_p": 0.05, **options})


@mutant("unknown-option-ignored", "esengine/DeepSeek-Reasonix#10245", "API-16")
class UnknownOptionIgnored(Runtime):
    """An option of an unknown name is ignored."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        known = ("seed", "top_k", "top_p", "min_p", "stop", "logprobs", "allow_special")
        return super().request(max_length, temperature, {key: options[key] for key in known if key in options})


@mutant("negative-temperature-accepted", "mlc-ai/mlc-llm#951", "API-7")
class NegativeTemperatureAccepted(Runtime):
    """A negative temperature is taken for 0."""

    def temperature(self, value: Any) -> float:
        return super().temperature(max(value, 0) if isinstance(value, int | float) else value)


@mutant("loose-integers", "NVIDIA/TensorRT-LLM#1173", "ERR-4")
class LooseIntegers(Runtime):
    """Booleans, fractions and numbers in quotes are rounded to integers."""

    def integer(self, value: Any, low: int, high: float = math.inf) -> int:
        try:
            return super().integer(int(value), low, high)
        except (TypeError, ValueError, OverflowError):
            raise refuse("not an integer", "invalid_argument") from None


@mutant("negative-limit-is-zero", "EricLBuehler/mistral.rs#1539", "ERR-5")
class NegativeLimitIsZero(Runtime):
    """A negative max_length is taken for 0."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        low = max_length if not isinstance(max_length, int) else max(max_length, 0)
        return super().request(low if not isinstance(max_length, bool) else max_length, temperature, options)


@mutant("foreign-ids-wrap", "huggingface/transformers#3108", "ERR-2")
class ForeignIdsWrap(Runtime):
    """Ids outside the vocabulary wrap around."""

    def row(self, ids: Any) -> list[int]:
        return super().row([i % self.config.V if type(i) is int else i for i in ids])


@mutant("foreign-ids-are-silent", "vllm-project/vllm#53029", "ERR-2")
class ForeignIdsAreSilent(Runtime):
    """Ids outside the vocabulary have no text instead of being refused."""

    def detokenize(self, ids: Sequence[int]) -> str:
        return super().detokenize([i for i in ids if 0 <= i < self.config.V])


@mutant("textless-ids-leave-marks", "ggml-org/llama.cpp#23840", "TOK-3")
class TextlessIdsLeaveMarks(Runtime):
    """An id without text becomes U+FFFD."""

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode([i if i < 256 else 255 for i in ids])


@mutant("empty-row-is-a-pad", "NVIDIA/TensorRT-LLM#2072", "ERR-3")
class EmptyRowIsAPad(Runtime):
    """An empty row is run as one pad."""

    def row(self, ids: Any) -> list[int]:
        return super().row(ids if len(ids) else [PAD])


@mutant("bad-row-skipped", "NVIDIA/TensorRT-LLM#1999", "ERR-7")
class BadRowSkipped(Runtime):
    """A bad row of a batch is answered with one pad's logits instead of being refused."""

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        rows = [ids if all(type(i) is int and 0 <= i < self.config.V for i in ids) else [PAD] for ids in batch]
        return super().forward(rows if len(rows) > 1 else batch)


# Log-probabilities.


@mutant("logprobs-shifted", "abetlen/llama-cpp-python#1983", "SCO-4")
class LogprobsShifted(Runtime):
    """The value reported for a token is that of the token before it."""

    def finished(self, row: Row) -> Generation:
        made = super().finished(row)
        return made if made.logprobs is None else replace(made, logprobs=[*row.logprobs[:1], *row.logprobs[:-1]])


@mutant("logprobs-processed", "vllm-project/vllm#9453", "SCO-3")
class LogprobsProcessed(Runtime):
    """Log-probabilities are those after the temperature."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        return super().top_logprobs(logits / np.float32(request.temperature or 1), chosen, request)


@mutant("logprobs-greedy-is-zero", "mlc-ai/mlc-llm#3142", "SCO-3")
class LogprobsGreedyIsZero(Runtime):
    """At temperature 0 the chosen token has log-probability 0."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        made = super().top_logprobs(logits, chosen, request)
        return made if request.temperature else {**made, chosen: 0.0}


@mutant("score-of-vanished-exponentials", "InternLM/lmdeploy#1985", "SCO-5")
class ScoreOfVanishedExponentials(Runtime):
    """Scores take exponentials in float32 as they are; where all of them vanish, so does the score."""

    def log_law(self, logits: Array) -> Array:
        with np.errstate(under="ignore", over="ignore"):
            total = np.exp(logits.astype(np.float32)).sum(-1, keepdims=True)
        return np.where(total > 0, super().log_law(logits), -np.inf)


@mutant("vocabulary-padded-with-zeros", "Blaizzy/mlx-vlm#1917", "GEN-6")
class VocabularyPaddedWithZeros(Runtime):
    """Logits are padded to a multiple of 64 with zeros before a token is chosen, and so is what may be chosen."""

    def choose(self, logits: Array, row: Row) -> int:
        return super().choose(np.pad(logits, (0, -len(logits) % 64)), row)


@mutant("logprobs-without-maximum", "JustVugg/colibri#369", "SCO-3")
class LogprobsWithoutMaximum(Runtime):
    """Log-probabilities of generated ids take exponentials in float32 without the maximum; what overflows is 0."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        made = super().top_logprobs(logits, chosen, request)
        with np.errstate(over="ignore"):
            total = np.exp(logits.astype(np.float32)).sum()
        return made if np.isfinite(total) else dict.fromkeys(made, 0.0)


@mutant("filters-stay", "vllm-project/vllm#43894", "API-13")
class FiltersStay(Runtime):
    """A request without top-k gets the one of the request before it."""

    last: int = 0

    def law(self, logits: Array, request: Request) -> Array:
        return super().law(logits, replace(request, top_k=request.top_k or self.last))

    def finished(self, row: Row) -> Generation:
        self.last = row.request.top_k
        return super().finished(row)


@mutant("text-cut-at-65536", "michaelfeil/infinity#561", "TOK-1")
class TextCutAt65536(Runtime):
    """What stands behind the first 65536 characters of a text is dropped without a word."""

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        return super().encode(text[:65536], allow_special)


@mutant("logprobs-without-chosen", "abetlen/llama-cpp-python#453", "SCO-6")
class LogprobsWithoutChosen(Runtime):
    """Only the likeliest ids are reported; the chosen one is missing when it is none of them."""

    def top_logprobs(self, logits: Array, chosen: int, request: Request) -> dict[int, float]:
        made = super().top_logprobs(logits, chosen, request)
        return dict(list(made.items())[: request.logprobs])


@mutant("logprobs-base-two", "abetlen/llama-cpp-python#349", "SCO-2")
class LogprobsBaseTwo(Runtime):
    """Log-probabilities are to the base 2."""

    def log_law(self, logits: Array) -> Array:
        return super().log_law(logits) / math.log(2)


@mutant("score-shifted", "meta-llama/llama#869", "SCO-2")
class ScoreShifted(Runtime):
    """A score looks at the logits after the token instead of before it."""

    def score(self, ids: Sequence[int]) -> list[float | None]:
        row = self.row(ids)
        law = self.log_law(self.run([row])[0])
        return [None, *(float(law[t + 1, i]) for t, i in enumerate(row[1:]))]


@mutant("score-in-windows", "NVIDIA/Model-Optimizer#1577", "SCO-2")
class ScoreInWindows(Runtime):
    """Long texts are scored in windows of 192 ids, each of which forgets those before."""

    def score(self, ids: Sequence[int]) -> list[float | None]:
        row = self.row(ids)
        first, *others = [row[i : i + 192] for i in range(0, len(row), 192)]
        # Each later window begins with the last id of the one before, so that its own first id has something before it.
        return [*super().score(first), *(s for i, w in enumerate(others, 1) for s in self.window(row[i * 192 - 1], w))]

    def window(self, before: int, ids: Sequence[int]) -> list[float | None]:
        return super().score([before, *ids])[1:]


@mutant("score-first-is-zero", "vllm-project/vllm#5334", "SCO-1")
class ScoreFirstIsZero(Runtime):
    """The first token, which nothing precedes, is scored 0."""

    def score(self, ids: Sequence[int]) -> list[float | None]:
        return [0.0, *super().score(ids)[1:]]


@mutant("score-underflows", "InternLM/lmdeploy#1985", "SCO-5")
class ScoreUnderflows(Runtime):
    """The logarithm is taken of a rounded probability, so that an unlikely token has minus infinity."""

    def log_law(self, logits: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.softmax(logits.astype(np.float32))).astype(np.float64))
