"""Servers of a hosted model behind an API like OpenAI's, each with one documented bug of such servers."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from llmasos_conformance.adapters.kit.choosing import log_law
from llmasos_conformance.adapters.openai.api import REPLACEMENT, Made, Reply, Stated
from llmasos_conformance.adapters.openai.wanted import Refused, Wanted
from llmasos_conformance.mutants.babbler import EOS, Babbling, Serving
from llmasos_conformance.mutants.catalogue import Mutant, record
from llmasos_conformance.protocol import Array

Kind = TypeVar("Kind", bound=type[Serving])


def mutant(name: str, source: str, requirement: str) -> Callable[[Kind], Kind]:
    """Record a server; its docstring is the bug."""

    def note(kind: Kind) -> Kind:
        record(
            Mutant(
                name=f"hosted-{name}", group="hosted", source=source, requirement=requirement,
                bug=" ".join((inspect.getdoc(kind) or "").split()),
                adapter=lambda: Babbling(kind, f"mutant:hosted-{name}"),
            )
        )  # fmt: skip
        return kind

    return note


def ignoring(wanted: Wanted, **neutral: Any) -> Wanted:
    """A request as if some of its parameters had not been there."""
    return replace(wanted, **neutral)


# What is accepted, and in which shape it is answered.


@mutant("seed-undeclared", "raullenchai/Rapid-MLX#733", "HOST-1")
class SeedUndeclared(Serving):
    """A seed is accepted and dropped, and nobody declares that it is accepted."""

    hides = frozenset({"seed"})

    def random(self, wanted: Wanted, index: int) -> np.random.Generator:
        return np.random.default_rng()


@mutant("top-k-undeclared", "sgl-project/sglang#2499", "HOST-1")
class TopKUndeclared(Serving):
    """top_k is read, and nobody declares it."""

    over, hides = "chat", frozenset({"top_k"})


@mutant("empty-id", "huggingface/text-generation-inference#2925", "HOST-2")
class EmptyId(Serving):
    """Every answer has the empty text as its id."""

    over = "chat"

    def head(self, wanted: Wanted, *, chunk: bool = False) -> dict[str, Any]:
        return {**super().head(wanted, chunk=chunk), "id": ""}


@mutant("milliseconds", "EricLBuehler/mistral.rs#1539", "HOST-2")
class Milliseconds(Serving):
    """created counts milliseconds."""

    def head(self, wanted: Wanted, *, chunk: bool = False) -> dict[str, Any]:
        head = super().head(wanted, chunk=chunk)
        return {**head, "created": head["created"] * 1000}


@mutant("prompt-in-text", "meta-llama/llama#869", "HOST-3")
class PromptInText(Serving):
    """The prompt stands before the text, though no echo was asked for."""

    def prompt_text(self, wanted: Wanted, prompt: Sequence[int]) -> str:
        return wanted.prompt if isinstance(wanted.prompt, str) else ""


@mutant("prompt-in-message", "meta-llama/llama#869", "HOST-3")
class PromptInMessage(Serving):
    """The template stands before the message."""

    over = "chat"

    def choice(self, wanted: Wanted, prompt: Sequence[int], made: Made, index: int) -> dict[str, Any]:
        choice = super().choice(wanted, prompt, made, index)
        if wanted.api == "chat":
            choice["message"]["content"] = self.templated(wanted) + made.text
        return choice


# How much comes, and why it ends.


@mutant("one-token-more", "EricLBuehler/mistral.rs#1539", "HOST-4")
class OneTokenMore(Serving):
    """The limit is looked at before the last token, so that one more comes."""

    over = "chat"

    def limit(self, wanted: Wanted, prompt: Sequence[int]) -> int:
        return super().limit(wanted, prompt) + (wanted.max_tokens != 0)


@mutant("three-at-least", "ggml-org/llama.cpp#4047", "HOST-4")
class ThreeAtLeast(Serving):
    """Three tokens come at the least, and the counts know nothing of it."""

    def limit(self, wanted: Wanted, prompt: Sequence[int]) -> int:
        return max(super().limit(wanted, prompt), 3 if wanted.max_tokens else 0)

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        usage = super().usage(wanted, prompt, made)
        told = min(usage["completion_tokens"], wanted.max_tokens or 0)
        return {**usage, "completion_tokens": told, "total_tokens": usage["prompt_tokens"] + told}


@mutant("limit-outside-characters", "abetlen/llama-cpp-python#118", "HOST-4")
class LimitOutsideCharacters(Serving):
    """The limit is looked at where a character is whole, so that more tokens come if it lies within one."""

    def generate(self, wanted: Wanted, prompt: Sequence[int], index: int) -> Made:
        made = super().generate(wanted, prompt, index)
        while made.finish == "length" and wanted.max_tokens and self.model.decode(made.ids).endswith(REPLACEMENT):
            wanted = replace(wanted, max_tokens=wanted.max_tokens + 1)
            made = super().generate(wanted, prompt, index)
        return made


@mutant("always-stop", "mudler/LocalAI#3533", "HOST-5")
class AlwaysStop(Serving):
    """finish_reason is stop whatever ended the text."""

    over = "chat"

    def finish_at_limit(self) -> str:
        return "stop"


@mutant("length-of-prompt", "modelscope/ms-swift#5025", "HOST-5")
class LengthOfPrompt(Serving):
    """finish_reason is told by the length of the prompt instead of the text."""

    def generate(self, wanted: Wanted, prompt: Sequence[int], index: int) -> Made:
        made = super().generate(wanted, prompt, index)
        made.finish = "length" if wanted.max_tokens and len(prompt) <= wanted.max_tokens else "stop"
        return made


@mutant("zero-is-no-limit", "ggml-org/llama.cpp#4047", "HOST-6")
class ZeroIsNoLimit(Serving):
    """max_tokens 0 stands for no limit."""

    over = "chat"

    def limit(self, wanted: Wanted, prompt: Sequence[int]) -> int:
        return super().limit(wanted, prompt) or 24


@mutant("zero-is-sixteen", "ggml-org/llama.cpp#4047", "HOST-6")
class ZeroIsSixteen(Serving):
    """max_tokens 0 counts as not given."""

    def limit(self, wanted: Wanted, prompt: Sequence[int]) -> int:
        return super().limit(wanted, prompt) or 16


@mutant("zero-temperature-is-one", "LionSR/TeXRA#2198", "HOST-7")
class ZeroTemperatureIsOne(Serving):
    """Temperature 0 counts as not given, and 1 is taken."""

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        return ignoring(wanted, temperature=wanted.temperature or 1.0)


@mutant("seed-moves-greedy", "mlc-ai/mlc-llm#3142", "HOST-7")
class SeedMovesGreedy(Serving):
    """With temperature 0 and a seed it is sampled at a low temperature."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        return wanted if wanted.seed is None else ignoring(wanted, temperature=max(wanted.temperature, 0.7))


