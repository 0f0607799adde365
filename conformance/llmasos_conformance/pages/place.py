"""Where pages are written: whole or not at all, and never over anything that is not ours.

The pages are made in a directory beside the one that was named, which then gets its name. `manifest.json` lists every
file with its SHA-256; a directory is ours when it holds nothing but what its manifest lists, unchanged.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from llmasos_conformance.canonical import Unacceptable, parse, sha256
from llmasos_conformance.errors import ReportError
from llmasos_conformance.policy import obstacle

MANIFEST = "manifest.json"


def write(out: Path, pages: Mapping[str, str], about: Mapping[str, Any], generator: str) -> list[str]:
    """Write pages into a directory of their own; returns the names of all files.

    Args:
        out: is made, or replaced if everything in it was written by this function.
        pages: name with forward slashes -> text. about: what the manifest says beside the files.
        generator: the command that makes these pages; what another command made is not replaced.

    Raises:
        ReportError: something else lies there, or it cannot be written.
    """
    files = {name: text.encode("utf-8") for name, text in pages.items()}
    manifest = {"generator": generator, **about, "files": {name: sha256(files[name]) for name in sorted(files)}}
    files[MANIFEST] = (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
    try:
        target = out.resolve()
        _check(target, generator)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
            made, old = Path(temporary) / "made", Path(temporary) / "old"
            for name, content in files.items():
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            _swap(made, target, old)
    except OSError as error:
        raise ReportError(
            f"cannot write the pages here: {obstacle(error, out.parent)}",
            where=out,
            hint="choose another place with --out",
        ) from error
    return sorted(files)


def write_one(out: Path, text: str, generator: str) -> None:
    """Write a single page.

    Args:
        out: a file that is not there yet, or a page that the same command made.

    Raises:
        ReportError: something else lies there, or it cannot be written.
    """
    try:
        if out.is_symlink() or (out.exists() and not _made_by(out, generator)):
            raise ReportError("there is something already that this command did not make", where=out,
                              hint="give a new file with --out")  # fmt: skip
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
            made = Path(temporary) / "made"
            made.write_text(text, encoding="utf-8", newline="\n")
            made.replace(out)
    except OSError as error:
        raise ReportError(f"cannot write the page here: {obstacle(error, out.parent)}", where=out,
                          hint="choose another place with --out") from error  # fmt: skip


def _made_by(page: Path, generator: str) -> bool:
    """Whether a file is a page of a command, by what its head says."""
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return f'<meta name="generator" content="{generator}"/>'.encode() in file.read(4096)


def _swap(made: Path, target: Path, old: Path) -> None:
    """Give `made` the name of `target`; what had it is kept until that has worked."""
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check(target: Path, generator: str) -> None:
    """Whether a directory may be replaced."""
    if not target.exists():
        return
    if not target.is_dir():
        raise ReportError("this is a file", where=target, hint="give a directory with --out")
    if not any(target.iterdir()):
        return
    try:
        manifest = parse((target / MANIFEST).read_bytes(), where=target / MANIFEST)
        listed = dict(manifest["files"]) if manifest["generator"] == generator else {}
    except (OSError, Unacceptable, KeyError, TypeError, ValueError):
        listed = {}
    hint = "give a new directory with --out, or move away what you want to keep"
    if not listed:
        raise ReportError("there is something already that these pages did not make", where=target, hint=hint)
    rooms = {parent.as_posix() for name in listed for parent in PurePosixPath(name).parents}
    for folder, folders, names in os.walk(target):
        for name in (*folders, *names):
            path = Path(folder) / name
            shown = path.relative_to(target).as_posix()
            if shown == MANIFEST:
                continue
            if shown not in (rooms if name in folders else listed):
                raise ReportError(f"{shown} lies there, and these pages did not make it", where=target, hint=hint)
            if path.is_symlink() or (path.is_file() and sha256(path.read_bytes()) != listed[shown]):
                raise ReportError(f"{shown} has been changed since it was made", where=target, hint=hint)
