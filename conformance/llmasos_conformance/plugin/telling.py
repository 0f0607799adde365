"""What a session prints behind everything else: the table, what fails, where to begin, the verdict, the next step."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from llmasos_conformance import unasked
from llmasos_conformance.plugin import summary
from llmasos_conformance.plugin.session import SECTION, Run, case_of, record_of
from llmasos_conformance.verdict import Verdict

USUAL = "fE"
"""What pytest lists at its end, -r, where nobody says what."""

HEADLINE = "LLMasOS self-test: not a certificate"


class Telling:
    """Tells what a run has kept, once it is over."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, None, None]:
        """Behind everybody else's, pytest's list of failures too: what is read first stands where the eye is."""
        run = self.run
        shortened = self._shorten(terminalreporter)
        if shortened and not self._foreign(terminalreporter) and run.config.option.reportchars == USUAL:
            terminalreporter.reportchars = ""  # as many lines again, cut at the width of the screen, would tell nothing
        yield
        if run.config.option.collectonly or run.stillborn:
            return
        terminalreporter.section(HEADLINE)
        verdict, lines, behind = summary.summarise(run.suite, run.planned, run.optional, run.records)
        for line in [*lines, *self._of_cost(shortened), *behind]:
            terminalreporter.write_line(line)
        found = Verdict(verdict)
        colour = "green" if found.holds else "red" if found.fails else "yellow"
        said = summary.conclusion(verdict, run.options.profile, run.planned, run.records)
        terminalreporter.write_line(said, bold=True, **{colour if said.startswith("verdict") else "yellow": True})
        if run.records:
            lines, first = self._of_known()
            for line in [*lines, f"next: {first or self._next(verdict)}"]:
                terminalreporter.write_line(line)

    def _of_cost(self, shortened: int) -> Iterator[str]:
        """What was not asked, what was told in brief, and what smaller inputs took."""
        run = self.run
        whole = {*run.planned} <= {record["case"] for record in run.records}
        left = unasked.find(run.offers, run.options.profile, run.request.root) if run.records and whole else []
        if told := unasked.sentence(left):
            every = "; --llmasos-profile=all asks all that is declared" if any(each.requires for each in left) else ""
            yield f"{told}{every}"
        if shortened and run.config.getoption("tbstyle") != "no":
            yield f"{shortened} of the cases above are told in brief; -v tells all of them whole, and lists them"
        if told := summary.searching(run.judging.searched, run.options.smaller_s):
            yield told

    def _of_known(self) -> tuple[list[str], str]:
        """What became of the known failures, and what to do first about them, if anything."""
        run = self.run
        if not run.known:
            return [], ""
        if run.options.runxfail:
            return ["known failures: none of them counts, because of --runxfail"], ""
        worst = summary.worst(run.records)
        return summary.known(run.known, {case: run.standing(each, worst.get(case)) for case, each in run.known.items()})

    def _next(self, verdict: str) -> str:
        run, commands = self.run, self.run.commands
        failing = {record["case"] for record in run.records if record["state"] == "fail"}
        return summary.next_step(
            verdict,
            run.planned,
            run.records,
            again=commands.failures(beyond=not failing <= {*run.planned}),
            everything=commands.again(),
            certify=commands.certify(run.config.invocation_params.dir),
            one=lambda name: commands.again([run.suite.cases[name].node_id]),
            fitting=commands.fitting(run.offers),
        )

    def _shorten(self, terminalreporter: Any) -> int:
        """Whoever is wrong everywhere reads the most telling failures whole, and of the others what tells them apart.

        Known bugs are told only of those by which the bug is found: of the others they lead away from it. Returns how
        many were made short. What reports say elsewhere, as in JUnit's file, was written before.
        """
        if self.run.config.getoption("verbose") > 0:
            return 0
        made, telling = 0, summary.whole(self.run.records)
        away = summary.led_away(self.run.records)
        for kind in ("failed", "error"):
            told = [each for each in terminalreporter.stats.get(kind, ()) if getattr(each, "llmasos_brief", "")]
            for report in told:
                if report.llmasos_alone and case_of(report) in away:
                    report.longrepr = report.llmasos_alone
            # Sorted in a copy, so that they are printed in the order in which they were asked.
            for report in sorted(told, key=lambda each: case_of(each) not in telling)[summary.WHOLE :]:
                report.longrepr = report.llmasos_brief
                report.sections = [each for each in report.sections if each[0] != SECTION]
                made += 1
        return made

    def _foreign(self, terminalreporter: Any) -> bool:
        """Whether something failed that is none of our cases, and that a list is due of."""
        stats = terminalreporter.stats
        return any(record_of(report) is None for kind in ("failed", "error") for report in stats.get(kind, ()))
