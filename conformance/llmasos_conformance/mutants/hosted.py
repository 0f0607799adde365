"""Servers of a hosted model behind an API like OpenAI's, each with one documented bug of such servers."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from llmasos_conformance.adapters.openai.api import REPLACEMENT, Made, Reply
from llmasos_conformance.adapters.openai.wanted import Refused, Wanted
from llmasos_conformance.mutants.babbler import Babbling, Serving
from llmasos_conformance.mutants.catalogue import Mutant, record
from llmasos_conformance.protocol import Array

Kind = TypeVar("Kind", bound=type[Serving])


def mutant(name: str, source: str, requirement: str) -> Callable[[Kind], Kind]:
    """Record a server; its docstring is the bug."""

    def note(kind: Kind) -> Kind:
        record(
            Mutant(
                name=f"hosted-{name}", group=kind.__module__.rpartition(".")[2], source=source, requirement=requirement,
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
