"""A candidate and the reference at one bench, for a case or two; nothing is kept of it.

A certified run has its own way (`certify`), and so has a session of pytest (`plugin`), which keep apart what must not
meet, and keep what a report needs. This one is for a look.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from llmasos_conformance import adapters, checks, isolation
from llmasos_conformance import reference as references
from llmasos_conformance.adapters.remote import Channel, unwatched
from llmasos_conformance.adapters.stdio import LOG_TO_STDERR
from llmasos_conformance.candidate import Candidate, Connection, Live
from llmasos_conformance.engine import Bench
from llmasos_conformance.errors import HarnessError, did_you_mean
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import Description
from llmasos_conformance.suite import Case, Suite

TELLING = (
    "numerics.plain", "llama.numbers.plain", "transformer.plain", "bert.plain", "api.max-length.counts-new-tokens",
    "api.temperature.zero",
)  # fmt: skip
"""Cases for who named none: the first whose needs are declared. Logits tell more than text."""


def chosen(suite: Suite, named: str | None, said: Description) -> Case:
    """The case that was named, or one that tells something of such a candidate.

    Args:
        named: id, also as pytest prints it; None for none.

    Raises:
        HarnessError: there is no such case, or none for such a candidate.
    """
    if named is not None:
        name = bare(named)
        if name not in suite.cases:
            near = did_you_mean(name, suite.cases)
            raise HarnessError(f"there is no case {name!r:.100}{near}", hint="llmasos list --cases")
        return suite.cases[name]
    fits = [case for case in (*TELLING, *suite.cases) if suite.cases[case].needs <= said.offers]
    if not fits:
        declared = ", ".join(sorted(said.offers)) or "nothing"
        raise HarnessError(f"no case can be asked of a candidate that declares {declared}", hint="declare load_model")
    return suite.cases[fits[0]]


def bare(name: str) -> str:
    """A case's id as the suites have it, without what pytest prints before it."""
    return name.rpartition("::")[2]


def opened(
    address: str, *, directory: Path = Path(), in_process: bool = False, timeout_s: float = 30.0,
    watch: Callable[[Channel], Channel] = unwatched,
) -> Connection:  # fmt: skip
    """Connect a candidate as a certified run would, but with this directory and environment.

    Args:
        address: see `adapters`. directory: where relative addresses start.
        in_process: an object of Python stays in this process. watch: see `connect`.

    Raises:
        AddressError: the address leads nowhere, or what is there does not describe itself.
    """
    return adapters.connect(
        address, out_of_process=not in_process, directory=directory, timeout_s=timeout_s, path=isolation.roots(),
        watch=watch,
    )  # fmt: skip


QUIET = "print nothing but answers to standard output; log to standard error"


def remedy(error: HarnessError) -> str:
    """What to do about a candidate that does not come up. Who prints where the protocol speaks is told just that."""
    return QUIET if LOG_TO_STDERR in error.what else error.hint


@contextmanager
def bench(
    suite: Suite, connection: Connection, seed: str, live: Callable[[Connection], Live] = Live
) -> Iterator[Bench]:
    """Seat a connected candidate. Bundles are written for as long as the bench stands; the connection stays open.

    Args:
        suite: of the cases. seed: of their inputs. live: makes the candidate's link.
    """
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="llmasos-") as temporary:
        root = Path(temporary).resolve()

        def open_address(address: str, **options: Any) -> Connection:
            made: Connection = adapters.connect(address, **options)
            stack.callback(made.close)
            return made

        description = connection.description
        truth = references.connect(description.claims, Library(root / "b", seed), open_address)
        candidate = Candidate(live(connection), description, Library(root / "a", seed))
        yield Bench(
            suite=suite, checks=checks.registry(), candidate=candidate, reference=truth, seed=seed,
            restart=getattr(connection, "restart", None),
        )  # fmt: skip
