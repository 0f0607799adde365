"""Everything that this package refuses, as one tree.

    LLMasOSError
     ├─ InvalidArgument           a value of the wrong type or outside the standard's range
     ├─ UnknownParameter          an option that the standard does not have
     ├─ ContextOverflow           more tokens than the model's context holds
     ├─ NotFound                  no bundle there
     ├─ InvalidFormat             a bundle that the format forbids
     ├─ UnsupportedVersion        another major version of the format
     ├─ UnsupportedArchitecture   an architecture that the format does not know
     └─ Unsupported               anything else that was asked for and is not offered

Each class carries a `code`, which is what travels over a wire. Each error says what is wrong, where, and what to try:

    model.json parameters.num_heads: 7 heads do not divide embedding_dim 512 (choose a divisor of 512)
"""

from __future__ import annotations

from typing import ClassVar


class LLMasOSError(Exception):
    """Root of the tree.

    Attributes:
        code: stable machine-readable name of the kind of refusal.
        what: the fault, with the offending value.
        where: file and JSON path, or the argument's name; may be empty.
        hint: what to try; may be empty.
    """

    code: ClassVar[str] = "error"

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.what}{advice}"


class InvalidArgument(LLMasOSError):
    """A value of the wrong type or outside the standard's range."""

    code = "invalid_argument"


class UnknownParameter(LLMasOSError):
    """An option that the standard does not have; nothing is ignored silently."""

    code = "unknown_parameter"


class ContextOverflow(LLMasOSError):
    """More tokens than the model's context holds; nothing is cut silently."""

    code = "context_overflow"


class NotFound(LLMasOSError):
    """No bundle at the path."""

    code = "not_found"


class InvalidFormat(LLMasOSError):
    """A bundle that the format forbids."""

    code = "invalid_format"


class UnsupportedVersion(LLMasOSError):
    """A bundle of another major version of the format."""

    code = "unsupported_version"


class UnsupportedArchitecture(LLMasOSError):
    """An architecture that this version does not run, or that the format does not know."""

    code = "unsupported_architecture"


class Unsupported(LLMasOSError):
    """Anything else that was asked for and is not offered."""

    code = "unsupported"


def shown(value: object) -> str:
    """A value as an error shows it: short, and never the cause of another error."""
    try:
        return f"{value!r:.60}"
    except Exception:  # integers of thousands of digits, and foreign objects with a broken repr
        return f"a value of type {type(value).__name__}"
