"""Where a run happens, where its report comes to lie, and where the suites that it asked are written."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmasos_conformance.errors import ReportError
from llmasos_conformance.policy import obstacle


class Rooms:
    """Temporary directories of a run: the adapter's empty one, the bundles it may read, and the reference's own.

    Their names say nothing, and messages in a report name none of them.
    """

    def __init__(self, root: Path, private: Path) -> None:
        self.root, self.private = root, private
        self.adapter, self.bundles = root / "a", root / "b"
        for room in (self.adapter, self.bundles):
            room.mkdir(mode=0o700)
        (self.adapter / "tmp").mkdir(mode=0o700)

    def hide(self, text: str) -> str:
        """A message without what differs from run to run: our temporary directory, and addresses of objects."""
        for root in (self.root, self.private):
            text = re.sub(re.escape(str(root)) + r"(/[ab])?", "…", text)
        return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", text)


def vacant(out: Path) -> None:
    """Refuse a place where something is."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ReportError(
            "there is something already, and reports are never overwritten", where=out,
            hint=f"give a new directory: --out {shlex.quote(str(free(out)))}",
        )  # fmt: skip


def free(out: Path, beside: Path = Path()) -> Path:
    """The first name of out, out-2, out-3 … that nothing has yet.

    Args:
        beside: where a relative name starts.
    """
    stem = re.sub(r"-\d+$", "", out.name)
    numbered = (out.with_name(f"{stem}-{number}") for number in itertools.count(2))
    return next(place for place in itertools.chain([out], numbered) if not (beside / place).exists())


def written_at(path: Path, line: int | str, beside: Path) -> str:
    """File and line as they open from a directory, in the shorter of both ways to write them.

    Args:
        path: absolute. beside: where a relative name starts.
    """
    with contextlib.suppress(ValueError):  # of another drive, on Windows
        path = min(Path(os.path.relpath(path, beside)), path, key=lambda each: len(str(each)))
    return f"{path}:{line}"


class Place:
    """The report directory while it is being written, under a name of its own beside the final one."""

    def __init__(self, out: Path) -> None:
        self.out = out
        try:
            vacant(out)
            out.parent.mkdir(parents=True, exist_ok=True)
            self.path = Path(tempfile.mkdtemp(prefix=f".{out.name}.{os.getpid()}.", suffix=".part", dir=out.parent))
            self.path.chmod(0o755)
        except OSError as error:
            raise ReportError(
                f"cannot write the report here: {obstacle(error, out.parent)}", where=out,
                hint="choose another place with --out",
            ) from error  # fmt: skip

    def keep(self) -> Path:
        try:
            if self.out.is_dir():
                self.out.rmdir()
            self.path.rename(self.out)
        except OSError as error:
            kept = self.path.with_name(self.path.name.lstrip(".").removesuffix(".part"))
            self.path.rename(kept)
            raise ReportError(
                f"cannot give the report its name: {error.strerror}; it is in {kept}", where=self.out
            ) from error
        return self.out


def sweep(out: Path, pid: int) -> None:
    """Remove what the process `pid` left of a report that was to be at `out`."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.{pid}.*.part"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def place(out: Path) -> Iterator[Place]:
    made = Place(out)
    try:
        yield made
    finally:
        shutil.rmtree(made.path, ignore_errors=True)  # gone already when the run went well
