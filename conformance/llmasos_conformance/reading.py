"""Reports on a disk, for those that do something with them: each read through `verify`, with what that made of it.

A report that is not accepted only because the verdict is not conformant can be read: it says the truth about a
candidate. Everything else that `verify` finds stands in `reasons`, and `standing` sums it up. Evidence is checked where
it lies beside the report; a report whose evidence was left behind is checked as far as the rung `suite`, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from llmasos_conformance import evidence, report, verify
from llmasos_conformance.canonical import clean
from llmasos_conformance.errors import HarnessError, ReportError
from llmasos_conformance.policy import Trust
from llmasos_conformance.reasons import POLICY, REASONS
from llmasos_conformance.verify import Reason


class Refused(ReportError):
    """A report that does not verify. The exit code is that of usage: nothing was found out about a candidate."""


class Standing(StrEnum):
    """What verification makes of a report, the best first."""

    VERIFIED = "verified"
    NO_EVIDENCE = "no_evidence"
    SIGNER_UNKNOWN = "signer_unknown"
    POLICY = "policy"
    UNSIGNED = "unsigned"
    REFUSED = "refused"


SHOWN = frozenset({Standing.VERIFIED, Standing.NO_EVIDENCE, Standing.SIGNER_UNKNOWN, Standing.POLICY})
"""Whose content may be shown as that of a report; the signature fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A report that was read.

    Attributes:
        path: of its directory or envelope. name: by which it was found, with forward slashes; "" if by path alone.
        content: the statement; None where not even its form is known. Of a report that is refused it may not be what
            was written, or not what it says: whoever shows it says so (`warning`).
        report_id: SHA-256 of its bytes. key: id of the key that verified.
        reasons: why it is not accepted, in the order found. notes: what differs and is not held against it.
        checked: rungs of `verify` that it reached. trusting: whether there was a trust file to know signers by.
        signer: owner and role of the trusted key that signed; both empty where none is known.
        copies: names by which the same report was found again.
    """

    path: Path
    name: str = ""
    standing: Standing
    content: Mapping[str, Any] | None = None
    report_id: str = ""
    key: str = ""
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    trusting: bool = False
    signer: tuple[str, str] = ("", "")
    copies: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def predicate(self) -> Mapping[str, Any]:
        assert self.content is not None
        return self.content["predicate"]  # type: ignore[no-any-return]

    @property
    def profile(self) -> str:
        return str(self.predicate["suite"]["profile"])

    @property
    def candidate(self) -> str:
        who = self.predicate["candidate"]
        return clean(f"{who['name']} {who['version']}")

    @property
    def checks(self) -> Mapping[str, Mapping[str, Any]]:
        """Case id -> its entry."""
        return {made["id"]: made for made in self.predicate["checks"]}

    @property
    def signed_by(self) -> str:
        return f"{self.signer[0]} ({self.signer[1]})" if self.signer[0] else ""

    @property
    def objections(self) -> tuple[Reason, ...]:
        """Reasons not to believe it. Who trusts nobody knows no signer, and nobody signed what is unsigned: that a
        signer is unknown is no objection then."""
        unsigned = any(each.code == "E_UNSIGNED" for each in self.reasons)
        nobody = self.content is not None and (unsigned or not self.trusting)
        return tuple(each for each in self.reasons if not (nobody and each.code == "E_SIGNER_UNKNOWN"))

    @property
    def warning(self) -> str:
        """One sentence for a report that is shown although something stands against it; else empty."""
        if not self.objections:
            return ""
        return "not verified: " + "; ".join(f"{each.code}: {each.message}" for each in self.objections)

    def refused(self, reason: Reason) -> Read:
        """The same report, and something was found that no true report has."""
        return replace(self, standing=Standing.REFUSED, reasons=(*self.reasons, reason), checked=())

    def as_json(self) -> dict[str, Any]:
        """What every command says of a report; keys are stable."""
        return {
            "path": str(self.path),
            "id": self.report_id or None,
            "checked": list(self.checked),
            "signer": {"owner": self.signer[0], "role": self.signer[1]} if self.signer[0] else None,
            "objections": [{"code": each.code, "message": each.message, "case": each.case} for each in self.objections],
            "notes": list(self.notes),
        }


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
    path: Path, *, name: str = "", now: datetime, own: verify.Installed, trust: Trust | None = None, level: str = "",
    bundle: Path | None = None, on_case: Callable[[int, int], None] | None = None,
) -> Read:  # fmt: skip
    """Read a report, whatever stands against it.

    Args:
        path: the report's directory, or its envelope. now: in UTC. own: what is installed here.
        trust: None when nobody is trusted. level: rung to climb to; default as far as what lies there allows.
        bundle, on_case: for judging again, see `verify.verify`.

    Raises:
        ReportError: there is no report.
    """
    directory = path if path.is_dir() else path.parent
    rung = level or ("evidence" if evidence.place(directory).is_file() else "suite")
    result = verify.verify(
        path, now=now, own=own, trust=trust, level=rung, unsigned=True, bundle=bundle, on_case=on_case
    )  # fmt: skip
    return Read(
        path=path,
        name=name,
        standing=_standing(result),
        content=result.content,
        report_id=result.report_id,
        key=result.key,
        reasons=tuple(result.reasons),
        notes=tuple(result.notes),
        checked=tuple(each for each in verify.RUNGS if result.ladder[each] == "reached"),
        trusting=trust is not None,
        signer=(result.signer.owner, result.signer.role) if result.signer else ("", ""),
    )


def read_or_refuse(path: Path, **how: Any) -> Read:
    """`read`, where a report that cannot even be read is one among many."""
    try:
        return read(path, **how)
    except (HarnessError, OSError) as error:
        said = error.what if isinstance(error, HarnessError) else error.strerror or type(error).__name__
        name = how.get("name", "")
        return Read(path=path, name=name, standing=Standing.REFUSED, reasons=(Reason("", clean(said)),))


def _standing(result: verify.Result) -> Standing:
    codes = [reason.code for reason in result.reasons]
    if result.content is None or any(code != "E_UNSIGNED" and REASONS[code][0] != POLICY for code in codes):
        return Standing.REFUSED
    if "E_UNSIGNED" in codes:
        return Standing.UNSIGNED
    if any(code != "E_SIGNER_UNKNOWN" for code in codes):
        return Standing.POLICY
    if codes:
        return Standing.SIGNER_UNKNOWN
    return Standing.VERIFIED if result.ladder["evidence"] == "reached" else Standing.NO_EVIDENCE


def believed(report: Read, *, unverified: bool = False) -> Read:
    """The report, if nothing stands against it.

    Args:
        unverified: take it all the same, as long as its form is known.

    Raises:
        Refused: with the first objection.
    """
    if report.content is not None and (unverified or not report.objections):
        return report
    first = report.objections[0]
    hint = f"llmasos explain {first.code}, or --unverified to look at it all the same"
    if report.content is None:
        hint = f"llmasos explain {first.code}"
    elif first.code == "E_SIGNER_UNKNOWN":
        hint = "give --trust with a file that names the signer, or --unverified to look at it all the same"
    raise Refused(f"{first.code}: {first.message}", where=report.path, hint=hint)
