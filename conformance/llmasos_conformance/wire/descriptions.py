"""What a candidate says of itself, read and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from llmasos_conformance.errors import AddressError, Malformed
from llmasos_conformance.protocol import CAPABILITIES, DETERMINISM, DTYPES, PROTOCOL_VERSION, Claims, Description
from llmasos_conformance.wire.values import MAX_HANDLE, items_of, members_of, text_of, wrong


def parse_description(value: Any, where: str = "describe()") -> Description:
    """What an adapter says of itself, with every name in the protocol's vocabulary.

    Raises:
        AddressError: a missing, unknown or ill-typed member; near names are given.
    """
    if isinstance(value, Description):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
        value["claims"] = {field.name: getattr(value["claims"], field.name) for field in fields(value["claims"])}
    try:
        return description_of(value, where)
    except Malformed as fault:
        raise AddressError(fault.message, where=where, hint="see Description in llmasos_conformance.protocol") from None


def description_of(value: Any, where: str) -> Description:
    optional = ("capabilities", "claims", "emulated", "runtime", "architectures", "protocol")
    members = members_of(value, "description", ("name", "version"), optional)
    if members.get("protocol", PROTOCOL_VERSION) != PROTOCOL_VERSION:
        hint = "update the adapter, or use a harness of that version"
        what = f"speaks protocol {members['protocol']!r:.40}, this harness speaks {PROTOCOL_VERSION!r}"
        raise AddressError(what, where=where, hint=hint)
    claims = members_of(members.get("claims", {}), "claims", (), ("dtype", "determinism"))
    names = members.get("architectures", ("GPT-3",))
    return Description(
        name=text_of(members["name"], "name", MAX_HANDLE, 1),
        version=text_of(members["version"], "version", MAX_HANDLE, 1),
        capabilities=frozenset(
            _known(name, "capability", CAPABILITIES, where) for name in _names(members.get("capabilities", ()))
        ),
        claims=Claims(
            dtype=_known(claims.get("dtype", "float32"), "dtype", DTYPES, where),
            determinism=_known(claims.get("determinism", "D1"), "determinism level", DETERMINISM, where),
        ),
        emulated=_texts(members.get("emulated", {}), "emulated"),
        runtime=_texts(members.get("runtime", {}), "runtime"),
        architectures=tuple(text_of(name, "architectures", MAX_HANDLE, 1) for name in items_of(names, "architectures")),
    )


def _names(value: Any) -> Iterable[Any]:
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    names = items_of(value, "capabilities")
    if len(set(map(str, names))) != len(names):
        raise Malformed(f"capabilities names something twice: {list(names)!s:.120}")
    return names


def _known(name: Any, kind: str, vocabulary: Iterable[str], where: str) -> str:
    known = list(vocabulary)
    if name in known:
        return str(name)
    near = get_close_matches(str(name), known, 3, 0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise AddressError(f"unknown {kind} {name!r:.60}", where=where, hint=f"{hint}known: {', '.join(known)}")


def _texts(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        wrong(where, value, "an object of texts")
    return {text_of(key, where, MAX_HANDLE): text_of(item, f"{where}[{key!r:.60}]") for key, item in value.items()}


def describe(description: Description) -> dict[str, Any]:
    """A description as the wire carries it."""
    return {
        "protocol": PROTOCOL_VERSION,
        "name": description.name,
        "version": description.version,
        "capabilities": sorted(description.capabilities),
        "claims": {"dtype": description.claims.dtype, "determinism": description.claims.determinism},
        "emulated": dict(description.emulated),
        "runtime": dict(description.runtime),
        "architectures": list(description.architectures),
    }