# What is refused.


@mutant("wrong-type-fails", "mlflow/mlflow#8697", "HOST-8")
class WrongTypeFails(Serving):
    """A value of a wrong type makes the server fail."""

    def refusal(self, refused: Refused) -> Reply:
        return self.json(500, {"error": {"message": "Internal Server Error"}}) if refused.status == 400 else super(
        ).refusal(refused)  # fmt: skip


@mutant("wrong-type-is-default", "durdana3105/peer-learning#320", "HOST-8")
class WrongTypeIsDefault(Serving):
    """A value of a wrong type counts as not given."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        numbers = ("temperature", "max_tokens")
        kept = {name: value for name, value in body.items() if name not in numbers or isinstance(value, int | float)}
        return super().judged(api, kept)


@mutant("refusal-without-reason", "triton-inference-server/server#1400", "HOST-8")
class RefusalWithoutReason(Serving):
    """A refusal has an empty body."""

    def refusal(self, refused: Refused) -> Reply:
        return {"status": refused.status, "type": "text/plain", "body": ""}


@mutant("negative-temperature", "anthropics/anthropic-sdk-python#893", "HOST-9")
class NegativeTemperature(Serving):
    """A temperature of -1 is accepted, and means greedy."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        if body.get("temperature") == -1:
            body = {**body, "temperature": 0}
        return super().judged(api, body)


@mutant("negative-limit", "ggml-org/llama.cpp#4047", "HOST-9")
class NegativeLimit(Serving):
    """max_tokens of -1 is accepted, and means no limit."""

    def judged(self, api: str, body: Any) -> Wanted:
        return super().judged(api, {**body, "max_tokens": 24} if body.get("max_tokens") == -1 else body)


@mutant("any-parameter", "esengine/DeepSeek-Reasonix#10245", "HOST-10")
class AnyParameter(Serving):
    """Names that are not known are ignored."""

    def judged(self, api: str, body: Any) -> Wanted:
        return super().judged(api, {name: value for name, value in body.items() if name != "temprature"})


