"""What commands share: lines for people, JSON for programs, progress, passphrases."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from llmasos_conformance.errors import HarnessError


def say(text: str = "", *, err: bool = False, wrap: bool = True, **style: Any) -> None:
    """Print lines, on a terminal broken at its width between words; colours only there and without NO_COLOR.

    Args:
        wrap: False for commands, which one copies, and for tables.
    """
    text = writable(text)
    stream = sys.stderr if err else sys.stdout
    if wrap and stream is not None and stream.isatty():
        text = _wrapped(text, shutil.get_terminal_size().columns)
    click.echo(
        click.style(text, **style) if style else text, err=err, color=False if os.environ.get("NO_COLOR") else None
    )


_NO_TEXT = re.compile("[\ud800-\udfff]")


def writable(text: str) -> str:
    """The text with U+FFFD for every byte of a file's name that is not UTF-8: no stream and no reader takes those."""
    return _NO_TEXT.sub("\ufffd", text)


_COMMAND = re.compile(r": (?:llmasos|pytest|pip|chmod) ")


def _wrapped(text: str, width: int) -> str:
    """Lines of at most a terminal's width; what goes on stands two columns further in than its beginning.

    A line with a command stays whole, because one copies it.
    """
    lines = []
    for line in text.split("\n"):
        if _COMMAND.search(line):
            lines.append(line)
            continue
        inner = " " * (len(line) - len(line.lstrip(" ")) + 2)
        broken = textwrap.wrap(
            line, max(width, 40), subsequent_indent=inner, break_long_words=False, break_on_hyphens=False
        )
        lines += broken or [""]
    return "\n".join(lines)


def print_json(value: Any) -> None:
    click.echo(writable(json.dumps(value, indent=1, ensure_ascii=False, default=str)))


def next_step(*commands: str, err: bool = False) -> None:
    """Every command ends with what one would do next."""
    for number, command in enumerate(commands):
        say(f"{'next:' if number == 0 else '     '} {command}", err=err, wrap=False, fg="cyan")


def now() -> datetime:
    return datetime.now(UTC)


def passphrase(file: Path | None, prompt: str, *, confirm: bool = False) -> bytes | None:
    """A passphrase from a file, or asked for on a terminal when there is no file but a need."""
    if file is not None:
        try:
            return file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise HarnessError(f"cannot read the passphrase: {error.strerror}", where=file) from error
    if prompt and sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)).encode()
    return None


@contextmanager
def watched(*, silent: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Cases done of all, chapter and elapsed time on standard error; nothing where nobody watches."""
    if silent or not sys.stderr.isatty():
        yield lambda done, total, chapter: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda done, total, chapter: bar.update(task, completed=done, total=total, description=chapter)
