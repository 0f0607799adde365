"""Servers of a hosted model that state other logprobs than they have, or draw by others, each a documented bug."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmasos_conformance.adapters.kit.choosing import log_law
from llmasos_conformance.adapters.openai.api import Made, Stated
from llmasos_conformance.adapters.openai.wanted import Wanted
from llmasos_conformance.mutants.babbler import EOS, Serving
from llmasos_conformance.mutants.hosted import ignoring, mutant
from llmasos_conformance.protocol import Array

# What is stated.


@mutant("logprobs-dropped", "raullenchai/Rapid-MLX#733", "HOST-25")
class LogprobsDropped(Serving):
    """logprobs are accepted, and null comes."""

    def logprobs(self, wanted: Wanted, stated: Sequence[Stated] | None, before: int = 0) -> dict[str, Any] | None:
        return None


@mutant("one-of-the-likeliest-less", "InternLM/lmdeploy#1548", "HOST-25")
class OneOfTheLikeliestLess(Serving):
    """One of the likeliest tokens less comes than was asked for."""

    over = "chat"

    def stated(self, logits: Array, token: int, ids: Sequence[int], wanted: Wanted) -> Stated:
        made = super().stated(logits, token, ids, wanted)
        return replace(made, top=made.top[:-1])


@mutant("logprobs-of-completions", "abetlen/llama-cpp-python#1787", "HOST-25")
class LogprobsOfCompletions(Serving):
    """A chat states logprobs in the form of completions."""

    over = "chat"

    def logprobs(self, wanted: Wanted, stated: Sequence[Stated] | None, before: int = 0) -> dict[str, Any] | None:
        return super().logprobs(ignoring(wanted, api="completions"), stated, before)


@mutant("tokens-merged", "theroyallab/tabbyAPI#141", "HOST-26")
class TokensMerged(Serving):
    """Every third token is not stated."""

    def choice(self, wanted: Wanted, prompt: Sequence[int], made: Made, index: int) -> dict[str, Any]:
        if made.stated is not None:
            made.stated = [each for i, each in enumerate(made.stated) if i % 3 != 2]
        return super().choice(wanted, prompt, made, index)


@mutant("bytes-of-replacement", "ollama/ollama#13497", "HOST-26")
class BytesOfReplacement(Serving):
    """Parts of characters are stated as the bytes of U+FFFD."""

    over = "chat"

    def shown(self, token: int, ids: Sequence[int]) -> str:
        return self.model.decode([token]) if token != EOS else "</s>"


@mutant("probabilities", "ggml-org/llama.cpp#10783", "HOST-27")
class Probabilities(Serving):
    """Probabilities stand where their logarithms are due."""

    over = "chat"

    def stated_law(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        return np.asarray(np.exp(log_law(logits)))


@mutant("sorted-in-place", "abetlen/llama-cpp-python#453", "HOST-27")
class SortedInPlace(Serving):
    """The list is sorted, and the chosen token's number is looked up in it by id."""

    def stated(self, logits: Array, token: int, ids: Sequence[int], wanted: Wanted) -> Stated:
        made = super().stated(logits, token, ids, wanted)
        return replace(made, logprob=float(np.sort(log_law(logits))[::-1][token]))