@mutant("any-parameter-of-chat", "esengine/DeepSeek-Reasonix#10245", "HOST-10")
class AnyParameterOfChat(AnyParameter):
    """Names that are not known are ignored, over chat."""

    over = "chat"


@mutant("error-in-detail", "cubist38/mlx-openai-server#291", "HOST-11")
class ErrorInDetail(Serving):
    """Errors stand in detail."""

    over = "chat"

    def refusal(self, refused: Refused) -> Reply:
        return self.json(refused.status, {"detail": [{"msg": str(refused), "loc": ["body", refused.parameter]}]})


@mutant("error-is-text", "cubist38/mlx-openai-server#291", "HOST-11")
class ErrorIsText(Serving):
    """An error is a text."""

    def refusal(self, refused: Refused) -> Reply:
        return self.json(refused.status, {"error": str(refused)})


@mutant("impersonates", "ddalcu/mlx-serve#257", "HOST-12")
class Impersonates(Serving):
    """A model that is not there is answered for, under the name that was asked for."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        asked = body.get("model")
        return ignoring(super().judged(api, {**body, "model": self.name}), model=str(asked))

    def body(
        self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]
    ) -> dict[str, Any]:
        return {**super().body(wanted, prompt, made, usage), "model": wanted.model}


@mutant("impersonates-in-completions", "ddalcu/mlx-serve#257", "HOST-12")
class ImpersonatesInCompletions(Impersonates):
    """The same over completions."""

    over = "completions"


@mutant("prompt-cut", "ollama/ollama#4967", "HOST-13")
class PromptCut(Serving):
    """Of a prompt that is too long the beginning is cut off."""

    def prompt_ids(self, wanted: Wanted) -> list[int]:
        ids = super().prompt_ids(wanted)
        return ids if len(ids) < self.model.context else ids[-self.model.context // 2 :]


@mutant("chat-cut", "ollama/ollama#4967", "HOST-13")
class ChatCut(PromptCut):
    """Of a chat that is too long the beginning is cut off."""

    over = "chat"


# Where it stops.


@mutant("stop-of-one-token", "ggml-org/llama.cpp#11538", "HOST-14")
class StopOfOneToken(Serving):
    """A stop string is looked for within each token, and so not across their borders."""

    over = "chat"

    def generate(self, wanted: Wanted, prompt: Sequence[int], index: int) -> Made:
        whole = super().generate(ignoring(wanted, stop=()), prompt, index)
        before = 0
        for number, piece in enumerate(whole.pieces):
            for stop in wanted.stop:
                if stop in piece:
                    end = before + piece.index(stop)
                    pieces = [*whole.pieces[:number], whole.text[before:end]]
                    return Made(ids=whole.ids[: number + 1], text=whole.text[:end], finish="stop", pieces=pieces,
                                stated=None if whole.stated is None else whole.stated[: number + 1])  # fmt: skip
            before += len(piece)
        return whole


@mutant("stop-but-its-end", "oobabooga/textgen#2133", "HOST-14")
class StopButItsEnd(Serving):
    """All of a stop string but its last character stays in the text."""

    def stop_in(self, text: str, stops: Sequence[str]) -> int | None:
        found = [text.find(stop) + len(stop) - 1 for stop in stops if stop in text]
        return min(found, default=None)


@mutant("stop-kept", "vllm-project/vllm#57052", "HOST-14")
class StopKept(Serving):
    """The stop string stays in the text."""

    over = "chat"

    def stop_in(self, text: str, stops: Sequence[str]) -> int | None:
        return min([text.find(stop) + len(stop) for stop in stops if stop in text], default=None)


@mutant("stop-ignored", "lablup/mlxcel#1466", "HOST-14")
class StopIgnored(Serving):
    """Stop strings are accepted and never looked at."""

    def stop_in(self, text: str, stops: Sequence[str]) -> int | None:
        return None

    def held_back(self, text: str, stops: Sequence[str]) -> int:
        return 0


@mutant("stop-in-order-of-list", "mzau/mlx-knife#68", "HOST-14")
class StopInOrderOfList(Serving):
    """The whole text is generated, and cut at the first stop string of the list that stands in it."""

    def generate(self, wanted: Wanted, prompt: Sequence[int], index: int) -> Made:
        whole = super().generate(ignoring(wanted, stop=()), prompt, index)
        found = next((whole.text.find(stop) for stop in wanted.stop if stop in whole.text), None)
        if found is None:
            return whole
        return Made(ids=whole.ids, text=whole.text[:found], finish="stop", pieces=[whole.text[:found]],
                    stated=whole.stated)  # fmt: skip


@mutant("stop-in-order-of-list-at-once", "huggingface/smolagents#2780", "HOST-14")
class StopInOrderOfListAtOnce(Serving):
    """Stop strings are looked for behind each token, in the order of the list, and the first that is found decides."""

    def stop_in(self, text: str, stops: Sequence[str]) -> int | None:
        return next((text.find(stop) for stop in stops if stop in text), None)


@mutant("chat-stop-in-order-of-list-at-once", "huggingface/smolagents#2780", "HOST-14")
class ChatStopInOrderOfListAtOnce(StopInOrderOfListAtOnce):
    """Of several stop strings of a chat, the first of the list that is found behind a token decides."""

    over = "chat"


@mutant("stop-leaks-in-stream", "vllm-project/vllm#3574", "HOST-14")
class StopLeaksInStream(Serving):
    """A stream gives out what becomes the beginning of a stop string."""

    def held_back(self, text: str, stops: Sequence[str]) -> int:
        return 0


@mutant("stop-by-letters", "sgl-project/sglang#190", "HOST-15")
class StopByLetters(Serving):
    """A stop string that is no list is read as a list of its letters."""

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        return ignoring(wanted, stop=tuple(body["stop"])) if isinstance(body.get("stop"), str) else wanted


@mutant("stop-text-refused", "raullenchai/Rapid-MLX#2358", "HOST-15")
class StopTextRefused(Serving):
    """A stop string that is no list is refused."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        if isinstance(body.get("stop"), str):
            raise Refused(400, "stop: Input should be a valid list", "stop")
        return super().judged(api, body)


