"""Reports are put where strangers find them: verified first, and in as little room as they take.

    DIR/CANDIDATE/PROFILE/report.intoto.json    the signed report, byte for byte
                          signer.pub.pem        the key beside it
                          evidence.ndjson.xz    its evidence, packed; left out where it is larger than allowed

What `certify` writes besides, for people and for CI, is made from these at any time and is not kept.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmasos_conformance import evidence, report
from llmasos_conformance.errors import ReportError
from llmasos_conformance.policy import obstacle
from llmasos_conformance.reading import Read


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A report that lies where it was put.

    Attributes:
        before: whether it lay there already. evidence: bytes of the packed evidence; None where it was left out.
        left: bytes of evidence that was left out; 0 where none was.
    """

    path: Path
    read: Read
    before: bool
    evidence: int | None
    left: int = 0


def place_of(root: Path, read: Read, name: str = "") -> Path:
    """Directory of a report below another.

    Args:
        name: of the candidate's directory; by default what it calls itself, its version and the claimed dtype.
    """
    who = read.predicate["candidate"]
    own = "-".join((who["name"], who["version"], who["claims"]["dtype"]))
    return root / _plain(name or own) / _plain(read.profile)


def _plain(text: str) -> str:
    """A name that every system takes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:80] or "candidate"


def publish(
    read: Read, root: Path, *, again: Callable[[Path], Read], name: str = "", most: float = float("inf"),
    replace: bool = False,
) -> Published:  # fmt: skip
    """Put a report below a directory: whole, or not at all.

    Args:
        read: a report that is believed, see `reading.believed`.
        again: reads what was written, which has to be the very report, checked as far as this one.
        name: see `place_of`. most: bytes that packed evidence may have.
        replace: put it in the place of another report.

    Raises:
        ReportError: another report lies there, or nothing can be written.
    """
    target, source = place_of(root, read, name), read.directory
    if target.is_dir():
        kept = again(target)
        if kept.report_id == read.report_id and set(read.checked) <= set(kept.checked):
            return Published(path=target, read=kept, before=True, evidence=_size(target))
        if not replace:
            raise ReportError(
                f"another report lies there, {kept.report_id[:12] or 'unreadable'}", where=target,
                hint="--replace puts this one in its place, --name beside it",
            )  # fmt: skip
    left = 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".publish.", dir=root) as room:
            made = Path(room) / "made"
            made.mkdir()
            for file in (report.ENVELOPE_NAME, report.SIGNER_NAME):
                shutil.copyfile(source / file, made / file)
            if (stored := evidence.place(source)).is_file():
                packed = made / evidence.PACKED_NAME
                evidence.pack(stored, packed)
                if packed.stat().st_size > most:
                    left = packed.stat().st_size
                    packed.unlink()
            written = again(made)
            lost = set(read.checked) - set(written.checked) - ({"evidence", "re-judged"} if left else set())
            if written.report_id != read.report_id or lost:
                raise ReportError("what was written is not what was read", where=source, hint="is it being changed?")
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                target.replace(Path(room) / "old")
            made.replace(target)
    except OSError as error:
        raise ReportError(
            f"cannot write the report here: {obstacle(error, root)}", where=target, hint="choose another --to"
        ) from error
    return Published(path=target, read=again(target), before=False, evidence=_size(target), left=left)


def _size(directory: Path) -> int | None:
    stored = evidence.place(directory)
    return stored.stat().st_size if stored.is_file() else None
