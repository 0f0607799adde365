"""Keys, envelopes and strict JSON: what is accepted, and the code of everything that is refused."""

import base64
import hashlib
import json
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos_conformance import signing
from llmasos_conformance.canonical import Unacceptable, clean, encode, merkle_root, parse, sha256, validate
from llmasos_conformance.errors import SignatureError

PAYLOAD = b'{"verdict":"conformant"}'


@pytest.fixture
def key(tmp_path):
    signing.write_key(tmp_path / "key.pem")
    return signing.read_key(tmp_path / "key.pem")


def raw(key):
    return signing.public_bytes(key)


def envelope(key, **changes):
    return json.loads(signing.sign(PAYLOAD, key)) | changes


def code_of(call, *args):
    with pytest.raises(Unacceptable) as caught:
        call(*args)
    return caught.value.code


def test_the_encoding_that_is_signed_counts_bytes():
    assert signing.pae("application/é", b"hi") == "DSSEv1 14 application/é 2 hi".encode()


def test_what_was_signed_verifies_under_its_key_alone(key, tmp_path):
    opened = signing.open_envelope(signing.sign(PAYLOAD, key))
    other = signing.write_key(tmp_path / "other.pem")
    assert opened.payload == PAYLOAD
    assert signing.verified_by(opened, [other, raw(key)]) == {raw(key)}


def test_signing_twice_gives_the_same_bytes(key):
    assert signing.sign(PAYLOAD, key) == signing.sign(PAYLOAD, key)


# Witnesses of a signature that share no code with ours.


def says_the_curve(public, message, signature, directory):
    """Verification as RFC 8032 writes it down, in integers."""
    encoded = [int.from_bytes(part, "little") for part in (public, signature[:32])]
    a, r = (point(number & (2**255 - 1), number >> 255) for number in encoded)
    s = int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    return s < ORDER and times(s, BASE) == add(r, times(h, a))


def says_openssl(public, message, signature, directory):
    (directory / "pub").write_bytes(signing.public_pem(public))
    (directory / "sig").write_bytes(signature)
    (directory / "pae").write_bytes(message)
    command = "openssl pkeyutl -verify -pubin -inkey pub -rawin -in pae -sigfile sig"
    return subprocess.run(command.split(), cwd=directory, capture_output=True, check=False).returncode == 0


WITNESSES = [says_the_curve, *([says_openssl] if shutil.which("openssl") else [])]

P, D, ORDER = signing._P, signing._D, 2**252 + 27742317777372353535851937790883648493


