"""Mutants that are plainly wrong in what a request gets: limits, counts, ends, texts, stop strings, streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.runtime import Request, Row, Runtime
from llmasos_conformance.protocol import Array, Generation

# Limits, counts and reasons.


@mutant("limit-at-256", "ggml-org/llama.cpp#7198", "API-28")
class LimitAt256(Runtime):
    """No generation has more than 256 tokens."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(256, super().limit(prompt, request))


@mutant("batch-ends-at-32", "vllm-project/vllm#11898", "BAT-4")
class BatchEndsAt32(Runtime):
    """No row of a batch gets more than 32 tokens."""

    def generate_batch(self, batch: Any, max_length: int = 100, **options: Any) -> list[Generation]:
        return super().generate_batch(batch, min(max_length, 32) if len(batch) > 1 else max_length, **options)


@mutant("limit-counts-prompt", "vllm-project/vllm#28172", "API-1")
class LimitCountsPrompt(Runtime):
    """max_length counts the prompt's tokens too."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return max(0, min(request.max_length, self.config.C) - len(prompt))


@mutant("limit-plus-one", "EricLBuehler/mistral.rs#1539", "API-1")
class LimitPlusOne(Runtime):
    """One token more than max_length is generated."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(request.max_length + 1, self.config.C - len(prompt))


