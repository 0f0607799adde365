"""What goes wrong outside a verdict.

    HarnessError
      SuiteError        a suite, ledger or profile is malformed: file, line, reason, remedy
      AddressError      an adapter address leads nowhere
      ReportError       a report cannot be written or read
      SignatureError    a key or a signature is not what it must be
    CandidateFault      a candidate did something that is not an answer; the engine makes an outcome of it
      Raised            an exception that is not a typed refusal              -> fail
      Malformed         an answer of the wrong shape, type or size            -> fail
      Died              its process ended in the middle of a call             -> fail
      TimedOut          no answer within the limit                            -> error, fault "timeout"
      ProtocolBroken    its process wrote something that is not the protocol  -> error, fault "protocol"
      Lost              the connection to its server could not be kept        -> error, fault "transport"

The first three are the candidate's own doing on a valid question, so they count against it. The last three leave the
question unanswered: the run is incomplete, and nobody is blamed for what was not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from unicodedata import category

_STEERS = ("Cc", "Cf", "Cs")
"""Categories of characters that steer a terminal, reorder a line, or are no text."""


class HarnessError(Exception):
    """Something a person has to mend before a verdict is possible.

    Attributes:
        what: one sentence. where: file, file:line or address. hint: what to try.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, str(where), hint
        super().__init__(self.render())

    def render(self) -> str:
        place = f"{self.where}: ".replace("\n", " / ") if self.where else ""
        remedy = f"\n  try: {self.hint}" if self.hint else ""
        # What is named may be a file of anybody's, and its name must not steer a terminal.
        whole = f"{place}{self.what}{remedy}"
        return "".join(c if c in "\n\t" or category(c) not in _STEERS else "\ufffd" for c in whole)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean x or y?" where known names are near, else nothing."""
    near = get_close_matches(name, list(known), 2, 0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


class SuiteError(HarnessError):
    """A suite, ledger or profile that the loader refuses."""


class AddressError(HarnessError):
    """An adapter address that cannot be resolved or connected."""

    exit_code = 4


class ReportError(HarnessError):
    """A report that cannot be written or read."""


class SignatureError(HarnessError):
    """A key or signature that is not acceptable."""


class CandidateFault(Exception):
    """A candidate did something that is not an answer.

    Attributes:
        detail: trace or tail of its standard error, shown but never part of evidence.
    """

    kind = "fault"

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message, self.detail = message, detail


class Raised(CandidateFault):
    kind = "raised"


class Malformed(CandidateFault):
    kind = "malformed"


class Died(CandidateFault):
    kind = "died"


class TimedOut(CandidateFault):
    kind = "timeout"


class ProtocolBroken(CandidateFault):
    kind = "protocol"


class Lost(CandidateFault):
    kind = "transport"


UNANSWERED = (TimedOut, ProtocolBroken, Lost)
"""Faults that leave a question without an answer, whoever is to blame."""
ENDING = frozenset({Died.kind, *(kind.kind for kind in UNANSWERED)})
"""Kinds of the faults after which the candidate's handles are void: it has to be started or reached anew."""