@mutant("logits-for-logprobs", "abetlen/llama-cpp-python#349", "HOST-27")
class LogitsForLogprobs(Serving):
    """The largest logit is subtracted instead of the logarithm of the sum."""

    def stated_law(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        return np.asarray(logits - logits.max(), dtype=np.float64)


@mutant("first-logprob-positive", "togethercomputer/openapi#5", "HOST-27")
class FirstLogprobPositive(Serving):
    """The first number of a list is a probability."""

    def stated(self, logits: Array, token: int, ids: Sequence[int], wanted: Wanted) -> Stated:
        made = super().stated(logits, token, ids, wanted)
        return made if ids else replace(made, logprob=float(np.exp(made.logprob or 0.0)))


@mutant("second-likeliest", "huggingface/text-generation-inference#687", "HOST-27")
class SecondLikeliest(Serving):
    """Where two tokens are within a nat, temperature 0 takes the second."""

    over = "chat"

    def choose(self, logits: Array, wanted: Wanted, ids: Sequence[int], random: np.random.Generator) -> int:
        if wanted.temperature or wanted.frequency_penalty or wanted.presence_penalty:
            return super().choose(logits, wanted, ids, random)
        z = np.where(self.model.allowed, logits, -np.inf)
        first, second = np.argsort(-z, kind="stable")[:2]
        return int(second if z[first] - z[second] < 1 else first)


@mutant("list-unsorted", "smg-project/smg#662", "HOST-28")
class ListUnsorted(Serving):
    """The likeliest tokens are listed as they come out of a table."""

    over = "chat"

    def stated(self, logits: Array, token: int, ids: Sequence[int], wanted: Wanted) -> Stated:
        made = super().stated(logits, token, ids, wanted)
        return replace(made, top=tuple(sorted(made.top)))


@mutant("logprobs-behind-temperature", "vllm-project/vllm#9453", "HOST-29")
class LogprobsBehindTemperature(Serving):
    """What is stated is divided by the temperature."""

    def stated_law(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        return log_law(logits / (wanted.temperature or 1.0))


@mutant("chat-logprobs-behind-temperature", "standardcompletions/rfcs#11", "HOST-29")
class ChatLogprobsBehindTemperature(LogprobsBehindTemperature):
    """The same over chat."""

    over = "chat"


@mutant("logprobs-behind-top-p", "vllm-project/vllm#9453", "HOST-29")
class LogprobsBehindTopP(Serving):
    """What is stated are probabilities among the tokens that top_p keeps; for the others a small number stands."""

    def stated_law(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        if wanted.temperature == 0 or wanted.top_p == 1:
            return super().stated_law(logits, wanted, ids)
        z = np.where(self.model.allowed, np.asarray(logits, dtype=np.float64), -np.inf)
        return np.asarray(np.log(np.maximum(self.law(z, ignoring(wanted, temperature=1.0)), 1e-30)))


@mutant("chat-logprobs-behind-top-p", "PaddlePaddle/FastDeploy#3552", "HOST-29")
class ChatLogprobsBehindTopP(LogprobsBehindTopP):
    """The same over chat."""

    over = "chat"


@mutant("echo-dropped", "stdapi-ai/stdapi.ai#259", "HOST-30")
class EchoDropped(Serving):
    """echo is accepted, and the text alone comes."""

    def prompt_text(self, wanted: Wanted, prompt: Sequence[int]) -> str:
        return ""


@mutant("echo-decoded", "ggml-org/llama.cpp#3287", "HOST-30")
class EchoDecoded(Serving):
    """The echo is decoded from ids, with a blank in front."""

    def prompt_text(self, wanted: Wanted, prompt: Sequence[int]) -> str:
        return f" {self.model.decode(prompt)}" if wanted.echo else ""


@mutant("echo-states-new-tokens", "ggml-org/llama.cpp#27174", "HOST-31")
class EchoStatesNewTokens(Serving):
    """With echo the new tokens alone are stated."""

    def with_echo(
        self, wanted: Wanted, prompt: Sequence[int], stated: Sequence[Stated] | None
    ) -> Sequence[Stated] | None:
        return stated


@mutant("echo-one-place-off", "abetlen/llama-cpp-python#1983", "HOST-31")
class EchoOnePlaceOff(Serving):
    """Of a prompt each token has the number of the place behind it."""

    def echoed(self, wanted: Wanted, prompt: Sequence[int]) -> list[Stated]:
        made = super().echoed(wanted, prompt)
        numbers = [*(each.logprob for each in made[2:]), -1.0]
        return [made[0], *(replace(each, logprob=number) for each, number in zip(made[1:], numbers, strict=True))]


@mutant("echo-of-the-row-behind", "abetlen/llama-cpp-python#1983", "HOST-31")
class EchoOfTheRowBehind(Serving):
    """Of a prompt each token has the number that it would have behind itself."""

    def echoed(self, wanted: Wanted, prompt: Sequence[int]) -> list[Stated]:
        rows = self.model.all_logits(prompt)
        made = super().echoed(wanted, prompt)
        return [made[0], *(self.stated(rows[i], prompt[i], prompt[:i], wanted) for i in range(1, len(prompt)))]


# Chance.


@mutant("seed-ignored", "ggml-org/llama.cpp#7381", "HOST-32")
class SeedIgnored(Serving):
    """A seed is accepted and not used."""

    over = "chat"

    def random(self, wanted: Wanted, index: int) -> np.random.Generator:
        return np.random.default_rng()


@mutant("seed-and-count", "paiml/aprender#2102", "HOST-32")
class SeedAndCount(Serving):
    """The seed is mixed with a count of requests."""

    count = 0

    def random(self, wanted: Wanted, index: int) -> np.random.Generator:
        self.count += 1
        return np.random.default_rng([self.count, (wanted.seed or 0) % 2**32])


@mutant("one-seed-for-all", "huggingface/text-generation-inference#687", "HOST-33")
class OneSeedForAll(Serving):
    """Whatever the seed is, one and the same is used."""

    def random(self, wanted: Wanted, index: int) -> np.random.Generator:
        return np.random.default_rng([42, index])


@mutant("one-seed-for-all-chats", "huggingface/text-generation-inference#687", "HOST-33")
class OneSeedForAllChats(OneSeedForAll):
    """The same over chat."""

    over = "chat"


@mutant("choices-alike", "vllm-project/vllm#11898", "HOST-33")
class ChoicesAlike(Serving):
    """All choices of a request are drawn with one seed."""

    def random(self, wanted: Wanted, index: int) -> np.random.Generator:
        return super().random(wanted, 0) if wanted.seed is not None else np.random.default_rng(7)


@mutant("choices-of-chats-alike", "vllm-project/vllm#11898", "HOST-33")
class ChoicesOfChatsAlike(ChoicesAlike):
    """The same over chat."""

    over = "chat"


@mutant("temperature-dropped", "waybarrios/vllm-mlx#799", "HOST-34")
class TemperatureDropped(Serving):
    """A temperature is accepted, and every text is the greedy one."""

    def choose(self, logits: Array, wanted: Wanted, ids: Sequence[int], random: np.random.Generator) -> int:
        return super().choose(logits, ignoring(wanted, temperature=0.0), ids, random)


@mutant("temperature-of-chats-dropped", "waybarrios/vllm-mlx#799", "HOST-34")
class TemperatureOfChatsDropped(TemperatureDropped):
    """The same over chat."""

    over = "chat"


@mutant("temperature-fixed", "h2oai/h2ogpt#1372", "HOST-35")
class TemperatureFixed(Serving):
    """Whatever temperature is asked for, 0.7 is taken."""

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        return ignoring(wanted, temperature=0.7 if wanted.temperature else 0.0)


@mutant("temperature-twice", "RL-Align/RL-Kernel#81", "HOST-35")
class TemperatureTwice(Serving):
    """Logits are divided by the temperature twice."""

    over = "chat"

    def law(self, z: Array, wanted: Wanted) -> Array:
        return super().law(z, ignoring(wanted, temperature=wanted.temperature**2))


@mutant("temperature-and-top-p-swapped", "mlc-ai/mlc-llm#951", "HOST-35")
class TemperatureAndTopPSwapped(Serving):
    """Temperature and top_p have changed places."""

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        if wanted.temperature in (0, 1) and wanted.top_p == 1:
            return wanted
        return ignoring(wanted, temperature=max(wanted.top_p, 0.05), top_p=min(wanted.temperature, 1.0))


@mutant("half-greedy", "vllm-project/tpu-inference#1386", "HOST-35")
class HalfGreedy(Serving):
    """Every other token at temperature 1 is the likeliest."""

    over = "chat"

    def choose(self, logits: Array, wanted: Wanted, ids: Sequence[int], random: np.random.Generator) -> int:
        cold = len(ids) % 2 == 0 and wanted.temperature == 1 and wanted.top_p == 1
        return super().choose(logits, ignoring(wanted, temperature=0.0) if cold else wanted, ids, random)


@mutant("top-p-ignored", "waybarrios/vllm-mlx#799", "HOST-36")
class TopPIgnored(Serving):
    """top_p is accepted and not applied, unless next to nothing is left."""

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        return ignoring(wanted, top_p=1.0 if wanted.top_p > 0.01 else wanted.top_p)


@mutant("top-p-without-the-crossing", "fishaudio/fish-speech#1171", "HOST-36")
class TopPWithoutTheCrossing(Serving):
    """top_p leaves out the token that crosses it."""

    over = "chat"

    def law(self, z: Array, wanted: Wanted) -> Array:
        if wanted.top_p == 1:
            return super().law(z, wanted)
        p = super().law(z, ignoring(wanted, top_p=1.0))
        ranked = np.argsort(-p, kind="stable")
        gone = np.cumsum(p[ranked]) > wanted.top_p
        gone[0] = False
        p[ranked[gone]] = 0.0
        return np.asarray(p / p.sum())


@mutant("top-p-dropped", "waybarrios/vllm-mlx#799", "HOST-37")
class TopPDropped(Serving):
    """top_p is accepted and not applied."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        return ignoring(super().judged(api, body), top_p=1.0)


@mutant("top-k-dropped", "vllm-project/vllm#17075", "HOST-37")
class TopKDropped(Serving):
    """top_k is read and not passed on."""

    def judged(self, api: str, body: Any) -> Wanted:
        return ignoring(super().judged(api, body), top_k=0)


@mutant("top-k-of-chats-fixed", "paiml/aprender#2021", "HOST-37")
class TopKOfChatsFixed(Serving):
    """Whatever top_k is asked for, 40 are kept."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        return ignoring(super().judged(api, body), top_k=40)


@mutant("min-p-dropped", "InternLM/lmdeploy#2682", "HOST-37")
class MinPDropped(Serving):
    """min_p is read and not used."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        return ignoring(super().judged(api, body), min_p=0.0)


@mutant("penalties-dropped", "ikawrakow/ik_llama.cpp#2398", "HOST-38")
class PenaltiesDropped(Serving):
    """Penalties are read and not applied."""

    def judged(self, api: str, body: Any) -> Wanted:
        return ignoring(super().judged(api, body), frequency_penalty=0.0, presence_penalty=0.0)


@mutant("penalties-added", "EricLBuehler/mistral.rs#158", "HOST-38")
class PenaltiesAdded(Serving):
    """Penalties are added instead of subtracted."""

    over = "chat"

    def penalised(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        return np.asarray(2 * logits - super().penalised(logits, wanted, ids))


@mutant("frequency-counts-once", "huggingface/transformers.js#1062", "HOST-38")
class FrequencyCountsOnce(Serving):
    """frequency_penalty is subtracted once, however often a token came."""

    def penalised(self, logits: Array, wanted: Wanted, ids: Sequence[int]) -> Array:
        once = ignoring(wanted, frequency_penalty=0.0, presence_penalty=wanted.frequency_penalty)
        return super().penalised(logits, once if wanted.frequency_penalty else wanted, ids)


@mutant("greedy-by-default", "triton-inference-server/tensorrtllm_backend#528", "HOST-39")
class GreedyByDefault(Serving):
    """Where no temperature is given, the likeliest token is taken."""

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        return wanted if "temperature" in body else ignoring(wanted, temperature=0.0)


@mutant("authors-temperature", "vllm-project/vllm#11164", "HOST-39")
class AuthorsTemperature(Serving):
    """Where no temperature is given, 0.7 is taken."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        return wanted if "temperature" in body else ignoring(wanted, temperature=0.7)
