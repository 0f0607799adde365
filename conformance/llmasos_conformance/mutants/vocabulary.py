"""How the runtime of the mutants reads tokenizer.json, in steps small enough to be broken one at a time.

    prepared   the document as it is used; a mutant rewrites it here
    judged     ids, texts without ids, chance
    opened     by the `tokenizers` library: once with special tokens as text, once as tokens
    encode     text to ids
    decode     ids to text: by the library, but for byte tokens and for added tokens that are text
    rewrites   whether ids that follow may change earlier text

Nothing here comes from the reference, the adapter kit or the suite's witness.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmasos_conformance.adapters.kit.tokenfile import check_parts
from llmasos_conformance.mutants.loader import refuse

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
PLAIN_DECODERS = ("ByteLevel", "WordPiece", "Metaspace")
"""Decoders of the library that only append when more ids come."""

Document = dict[str, Any]


class Vocabulary:
    """An opened tokenizer.json.

    Args:
        document: parsed, strict JSON. size: vocab_size of the model.

    Attributes:
        names: id -> name. special: ids of special tokens. apart: ids of added tokens that the model does not know.
    """

    def __init__(self, document: Document, size: int) -> None:
        self.document = self.prepared(copy.deepcopy(document))
        tokenizer = self.opened(self.document)
        self.judged(self.document, tokenizer, size)
        own = {i: name for name, i in tokenizer.get_vocab(with_added_tokens=False).items()}
        self.document = self.numbered(self.document, tokenizer)
        self.allowing = self.opened(self.document)
        self.allowing.encode_special_tokens = False
        added = self.document.get("added_tokens", [])
        self.names: Mapping[int, str] = {**own, **{token["id"]: token["content"] for token in added}}
        self.special = {token["id"] for token in added if token["special"]}
        self.apart = self.names.keys() - own.keys() - self.special
        self.decoder: Mapping[str, Any] = self.document.get("decoder") or {"type": "none"}
        known = set(self.allowing.get_vocab(with_added_tokens=False))
        self.plain = self.opened(self.hidden(self.document, {self.names[i] for i in self.special} & known))

    def prepared(self, document: Document) -> Document:
        """The document that is used; right as it stands, it is the one that was read."""
        return document

    def opened(self, document: Document) -> Any:
        """A tokenizer of the library that takes special tokens for text, and neither cuts nor pads."""
        import tokenizers

        check_parts(document)
        try:
            made = tokenizers.Tokenizer.from_str(json.dumps(document))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library's panics are no Exceptions
            raise refuse(f"tokenizer.json: {error!s:.80}") from None
        made.encode_special_tokens = True
        self.limits(made)
        return made

    def numbered(self, document: Document, tokenizer: Any) -> Document:
        """The document whose added tokens get the ids that it gives them, also behind a gap."""
        added = document.get("added_tokens", [])
        if all(tokenizer.token_to_id(token["content"]) == token["id"] for token in added):
            return document
        made = copy.deepcopy(document)
        vocabulary = made["model"]["vocab"]
        if isinstance(vocabulary, list):
            last = max(token["id"] for token in added)
            names = {token["id"]: token["content"] for token in added}
            for i in range(len(vocabulary), last + 1):
                vocabulary.append([names.get(i, f"\U0001ffff{i}\U0001ffff"), 0.0])
        else:
            vocabulary.update({token["content"]: token["id"] for token in added})
        return made

    def limits(self, tokenizer: Any) -> None:
        """What the file says of the length of texts is not followed."""
        tokenizer.no_truncation()
        tokenizer.no_padding()

    def hidden(self, document: Document, names: set[str]) -> Document:
        """The document whose model knows these special tokens by names that stand in no text."""
        if not names:
            return document
        made = copy.deepcopy(document)
        model, added = made["model"], made["added_tokens"]
        new = {name: f"\U0001ffff{name}\U0001ffff" for name in names}
        if isinstance(model["vocab"], list):
            model["vocab"] = [[new.get(name, name), score] for name, score in model["vocab"]]
        else:
            model["vocab"] = {new.get(name, name): i for name, i in model["vocab"].items()}
        for token in added:
            token["content"] = new.get(token["content"], token["content"])
        model.update({key: new[model[key]] for key in ("unk_token",) if model.get(key) in new})
        if "merges" in model:
            pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
            model["merges"] = [pair for pair in pairs if not names & {*pair, "".join(pair)}]
        made["post_processor"] = None
        return made

    # What a file must be.

    def judged(self, document: Document, tokenizer: Any, size: int) -> None:
        self.ids_fit(document, tokenizer, size)
        self.one_to_one(document, tokenizer)
        self.complete(document, tokenizer)
        self.certain(document)

    def ids_fit(self, document: Document, tokenizer: Any, size: int) -> None:
        ids = [*tokenizer.get_vocab(with_added_tokens=False).values()]
        ids += [token["id"] for token in document.get("added_tokens", [])]
        if max(ids, default=0) >= size:
            raise refuse("tokenizer.json has ids that the model lacks")

    def one_to_one(self, document: Document, tokenizer: Any) -> None:
        """A token for each id, and an id for each token."""
        vocabulary = document["model"]["vocab"]
        pairs = [(piece[0], i) for i, piece in enumerate(vocabulary)] if isinstance(vocabulary, list) else []
        pairs = pairs or list(vocabulary.items())
        added = [(token["content"], token["id"]) for token in document.get("added_tokens", [])]
        distinct = {*pairs, *added}
        if len(set(pairs)) != len(dict(pairs)) or len(set(added)) != len(added):
            raise refuse("tokenizer.json lists a token twice")
        if len({i for _, i in distinct}) != len(distinct) or len({name for name, _ in distinct}) != len(distinct):
            raise refuse("tokenizer.json gives two tokens one id, or one token two")

    def complete(self, document: Document, tokenizer: Any) -> None:
        """Each text has ids."""
        model, kind = document["model"], type(tokenizer.model).__name__
        vocabulary = tokenizer.get_vocab(with_added_tokens=False)
        if kind == "Unigram":
            right = model.get("unk_id") is not None
        elif kind != "BPE" or model.get("unk_token") is not None:
            right = tokenizer.model.unk_token in vocabulary
        elif model.get("byte_fallback"):
            right = all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
        else:
            import tokenizers

            level = '"ByteLevel"' in json.dumps([document.get("pre_tokenizer"), document.get("normalizer")])
            bare = not (model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"))
            right = level and bare and set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) <= set(vocabulary)
        if not right:
            raise refuse("tokenizer.json has no ids for some texts")

    def certain(self, document: Document) -> None:
        if document["model"].get("dropout"):
            raise refuse("tokenizer.json asks for dropout")

    # Text and ids.

    def encode(self, text: str, special: bool) -> list[int]:
        return self.ids(self.allowing if special else self.plain, text)

    def ids(self, tokenizer: Any, text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        shown = [i for i in ids if i in self.names and i not in self.special]
        if self.decoder["type"] == "Sequence":
            return self.in_sequence(shown)
        if self.decoder["type"] != "ByteLevel":
            return self.by_library(shown)
        return "".join(
            "".join(self.names[i] for i in run) if apart else self.by_library(list(run))
            for apart, run in itertools.groupby(shown, key=lambda i: i in self.apart)
        )

    def by_library(self, ids: Sequence[int]) -> str:
        return str(self.allowing.decode(list(ids)))

    def in_sequence(self, ids: Sequence[int]) -> str:
        """A sequence of decoders with byte tokens: runs of bytes are characters, other names go through the rest."""
        if self.foreign:
            return self.by_library(ids)
        text = "".join(self.run([self.names[i] for i in run]) for _, run in itertools.groupby(ids, key=self.is_byte))
        strip = self.decoder["decoders"][3]
        for _ in range(strip["start"]):
            text = text.removeprefix(strip["content"])
        return text

    def is_byte(self, i: int) -> bool:
        return bool(BYTE.fullmatch(self.names[i]))

    def run(self, names: Sequence[str]) -> str:
        """Names that are all byte tokens, or none of them."""
        if BYTE.fullmatch(names[0]):
            return bytes(int(name[3:5], 16) for name in names).decode(errors="replace")
        text = "".join(names)
        for part in self.decoder["decoders"]:
            if part["type"] == "Replace":
                text = text.replace(part["pattern"]["String"], part["content"])
        return text

    @property
    def rewrites(self) -> bool:
        """Whether ids that follow may change earlier text, so that it cannot be streamed."""
        return self.foreign

    @property
    def foreign(self) -> bool:
        """Whether the decoder is one of which nothing is known here."""
        if self.decoder["type"] == "Sequence":
            kinds = [part["type"] for part in self.decoder["decoders"]]
            return kinds != ["Replace", "ByteFallback", "Fuse", "Strip"] or self.decoder["decoders"][3]["stop"] > 0
        return self.decoder["type"] not in PLAIN_DECODERS