@mutant("one-stop-string", "NVIDIA/TensorRT-LLM#829", "HOST-15")
class OneStopString(Serving):
    """Of a list only the first stop string is looked at."""

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        return ignoring(wanted, stop=wanted.stop[:1])


@mutant("stop-in-prompt", "meta-llama/llama#869", "HOST-16")
class StopInPrompt(Serving):
    """Stop strings are looked for in prompt and text together."""

    def generate(self, wanted: Wanted, prompt: Sequence[int], index: int) -> Made:
        if any(stop in self.model.decode(prompt) for stop in wanted.stop):
            return Made(finish="stop", stated=None if wanted.logprobs is None else [])
        return super().generate(wanted, prompt, index)


@mutant("stop-in-messages", "meta-llama/llama#869", "HOST-16")
class StopInMessages(StopInPrompt):
    """The same over chat."""

    over = "chat"


# Counts.


@mutant("one-less-counted", "lmstudio-ai/lmstudio-bug-tracker#2335", "HOST-17")
class OneLessCounted(Serving):
    """One token less is counted than came."""

    over = "chat"

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        usage = super().usage(wanted, prompt, made)
        told = max(usage["completion_tokens"] - 1, 0)
        return {**usage, "completion_tokens": told, "total_tokens": usage["prompt_tokens"] + told}


@mutant("nothing-counted", "tenstorrent/tt-inference-server#3554", "HOST-17")
class NothingCounted(Serving):
    """All counts are 0."""

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        return dict.fromkeys(super().usage(wanted, prompt, made), 0)


@mutant("prompts-counted", "kserve/kserve#3712", "HOST-17")
class PromptsCounted(Serving):
    """prompt_tokens is the number of prompts."""

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        usage = super().usage(wanted, prompt, made)
        return {**usage, "prompt_tokens": 1, "total_tokens": usage["completion_tokens"] + 1}


@mutant("prompt-counted-as-new", "abetlen/llama-cpp-python#1344", "HOST-17")
class PromptCountedAsNew(Serving):
    """completion_tokens counts the prompt too."""

    over = "chat"

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        usage = super().usage(wanted, prompt, made)
        return {**usage, "completion_tokens": usage["total_tokens"]}


@mutant("text-counted-again", "vllm-project/vllm#28172", "HOST-17")
class TextCountedAgain(Serving):
    """completion_tokens is the length of the text, encoded once more."""

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        usage = super().usage(wanted, prompt, made)
        told = sum(len(each.text.split()) for each in made)
        return {**usage, "completion_tokens": told, "total_tokens": usage["prompt_tokens"] + told}


@mutant("one-choice", "abetlen/llama-cpp-python#1906", "HOST-18")
class OneChoice(Serving):
    """n is accepted, and one choice comes."""

    def judged(self, api: str, body: Any) -> Wanted:
        return ignoring(super().judged(api, body), n=1)


