"""Mutants of tokenizer files: ids of texts, texts of ids, and files that should not open.

About a third of them show on rare inputs alone: a word of more than twenty letters, two spaces before a word, a tie of
scores, a literal of a control token, one character of Unicode.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import refuse
from llmasos_conformance.mutants.runtime import Row, Runtime
from llmasos_conformance.mutants.vocabulary import Document, Vocabulary
from llmasos_conformance.protocol import Generation

Kind = TypeVar("Kind", bound=type[Vocabulary])


def reading(name: str, source: str, requirement: str) -> Callable[[Kind], Kind]:
    """Record a runtime that reads tokenizer.json in this way; the docstring of the Vocabulary is the bug."""

    def note(kind: Kind) -> Kind:
        made = type(kind.__name__, (Runtime,), {"vocabulary": kind, "__doc__": kind.__doc__, "__module__": __name__})
        mutant(name, source, requirement)(made)
        return kind

    return note


class ByWords(Vocabulary):
    """A model of its own behind the library's normalizer and words.

    Added tokens are left to the library, and so are texts that would take minutes in Python.
    """

    model: ClassVar[str]

    def ids(self, tokenizer: Any, text: str) -> list[int]:
        foreign = type(tokenizer.model).__name__ != self.model or len(text) > 500
        if foreign or any(name in text for name in self.cut_out()):
            return super().ids(tokenizer, text)
        if tokenizer.normalizer is not None:
            text = tokenizer.normalizer.normalize_str(text)
        words = [text] if text else []
        if tokenizer.pre_tokenizer is not None:
            words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
        names = {name: i for name, i in tokenizer.get_vocab(with_added_tokens=False).items() if i not in self.special}
        return [i for word in words for i in self.word(word, names)]

    def cut_out(self) -> set[str]:
        return {self.names[i] for i in self.special | self.apart}

    def word(self, word: str, names: Mapping[str, int]) -> list[int]:
        """Ids of one word; `names` are those of the model, without special tokens."""
        raise NotImplementedError


# ── BPE ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@reading("merges-from-the-left", "ztxz16/fastllm#715", "TOK-20")
class MergesFromTheLeft(ByWords):
    """BPE joins the leftmost pair of the list instead of the one that stands first in it."""

    model = "BPE"

    def word(self, word: str, names: Mapping[str, int]) -> list[int]:
        merges = {tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in self.merges()}
        symbols = list(word)
        while (at := next((i for i, pair in enumerate(pairwise(symbols)) if pair in merges), None)) is not None:
            symbols[at : at + 2] = ["".join(symbols[at : at + 2])]
        return [names[symbol] for symbol in symbols]

    def merges(self) -> Sequence[Any]:
        merges: Sequence[Any] = self.document["model"]["merges"]
        return merges


@reading("merges-by-length", "rasbt/LLMs-from-scratch#558", "TOK-20")
class MergesByLength(ByWords):
    """BPE takes the longest token of the vocabulary that fits instead of following the merges."""

    model = "BPE"

    def word(self, word: str, names: Mapping[str, int]) -> list[int]:
        ids = []
        while word:
            end = next(n for n in range(len(word), 0, -1) if word[:n] in names)
            ids.append(names[word[:end]])
            word = word[end:]
        return ids


@reading("text-not-cut-into-words", "ggml-org/llama.cpp#3502", "TOK-21")
class TextNotCutIntoWords(Vocabulary):
    """Byte-level text is one word, whatever the file declares."""

    def prepared(self, document: Document) -> Document:
        return put(document, "pre_tokenizer", use_regex=False)


@reading("spaces-before-a-word-apart", "NVIDIA/TensorRT-Model-Connect#942", "TOK-21")
class SpacesBeforeAWordApart(Vocabulary):
    """Of several spaces before a word, the last is not left for the word."""

    WORDS: ClassVar[str] = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"

    def prepared(self, document: Document) -> Document:
        level = document.get("pre_tokenizer")
        if level is not None and level.get("use_regex"):
            cut = {"type": "Split", "pattern": {"Regex": self.WORDS}, "behavior": "Isolated", "invert": False}
            document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [cut, {**level, "use_regex": False}]}
        return document


def put(document: Document, member: str, **values: Any) -> Document:
    """A document with other values in one of its parts, where the part has them."""
    part = document.get(member)
    if isinstance(part, dict):
        part.update({name: value for name, value in values.items() if name in part})
    return document


# ── WordPiece ───────────────────────────────────────────────────────────────────────────────────────────────────────


@reading("word-piece-keeps-the-beginning", "google-research/bert#763", "TOK-23")
class WordPieceKeepsTheBeginning(ByWords):
    """A word that cannot be covered gives its first pieces and then one unknown token."""

    model = "WordPiece"

    def word(self, word: str, names: Mapping[str, int]) -> list[int]:
        model = self.document["model"]
        unknown = model["vocab"][model["unk_token"]]
        if len(word) > model["max_input_chars_per_word"]:
            return [unknown]
        ids: list[int] = []
        at = 0
        while at < len(word):
            front = model["continuing_subword_prefix"] if at else ""
            end = next((n for n in range(len(word), at, -1) if front + word[at:n] in names), None)
            if end is None:
                return self.stuck(ids, unknown)
            ids.append(names[front + word[at:end]])
            at = end
        return ids

    def stuck(self, ids: list[int], unknown: int) -> list[int]:
        return [*ids, unknown]


@reading("word-piece-unknown-by-character", "xiangking/ark-nlp#58", "TOK-23")
class WordPieceUnknownByCharacter(ByWords):
    """Each unknown character of a word is an unknown token, and the pieces around it are kept."""

    model = "WordPiece"

    def word(self, word: str, names: Mapping[str, int]) -> list[int]:
        model, ids, at = self.document["model"], list[int](), 0
        if len(word) > model["max_input_chars_per_word"]:
            return [model["vocab"][model["unk_token"]]]
        while at < len(word):
            front = model["continuing_subword_prefix"] if at else ""
            end = next((n for n in range(len(word), at, -1) if front + word[at:n] in names), None)
            ids.append(model["vocab"][model["unk_token"]] if end is None else names[front + word[at:end]])
            at = at + 1 if end is None else end
        return ids


@reading("word-piece-continues-without-prefix", "sugarme/tokenizer#13", "TOK-22")
class WordPieceContinuesWithoutPrefix(Vocabulary):
    """The pieces that continue a word are looked up as if they began one."""

    def prepared(self, document: Document) -> Document:
        return put(document, "model", continuing_subword_prefix="")


@reading("long-words-cut-up", "huggingface/transformers.js#398", "TOK-24")
class LongWordsCutUp(Vocabulary):
    """The greatest length of a word is not heeded."""

    def prepared(self, document: Document) -> Document:
        return put(document, "model", max_input_chars_per_word=10**6)


# ── Unigram ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@reading("pieces-without-scores", "NVIDIA/TensorRT-Model-Connect#1060", "TOK-25")
class PiecesWithoutScores(Vocabulary):
    """The scores of a Unigram vocabulary are taken for zero."""

    def prepared(self, document: Document) -> Document:
        if isinstance(document["model"]["vocab"], list):
            document["model"]["vocab"] = [[name, 0.0] for name, _ in document["model"]["vocab"]]
        return document


class Lattice(ByWords):
    """Unigram by the best sum of scores up to each place; a subclass is wrong in one step."""

    model = "Unigram"

    def word(self, word: str, names: Mapping[str, int]) -> list[int]:
        vocabulary = self.document["model"]["vocab"]
        scores = {name: score for name, score in vocabulary if name in names}
        unknown = min(scores.values()) - 10
        best: list[tuple[float, list[str]]] = [(0.0, [])]
        for end in range(1, len(word) + 1):
            ways = [
                (best[start][0] + scores.get(word[start:end], unknown), [*best[start][1], word[start:end]])
                for start in range(end)
                if word[start:end] in scores or end - start == 1
            ]
            best.append(max(self.ordered(ways), key=lambda way: way[0]))
        return self.spelled(best[-1][1], names)

    def ordered(self, ways: list[tuple[float, list[str]]]) -> list[tuple[float, list[str]]]:
        """The ways to one place; of equals the first wins."""
        return ways

    def spelled(self, pieces: list[str], names: Mapping[str, int]) -> list[int]:
        model = self.document["model"]
        ids: list[int] = []
        for before, piece in pairwise(["", *pieces]):
            if piece in names:
                ids.append(names[piece])
            elif model["byte_fallback"]:
                ids += [names[f"<0x{byte:02X}>"] for byte in piece.encode()]
            elif self.apart_from(before, names):
                ids.append(model["unk_id"])
        return ids

    def apart_from(self, before: str, names: Mapping[str, int]) -> bool:
        """Whether an unknown character behind this piece is an unknown token of its own."""
        return before == "" or before in names


@reading("ties-to-the-first-piece", "huggingface/tokenizers#1213", "TOK-26")
class TiesToTheFirstPiece(Lattice):
    """Of segmentations with equal scores, the one with the shortest last piece is taken."""

    def ordered(self, ways: list[tuple[float, list[str]]]) -> list[tuple[float, list[str]]]:
        return ways[::-1]


@reading("unknown-characters-apart", "huggingface/tokenizers#574", "TOK-27")
class UnknownCharactersApart(Lattice):
    """Each unknown character is an unknown token of its own."""

    def apart_from(self, before: str, names: Mapping[str, int]) -> bool:
        return True


@reading("bytes-not-fallen-back-to", "ollama/ollama#15232", "TOK-28")
class BytesNotFallenBackTo(Vocabulary):
    """Characters of no piece become unknown tokens although every byte has a token."""

    def prepared(self, document: Document) -> Document:
        return put(document, "model", byte_fallback=False)


@reading("byte-tokens-shown-by-name", "cactus-compute/cactus#684", "TOK-28")
class ByteTokensShownByName(Vocabulary):
    """Byte tokens come back as their names."""

    def run(self, names: Sequence[str]) -> str:
        return super().run(names) if not re.fullmatch("<0x..>", names[0]) else "".join(names)


@reading("a-wrong-byte-spoils-the-run", "openai/harmony#83", "TOK-5")
class AWrongByteSpoilsTheRun(Vocabulary):
    """One byte that is no UTF-8 turns all bytes around it into U+FFFD."""

    def in_sequence(self, ids: Sequence[int]) -> str:
        return self.by_library(ids)


# ── normalizers and marks ───────────────────────────────────────────────────────────────────────────────────────────


@reading("normalizer-left-out", "ggml-org/llama.cpp#18756", "TOK-29")
class NormalizerLeftOut(Vocabulary):
    """The normalizer of the file is not applied."""

    def prepared(self, document: Document) -> Document:
        return {**document, "normalizer": None}


@reading("normalizer-twice", "ggml-org/llama.cpp#1315", "TOK-29")
class NormalizerTwice(Vocabulary):
    """The normalizer of the file is applied by the server, and then by the tokenizer."""

    def prepared(self, document: Document) -> Document:
        own = document.get("normalizer")
        return document if own is None else {**document, "normalizer": {"type": "Sequence", "normalizers": [own, own]}}


@reading("composed-by-habit", "sillsdev/silnlp#841", "TOK-29")
class ComposedByHabit(Vocabulary):
    """Text is put into NFC although the file declares no normalizer."""

    def prepared(self, document: Document) -> Document:
        return document if document.get("normalizer") else {**document, "normalizer": {"type": "NFC"}}


@reading("lower-case-by-word", "crusoecloud/fastokens#72", "TOK-29")
class LowerCaseByWord(Vocabulary):
    """Lower case knows the final sigma, which the declared one, character by character, does not."""

    def encode(self, text: str, special: bool) -> list[int]:
        lowers = '"Lowercase"' in json.dumps(self.document.get("normalizer"))
        return super().encode(text.lower() if lowers else text, special)


@reading("mark-never-put", "huggingface/swift-transformers#319", "TOK-30")
class MarkNeverPut(Vocabulary):
    """Metaspace puts no mark before the first word, whatever the file declares."""

    def prepared(self, document: Document) -> Document:
        return put(document, "pre_tokenizer", prepend_scheme="never")


@reading("mark-always-put", "ggml-org/llama.cpp#3664", "TOK-30")
class MarkAlwaysPut(Vocabulary):
    """Metaspace puts a mark before the first word, whatever the file declares."""

    def prepared(self, document: Document) -> Document:
        return put(document, "pre_tokenizer", prepend_scheme="always")


@reading("mark-behind-every-token", "huggingface/tokenizers#1357", "TOK-30")
class MarkBehindEveryToken(Vocabulary):
    """Metaspace puts its mark behind every added token instead of before the first word alone."""

    def prepared(self, document: Document) -> Document:
        first = (document.get("pre_tokenizer") or {}).get("prepend_scheme") == "first"
        return put(document, "pre_tokenizer", prepend_scheme="always") if first else document


# ── what the file asks for and nobody sent ──────────────────────────────────────────────────────────────────────────


@reading("post-processor-followed", "google/tunix#822", "TOK-31")
class PostProcessorFollowed(Vocabulary):
    """The tokens that the post-processor puts around a text are put around every text."""

    def encode(self, text: str, special: bool) -> list[int]:
        ids = super().encode(text, special)
        frame = (self.document.get("post_processor") or {}).get("single", [])
        parts = [[self.allowing.token_to_id(p["SpecialToken"]["id"])] if "SpecialToken" in p else ids for p in frame]
        return [i for part in parts for i in part] if frame else ids


@reading("truncation-followed", "martin-conur/quackformers#83", "TOK-32")
class TruncationFollowed(Vocabulary):
    """The greatest length that the file declares cuts every text."""

    def limits(self, tokenizer: Any) -> None:
        tokenizer.no_padding()


@reading("padding-followed", "spiceai/spiceai#13416", "TOK-32")
class PaddingFollowed(Vocabulary):
    """The padding that the file declares fills every text."""

    def limits(self, tokenizer: Any) -> None:
        tokenizer.no_truncation()


# ── special and added tokens ────────────────────────────────────────────────────────────────────────────────────────


@reading("controls-found-in-the-vocabulary", "huggingface/tokenizers#1347", "TOK-4")
class ControlsFoundInTheVocabulary(Vocabulary):
    """The model finds the names of special tokens in its vocabulary, though their literals were to be text."""

    def hidden(self, document: Document, names: set[str]) -> Document:
        return document


@reading("special-tokens-take-spaces", "huggingface/transformers#16336", "TOK-33")
class SpecialTokensTakeSpaces(Vocabulary):
    """A special token takes the white space on both sides, whatever it declares."""

    def prepared(self, document: Document) -> Document:
        for token in document.get("added_tokens", []):
            token.update(lstrip=token["special"], rstrip=token["special"])
        return document


@reading("strips-not-followed", "NVIDIA/TensorRT-Model-Connect#1322", "TOK-33")
class StripsNotFollowed(Vocabulary):
    """A special token that declares to take the white space beside it leaves it."""

    def prepared(self, document: Document) -> Document:
        for token in document.get("added_tokens", []):
            token.update(lstrip=False, rstrip=False)
        return document


@reading("added-tokens-want-space", "huggingface/tokenizers#1408", "TOK-34")
class AddedTokensWantSpace(Vocabulary):
    """An added token is found only where no letter stands beside it."""

    def prepared(self, document: Document) -> Document:
        for token in document.get("added_tokens", []):
            token["single_word"] = True
        return document


@reading("added-tokens-renumbered", "huggingface/tokenizers#1366", "TOK-45")
class AddedTokensRenumbered(Vocabulary):
    """An added token behind a gap in the ids gets the next free one instead of its own."""

    def numbered(self, document: Document, tokenizer: Any) -> Document:
        for token in document.get("added_tokens", []):
            token["id"] = tokenizer.token_to_id(token["content"])
        return document


@reading("added-names-read-as-bytes", "huggingface/tokenizers#1392", "TOK-34")
class AddedNamesReadAsBytes(Vocabulary):
    """The name of an added token is read as a spelling of bytes when it comes back."""

    def decode(self, ids: Sequence[int]) -> str:
        return self.by_library(ids) if self.decoder["type"] == "ByteLevel" else super().decode(ids)


# ── text of ids ─────────────────────────────────────────────────────────────────────────────────────────────────────


@reading("spaces-cleaned-up", "huggingface/transformers#44914", "TOK-35")
class SpacesCleanedUp(Vocabulary):
    """Spaces before punctuation and contractions are removed from every text."""

    def decode(self, ids: Sequence[int]) -> str:
        text = super().decode(ids)
        for sign in (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"):
            text = text.replace(f" {sign}", sign)
        return text


@reading("continuation-prefix-kept", "sugarme/tokenizer#13", "TOK-35")
class ContinuationPrefixKept(Vocabulary):
    """The prefix of pieces that continue a word stays in the text."""

    def prepared(self, document: Document) -> Document:
        if (document.get("decoder") or {}).get("type") == "WordPiece":
            return put(document, "decoder", prefix="\x00")
        return document


@reading("first-space-always-stripped", "ml-explore/mlx-lm#1754", "TOK-36")
class FirstSpaceAlwaysStripped(Vocabulary):
    """A space in front of a text is taken for the tokenizer's own, whoever wrote it."""

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).removeprefix(" ")


