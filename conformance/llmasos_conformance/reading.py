"""A report for those that do something with it: read through `verify`, with what stands against believing it.

A report that is not accepted only because the verdict is not conformant can be read: it says the truth about a
candidate. Without a trust file nobody can be known, so that an unknown signer is no objection then; that nobody was
checked is said. Everything else that `verify` finds is an objection. Evidence is checked where it lies beside the
report; a report whose evidence was left behind is checked as far as the rung `suite`, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from llmasos_conformance import evidence, verify
from llmasos_conformance.canonical import clean
from llmasos_conformance.errors import ReportError
from llmasos_conformance.policy import Trust
from llmasos_conformance.verify import Reason


class Refused(ReportError):
    """A report that does not verify. The exit code is that of usage: nothing was found out about a candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A report that was read.

    Attributes:
        path: as it was given. content: the statement; None where not even its form is known.
        report_id: SHA-256 of its bytes. objections: why it is not to be believed, in the order found.
        checked: rungs of `verify` that were reached. notes: what differs and is not held against the report.
        signer: owner and role of the trusted key that signed; both empty where none is known.
    """

    path: Path
    content: Mapping[str, Any] | None
    report_id: str
    objections: tuple[Reason, ...]
    checked: tuple[str, ...]
    notes: tuple[str, ...]
    signer: tuple[str, str] = ("", "")

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
    def warning(self) -> str:
        """One sentence for a report that is shown although something stands against it; else empty."""
        if not self.objections:
            return ""
        return "not verified: " + "; ".join(f"{each.code}: {each.message}" for each in self.objections)

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


def read(
    path: Path, *, now: datetime, own: verify.Installed, trust: Trust | None = None, level: str = "",
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
    rung = level or ("evidence" if (directory / evidence.FILE_NAME).is_file() else "suite")
    result = verify.verify(
        path, now=now, own=own, trust=trust, level=rung, unsigned=True, bundle=bundle, on_case=on_case
    )  # fmt: skip
    unsigned = any(each.code == "E_UNSIGNED" for each in result.reasons)
    nobody = result.content is not None and (trust is None or unsigned)
    return Read(
        path=path,
        content=result.content,
        report_id=result.report_id,
        objections=tuple(each for each in result.reasons if not (nobody and each.code == "E_SIGNER_UNKNOWN")),
        checked=tuple(each for each in verify.RUNGS if result.ladder[each] == "reached"),
        notes=tuple(result.notes),
        signer=(result.signer.owner, result.signer.role) if result.signer else ("", ""),
    )


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