@mutant("zero-means-no-limit", "vllm-project/vllm#28172", "API-2")
class ZeroMeansNoLimit(Runtime):
    """max_length 0 is taken for "no limit"."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return min(request.max_length or 100, self.config.C - len(prompt))


@mutant("default-limit-doubled", "tenstorrent/tt-inference-server#4570", "API-4")
class DefaultLimitDoubled(Runtime):
    """Without max_length 200 tokens are generated."""

    def generate_text(self, prompt: str, max_length: int = 200, temperature: float = 1.0, **options: Any) -> Generation:
        return super().generate_text(prompt, max_length, temperature, **options)


@mutant("usage-off-by-one", "lmstudio-ai/lmstudio-bug-tracker#2335", "API-24")
class UsageOffByOne(Runtime):
    """completion_tokens is one too small."""

    def finished(self, row: Row) -> Generation:
        return replace(super().finished(row), completion_tokens=max(0, len(row.ids) - 1))


@mutant("reason-always-stop", "ggml-org/llama.cpp#7198", "API-20")
class ReasonAlwaysStop(Runtime):
    """The finish reason is never "length"."""

    def reason(self, row: Row) -> str:
        return "stop"


@mutant("reason-always-length", "modelscope/ms-swift#5025", "API-20")
class ReasonAlwaysLength(Runtime):
    """The finish reason is never "stop"."""

    def reason(self, row: Row) -> str:
        return "length"


@mutant("reason-by-count", "PaddlePaddle/FastDeploy#4543", "API-23")
class ReasonByCount(Runtime):
    """The finish reason is "length" whenever the limit was reached, also when the text ended there."""

    def reason(self, row: Row) -> str:
        return "length" if len(row.ids) >= row.limit else super().reason(row)


@mutant("context-slides", "ollama/ollama#4967", "API-18")
class ContextSlides(Runtime):
    """At the end of the context generation goes on, the last position standing for all that follow."""

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        return request.max_length


@mutant("prompt-cut", "ollama/ollama#17427", "API-17")
class PromptCut(Runtime):
    """An over-long prompt silently loses its front."""

    def prompt(self, ids: Any) -> list[int]:
        return super().prompt(list(ids)[-self.config.C :])


@mutant("overflow-cut", "NVIDIA/Model-Optimizer#1577", "ERR-6")
class OverflowCut(Runtime):
    """Rows longer than the context are cut before their logits are computed."""

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        return super().forward([list(row)[-self.config.C :] for row in batch])


@mutant("empty-prompt-crashes", "vllm-project/vllm#7746", "API-19")
class EmptyPromptCrashes(Runtime):
    """An empty prompt ends in an IndexError."""

    def prompt(self, ids: Any) -> list[int]:
        if not ids:
            raise IndexError("list index out of range")
        return super().prompt(ids)


@mutant("bos-always-added", "EleutherAI/lm-evaluation-harness#3333", "API-19")
class BosAlwaysAdded(Runtime):
    """A model with a beginning-of-sequence token gets it before every prompt."""

    def prompt(self, ids: Any) -> list[int]:
        row = super().prompt(ids)
        bos = self.config.bos
        return row if bos is None or row == [bos] or len(row) == self.config.C else [bos, *row]


@mutant("bos-zero-is-none", "EleutherAI/lm-evaluation-harness#1586", "API-19")
class BosZeroIsNone(Runtime):
    """A beginning-of-sequence token with id 0 is taken for none."""

    def prompt(self, ids: Any) -> list[int]:
        return super().prompt(ids) if self.config.bos else self.row(ids)


@mutant("prompt-echoed", "meta-llama/llama#869", "API-3")
class PromptEchoed(Runtime):
    """The text begins with the prompt."""

    def finished(self, row: Row) -> Generation:
        made = super().finished(row)
        return replace(made, text=self.decode(row.prompt) + row.text) if self.has_text else made


# End of sequence.


@mutant("first-end-only", "oobabooga/textgen#5885", "API-21")
class FirstEndOnly(Runtime):
    """Only the first of several end ids ends a generation."""

    def ends(self, chosen: int) -> bool:
        return chosen in self.config.eos[:1]


@mutant("end-ignored", "huggingface/transformers#31362", "API-21")
class EndIgnored(Runtime):
    """End ids end nothing."""

    def ends(self, chosen: int) -> bool:
        return False


@mutant("end-in-text", "huggingface/tokenizers#1543", "API-22")
class EndInText(Runtime):
    """The text of an end id is part of the answer."""

    def row_text(self, row: Row) -> str:
        return self.decode(row.ids)


# Text, stop strings and streams.


@mutant("bytes-without-a-tokenizer", "langchain-ai/langchain#34621", "TOK-7")
class BytesWithoutATokenizer(Runtime):
    """Where a model has no tokenizer, text is read and written as bytes instead of refused."""

    @property
    def has_text(self) -> bool:
        return True


@mutant("stop-per-token", "mzau/mlx-knife#68", "STR-3")
class StopPerToken(Runtime):
    """A stop string is found only within the text of one token."""

    def find_stop(self, text: str, row: Row) -> int | None:
        last = self.decode(row.ids[-1:])
        return len(text) - len(last) if any(s in last for s in row.request.stop) else None


@mutant("stop-in-text", "LostRuins/koboldcpp#1031", "STR-1")
class StopInText(Runtime):
    """The stop string stays at the end of the text."""

    def find_stop(self, text: str, row: Row) -> int | None:
        ends = (text.find(s) + len(s) for s in row.request.stop if s in text)
        return min(ends, default=None)


@mutant("stop-in-listed-order", "huggingface/smolagents#2780", "STR-2")
class StopInListedOrder(Runtime):
    """Of several stop strings the one listed first decides, also if another starts earlier."""

    def find_stop(self, text: str, row: Row) -> int | None:
        return next((text.find(s) for s in row.request.stop if s in text), None)


@mutant("stop-is-a-pattern", "huggingface/text-generation-inference#155", "STR-4")
class StopIsAPattern(Runtime):
    """Stop strings are taken for regular expressions."""

    def find_stop(self, text: str, row: Row) -> int | None:
        import re

        starts = []
        for string in row.request.stop:
            try:
                match = re.search(string, text)
            except re.error:
                match = None
            if match is not None and match[0]:
                starts.append(match.start())
        return min(starts, default=None)


@mutant("one-stop-string", "NVIDIA/TensorRT-LLM#829", "STR-5")
class OneStopString(Runtime):
    """Only the first stop string is used."""

    def find_stop(self, text: str, row: Row) -> int | None:
        return next((text.find(s) for s in row.request.stop[:1] if s in text), None)


@mutant("stop-seen-in-prompt", "meta-llama/llama#869", "STR-7")
class StopSeenInPrompt(Runtime):
    """Stop strings are looked for in prompt and continuation together."""

    def find_stop(self, text: str, row: Row) -> int | None:
        prompt = self.decode(row.prompt)
        start = min(((prompt + text).find(s) for s in row.request.stop if s in prompt + text), default=None)
        return None if start is None else max(0, start - len(prompt))


@mutant("long-stop-ignored", "mzau/mlx-knife#68", "STR-12")
class LongStopIgnored(Runtime):
    """Stop strings of more than 32 characters are ignored."""

    def stops(self, value: Any) -> tuple[str, ...]:
        return tuple(s for s in super().stops(value) if len(s) <= 32)


@mutant("long-stop-leaks-in-stream", "vllm-project/vllm#3574", "STR-9")
class LongStopLeaksInStream(Runtime):
    """A stream holds back at most 16 characters, also for a longer stop string."""

    def held(self, text: str, stop: Sequence[str]) -> int:
        return min(16, super().held(text, stop))


@mutant("empty-stop-accepted", "vllm-project/vllm#4589", "STR-6")
class EmptyStopAccepted(Runtime):
    """An empty stop string is dropped without a word."""

    def stops(self, value: Any) -> tuple[str, ...]:
        strings = [value] if isinstance(value, str) else value
        return super().stops([s for s in strings if s != ""])


@mutant("stop-leaks-in-stream", "vllm-project/vllm#3574", "STR-9")
class StopLeaksInStream(Runtime):
    """A stream gives out text that turns out to be the beginning of a stop string."""

    def held(self, text: str, stop: Sequence[str]) -> int:
        return 0


@mutant("held-text-dropped", "LostRuins/koboldcpp#1031", "STR-8")
class HeldTextDropped(Runtime):
    """Text held back as a possible stop string is lost when the text ends without one."""

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        pieces = [piece for _, piece in self.generate([row], self.text_ids())]
        lost = self.held(row.text, row.request.stop)
        yield from pieces[:-1] if lost else pieces
        yield self.finished(row)


@mutant("stream-decodes-tokens-alone", "exo-explore/exo#1691", "STR-9")
class StreamDecodesTokensAlone(Runtime):
    """A stream decodes each token alone, so that a character of several bytes becomes several U+FFFD."""

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        for _ in self.generate([row], self.text_ids()):
            pass
        yield from (piece for piece in (self.decode([i]) for i in row.ids) if piece)
        yield self.finished(row)


@mutant("text-decodes-tokens-alone", "antonellof/ferrox#124", "TOK-5")
class TextDecodesTokensAlone(Runtime):
    """Text is joined from tokens that were decoded alone."""

    def row_text(self, row: Row) -> str:
        return "".join(self.decode([i]) for i in row.ids if i not in self.config.eos)


@mutant("broken-bytes-dropped", "nobodywho-ooo/nobodywho#101", "TOK-5")
class BrokenBytesDropped(Runtime):
    """Bytes that are no UTF-8 vanish instead of becoming U+FFFD."""

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < 256).decode(errors="ignore")


@mutant("stream-in-one-piece", "raullenchai/Rapid-MLX#209", "STR-11")
class StreamInOnePiece(Runtime):
    """A stream is one piece at the end."""

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        text = "".join(piece for _, piece in self.generate([row], self.text_ids()))
        yield from [text] if text else []
        yield self.finished(row)


@mutant("stream-ends-without-reason", "vllm-project/vllm#11898", "STR-10")
class StreamEndsWithoutReason(Runtime):
    """The generation that closes a stream always says "length"."""

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        for item in super().stream_text(prompt, max_length, temperature, **options):
            yield replace(item, finish_reason="length") if isinstance(item, Generation) else item

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        *_, last = super().stream_text(prompt, max_length, temperature, **options)
        assert isinstance(last, Generation)
        return last


@mutant("tokenizer-strips", "rasbt/LLMs-from-scratch#1064", "TOK-1")
class TokenizerStrips(Runtime):
    """White space around a text is lost."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(text.strip(), special)


