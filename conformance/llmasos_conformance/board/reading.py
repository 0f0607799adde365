"""Reports on a disk become what one may say of them: which were verified, how far, and why others were not.

What a report that does not verify says is not handed on: it may not be what was written, or not what it says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from llmasos_conformance import report, verify
from llmasos_conformance.canonical import clean
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.policy import Trust
from llmasos_conformance.reasons import POLICY, REASONS
from llmasos_conformance.verify import Reason


class Standing(StrEnum):
    """What verification makes of a report, the best first."""

    VERIFIED = "verified"
    SIGNER_UNKNOWN = "signer_unknown"
    POLICY = "policy"
    UNSIGNED = "unsigned"
    REFUSED = "refused"


SHOWN = frozenset({Standing.VERIFIED, Standing.SIGNER_UNKNOWN, Standing.POLICY})
"""Whose content is shown as that of a report; the signature fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One report as far as it was verified.

    Attributes:
        path: of its directory or envelope. name: by which it was found, with forward slashes.
        reasons: why it is not accepted. notes: what differs and is not held against it.
        content: the statement; None for one that is refused. report_id: SHA-256 of its bytes, "" without content.
        signer: owner and role of the trusted key that signed; "" if there is none. key: id of the key that verified.
        checked: rungs of `verify` that it reached.
    """

    path: Path
    name: str
    standing: Standing
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    content: Mapping[str, Any] | None = None
    report_id: str = ""
    signer: str = ""
    key: str = ""
    checked: tuple[str, ...] = ()

    @property
    def predicate(self) -> Mapping[str, Any]:
        assert self.content is not None
        return self.content["predicate"]  # type: ignore[no-any-return]

    @property
    def directory(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def refused(self, reason: Reason) -> Read:
        """The same report, and something was found that no true report has."""
        return replace(self, standing=Standing.REFUSED, reasons=(*self.reasons, reason), content=None, checked=())


def find(root: Path) -> Iterator[tuple[str, Path]]:
    """Name and directory of every report below a directory, by name. Links are not followed.

    Raises:
        HarnessError: there is no such directory.
    """
    if not root.is_dir():
        raise HarnessError("this is no directory", where=root, hint="give the directory that reports lie in")
    found = []
    for folder, _, files in os.walk(root):
        if {report.ENVELOPE_NAME, report.STATEMENT_NAME} & set(files):
            found.append((Path(folder).relative_to(root).as_posix(), Path(folder)))
    yield from sorted(found)


def read(
    path: Path, name: str, *, now: datetime, own: verify.Installed, trust: Trust | None = None, rejudge: bool = False,
    bundle: Path | None = None, on_case: Callable[[int, int], None] | None = None,
) -> Read:  # fmt: skip
    """Verify a report; see `verify.verify` for the arguments.

    Raises:
        HarnessError: there is none.
    """
    level = "re-judged" if rejudge else "evidence"
    result = verify.verify(
        path, now=now, own=own, trust=trust, level=level, on_case=on_case, unsigned=True, bundle=bundle
    )
    standing = _standing(result)
    signer = "" if result.signer is None else f"{result.signer.owner} ({result.signer.role})"
    return Read(
        path=path, name=name, standing=standing, reasons=tuple(result.reasons), notes=tuple(result.notes),
        content=None if standing is Standing.REFUSED else result.content,
        report_id="" if standing is Standing.REFUSED else result.report_id,
        signer=signer, key=result.key, checked=tuple(rung for rung in verify.RUNGS if result.ladder[rung] == "reached"),
    )  # fmt: skip


def read_or_refuse(path: Path, name: str, **how: Any) -> Read:
    """`read`, where a report that cannot even be read is one among many."""
    try:
        return read(path, name, **how)
    except (HarnessError, OSError) as error:
        said = error.what if isinstance(error, HarnessError) else error.strerror or type(error).__name__
        return Read(path=path, name=name, standing=Standing.REFUSED, reasons=(Reason("", clean(said)),))


def _standing(result: verify.Result) -> Standing:
    codes = [reason.code for reason in result.reasons]
    if result.content is None or any(code != "E_UNSIGNED" and REASONS[code][0] != POLICY for code in codes):
        return Standing.REFUSED
    if "E_UNSIGNED" in codes:
        return Standing.UNSIGNED
    if any(code != "E_SIGNER_UNKNOWN" for code in codes):
        return Standing.POLICY
    return Standing.SIGNER_UNKNOWN if codes else Standing.VERIFIED
