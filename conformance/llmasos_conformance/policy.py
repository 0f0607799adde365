"""Whom a verifier trusts, and for what: the trust file.

    {"schemaVersion": "1.0",
     "keys": [{"id": "acme-2026", "alg": "ed25519", "pub": "<base64 of 32 bytes, or PEM>",
               "role": "vendor", "owner": "acme",
               "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2027-01-01T00:00:00Z",
               "candidates": ["acme-llm"], "profiles": ["core/gpt/logits"]}],
     "accept": {"suites": ["<sha256>"], "references": ["<sha256>"], "harnesses": ["<sha256>"]}}

`candidates` and `profiles` narrow what a key may speak about; left out, the key speaks about anything. `accept` pins
digests; left out, the suite must be the verifier's own, and reference and harness are shown but not held against the
report. The algorithm belongs to the key here, never to the envelope.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from llmasos_conformance import signing
from llmasos_conformance.canonical import parse, schema, validate
from llmasos_conformance.errors import ReportError, SignatureError

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
VALID_DAYS = 400
"""How long a key made by keygen is trusted unless told otherwise: a year and a month to change over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key and what its owner may say with it."""

    id: str
    raw: bytes
    role: str
    owner: str
    not_before: datetime
    not_after: datetime
    candidates: frozenset[str] | None = None
    profiles: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A trust file. An empty set of digests means that none were pinned."""

    keys: tuple[TrustedKey, ...] = ()
    suites: frozenset[str] = frozenset()
    references: frozenset[str] = frozenset()
    harnesses: frozenset[str] = frozenset()


def moment(text: str) -> datetime:
    """A time as reports and trust files write it, to the second and in UTC.

    Raises:
        ValueError: another form, or a date that no calendar has.
    """
    parsed = datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
    if parsed.strftime(TIME_FORMAT) != text:
        raise ValueError(f"{text!r} is not of the form 2026-11-23T09:00:00Z")
    return parsed


def read_trust(path: Path) -> Trust:
    """Read a trust file.

    Raises:
        ReportError: it cannot be read. Unacceptable: not strict JSON, or against the schema.
        SignatureError: a key in it is not acceptable, or stands twice.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "`llmasos keygen` writes one for a key of yours; put it there, or name the one that you have"
        raise ReportError(f"cannot read the trust file: {error.strerror}", where=path, hint=hint) from error
    document = parse(data, where=path, floats=False, limit=1024 * 1024)
    validate(document, schema("trust"), where=f"{path}: $", code="E_TRUST")
    keys = tuple(_key(entry, f"{path}: keys[{number}]") for number, entry in enumerate(document["keys"]))
    for what, seen in (("id", [key.id for key in keys]), ("public key", [key.raw for key in keys])):
        if len(set(seen)) != len(seen):
            raise SignatureError(f"the same {what} stands twice", where=path, hint="one entry per key")
    accept = document.get("accept", {})
    return Trust(
        keys=keys,
        suites=frozenset(accept.get("suites", ())),
        references=frozenset(accept.get("references", ())),
        harnesses=frozenset(accept.get("harnesses", ())),
    )


def _key(entry: Mapping[str, Any], where: str) -> TrustedKey:
    try:
        not_before, not_after = moment(entry["notBefore"]), moment(entry["notAfter"])
    except ValueError as error:
        raise SignatureError(str(error), where=where) from error
    if not_before >= not_after:
        raise SignatureError("notBefore is not before notAfter", where=where)
    narrow = {name: frozenset(entry[name]) if name in entry else None for name in ("candidates", "profiles")}
    return TrustedKey(
        id=entry["id"],
        raw=signing.read_public(entry["pub"], where=where),
        role=entry["role"],
        owner=entry["owner"],
        not_before=not_before,
        not_after=not_after,
        **narrow,
    )


def obstacle(error: OSError, place: Path) -> str:
    """Why a directory cannot be made; where a file is in the way, which one, and not that it exists."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        for above in (place, *place.parents):
            if above.exists() and not above.is_dir():
                return f"{above} is no directory"
    return error.strerror or str(error)


IGNORE = ".gitignore"


def keeps_out(ignored: Path, name: str) -> bool:
    """Whether a .gitignore keeps a file beside it out of a repository; git follows no link to one.

    Patterns that name it, and those of its ending or of everything, are known here, and what takes them back.
    """
    if ignored.is_symlink() or not ignored.is_file():
        return False
    kept = False
    for line in ignored.read_text("utf-8", errors="replace").splitlines():
        back, pattern = line.startswith("!"), line.removeprefix("!").removeprefix("/").rstrip()
        if pattern in (name, f"*{Path(name).suffix}", "*"):
            kept = not back
    return kept


def keygen(
    directory: Path, *, owner: str, now: datetime, role: str = "vendor", days: int = VALID_DAYS,
    passphrase: bytes | None = None,
) -> dict[str, Path]:  # fmt: skip
    """Make a key, its public half, and a trust file that names it; nothing that exists is touched.

    A .gitignore beside them keeps the private key out of a repository, unless there is one already.

    Returns:
        {"key": …/key.pem, "public": …/key.pub.pem, "trust": …/trust.json}

    Raises:
        SignatureError: one of the files exists, or the directory cannot be written.
    """
    paths = {"key": directory / "key.pem", "public": directory / "key.pub.pem", "trust": directory / "trust.json"}
    for path in paths.values():
        if path.exists():
            raise SignatureError("there is a file already, and a key is never overwritten", where=path,
                                 hint="choose another directory with --out")  # fmt: skip
    start = now.replace(microsecond=0)
    entry = {
        "alg": "ed25519",
        "notAfter": (start + timedelta(days=days)).strftime(TIME_FORMAT),
        "notBefore": start.strftime(TIME_FORMAT),
        "owner": owner,
        "role": role,
    }
    trial = {"schemaVersion": "1.0", "keys": [entry | {"id": "x", "pub": "x" * 44}]}
    validate(trial, schema("trust"), where="keygen", code="E_TRUST")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        raw = signing.write_key(paths["key"], passphrase)
        entry |= {"id": f"{owner}-{signing.key_id(raw)[:8]}", "pub": base64.b64encode(raw).decode()}
        paths["public"].write_bytes(signing.public_pem(raw))
        trust = {"schemaVersion": "1.0", "keys": [entry]}
        paths["trust"].write_text(json.dumps(trust, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        with contextlib.suppress(FileExistsError), (directory / IGNORE).open("x", encoding="utf-8") as file:
            file.write(f"# The private key is for its owner alone.\n/{paths['key'].name}\n")
    except OSError as error:
        raise SignatureError(f"cannot write the key: {obstacle(error, directory)}", where=directory) from error
    return paths