@mutant("one-choice-counted", "ggml-org/llama.cpp#27318", "HOST-18")
class OneChoiceCounted(Serving):
    """Of several choices the first is counted."""

    over = "chat"

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        return super().usage(wanted, prompt, made[:1])


@mutant("prompt-counted-for-each", "inclusionAI/AReno#460", "HOST-18")
class PromptCountedForEach(Serving):
    """The prompt is counted once for each choice."""

    def usage(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> dict[str, int]:
        return super().usage(wanted, list(prompt) * len(made), made)


# Streams.


@mutant("no-done", "perplexityai/api-discussion#209", "HOST-19")
class NoDone(Serving):
    """A stream ends without [DONE]."""

    over = "chat"

    def events(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]) -> str:
        return super().events(wanted, prompt, made, usage).replace("data: [DONE]\n\n", "")


@mutant("id-for-each-event", "raullenchai/Rapid-MLX#461", "HOST-19")
class IdForEachEvent(Serving):
    """Each event of a stream has an id of its own."""

    def events(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]) -> str:
        events = super().events(wanted, prompt, made, usage).split("\n\n")
        return "\n\n".join(re.sub('"id": "cmpl-', f'"id": "cmpl-{i}-', event) for i, event in enumerate(events))


@mutant("stream-loses-its-end", "ggml-org/llama.cpp#9867", "HOST-20")
class StreamLosesItsEnd(Serving):
    """A stream ends before its last piece."""

    def deltas(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> Iterator[dict[str, Any]]:
        every = list(super().deltas(wanted, prompt, made))
        yield from (delta for i, delta in enumerate(every) if i != len(every) - 2)


@mutant("stream-with-a-last-word", "tenstorrent/tt-inference-server#2551", "HOST-20")
class StreamWithALastWord(Serving):
    """A stream says a last word of the server's own."""

    over = "chat"

    def delta(
        self, wanted: Wanted, index: int, content: Any, logprobs: dict[str, Any] | None, finish: str | None
    ) -> dict[str, Any]:
        if finish is not None and wanted.api == "chat":
            content = {"content": "final_text"}
        return super().delta(wanted, index, content, logprobs, finish)


@mutant("stream-splits-characters", "exo-explore/exo#1691", "HOST-20")
class StreamSplitsCharacters(Serving):
    """Each token is decoded alone in streams, so that parts of characters become U+FFFD."""

    def events(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]) -> str:
        for each in made:
            if each.finish == "length":
                each.pieces = [self.model.decode([token]) for token in each.ids]
        return super().events(wanted, prompt, made, usage)


@mutant("stream-splits-characters-of-chat", "waybarrios/vllm-mlx#109", "HOST-20")
class StreamSplitsCharactersOfChat(StreamSplitsCharacters):
    """The same over chat."""

    over = "chat"


@mutant("stream-always-stop", "Blaizzy/mlx-vlm#1215", "HOST-20")
class StreamAlwaysStop(Serving):
    """Streams end with stop, other answers with the reason."""

    def events(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]) -> str:
        for each in made:
            each.finish = "stop"
        return super().events(wanted, prompt, made, usage)


@mutant("stream-states-every-other", "theroyallab/tabbyAPI#141", "HOST-20")
class StreamStatesEveryOther(Serving):
    """Of tokens that come together in a stream one is stated."""

    def deltas(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made]) -> Iterator[dict[str, Any]]:
        for i, delta in enumerate(super().deltas(wanted, prompt, made)):
            yield {**delta, "logprobs": None if i % 2 else delta["logprobs"]}


@mutant("stream-without-usage", "ml-explore/mlx-examples#913", "HOST-21")
class StreamWithoutUsage(Serving):
    """include_usage is accepted, and no counts come."""

    over = "chat"

    def judged(self, api: str, body: Any) -> Wanted:
        return ignoring(super().judged(api, body), usage=False)


@mutant("stream-counts-events", "vllm-project/vllm#7262", "HOST-21")
class StreamCountsEvents(Serving):
    """Streams count events instead of tokens."""

    def events(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]) -> str:
        told = usage["completion_tokens"] + 1
        counted = {**usage, "completion_tokens": told, "total_tokens": usage["prompt_tokens"] + told}
        return super().events(wanted, prompt, made, counted)


