"""What lies in a directory, where an address leads nowhere, and what to type instead.

Nothing is run or imported: Python files are parsed for what they define. What is offered can be typed into a shell.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path

from llmasos_conformance.errors import AddressError

LIST = "llmasos list --adapters"
_NODE = (".mjs", ".cjs", ".js")
_LONGEST = 200
"""Bytes of a name that may be one of an adapter; no disk takes much longer ones."""


def is_path(name: str) -> bool:
    """Whether a text can be meant for nothing but a path."""
    if len(os.fsencode(name)) > _LONGEST:
        return True
    return "/" in name or "\\" in name or name.startswith((".", "~")) or Path(name).suffix in _NODE


def is_command(address: str, here: Path) -> bool:
    """Whether a text is a program with arguments, and no file itself."""
    program, *arguments = address.split()
    there = str(here / program) if "/" in program else program
    return bool(arguments) and not is_file(here / address) and shutil.which(there) is not None


def at_path(address: str, name: str, here: Path) -> AddressError:
    """What to say of a path that is no Python file.

    Raises:
        OSError, RuntimeError, ValueError: it cannot be looked at.
    """
    shown = typed(Path(name).expanduser())
    path = here / shown
    if path.is_dir():
        return in_directory(address, path, shown)
    if path.is_file():
        what = f"{path.resolve()} is no Python file, and a program has cmd: before it"
        return AddressError(what, where=address, hint=offer(path, shown))
    return _absent(address, path, shown)


def _absent(address: str, path: Path, shown: str) -> AddressError:
    room = path.parent.resolve()
    if not room.is_dir():
        what, hint = f"no file {path.name}, for there is no directory {room}", "check the path"
    else:
        what, hint = f"no file {room / path.name}", alike(path, shown)
    return AddressError(what, where=address, hint=hint)


def alike(path: Path, shown: str, end: str = "") -> str:
    """What to type instead of a path that is not there: files beside it with names like it.

    Args:
        shown: the path as it stands in an address. end: of the names that count.
    """
    files = [name for name in siblings(path) if name.endswith(end) and is_file(path.parent / name)]
    near = get_close_matches(path.name, files, 3, 0.5)
    return " or ".join(offer(path.parent / name, typed(Path(shown).parent / name)) for name in near) or "check the path"


def in_directory(address: str, path: Path, shown: str) -> AddressError:
    """What to say of a directory: which of the files in it may be meant."""
    files = [path / name for name in siblings(path / "any") if is_file(path / name)]
    python = (entry for entry in files if entry.suffix == ".py" and definitions(entry))
    programs = (entry for entry in files if entry.suffix != ".py" and (entry.suffix in _NODE or _executable(entry)))
    offered = [offer(entry, typed(Path(shown) / entry.name)) for entry in islice(chain(python, programs), 3)]
    base = typed(Path(shown))
    hint = " or ".join(offered) or f"name a file in it, {base}/file.py:NAME or 'cmd:{base}/program'"
    return AddressError(f"{path.resolve()} is a directory, and an adapter is in a file", where=address, hint=hint)


def typed(path: Path) -> str:
    """A path as one types it, so that it is taken for one."""
    text = path.as_posix()
    return text if path.is_absolute() or text.startswith("..") else f"./{text}".removesuffix("/.")


def _executable(path: Path) -> bool:
    return os.access(path, os.X_OK)


def offer(path: Path, shown: str) -> str:
    """An address for what lies at a path, as one types it in a shell.

    Args:
        shown: the path as it stands in an address.
    """
    if path.suffix == ".py":
        return shlex.quote(f"{shown}:{next(iter(definitions(path)), 'NAME')}")
    word = shlex.quote(shown)
    if path.suffix in _NODE:
        return quoted(f"cmd:node {word}")
    if _executable(path):
        return quoted(f"cmd:{word}")
    run, itself = quoted(f"cmd:PROGRAM {word}"), quoted(f"cmd:{word}")
    return f"{run}, where PROGRAM runs such files; or chmod +x {word}, and {itself}"


def quoted(text: str) -> str:
    """A text as one word of a shell, readable where it has quotes in it."""
    if "'" in text and not any(char in text for char in '"$`\\!'):
        return f'"{text}"'
    return shlex.quote(text) if "'" in text else f"'{text}'"


def with_spaces(address: str, here: Path) -> str | None:
    """The address with its program quoted, where its path has spaces and nothing else can be meant; else None.

    The longest path that is there counts; where none is, one whose directory is.
    """
    said = address.removeprefix("cmd:").strip()
    program = said.split()[0]
    if re.search(r"[\"'\\]", said) or is_file(here / program) or shutil.which(program):
        return None
    ends = [match.start() for match in re.finditer(r"\s+", said)] + [len(said)]
    paths = [said[:end] for end in reversed(ends[1:])]
    whole = next((path for path in paths if is_file(here / path)), None)
    if whole is None:
        whole = next((path for path in reversed(paths) if _spaced(here, path)), None)
    if whole is None:
        return None
    word = shlex.quote(whole if "/" in whole else f"./{whole}")
    return quoted(f"cmd:{word}{said[len(whole) :]}")


def _spaced(here: Path, path: str) -> bool:
    """Whether a path's directory has a space in its name, and is there."""
    room = path.rpartition("/")[0]
    return " " in room and is_dir(here / room)


def siblings(path: Path) -> list[str]:
    """Names beside a path that can be typed; none where nobody can look."""
    try:
        return sorted(entry.name for entry in path.parent.iterdir() if entry.name.isprintable())
    except (OSError, ValueError):
        return []


def is_file(path: Path) -> bool:
    """Whether a file is there. What cannot be looked at, or has a name that no disk takes, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_dir(path: Path) -> bool:
    """Whether a directory is there; see `is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def definitions(path: Path) -> list[str]:
    """Names that a file defines at its top, read without running it; classes with `describe` first."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):  # nothing that could be read as Python
        return []
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    likely = [c.name for c in classes if any(isinstance(n, ast.FunctionDef) and n.name == "describe" for n in c.body)]
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return likely + functions
