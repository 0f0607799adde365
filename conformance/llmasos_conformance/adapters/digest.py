"""What an adapter is, in one digest: its files, and how it is started."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from llmasos_conformance.adapters.address import check_address, unlinked
from llmasos_conformance.canonical import digest_files, encode, package_files, sha256
from llmasos_conformance.errors import ReportError


def adapter_digest(address: str, directory: Path) -> str:
    """One digest over an adapter: its files, and how it is started.

    A file is hashed alone; a module with the top-level package it belongs to; a program with every word of its command
    that is a file. Adapters of this package are hashed as one file, because the harness has a digest of its own.
    Libraries that an adapter imports are not hashed; what it says of them stands in the report as its own words. Of a
    server nothing but its address is known here.
    """
    target = check_address(address, directory)
    files: list[tuple[str, Path]]
    if descriptor := target.descriptor():
        return sha256(encode({"files": [], "start": descriptor}))
    if target.host:
        return sha256(encode({"files": [], "start": [target.scheme, target.host, str(target.port), target.path]}))
    if target.command:
        found = [(word, as_file(word, directory)) for word in target.command]
        files = [(f"{number}/{Path(path).name}", Path(path)) for number, (_, path) in enumerate(found) if path]
        words = [Path(path).name if path else word for word, path in found]
    elif target.module.endswith(".py"):
        files, words = [(Path(target.module).name, Path(target.module))], []
    else:
        files, words = _module_files(target.module, target.roots), []
    start = [target.module if not target.module.endswith(".py") else "", target.attribute, target.argument, *words]
    return sha256(encode({"files": digest_files(files), "start": start}))


def _module_files(module: str, roots: Sequence[Path]) -> list[tuple[str, Path]]:
    parts = module.split(".")
    for root in roots:
        whole = root / parts[0]
        single = root.joinpath(*parts[:-1], f"{parts[-1]}.py")
        if parts[0] == "llmasos_conformance" and single.is_file():
            return [(single.name, single)]
        if whole.is_dir():
            return package_files(whole)
        if whole.with_suffix(".py").is_file():
            return [(f"{parts[0]}.py", whole.with_suffix(".py"))]
    spec = importlib.util.find_spec(parts[0])
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    if origin is None or not origin.is_file():
        raise ReportError(f"the files of the adapter's module {module} cannot be found, so they cannot be hashed")
    return [(origin.name, origin)]


def as_file(word: str, directory: Path) -> str:
    """The absolute path of a word of a command that names a file of the directory; "" of any other."""
    path = directory / word
    return str(unlinked(path)) if word and not word.startswith("-") and path.is_file() else ""