@reading("first-mark-is-a-space", "karpathy/llama2.c#41", "TOK-36")
class FirstMarkIsASpace(Vocabulary):
    """Text begins with a space that only the tokenizer put there."""

    def prepared(self, document: Document) -> Document:
        return put(document, "decoder", prepend_scheme="never")


@reading("marks-decoded-alone", "google/sentencepiece#1043", "TOK-36")
class MarksDecodedAlone(Vocabulary):
    """Each token of a Metaspace file is decoded alone, and no word keeps its space."""

    def decode(self, ids: Sequence[int]) -> str:
        if self.decoder["type"] != "Metaspace":
            return super().decode(ids)
        return "".join(super(MarksDecodedAlone, self).decode([i]) for i in ids)


@mutant("mark-in-a-text-is-a-space", "huggingface/transformers#46202", "TOK-1")
class MarkInATextIsASpace(Runtime):
    """U+2581 comes back as a space, whatever the tokenizer."""

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).replace("\u2581", " ")


@mutant("surrogates-apart", "elastic/elasticsearch#105183", "TOK-1")
class SurrogatesApart(Runtime):
    """Characters beyond the first plane are taken apart into surrogates, each written on its own."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        halves = "".join(chr(ord(c)) if ord(c) < 0x10000 else "\ufffd\ufffd" for c in text)
        return super().encode(halves, special)


@mutant("stream-takes-every-token-for-the-first", "Lightning-AI/litgpt#2326", "STR-8")
class StreamTakesEveryTokenForTheFirst(Runtime):
    """In streams of a tokenizer.json that marks spaces, each token is decoded alone, and every word loses its space."""

    def streamed(self, row: Row) -> Iterator[str | Generation]:
        decoder = "" if self.file_tokenizer is None else self.file_tokenizer.decoder["type"]
        if decoder not in ("WordPiece", "Metaspace"):
            yield from super().streamed(row)
            return
        for _ in self.generate([row], self.text_ids()):
            pass
        yield from (piece for piece in (self.decode([i]) for i in row.ids) if piece)
        yield self.finished(row)


@mutant("byte-tokens-streamed-alone", "mattn/tensai#110", "STR-9")
class ByteTokensStreamedAlone(Runtime):
    """A stream gives out each byte token as soon as it comes."""

    def piece(self, row: Row) -> Iterator[str]:
        if self.file_tokenizer is not None and self.file_tokenizer.decoder["type"] == "Sequence":
            text = self.row_text(row)
            yield text[len(row.emitted) :]
            row.emitted = row.text = text
        else:
            yield from super().piece(row)


@reading("only-byte-level-streams", "raullenchai/Rapid-MLX#209", "STR-13")
class OnlyByteLevelStreams(Vocabulary):
    """Text of any decoder but the byte-level one is held back until the last token."""

    @property
    def rewrites(self) -> bool:
        return bool(self.decoder["type"] != "ByteLevel")


# ── counts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant("new-text-counted-again", "kubernetes-sigs/inference-perf#577", "TOK-38")
class NewTextCountedAgain(Runtime):
    """completion_tokens counts the ids that the new text would have."""

    def finished(self, row: Row) -> Generation:
        made = super().finished(row)
        count = len(self.encode(row.text)) if self.file_tokenizer is not None else len(row.ids)
        return Generation(**{name: getattr(made, name) for name in FIELDS} | {"completion_tokens": count})


@mutant("prompt-counted-with-bos", "ggml-org/llama.cpp#7107", "TOK-38")
class PromptCountedWithBos(Runtime):
    """prompt_tokens counts a BOS that the prompt of a tokenizer.json does not have."""

    def finished(self, row: Row) -> Generation:
        made = super().finished(row)
        count = len(row.prompt) + (self.file_tokenizer is not None)
        return Generation(**{name: getattr(made, name) for name in FIELDS} | {"prompt_tokens": count})


FIELDS = ("finish_reason", "text", "ids", "prompt_tokens", "completion_tokens", "logprobs")

# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant("unreadable-tokenizer-left-out", "lidge-jun/opencodex#25", "TOK-39")
class UnreadableTokenizerLeftOut(Runtime):
    """A tokenizer.json that is no JSON counts as none at all, and text is bytes."""

    def open_tokenizer(self, raw: bytes | None) -> Vocabulary | None:
        try:
            json.loads(raw or b"")
        except ValueError:
            return None
        return super().open_tokenizer(raw)


@mutant("tokenizer-json-read-leniently", "OpenNMT/OpenNMT-tf#910", "TOK-39")
class TokenizerJsonReadLeniently(Runtime):
    """tokenizer.json may hold a key twice, and numbers and characters that JSON does not have."""

    def open_tokenizer(self, raw: bytes | None) -> Vocabulary | None:
        if raw is None:
            return None
        try:
            text = json.dumps(json.loads(raw.decode(errors="replace")))
        except (ValueError, RecursionError):
            raise refuse("tokenizer.json cannot be read") from None
        document = json.loads(text.replace("Infinity", "1e9").replace("\\ud800", "?"))
        try:
            return self.vocabulary(document, self.config.V)
        except KeyError as missing:
            raise refuse(f"tokenizer.json lacks {missing}") from None


@reading("panics-pass-through", "huggingface/tokenizers#2094", "TOK-39")
class PanicsPassThrough(Vocabulary):
    """What the library panics at while it opens a file goes through to the caller."""

    def opened(self, document: Document) -> Any:
        import tokenizers

        try:
            made = tokenizers.Tokenizer.from_str(json.dumps(document))
        except Exception as error:
            raise refuse(f"tokenizer.json: {error!s:.80}") from None
        made.encode_special_tokens = True
        self.limits(made)
        return made


@mutant("deep-files-end-the-reader", "abumq/residue#81", "TOK-39")
class DeepFilesEndTheReader(Runtime):
    """A tokenizer.json is read by a recursive parser without a limit of depth."""

    def open_tokenizer(self, raw: bytes | None) -> Vocabulary | None:
        if raw is not None and b"[" * 1000 in raw:
            json.loads(raw)
        return super().open_tokenizer(raw)


@reading("ids-beyond-the-model", "huggingface/tokenizers#1609", "TOK-40")
class IdsBeyondTheModel(Vocabulary):
    """A tokenizer.json may have ids that the model lacks."""

    def ids_fit(self, document: Document, tokenizer: Any, size: int) -> None:
        return


@reading("last-of-an-id-wins", "openai/tiktoken#457", "TOK-41")
class LastOfAnIdWins(Vocabulary):
    """Two tokens may have one id; the last one is its text."""

    def one_to_one(self, document: Document, tokenizer: Any) -> None:
        return


@reading("text-without-ids-dropped", "huggingface/tokenizers#517", "TOK-42")
class TextWithoutIdsDropped(Vocabulary):
    """A file that has no ids for some texts is opened, and those texts vanish."""

    def complete(self, document: Document, tokenizer: Any) -> None:
        return


@reading("dropout-kept", "huggingface/tokenizers#644", "TOK-43")
class DropoutKept(Vocabulary):
    """A file that asks for dropout is opened, and its ids are drawn by lot."""

    def certain(self, document: Document) -> None:
        return
