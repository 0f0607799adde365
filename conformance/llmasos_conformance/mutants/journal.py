"""Rows of the table as they come, in a file, so that a run that was ended goes on where it was.

The first line says what was asked of whom: suite, code, seed and all that a row depends on. A file that says something
else is not gone on with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmasos_conformance.errors import SuiteError


class Journal:
    """A file of rows; each line is JSON, and each row is written before the next is begun.

    Args:
        path: made if it is not there. terms: what every row depends on.

    Raises:
        SuiteError: the file is of other terms, or is no journal.
    """

    def __init__(self, path: Path, terms: Mapping[str, Any]) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        head = _line({"journal": dict(terms)})
        if not path.exists() or not path.stat().st_size:
            path.write_text(head, encoding="utf-8")
            return
        first, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if first != head:
            raise SuiteError(
                f"a journal of something else: {_differing(first, terms)}",
                where=path,
                hint="give --resume a new file, or remove this one",
            )
        whole = [line for line in lines if line.endswith("\n")]
        if len(whole) < len(lines):  # the run was ended while it wrote
            path.write_text("".join([first, *whole]), encoding="utf-8")
        for line in whole:
            row = json.loads(line)
            self.rows[row["kind"], row["name"]] = row

    def add(self, row: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row))


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n"


def _differing(first: str, terms: Mapping[str, Any]) -> str:
    """Which terms a journal's first line has otherwise."""
    try:
        held = json.loads(first)["journal"]
        return ", ".join(sorted(name for name in held.keys() | terms.keys() if held.get(name) != terms.get(name)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "no journal"
