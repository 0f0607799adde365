"""Sign bytes, verify bytes: DSSE v1 with Ed25519.

What is signed is not the payload but its pre-authentication encoding, which binds type and length:

    PAE(type, body) = "DSSEv1" ␠ len(type) ␠ type ␠ len(body) ␠ body        lengths in bytes, decimal

Four rules hold the room together. The payload that is parsed is the very bytes that were verified. A key id is free
text and chooses nothing: every trusted key is tried, and what counts is which public keys verified. Public keys of low
order are refused here, because OpenSSL accepts a forged signature under them. Base64 has one spelling per alphabet.

We write one signature; readers take up to sixteen. This is the only room that imports `cryptography`.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from llmasos_conformance.canonical import Unacceptable, encode, parse, sha256
from llmasos_conformance.errors import SignatureError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_SIGNATURES = 16

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_LOW_ORDER_Y = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})
"""The y of every point whose order divides 8; a test adds each of them up to the identity."""


def pae(payload_type: str, body: bytes) -> bytes:
    """What is signed. Lengths count bytes, not characters."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def screen(raw: bytes, *, where: str | Path = "") -> bytes:
    """A raw public key, if it is one that can be trusted to mean one signer.

    Raises:
        SignatureError: not 32 bytes, not a canonical encoding, not on the curve, or of low order.
    """
    if len(raw) != 32:
        raise SignatureError(f"an Ed25519 public key has 32 bytes, this one {len(raw)}", where=where)
    number = int.from_bytes(raw, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if y >= _P:
        raise SignatureError("the public key is not canonically encoded", where=where, hint="make a new key")
    if y in _LOW_ORDER_Y:
        raise SignatureError(
            "the public key is a point of low order: signatures under it can be forged without any private key",
            where=where,
            hint="make a new key with `llmasos keygen`",
        )
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(square, (_P - 1) // 2, _P) != 1 or (square == 0 and sign):
        raise SignatureError("the public key is not a point of the curve", where=where)
    return raw


def key_id(raw: bytes) -> str:
    """How we name a key: SHA-256 of its 32 bytes, hex. A convenience for people; it proves nothing."""
    return sha256(raw)


def public_bytes(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def public_pem(raw: bytes) -> bytes:
    """The public key as openssl wants it (SubjectPublicKeyInfo, PEM)."""
    return Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def read_public(text: str, *, where: str | Path = "") -> bytes:
    """A screened raw public key from PEM text or from base64 of the raw 32 bytes."""
    if "BEGIN" in text:
        try:
            key = serialization.load_pem_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SignatureError("not a public key in PEM", where=where, hint="give the text of key.pub.pem") from error
        if not isinstance(key, Ed25519PublicKey):
            raise SignatureError(f"an Ed25519 key is due, this is {type(key).__name__}", where=where)
        return screen(public_bytes(key), where=where)
    try:
        return screen(decode_base64(text), where=where)
    except Unacceptable as error:
        raise SignatureError("not a public key: neither PEM nor canonical base64", where=where) from error


def write_key(path: Path, passphrase: bytes | None = None) -> bytes:
    """Make a private key file (PKCS8 PEM, mode 0600) that did not exist, and return the raw public key."""
    key = Ed25519PrivateKey.generate()
    wrapping = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, wrapping)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise SignatureError(
            "there is a file already, and a key is never overwritten", where=path, hint="choose another directory"
        ) from error
    except OSError as error:
        raise SignatureError(f"cannot write the key: {error.strerror}", where=path) from error
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    return public_bytes(key)


def check_key_file(path: Path) -> None:
    """Complain about a key file before a long run. Only its first line is read, never the key.

    Raises:
        SignatureError: missing, not a file, no private key, or readable by others.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SignatureError(
            f"cannot open the key: {error.strerror}", where=path, hint="make one with `llmasos keygen --out keys`"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise SignatureError("the key is not a file", where=path)
    headline = _headline(path)
    if b"PUBLIC KEY" in headline:
        beside = path.with_name(f"{path.name.removesuffix('.pub.pem')}.pem")
        raise SignatureError(
            "this is a public key; the private one is needed", where=path,
            hint=f"--key {beside}" if beside != path and beside.is_file() else "keygen calls it key.pem",
        )  # fmt: skip
    if not (headline.startswith(b"-----BEGIN ") and b"PRIVATE KEY" in headline):
        raise SignatureError("not a private key", where=path, hint=_KEY_FORM)
    if os.name == "posix" and status.st_mode & 0o077:
        raise SignatureError(
            f"others can read the key (mode {status.st_mode & 0o777:04o})", where=path, hint=f"chmod 600 {path}"
        )


_KEY_FORM = "a PKCS8 PEM file is due, as keygen writes it"


def _headline(path: Path) -> bytes:
    """The first line that begins a PEM block, or b""; unbuffered, so that nothing behind it is read."""
    try:
        with path.open("rb", buffering=0) as file:
            while file.tell() < 4096 and (line := file.readline(128)):
                if line.startswith(b"-----BEGIN "):
                    return line
    except OSError as error:
        raise SignatureError(f"cannot open the key: {error.strerror}", where=path) from error
    return b""


def read_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Open a private key.

    Raises:
        SignatureError: see `check_key_file`; not PEM, another algorithm, or the passphrase is missing or wrong.
    """
    check_key_file(path)
    data = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except TypeError as error:
        wrong = "has no passphrase, but one was given" if passphrase else "needs a passphrase"
        raise SignatureError(f"the key {wrong}", where=path, hint="see --passphrase-file") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = "the passphrase is wrong, or the file is damaged" if b"ENCRYPTED" in data else "not a private key"
        raise SignatureError(reason, where=path, hint=_KEY_FORM) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"an Ed25519 key is due, this is {type(key).__name__}", where=path)
    screen(public_bytes(key), where=path)
    return key


# ── envelopes ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed DSSE envelope; `payload` is what was signed, byte for byte.

    Attributes:
        signatures: (key id as given or "", signature) in the order of the file.
    """

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]


def sign(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """The envelope file of a payload: canonical JSON with one signature, and a line end."""
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id(public_bytes(key)), "sig": base64.b64encode(signature).decode()}],
    }
    return encode(envelope) + b"\n"


def open_envelope(data: bytes, *, where: str | Path = "") -> Envelope:
    """Read an envelope strictly; fields that DSSE does not know are ignored, as its specification demands.

    Raises:
        Unacceptable: any code of `canonical.parse`, or E_ENVELOPE, E_PAYLOAD_TYPE, E_SIGNATURE_COUNT, E_BASE64.
    """
    value = parse(data, where=where)

    def due(condition: bool, what: str, code: str = "E_ENVELOPE") -> None:
        if not condition:
            raise Unacceptable(code, what, where=where)

    due(isinstance(value, dict), f"an envelope is a JSON object, found {type(value).__name__}")
    for key, kind in (("payload", str), ("payloadType", str), ("signatures", list)):
        due(isinstance(value.get(key), kind), f"the envelope's {key!r} is missing or not a {kind.__name__}")
    due(value["payloadType"] == PAYLOAD_TYPE, f"the payload type is not {PAYLOAD_TYPE}", "E_PAYLOAD_TYPE")
    count = len(value["signatures"])
    due(1 <= count <= MAX_SIGNATURES, f"{count} signatures; 1 to {MAX_SIGNATURES} are read", "E_SIGNATURE_COUNT")
    signatures = []
    for number, entry in enumerate(value["signatures"]):
        due(isinstance(entry, dict) and isinstance(entry.get("sig"), str), f"signatures[{number}] has no text 'sig'")
        name = entry.get("keyid") or ""
        due(isinstance(name, str), f"signatures[{number}].keyid is not text")
        signatures.append((name, decode_base64(entry["sig"], where=where)))
    return Envelope(decode_base64(value["payload"], where=where), tuple(signatures))


def decode_base64(text: str, *, where: str | Path = "") -> bytes:
    """Bytes of base64 in the standard or the URL-safe alphabet, each with exactly one accepted spelling.

    Raises:
        Unacceptable: E_BASE64; whitespace, foreign or mixed letters, wrong padding, or trailing bits that are not zero.
    """
    plain = text.translate(str.maketrans("-_", "+/"))
    mixed = ("-" in text or "_" in text) and ("+" in text or "/" in text)
    try:
        data = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unacceptable("E_BASE64", f"not base64: {error}", where=where) from error
    if mixed or base64.b64encode(data).decode() != plain:
        raise Unacceptable("E_BASE64", "base64 in a spelling that is not the canonical one", where=where)
    return data


def verified_by(envelope: Envelope, keys: Iterable[bytes]) -> frozenset[bytes]:
    """Which of the given raw public keys signed this envelope.

    Every key is tried on every signature, whatever its id says. A key that does not pass `screen` verifies nothing.
    """
    message, found = pae(PAYLOAD_TYPE, envelope.payload), set()
    for raw in keys:
        try:
            key = Ed25519PublicKey.from_public_bytes(screen(raw))
        except (SignatureError, ValueError):
            continue
        for _, signature in envelope.signatures:
            try:
                key.verify(signature, message)
            except InvalidSignature:
                continue
            found.add(raw)
            break
    return frozenset(found)
