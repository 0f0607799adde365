"""A model that is nobody's, behind an API like OpenAI's: what the hosted variants and mutants serve.

Its logits are drawn from a key of the ids so far, so that every prompt has a law of its own and greedy texts hardly
repeat themselves; behind characters of several bytes it says more of them, each as bytes that are tokens of their own.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmasos_conformance.adapters.hosted import found_by_asking
from llmasos_conformance.adapters.openai.api import Api, Reply
from llmasos_conformance.adapters.openai.model import plain_template
from llmasos_conformance.protocol import Array, Claims, Description

_SYLLABLES = (
    " the| of| and| to| a| in| is| it| that| was| for| on| are| as| with| his| they| at| be| this| have| from| or| one"
    "| had| by| word| but| not| what| all| were| we| when| your| can| said| there| use| an| each| which| she| do| how"
    "| their| if| will| up| other| about| out| many| then| them| these| so| some| her| would| make| like| him| into"
    "|ing|ed|er|est|ly|ion|al|.\n|. |, |; |? |! |: | - |\n\n| A| The| But| In|'s|n't|ment|ness|able|ous"
)
SYLLABLES = tuple(_SYLLABLES.split("|"))
FIRST = 256
"""Id of the first syllable; below it are bytes."""
EOS = FIRST + len(SYLLABLES)
LONGEST = max(map(len, SYLLABLES))
_IDS = {syllable: FIRST + i for i, syllable in enumerate(SYLLABLES)}
_PIECE = re.compile("|".join(map(re.escape, sorted(SYLLABLES, key=len, reverse=True))) + "|.", re.DOTALL)
"""The longest syllable that stands at a place, or one character."""
LEADS = (0xC3, 0xE4, 0xE8, 0xF0)
"""Bytes that begin a character of 2, 3, 3 and 4 bytes."""
FOLLOWS = {0xC3: 1, 0xE4: 2, 0xE8: 2, 0xF0: 3}
BEHIND = 32
"""For how many tokens a character of several bytes is answered with more of them."""
_SECOND = {0xF0: (0x9F,)}
"""What may stand behind a lead, where not every continuation byte may."""


class Babbler:
    """The model; see `adapters.openai.model.Model`."""

    eos = frozenset({EOS})
    context = 512

    def __init__(self) -> None:
        self.allowed = np.ones(EOS + 1, dtype=bool)
        self.allowed[[*range(0x20), 0x7F]] = False
        self.allowed[0xF5:0x100] = False

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in _PIECE.findall(text[: 2 * self.context * LONGEST]):  # what is longer is too long in any case
            ids += [_IDS[piece]] if piece in _IDS else list(piece.encode())
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.raw(ids).decode(errors="replace")

    def raw(self, ids: Sequence[int]) -> bytes:
        """Bytes of ids."""
        parts = (bytes([i]) if i < FIRST else SYLLABLES[i - FIRST].encode() for i in ids if i != EOS)
        return b"".join(parts)

    def logits(self, ids: Sequence[int]) -> Array:
        return _logits(tuple(ids))

    def all_logits(self, ids: Sequence[int]) -> Array:
        return np.stack([_logits(tuple(ids[: i + 1])) for i in range(len(ids))])

    def template(self, messages: Sequence[tuple[str, str]]) -> str:
        return plain_template(messages)


@functools.lru_cache(maxsize=20000)
def _logits(ids: tuple[int, ...]) -> Array:
    """[V] float32 behind ids."""
    key = hashlib.sha256(repr(ids).encode()).digest()
    z = np.random.default_rng(list(key[:16])).normal(0.0, 3.0, EOS + 1).astype(np.float32)
    z[:FIRST] -= np.float32(12)
    z[EOS] -= np.float32(4)
    if missing := _missing([i for i in ids[-4:] if 0x80 <= i < FIRST]):
        lead, count = missing
        z[:] = np.float32(-30)
        second = _SECOND.get(lead) if count == FOLLOWS[lead] else None
        chosen = list(second or range(0x90, 0xB0))
        z[chosen] = np.random.default_rng(list(key[16:])).normal(0.0, 2.0, len(chosen)).astype(np.float32)
    elif any(0x80 <= i < FIRST for i in ids[-BEHIND:]):
        z[list(LEADS)] += np.float32(20)
    z.flags.writeable = False
    return z


def _missing(tail: Sequence[int]) -> tuple[int, int] | None:
    """The lead of a character that is not whole yet, and how many bytes it lacks."""
    for back, byte in enumerate(reversed(tail)):
        if byte in FOLLOWS:
            lacking = FOLLOWS[byte] - back
            return (byte, lacking) if lacking > 0 else None
    return None


class Babbling:
    """An adapter that serves an `Api` over the model, without HTTP.

    Args:
        kind: of the server. name: of the candidate.
    """

    def __init__(self, kind: type[Serving], name: str) -> None:
        self.api = kind(Babbler(), "babbler")
        self._name, self._kind = name, kind

    def describe(self) -> Description:
        api = self._kind.over
        found = found_by_asking(api, lambda over, request: self._ask(over, request))
        further = {api, "concurrent"} | ({"template"} if self.api.shows else set())
        return Description(
            name=self._name, version="1", capabilities=(found | further) - self._kind.hides,
            claims=Claims(dtype=self._kind.dtype, determinism=self._kind.determinism), architectures=(),
        )  # fmt: skip

    def completions(self, request: Mapping[str, Any]) -> Reply:
        return self._ask("completions", request)

    def chat(self, request: Mapping[str, Any]) -> Reply:
        return self._ask("chat", request)

    def template(self, request: Mapping[str, Any]) -> Reply:
        return self.api.answer("template", dict(request))

    def together(self, requests: Sequence[Mapping[str, Any]]) -> list[Reply]:
        return self.api.together([(each["over"], {"model": "babbler", **each["request"]}) for each in requests])

    def _ask(self, api: str, request: Mapping[str, Any]) -> Reply:
        return self.api.answer(api, {"model": "babbler", **request})


class Serving(Api):
    """A server, right as it stands, from which variants and mutants differ in one place each.

    Attributes:
        over: the API that is judged. dtype, determinism: what is claimed. hides: capabilities that are not declared.
        shows: the template.
    """

    over = "completions"
    dtype = "float32"
    determinism = "D2"
    hides: frozenset[str] = frozenset()
    shows = True

    def together(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Reply]:
        """Requests made at once."""
        return [self.answer(api, dict(body)) for api, body in requests]