@mutant("stream-in-one-piece", "NVIDIA/TensorRT-Model-Connect#1335", "HOST-22")
class StreamInOnePiece(Serving):
    """A stream is one piece, when all is done."""

    def events(self, wanted: Wanted, prompt: Sequence[int], made: Sequence[Made], usage: Mapping[str, int]) -> str:
        for each in made:
            each.pieces = [each.text]
        return super().events(wanted, prompt, made, usage)


@mutant("chat-stream-in-one-piece", "NVIDIA/TensorRT-Model-Connect#1335", "HOST-22")
class ChatStreamInOnePiece(StreamInOnePiece):
    """The same over chat."""

    over = "chat"


# Who asked before, and beside.


@mutant("keeps-the-last-token", "vllm-project/vllm#39833", "HOST-23")
class KeepsTheLastToken(Serving):
    """The last token of the request before stands in front of the prompt, unless that was the same one."""

    last: tuple[tuple[int, ...], int] = ((), 0)

    def served(self, wanted: Wanted) -> Reply:
        prompt = tuple(self.prompt_ids(wanted))
        self._front = self.last[1] if self.last[0] not in ((), prompt) else None
        reply = super().served(wanted)
        self.last = (prompt, prompt[-1])
        return reply

    def logits(self, prompt: Sequence[int], ids: Sequence[int]) -> Array:
        front = [self._front] if self._front is not None else []
        return self.model.logits([*front, *prompt, *ids])


@mutant("seed-stays", "ggml-org/llama.cpp#26425", "HOST-23")
class SeedStays(Serving):
    """The temperature of a sampled request stays for the next one."""

    over = "chat"
    warm = 0.0

    def judged(self, api: str, body: Any) -> Wanted:
        wanted = super().judged(api, body)
        warm, self.warm = self.warm, wanted.temperature
        return ignoring(wanted, temperature=wanted.temperature or warm)


@mutant("answers-swapped", "inferencerlabs/inferencer-feedback#127", "HOST-24")
class AnswersSwapped(Serving):
    """Of requests made at once each gets the answer of the next."""

    def together(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Reply]:
        replies = super().together(requests)
        return [*replies[1:], *replies[:1]]


@mutant("neighbour-alters", "vllm-project/vllm#51890", "HOST-24")
class NeighbourAlters(Serving):
    """Beside others a request is continued from a token of its neighbour's."""

    over, determinism = "chat", "D1"
    beside: list[int] | None = None

    def together(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Reply]:
        self.beside = self.model.encode(json.dumps(requests[0][1]))[-1:]
        try:
            return super().together(requests)
        finally:
            self.beside = None

    def logits(self, prompt: Sequence[int], ids: Sequence[int]) -> Array:
        if self.beside is not None and len(ids) > 4:
            return self.model.logits([*self.beside, *prompt, *ids])
        return super().logits(prompt, ids)


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


# Chats.


@mutant("system-dropped", "ddalcu/mlx-serve#365", "HOST-40")
class SystemDropped(Serving):
    """Messages of the system are left out of a chat."""

    over = "chat"

    def prompt_ids(self, wanted: Wanted) -> list[int]:
        kept = tuple(message for message in wanted.messages if message[0] != "system")
        return super().prompt_ids(ignoring(wanted, messages=kept))


@mutant("template-without-roles", "ddalcu/mlx-serve#365", "HOST-40")
class TemplateWithoutSystem(Serving):
    """The template that is shown has no message of the system either."""

    over = "chat"

    def templated(self, wanted: Wanted) -> str:
        return super().templated(
            ignoring(wanted, messages=tuple(message for message in wanted.messages if message[0] != "system"))
        )


@mutant("generation-prompt-missing", "oobabooga/textgen#7565", "HOST-40")
class GenerationPromptMissing(Serving):
    """A chat is continued without the beginning of the answer."""

    over = "chat"

    def prompt_ids(self, wanted: Wanted) -> list[int]:
        if wanted.api != "chat":
            return super().prompt_ids(wanted)
        return self.model.encode(self.templated(wanted).removesuffix("assistant:"))


@mutant("completions-are-chats", "inferencerlabs/inferencer-feedback#42", "HOST-40")
class CompletionsAreChats(Serving):
    """The prompt of a completion goes through the template too."""

    over = "chat"

    def prompt_ids(self, wanted: Wanted) -> list[int]:
        if wanted.api == "chat" or not isinstance(wanted.prompt, str):
            return super().prompt_ids(wanted)
        return self.model.encode(self.model.template([("user", wanted.prompt)]))