def point(y, sign):
    """The point with this y and sign of x, or None off the curve."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return (P - x if x and x % 2 != sign else x), y


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def times(factor, base):
    total = (0, 1)
    while factor:
        total = add(total, base) if factor & 1 else total
        base, factor = add(base, base), factor >> 1
    return total


BASE = point(4 * pow(5, -1, P) % P, 0)


@pytest.mark.parametrize("witness", WITNESSES)
def test_a_witness_accepts_what_we_sign_and_refuses_what_was_changed(witness, key, tmp_path):
    signature = base64.b64decode(json.loads(signing.sign(PAYLOAD, key))["signatures"][0]["sig"])
    for payload, right in ((PAYLOAD, True), (PAYLOAD + b" ", False)):
        message = signing.pae(signing.PAYLOAD_TYPE, payload)
        assert witness(raw(key), message, signature, tmp_path) is right


# ── spellings of an envelope ──


def respelled(key):
    plain = envelope(key)
    payload, signature = plain["payload"], plain["signatures"][0]["sig"]
    safe = str.maketrans("+/", "-_")
    sig = {"sig": signature}
    return {
        "url-safe base64": {
            **plain,
            "payload": payload.translate(safe),
            "signatures": [{"sig": signature.translate(safe)}],
        },
        "key id absent": {**plain, "signatures": [sig]},
        "key id empty": {**plain, "signatures": [{**sig, "keyid": ""}]},
        "key id null": {**plain, "signatures": [{**sig, "keyid": None}]},
        "key id of somebody else": {**plain, "signatures": [{**sig, "keyid": "mallory"}]},
        "a further signature that nobody knows": {**plain, "signatures": [{"sig": "AAAA"}, sig]},
        "the same signature twice": {**plain, "signatures": [sig, sig]},
        "a field that DSSE does not know": {**plain, "note": 1.5},
    }


@pytest.mark.parametrize("name", list(respelled(signing.Ed25519PrivateKey.generate())))
def test_every_lawful_spelling_is_accepted(name, key):
    opened = signing.open_envelope(json.dumps(respelled(key)[name], indent=2).encode())
    assert signing.verified_by(opened, [raw(key)]) == {raw(key)}


UNLAWFUL = {
    "an array": (lambda e: [e], "E_ENVELOPE"),
    "no payload": (lambda e: {k: v for k, v in e.items() if k != "payload"}, "E_ENVELOPE"),
    "payload null": (lambda e: {**e, "payload": None}, "E_ENVELOPE"),
    "no signatures": (lambda e: {k: v for k, v in e.items() if k != "signatures"}, "E_ENVELOPE"),
    "a signature that is text": (lambda e: {**e, "signatures": ["x"]}, "E_ENVELOPE"),
    "a key id that is a number": (lambda e: {**e, "signatures": [{"sig": "AAAA", "keyid": 1}]}, "E_ENVELOPE"),
    "signatures empty": (lambda e: {**e, "signatures": []}, "E_SIGNATURE_COUNT"),
    "17 signatures": (lambda e: {**e, "signatures": e["signatures"] * 17}, "E_SIGNATURE_COUNT"),
    "another payload type": (lambda e: {**e, "payloadType": "text/plain"}, "E_PAYLOAD_TYPE"),
    "payload type in capitals": (lambda e: {**e, "payloadType": e["payloadType"].upper()}, "E_PAYLOAD_TYPE"),
    "newline in base64": (lambda e: {**e, "payload": e["payload"][:4] + "\n" + e["payload"][4:]}, "E_BASE64"),
    "no padding": (lambda e: {**e, "signatures": [{"sig": e["signatures"][0]["sig"].rstrip("=")}]}, "E_BASE64"),
    "both alphabets": (lambda e: {**e, "payload": "-+" + e["payload"][2:]}, "E_BASE64"),
    "not ASCII": (lambda e: {**e, "payload": "é" * 4}, "E_BASE64"),
    "trailing bits": (lambda e: {**e, "signatures": [{"sig": e["signatures"][0]["sig"][:-3] + "B=="}]}, "E_BASE64"),
}


@pytest.mark.parametrize("name", UNLAWFUL)
def test_every_unlawful_envelope_is_refused_with_its_code(name, key):
    change, code = UNLAWFUL[name]
    assert code_of(signing.open_envelope, json.dumps(change(envelope(key))).encode()) == code


BYTES = {
    "a mark at the start": (lambda b: b"\xef\xbb\xbf" + b, "E_BOM"),
    "cut off": (lambda b: b[:-20], "E_JSON"),
    "something after it": (lambda b: b + b"{}", "E_JSON"),
    "empty": (lambda b: b"", "E_JSON"),
    "not UTF-8": (lambda b: b.replace(b"payload", b"paylo\xff", 1), "E_UTF8"),
    "UTF-16": (lambda b: b.decode().encode("utf-16"), "E_UTF8"),
    "a key twice": (lambda b: b.replace(b"{", b'{"payload":"",', 1), "E_DUPLICATE"),
    "NaN": (lambda b: b.replace(b"{", b'{"x":NaN,', 1), "E_NUMBER"),
    "2^53": (lambda b: b.replace(b"{", b'{"x":9007199254740992,', 1), "E_NUMBER"),
    "a million digits": (lambda b: b.replace(b"{", b'{"x":' + b"9" * 10**6 + b",", 1), "E_NUMBER"),
    "200,000 levels": (lambda b: b.replace(b"{", b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b",", 1), "E_DEPTH"),
    "65 levels": (lambda b: b.replace(b"{", b'{"x":' + b"[" * 65 + b"]" * 65 + b",", 1), "E_DEPTH"),
    "more than is read": (lambda b: b + b" " * (64 * 1024 * 1024), "E_SIZE"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_not_strict_json_are_refused_with_their_code(name, key):
    change, code = BYTES[name]
    assert code_of(signing.open_envelope, change(signing.sign(PAYLOAD, key))) == code


def test_any_flipped_bit_either_stops_verification_or_is_in_the_key_id(key):
    good = signing.sign(PAYLOAD, key)
    start = good.index(b'"keyid"')
    outside = [place for place in range(len(good) - 1) if not start <= place < good.index(b'"sig"')]
    for place in outside:
        flipped = bytearray(good)
        flipped[place] ^= 1
        try:
            opened = signing.open_envelope(bytes(flipped))
        except Unacceptable:
            continue
        assert not signing.verified_by(opened, [raw(key)]), place


def test_a_signature_over_the_bare_payload_does_not_verify(key):
    for message in (PAYLOAD, base64.b64encode(PAYLOAD), signing.pae("text/plain", PAYLOAD)):
        forged = signing.Envelope(PAYLOAD, (("", key.sign(message)),))
        assert not signing.verified_by(forged, [raw(key)])


def test_a_signature_moved_by_the_group_order_does_not_verify(key):
    good = key.sign(signing.pae(signing.PAYLOAD_TYPE, PAYLOAD))
    moved = good[:32] + (int.from_bytes(good[32:], "little") + ORDER).to_bytes(32, "little")
    assert not signing.verified_by(signing.Envelope(PAYLOAD, (("", moved),)), [raw(key)])


# ── keys ──


def low_order_points():
    """All points whose order divides 8, found by walking the curve and not by the table under test."""
    for y in range(
        2, 100
    ):  # the group's order times any point leaves its part of low order; one of order 8 has them all
        start = point(y, 0)
        generator = times(ORDER, start) if start else (0, 1)
        points = [times(number, generator) for number in range(8)]
        if len(set(points)) == 8:
            return points
    raise AssertionError("no point of order 8 was found")


def test_every_point_of_low_order_is_refused_as_a_key():
    for x, y in low_order_points():
        with pytest.raises(SignatureError, match="low order"):
            signing.screen((y | (x & 1) << 255).to_bytes(32, "little"))


def test_a_forgery_under_the_identity_verifies_nothing():
    identity = (1).to_bytes(32, "little")
    forged = signing.Envelope(PAYLOAD, (("", identity + bytes(32)),))
    assert signing.verified_by(forged, [identity]) == frozenset()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((P + 3).to_bytes(32, "little"), "canonical"),
        ((2).to_bytes(32, "little"), "not a point"),
        (bytes(31), "32 bytes"),
        (b"", "32 bytes"),
    ],
)
def test_bytes_that_are_no_canonical_point_are_refused_as_a_key(bad, says):
    with pytest.raises(SignatureError, match=says):
        signing.screen(bad)


def test_every_key_that_we_make_passes_our_own_screen():
    for _ in range(20):
        signing.screen(signing.public_bytes(signing.Ed25519PrivateKey.generate()))


def test_a_key_file_is_private_and_never_overwritten(tmp_path):
    path = tmp_path / "key.pem"
    signing.write_key(path)
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SignatureError, match="never overwritten"):
        signing.write_key(path)
    assert path.read_bytes() == before


def test_a_passphrase_protects_a_key(tmp_path):
    path = tmp_path / "key.pem"
    public = signing.write_key(path, b"open sesame")
    assert raw(signing.read_key(path, b"open sesame")) == public
    with pytest.raises(SignatureError, match="needs a passphrase"):
        signing.read_key(path)
    with pytest.raises(SignatureError, match="wrong"):
        signing.read_key(path, b"sesame")


def test_a_passphrase_for_a_key_that_has_none_is_a_mistake_that_is_named(tmp_path):
    signing.write_key(tmp_path / "key.pem")
    with pytest.raises(SignatureError, match="has no passphrase"):
        signing.read_key(tmp_path / "key.pem", b"x")


def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path):
    signing.write_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(SignatureError, match="chmod 600"):
        signing.read_key(tmp_path / "key.pem")


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(content, tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SignatureError, match="not a private key"):
        signing.read_key(path)


def test_a_public_key_is_named_as_such_before_anything_about_permissions(key, tmp_path):
    path = tmp_path / "key.pub.pem"
    path.write_bytes(signing.public_pem(raw(key)))
    path.chmod(0o644)
    with pytest.raises(SignatureError, match="this is a public key; the private one is needed") as caught:
        signing.check_key_file(path)
    assert caught.value.hint == f"--key {tmp_path / 'key.pem'}"
    (tmp_path / "key.pem").unlink()
    with pytest.raises(SignatureError) as caught:
        signing.check_key_file(path)
    assert "chmod" not in caught.value.render()


def test_permissions_of_what_is_no_private_key_are_nobodys_business(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello\n" * 2000)
    path.chmod(0o644)
    with pytest.raises(SignatureError, match="not a private key") as caught:
        signing.check_key_file(path)
    assert "chmod" not in caught.value.render()


def test_a_missing_key_says_how_to_make_one(tmp_path):
    with pytest.raises(SignatureError, match="keygen"):
        signing.read_key(tmp_path / "none.pem")


def test_a_key_of_another_algorithm_is_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    other = X25519PrivateKey.generate()
    path = tmp_path / "key.pem"
    path.write_bytes(other.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(SignatureError, match="Ed25519 key is due"):
        signing.read_key(path)
    pem = other.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(SignatureError, match="Ed25519 key is due"):
        signing.read_public(pem.decode())


def test_a_public_key_is_read_from_pem_and_from_base64(key):
    assert signing.read_public(signing.public_pem(raw(key)).decode()) == raw(key)
    assert signing.read_public(base64.b64encode(raw(key)).decode()) == raw(key)


# ── canonical bytes ──

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(JSON)
def test_canonical_bytes_parse_back_to_the_value_and_to_the_same_bytes(value):
    assert encode(parse(encode(value), floats=False)) == encode(value)


@pytest.mark.parametrize("value", [1.5, [0.0], {"a": 2**53}, {1: "a"}])
def test_what_cannot_be_signed_is_refused(value):
    with pytest.raises(TypeError):
        encode(value)


def split_root(leaves):
    """RFC 6962's own definition: split at the largest power of two below the count."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + split_root(leaves[:k]) + split_root(leaves[k:])).digest()


@pytest.mark.parametrize("count", range(1, 35))
def test_the_root_is_the_one_that_the_rfc_defines(count):
    leaves = [bytes([number]) * number for number in range(count)]
    assert merkle_root(leaves) == split_root(leaves).hex()


def test_the_root_of_nothing_is_the_digest_of_nothing():
    assert merkle_root([]) == sha256(b"")


def test_cleaned_text_cannot_steer_a_terminal_or_turn_a_line_around():
    assert clean("a\x1b[31m\u202eb\ud800\nc") == "a\ufffd[31m\ufffdb\ufffd / c"
    assert len(clean("x" * 1000)) == 500


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 1}, 1, True),
        ({"type": "string", "pattern": "^a+$"}, "aa", "aa\n"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ["a", "b"], ["a", "a"]),
        ({"type": "object", "required": ["a"]}, {"a": None}, {}),
    ],
)
def test_the_schema_rules_hold(schema, good, bad):
    validate(good, schema)
    assert code_of(validate, bad, schema) == "E_SCHEMA"


def test_a_schema_rule_that_we_do_not_know_is_never_skipped():
    with pytest.raises(KeyError):
        validate("a", {"format": "date"})
