"""A tokenizer.json: read, judged, and opened by the `tokenizers` library.

A file must give each text ids, the same ones every time, and each id one text. One that does not is refused when it is
read, not when the first text comes that shows it. Of its parts these are not followed: truncation and padding, which
change ids silently, and the post-processor, which puts tokens around a text that the caller did not send.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NoReturn, TypeVar

from llmasos import strictjson
from llmasos.detokenizer import BYTE_TOKENS, LETTERS
from llmasos.errors import InvalidFormat, Unsupported

T = TypeVar("T")
Document = Mapping[str, Any]

_VEIL = "\U0010ffff"
"""Begins the names under which special tokens are hidden from the model; a noncharacter, so hardly in any text."""


class TokenizerFile:
    """An opened file.

    Args:
        raw: its bytes. vocab_size: of the model. where: file name for errors.

    Attributes:
        names: id -> name of every token. special: ids of special tokens. added_only: ids that the model of the file
            does not know, because their tokens are cut out of a text before.
        decoder: as the library wrote it; None if there is none.

    Raises:
        InvalidFormat: no strict JSON; the library cannot read it; it has an id that the model lacks, two tokens of one
            id, or a token of two ids; some text has no ids; ids are drawn by lot.
    """

    def __init__(self, raw: bytes, vocab_size: int, where: str) -> None:
        document = strictjson.parse(raw, where)
        _check_merges(document, where)
        _check_charsmaps(document, where)
        tokenizer = _opened(raw.decode("utf-8-sig"), where)
        known: Mapping[str, int] = tokenizer.get_vocab(with_added_tokens=False)
        _check_ids(document, known, vocab_size, where)
        _check_every_text(document, tokenizer, known, where)
        _check_no_chance(document, where)
        entries = document.get("added_tokens") or []
        self.names: Mapping[int, str] = {
            **{token: name for name, token in known.items()},
            **{entry["id"]: entry["content"] for entry in entries},
        }
        self.special = frozenset(entry["id"] for entry in entries if entry["special"])
        self.added_only = self.names.keys() - set(known.values())
        self.decoder: Mapping[str, Any] | None = _state(tokenizer.decoder)
        self._document, self._where = document, where
        if any(tokenizer.token_to_id(entry["content"]) != entry["id"] for entry in entries):
            self._document = _known_to_the_model(document, entries)
            tokenizer = _opened(json.dumps(self._document), where)
            known = tokenizer.get_vocab(with_added_tokens=False)
        self._open = tokenizer
        self._in_model = {self.names[token] for token in self.special} & known.keys()

    def encode(self, text: str, *, allow_special: bool) -> list[int]:
        """Ids of a text.

        Raises:
            Unsupported: the library fails on it.
        """
        tokenizer = self._allowing if allow_special else self._refusing(text)
        return _working(lambda: list(tokenizer.encode(text, add_special_tokens=False).ids), "text")

    def decode(self, ids: list[int]) -> str:
        """Text of ids, by the library; for decoders that are not run here.

        Raises:
            Unsupported: the library fails on them.
        """
        return _working(lambda: str(self._open.decode(ids, skip_special_tokens=True)), "ids")

    # The switch for special tokens belongs to the library's object, and another thread may be using it, so there is an
    # object for each position of the switch.

    @cached_property
    def _allowing(self) -> Any:
        """Takes literals of special tokens for the tokens."""
        tokenizer = _opened(self._open.to_str(), self._where)
        tokenizer.encode_special_tokens = False
        return tokenizer

    def _refusing(self, text: str) -> Any:
        """Takes literals of special tokens for text, also where the model's vocabulary holds their names.

        Told to leave literals in the text, the library hands them to the model, and a Unigram finds "</s>" there, with
        the best of scores. So the model knows special tokens by names that are not in this text.
        """
        if not self._in_model:
            return self._open
        longest = max(map(len, re.findall(f"{_VEIL}+", text)), default=0)
        return self._veiled if longest == 0 else self._behind(_VEIL * (longest + 1))

    @cached_property
    def _veiled(self) -> Any:
        return self._behind(_VEIL)

    def _behind(self, veil: str) -> Any:
        hidden = {name: veil + name for name in self._in_model}
        return _opened(json.dumps(_renamed(self._document, hidden)), self._where)


def _opened(text: str, where: str) -> Any:
    import tokenizers  # only bundles with a tokenizer.json pay for it

    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's panics are no Exceptions
        raise InvalidFormat(f"not a tokenizer: {error!s:.200}", where) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _working(call: Callable[[], T], where: str) -> T:
    try:
        return call()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's panics are no Exceptions
        raise Unsupported(f"the tokenizer fails: {error!s:.200}", where, "use another tokenizer.json") from None


def _known_to_the_model(document: Document, entries: Sequence[Mapping[str, Any]]) -> Document:
    """The same tokenizer with added tokens in the model's vocabulary, where the library finds the ids of the file.

    Behind a gap in the ids it would number them anew. They are cut out of a text before the model sees it.
    """
    model = dict(document["model"])
    if isinstance(model["vocab"], list):
        pieces = list(model["vocab"])
        for entry in sorted(entries, key=lambda entry: int(entry["id"])):
            if entry["id"] >= len(pieces):
                pieces += [[f"{_VEIL}{i}{_VEIL}", 0.0] for i in range(len(pieces), entry["id"])]
                pieces.append([entry["content"], 0.0])
        model["vocab"] = pieces
    else:
        model["vocab"] = {**model["vocab"], **{entry["content"]: entry["id"] for entry in entries}}
    return {**document, "model": model}


def _renamed(document: Document, names: Mapping[str, str]) -> Document:
    """The same tokenizer with other names for some tokens. Merges that make or use them have no sense any more."""
    model = dict(document["model"])
    if isinstance(model["vocab"], list):
        model["vocab"] = [[names.get(name, name), score] for name, score in model["vocab"]]
    else:
        model["vocab"] = {names.get(name, name): token for name, token in model["vocab"].items()}
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        prefix = model.get("continuing_subword_prefix") or ""
        pairs = [_halves(merge) for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if not {*pair, _joined(pair[0], pair[1], prefix)} & names.keys()]
    added = [{**entry, "content": names.get(entry["content"], entry["content"])} for entry in document["added_tokens"]]
    # The post-processor names special tokens and is not followed.
    return {**document, "model": model, "added_tokens": added, "post_processor": None}


def _state(component: Any) -> Any:
    """A component of a loaded tokenizer as the library would write it; None if there is none."""
    return None if component is None else json.loads(component.__getstate__())


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_merges(document: Document, where: str) -> None:
    """What merges join is in the vocabulary.

    The library would overrun a buffer and panic with noise on stderr. Where it cuts a character in two, it would even
    end the process: it cannot say which token it misses.

    Anything that is not shaped as it must be is left to the library, which knows the shapes.
    """
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        return
    vocabulary, merges, prefix = model.get("vocab"), model.get("merges"), model.get("continuing_subword_prefix") or ""
    if not isinstance(vocabulary, dict) or not isinstance(merges, list) or not isinstance(prefix, str):
        return
    for merge in merges:
        pair = _halves(merge)
        if not isinstance(pair, list) or [type(half) for half in pair] != [str, str]:
            return
        left, right = pair
        if not (left in vocabulary and right in vocabulary and _joined(left, right, prefix) in vocabulary):
            what = f"merge {left!r:.60} {right!r:.60}: the vocabulary lacks a part or the whole"
            raise InvalidFormat(what, where, "leave the merge out, or add the token")


def _halves(merge: Any) -> Any:
    """The two tokens of a merge, which files write in two ways."""
    return merge.split(" ", 1) if isinstance(merge, str) else merge


def _joined(left: str, right: str, prefix: str) -> str | None:
    """The token that a merge makes; None for none.

    The library takes as many bytes off the right half as the prefix has, whichever they are.
    """
    if not prefix:
        return left + right
    raw, skipped = right.encode(), len(prefix.encode())
    try:
        return left + raw[skipped:].decode() if len(raw) >= skipped else None
    except UnicodeDecodeError:
        return None


def _check_charsmaps(document: Document, where: str) -> None:
    """The tables of SentencePiece's normalisation have their form. The library would panic at one that has not.

    A table is base64 of the length of a trie in bytes (uint32), the trie, and UTF-8 text.
    """
    waiting = [document.get("normalizer")] if isinstance(document, dict) else []
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict):
            continue
        waiting += part["normalizers"] if isinstance(part.get("normalizers"), list) else []
        if part.get("type") != "Precompiled":
            continue
        try:
            table = part["precompiled_charsmap"]
            bare = table.rstrip("=")  # the library does not ask for the padding
            raw = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
            begin = 4 + int.from_bytes(raw[:4], "little") // 4 * 4  # of the text
            sound = base64.b64encode(raw).decode().startswith(table) and begin <= len(raw)
            raw[begin:].decode()
        except (AttributeError, KeyError, ValueError):
            sound = False
        if not sound:
            what = "precompiled_charsmap is no table of SentencePiece"
            raise InvalidFormat(what, f"{where} normalizer", "copy it from the model again")


def _check_ids(document: Document, held: Mapping[str, int], vocab_size: int, where: str) -> None:
    """Each id is the model's and belongs to one token, and each token has one id.

    The library lets the last of several win; the model was trained with one of them.
    """

    def refuse(what: str) -> NoReturn:
        raise InvalidFormat(what, where, "give every token an id of its own")

    listed = document["model"]["vocab"]
    if len(held) != len(listed):
        refuse(f"{len(listed)} tokens are listed, {len(held)} are different")
    entries = document.get("added_tokens") or []
    added = {entry["content"]: entry["id"] for entry in entries}
    if len(added) != len(entries):
        refuse("an added token stands twice")
    names: dict[int, str] = {}
    for name, token in {**held, **added}.items():
        if token in names:
            first, second = sorted((names[token], name))
            refuse(f"id {token} belongs to {first!r:.60} and to {second!r:.60}")
        names[token] = name
    for name, token in added.items():
        if held.get(name, token) != token:
            refuse(f"the added token {name!r:.60} has id {token}, and {held[name]} in the model's vocabulary")
    largest = max(names, default=0)
    if largest >= vocab_size:
        raise InvalidFormat(f"id {largest} does not fit vocab_size {vocab_size}", where)


def _check_every_text(document: Document, tokenizer: Any, vocabulary: Mapping[str, int], where: str) -> None:
    """Every text has ids: the file names an unknown token, or has all 256 bytes.

    Without either, the library drops text (BPE) or raises when it meets it (the other models).
    """
    model, kind = document["model"], type(tokenizer.model).__name__
    if kind == "Unigram":
        complete = model.get("unk_id") is not None
    elif kind != "BPE" or model.get("unk_token") is not None:
        complete = tokenizer.model.unk_token in vocabulary
    elif model.get("byte_fallback"):
        complete = all(name in vocabulary for name in BYTE_TOKENS)
    else:
        steps = [*_parts(_state(tokenizer.pre_tokenizer)), *_parts(_state(tokenizer.normalizer))]
        spelled = any(part["type"] == "ByteLevel" for part in steps)
        affixed = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
        complete = spelled and not affixed and all(letter in vocabulary for letter in LETTERS.values())
    if not complete:
        what = "some texts have no ids: there is no unknown token in the vocabulary, and not every byte"
        raise InvalidFormat(what, where, "name an unknown token that is in the vocabulary")


def _parts(component: Any) -> list[Mapping[str, Any]]:
    """A normalizer or pre-tokenizer and all that a sequence of them holds."""
    if component is None:
        return []
    inner = [*component.get("normalizers", ()), *component.get("pretokenizers", ())]
    return [component, *(part for one in inner for part in _parts(one))]


def _check_no_chance(document: Document, where: str) -> None:
    """Nothing is drawn by lot. BPE dropout is for training, and the library applies it whenever a file names it."""
    dropout = document["model"].get("dropout")
    if dropout:
        raise InvalidFormat(f"dropout {dropout} draws the ids of a text by lot", f"{where} model", "leave it out")
