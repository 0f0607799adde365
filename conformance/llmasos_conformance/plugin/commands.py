"""Command lines that a session prints, each to be pasted where pytest was started."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos_conformance import installed, places
from llmasos_conformance.plugin.options import Options
from llmasos_conformance.plugin.request import KEY, LONG, PREFIX, SHORT, SMALLER_S, TIMEOUT_S, VARIABLE, Request

if TYPE_CHECKING:
    from llmasos_conformance.profiles import Profile


class Commands:
    """What asks the same again, what asks something else, and what certifies.

    Args:
        request, options: of the session. profiles: of the suite. planned: ids of the cases that the profile lists.
    """

    def __init__(
        self, request: Request, options: Options, profiles: Mapping[str, Profile], planned: Collection[str]
    ) -> None:
        self.request, self.options = request, options
        self.profiles, self.planned = profiles, frozenset(planned)

    def again(self, ids: Sequence[str] = ()) -> str:
        """The same run, or some of its cases by their node ids."""
        return f"pytest {self._same(ids)}"

    def failures(self, *, beyond: bool) -> str:
        """What failed last; `beyond` where a case did that the profile does not list."""
        return f"pytest --lf {self._same((), ['--llmasos-profile=all'] if beyond else ())}".rstrip()

    def fitting(self, offers: frozenset[str]) -> str:
        """What asks a profile that a candidate declares all of; "" where it declares all of this one."""
        profile = self.profiles.get(self.options.profile)
        if not offers or profile is None or profile.requires <= offers:
            return ""
        return f"pytest --adapter={shlex.quote(self.request.address)} --llmasos-profile={installed.profile_for(offers)}"

    def certify(self, here: Path) -> str:
        """What makes a report of this; into a directory that is not there yet."""
        profile = self.options.usual if self.options.profile == "all" else self.options.profile
        bundle = f" --bundle {shlex.quote(self.options.bundle)}" if self.options.bundle else ""
        out = places.free(Path("report"), here)
        return f"llmasos certify --adapter {shlex.quote(self.request.address)} --profile {profile}{bundle} --out {out}"

    def _same(self, ids: Sequence[str], further: Sequence[str] = ()) -> str:
        """Options and ids that ask the same again; `further` replaces the profile."""
        request, options, parts = self.request, self.options, list[str]()
        if request.source in (LONG, SHORT, VARIABLE):  # what stands in a file or in PYTEST_ADDOPTS is there again
            parts.append(f"{SHORT if request.source == SHORT else LONG}={request.address}")
        elif not ids and KEY in request.source:
            parts.append(PREFIX)
        if options.seed != "0":
            parts.append(f"--llmasos-seed={options.seed}")
        if options.bundle:
            parts.append(f"--llmasos-bundle={options.bundle}")
        parts += further or self._profile(ids)
        if options.timeout_s != TIMEOUT_S:
            parts.append(f"--llmasos-timeout={options.timeout_s:g}")
        if options.apart:
            parts.append("--llmasos-out-of-process")
        if not ids and options.smaller_s != SMALLER_S:
            parts.append(f"--llmasos-smaller={options.smaller_s:g}")
        if ids and options.explore:
            parts.append(f"--llmasos-explore={options.explore}")
        if not ids and options.known:
            parts.append(f"--llmasos-known-failures={options.known}")
        if options.suites:
            parts.append(f"--llmasos-suites={options.suites}")
        return " ".join(shlex.quote(part) for part in [*parts, *ids])

    def _profile(self, ids: Sequence[str]) -> list[str]:
        """The option that names the profile, where the usual one would not do."""
        usual = self.profiles.get(self.options.usual)
        named = {each.rpartition("::")[2] for each in ids}
        if not named <= {*(usual.cases if usual else ())}:
            return [f"--llmasos-profile={self.options.profile if named <= self.planned else 'all'}"]
        if self.options.profile != self.options.usual and not ids:
            return [f"--llmasos-profile={self.options.profile}"]
        return []
