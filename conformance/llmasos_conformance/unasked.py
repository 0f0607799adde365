"""Capabilities that a candidate declares and that the profile of a run does not ask: which profile does ask them.

Whoever declares `session` and passes a profile without a case of sessions has not been asked about them. Nobody is
told so by a verdict, because the profile is what it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos_conformance import profiles
from llmasos_conformance.protocol import ARCHITECTURES

PART = 0.5
"""A profile that asks less than this part of what another one does about the same capabilities is not named. A
judgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unasked:
    """Capabilities, or architectures, that were declared and not asked.

    Attributes:
        names: of them, sorted. profile: that asks them; "" if none does.
        elsewhere: profiles of architectures that are not declared do.
        requires: what this profile requires and is not declared; empty where the candidate can take it.
    """

    names: Sequence[str]
    profile: str
    requires: Sequence[str] = ()
    elsewhere: bool = False

    def __str__(self) -> str:
        if not self.profile:
            of = " of the declared architectures" if self.elsewhere else ""
            return f"{', '.join(self.names)} (no profile{of} asks {'it' if len(self.names) == 1 else 'them'})"
        further = f", and requires {', '.join(self.requires)}" if self.requires else ""
        return f"{', '.join(self.names)} ({self.profile} asks {'it' if len(self.names) == 1 else 'them'}{further})"

    def as_json(self) -> dict[str, Any]:
        return {"capabilities": list(self.names), "profile": self.profile, "requires": list(self.requires)}


def find(offers: Collection[str], profile: str, directory: Path) -> list[Unasked]:
    """What a candidate offers and a profile does not ask, by the profiles that do, as few of them as suffice.

    Args:
        offers: capabilities and architectures. profile: name of the one that was asked; one that is not frozen, such
            as all cases, leaves nothing to say. directory: of the suites.
    """
    frozen = {name: profiles.read(path) for name, path in profiles.paths(directory).items()}
    if profile not in frozen:
        return []
    asked = {name: Counter(need for case in made["cases"] for need in case["needs"]) for name, made in frozen.items()}
    could = (case["needs"] for case in frozen[profile]["cases"] if {*case["needs"]} <= {*offers})
    foreign = {name for name, made in frozen.items() if {*made["requires"]} & {*ARCHITECTURES} - {*offers}}
    lacks = {name: tuple(sorted({*made["requires"]} - {*offers})) for name, made in frozen.items()}
    left, found = {*offers}.difference(*could), list[Unasked]()

    def cases(name: str, rest: frozenset[str]) -> int:
        """How many needs of its cases are among the rest; of architectures that are not declared none."""
        return 0 if name in foreign else sum(asked[name][each] for each in rest)

    def rank(name: str, rest: frozenset[str]) -> tuple[int, int, int, int, str]:
        """What the candidate can take comes first, then what asks most of the rest, then what is smallest."""
        new = rest & {*asked[name]}
        return len(lacks[name]), -len(new - {*ARCHITECTURES}), -cases(name, rest), len(frozen[name]["cases"]), name

    while left:
        rest = frozenset(left)
        most = max(cases(name, rest) for name in frozen)
        if not most:
            return [*found, *_elsewhere(left, asked)]
        # One case of forty that the candidate could be asked is not what he should be sent to.
        best = min(rank(name, rest) for name in frozen if cases(name, rest) >= PART * most)[-1]
        found.append(Unasked(names=sorted(left & {*asked[best]}), profile=best, requires=lacks[best]))
        left -= {*asked[best]}
    return found


def _elsewhere(left: Collection[str], asked: Mapping[str, Collection[str]]) -> list[Unasked]:
    """What profiles of other architectures alone ask, and what none does."""
    foreign = {each for each in left if any(each in needs for needs in asked.values())}
    parts = ((sorted(foreign), True), (sorted({*left} - foreign), False))
    return [Unasked(names=names, profile="", elsewhere=elsewhere) for names, elsewhere in parts if names]


def sentence(found: Iterable[Unasked]) -> str:
    """One line about all of them; "" where there is none."""
    told = "; ".join(map(str, found))
    return f"declared, not asked by this profile: {told}" if told else ""