@mutant("tokenizer-ends-at-nul", "google/sentencepiece#185", "TOK-6")
class TokenizerEndsAtNul(Runtime):
    """A text ends at its first U+0000."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(text.split("\0")[0], special)


@mutant("tokenizer-adds-space", "ggml-org/llama.cpp#3287", "TOK-2")
class TokenizerAddsSpace(Runtime):
    """A space is put before every text."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(" " + text, special)


@mutant("tokenizer-normalises", "huggingface/transformers#48912", "TOK-1")
class TokenizerNormalises(Runtime):
    """Other spaces of Unicode become ordinary ones."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode("".join(" " if c.isspace() and ord(c) > 127 else c for c in text), special)


@mutant("escapes-read", "ggml-org/llama.cpp#7384", "TOK-46")
class EscapesRead(Runtime):
    """A backslash and an n in a text are read as the end of a line."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(text.replace("\\n", "\n"), special)


@mutant("specials-in-text", "ollama/ollama#17262", "TOK-4")
class SpecialsInText(Runtime):
    """The literal of a special token in a text is always that token."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        return super().encode(text, True)


@mutant("textless-ids-chosen", "Blaizzy/mlx-vlm#1917", "API-25")
class TextlessIdsChosen(Runtime):
    """Ids without text may be chosen where text is generated."""

    def text_ids(self) -> Array:
        return np.ones(self.config.V, bool)
