"""A verified report in the forms that continuous integration reads; made from it, and proving nothing themselves.

    junit            test tables of every CI (`report.junit`)
    ctrf             Common Test Report Format, JSON
    markdown         a short page for a job summary, the verdict first
    badge, svg       what a README shows: shields.io endpoint JSON, and a picture drawn here
    github           workflow commands that annotate a run
    known-failures   a file to begin with (`knownfailures`), its reasons left to be written

A state that is neither pass nor fail never becomes a pass. Every form says so when the report was not verified; the
text of a candidate is nowhere markup, a link, or a command.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

from llmasos_conformance import policy, report
from llmasos_conformance.canonical import clean
from llmasos_conformance.verdict import HONEST_UNITS, State, Verdict

Content = Mapping[str, Any]
Entry = Mapping[str, Any]

SHOWN = 10
"""Failures in a summary, and annotations; more than GitHub shows of one step nobody sees."""
QUIET_STATES = ("pass", "not_declared", "not_applicable")
COLOURS: Mapping[str, str] = {
    Verdict.CONFORMANT: "#2e7d32", Verdict.NON_CONFORMANT: "#b71c1c", Verdict.INCOMPLETE: "#8a5300",
    Verdict.BLACK_BOX_CONFORMANT: "#1565c0", Verdict.BLACK_BOX_NON_CONFORMANT: "#b71c1c",
}  # fmt: skip
"""Of badges: white letters on each have a contrast above 4.5 to 1 (WCAG 2.2, 1.4.3); the words say the same."""
UNVERIFIED = "#555555"
LABEL = "LLMasOS"
WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {Verdict.CONFORMANT: "conformant", Verdict.NON_CONFORMANT: "non-conformant",
           Verdict.BLACK_BOX_CONFORMANT: "black-box conformant",
           Verdict.BLACK_BOX_NON_CONFORMANT: "black-box non-conformant",
           Verdict.INCOMPLETE: "incomplete", "unverified": "unverified"},
    "zh": {Verdict.CONFORMANT: "合规", Verdict.NON_CONFORMANT: "不合规",
           Verdict.BLACK_BOX_CONFORMANT: "黑盒合规", Verdict.BLACK_BOX_NON_CONFORMANT: "黑盒不合规",
           Verdict.INCOMPLETE: "不完整", "unverified": "未验证"},
}  # fmt: skip


def wrong(content: Content) -> list[Entry]:
    """The checks that are not right, failures of MUST first."""
    bad = [made for made in content["predicate"]["checks"] if made["outcome"] not in QUIET_STATES]
    levels = ("MUST", "SHOULD", "MAY")
    return sorted(bad, key=lambda made: (levels.index(made["level"]), made["outcome"] != "fail"))


def junit(content: Content, *, warning: str = "", **rest: Any) -> str:
    """JUnit XML; what was not verified stands in its properties."""
    return report.junit(content, {"llmasos.warning": warning} if warning else {})


# ── CTRF ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

CTRF_VERSION = "0.0.0"
STATUS: Mapping[str, str] = {"pass": "passed", "fail": "failed", "not_declared": "skipped", "not_applicable": "skipped"}
"""State -> CTRF status; every other one is "other", and `rawStatus` has the state itself."""


def ctrf(content: Content, *, report_id: str, warning: str = "", **rest: Any) -> str:
    """Common Test Report Format. A report has no time for a single check: each has duration 0."""
    predicate = content["predicate"]
    run, suite, candidate = predicate["run"], predicate["suite"], predicate["candidate"]
    start, stop = (int(policy.moment(run[key]).timestamp() * 1000) for key in ("startedAt", "finishedAt"))
    tests = [_ctrf_test(made, suite["profile"]) for made in predicate["checks"]]
    counts = Counter(test["status"] for test in tests)
    extra = {
        "reportId": report_id, "profile": suite["profile"], "suiteDigest": suite["digest"], "seed": run["seed"],
        "candidate": f"{candidate['name']} {candidate['version']}", "verdict": predicate["verdict"],
        "verified": not warning, **({"warning": warning} if warning else {}),
    }  # fmt: skip
    made = {
        "reportFormat": "CTRF",
        "specVersion": CTRF_VERSION,
        "timestamp": run["finishedAt"],
        "generatedBy": "llmasos show",
        "extra": extra,
        "results": {
            "tool": {"name": "llmasos", "version": predicate["harness"]["version"]},
            "summary": {
                "tests": len(tests),
                **{name: counts[name] for name in ("passed", "failed", "skipped", "pending", "other")},
                "suites": 1, "start": start, "stop": stop, "duration": stop - start,
            },
            "tests": tests,
        },
    }  # fmt: skip
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _ctrf_test(made: Entry, profile: str) -> dict[str, Any]:
    state, message = made["outcome"], made.get("message", "")
    told = {"requirement": made["requirement"], "level": made["level"]}
    return {
        "name": made["id"],
        "status": STATUS.get(state, "other"),
        "rawStatus": state,
        "duration": 0,
        "suite": [f"llmasos.{profile}"],
        "tags": [made["level"], made["requirement"]],
        **({"message": message} if message else {}),
        "extra": {**told, "figures": dict(made["figures"]), "emulated": list(made["emulated"])},
    }


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_MARKDOWN: Mapping[str, Mapping[str, str]] = {
    "en": {"level": "level", "not right": "Not right", "more": "and {n} more", "about": "Profile `{profile}`, suite "
           "{version}, seed `{seed}`.", "again": "Judge it again", "id": "Report",
           "says": "unverified, says {verdict}"},
    "zh": {"level": "级别", "not right": "不符之处", "more": "另有 {n} 个", "about": "档案 `{profile}`，测试套件 "
           "{version}，种子 `{seed}`。", "again": "重新评判", "id": "报告",
           "says": "未验证，自称{verdict}"},
}  # fmt: skip
_MARKS: Mapping[str, str] = {
    Verdict.CONFORMANT: "✅", Verdict.NON_CONFORMANT: "❌", Verdict.INCOMPLETE: "⚠️",
    Verdict.BLACK_BOX_CONFORMANT: "☑️", Verdict.BLACK_BOX_NON_CONFORMANT: "❌",
}  # fmt: skip


def markdown(
    content: Content, *, report_id: str, warning: str = "", lang: str = "en", path: str = "REPORT", **rest: Any
) -> str:  # fmt: skip
    """A short page: the verdict, counts by level, the first failures, and how to judge it again."""
    predicate, words = content["predicate"], _MARKDOWN[lang]
    candidate, suite, run = predicate["candidate"], predicate["suite"], predicate["run"]
    verdict = WORDS[lang][predicate["verdict"]]
    name = report.cell(f"{candidate['name']} {candidate['version']}")
    lines = [f"## {_MARKS[predicate['verdict']]} {verdict}: {name}", ""]
    if warning:
        head = f"## {_MARKS[Verdict.INCOMPLETE]} {words['says'].format(verdict=verdict)}: {name}"
        lines = [head, "", report.cell(warning), ""]
    about = words["about"].format(
        profile=suite["profile"], version=report.cell(suite["version"]), seed=run["seed"]
    )  # fmt: skip
    lines += [about, "", *_by_level(predicate["checks"], words["level"], lang), ""]
    if measured := report.precision(content):
        lines += [measured.sentence[0].upper() + measured.sentence[1:] + ".", ""]
    bad = wrong(content)
    if bad:
        lines += [f"<details open><summary>{words['not right']}: {len(bad)}</summary>", ""]
        lines += [f"- **{made['outcome']}** `{made['id']}` ({made['requirement']}, {made['level']}): "
                  f"{report.cell(clean(made.get('message', ''), 300))}" for made in bad[:SHOWN]]  # fmt: skip
        lines += [f"- {words['more'].format(n=len(bad) - SHOWN)}"] if len(bad) > SHOWN else []
        lines += ["", "</details>", ""]
    lines.append(f"{words['id']} `{report_id}`. {words['again']}: `llmasos verify {path} --trust FILE --rejudge`")
    return "\n".join(lines) + "\n"


def _by_level(checks: Sequence[Entry], label: str, lang: str) -> list[str]:
    states = [str(state) for state in State if any(made["outcome"] == state for made in checks)]
    heads = [report.STATES_ZH[state] if lang == "zh" else state.replace("_", " ") for state in states]
    lines = ["| " + " | ".join([label, *heads]) + " |", "|" + "---|" * (len(states) + 1)]
    for level in ("MUST", "SHOULD", "MAY"):
        counts = Counter(made["outcome"] for made in checks if made["level"] == level)
        if counts:
            lines.append("| " + " | ".join([level, *(str(counts[state]) for state in states)]) + " |")
    return lines


# ── badges ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _badge(content: Content, warning: str, lang: str) -> tuple[str, str]:
    """Message and colour: the verdict, the profile and the version of the suites; never a percentage."""
    predicate = content["predicate"]
    suite, words = predicate["suite"], WORDS[lang]
    about = clean(f"{suite['profile']} {suite['version']}", 100)
    if warning:
        return f"{words['unverified']} · {about}", UNVERIFIED
    return f"{words[predicate['verdict']]} · {about}", COLOURS[predicate["verdict"]]


def badge(content: Content, *, warning: str = "", lang: str = "en", **rest: Any) -> str:
    """JSON for https://img.shields.io/endpoint."""
    message, colour = _badge(content, warning, lang)
    bad = bool(warning) or not Verdict(content["predicate"]["verdict"]).holds
    made = {"schemaVersion": 1, "label": LABEL, "message": message, "color": colour.removeprefix("#"), "isError": bad}
    return json.dumps(made, ensure_ascii=False) + "\n"


def svg(content: Content, *, warning: str = "", lang: str = "en", **rest: Any) -> str:
    """The same as a picture that needs no network: a name and words for who does not see it, and no colour alone.

    Letters are stretched to a width that is reckoned here, so that no font can make them run over.
    """
    message, colour = _badge(content, warning, lang)
    left, right = _width(LABEL), _width(message)
    whole, told = left + right, escape(f"{LABEL}: {message}", {'"': "&quot;"})
    texts = [
        f'<text x="{x + width / 2:g}" y="14" textLength="{width - 12:g}" lengthAdjust="spacingAndGlyphs">{escape(text)}'
        "</text>"
        for x, width, text in ((0, left, LABEL), (left, right, message))
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" viewBox="0 0 {whole} 20" role="img" '
            f'aria-label="{told}" xml:lang="{lang}">',
            f"<title>{told}</title>",
            f'<rect width="{whole}" height="20" rx="3" fill="#333"/>',
            f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{right - 3}z" fill="{colour}"/>',
            '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">',
            *texts,
            "</g>",
            "</svg>",
            "",
        ]
    )


def _width(text: str) -> int:
    """Pixels of a text of 11 pixels, with 6 on either side: about 7 for a Latin letter, 11 for a Chinese one."""
    return 12 + sum(11 if ord(char) > 0x2E7F else 7 for char in text)


# ── annotations ──────────────────────────────────────────────────────────────────────────────────────────────────────

KINDS: Mapping[str, str] = {"MUST": "error", "SHOULD": "warning", "MAY": "notice"}


def github(content: Content, *, warning: str = "", **rest: Any) -> str:
    """GitHub's workflow commands: a line for each of the first failures, then one for the verdict.

    A command is a line; what could end it or begin another one is written in the escapes that GitHub reads back.
    """
    lines, bad = [], wrong(content)
    if warning:
        lines.append(command("warning", "LLMasOS", f"not verified: {warning.removeprefix('not verified: ')}"))
    room = SHOWN - len(lines) - 1  # the last line is the verdict's
    for made in bad[:room]:
        told = f"{made['outcome']}: {made.get('message', '')} ({made['requirement']}, {made['level']})"
        lines.append(command(KINDS[made["level"]], made["id"], told))
    verdict = Verdict(content["predicate"]["verdict"])
    more = f"; {len(bad) - room} more are in the report" if len(bad) > room else ""
    kind = "notice" if verdict.holds else "error" if verdict.fails else "warning"
    said = f"unverified, says {verdict}" if warning else verdict
    lines.append(command("warning" if warning else kind, f"LLMasOS: {said}", report.headline(content) + more))
    return "\n".join(lines) + "\n"


def command(kind: str, title: str, text: str) -> str:
    """One workflow command; kind is error, warning or notice."""
    return f"::{kind} title={_escaped(clean(title), ':,')}::{_escaped(clean(text, 1000))}"


def _escaped(text: str, more: str = "") -> str:
    return re.sub(f"[%\r\n{more}]", lambda found: f"%{ord(found[0]):02X}", text)


# ── known failures, to begin with ────────────────────────────────────────────────────────────────────────────────────

FIRST_DAYS = 90
"""How long the entries of a first file last: a quarter, after which somebody looks again."""


def known_failures(content: Content, *, now: datetime, **rest: Any) -> str:
    """A file of known failures with an entry for every failure. Its empty reasons are refused until they are written.

    The symptom is the message up to its first digit, because figures and positions differ from run to run; the error
    that is known is twice the one seen, which is what `verify` allows two honest references to differ by.
    """
    expires = (now + timedelta(days=FIRST_DAYS)).date().isoformat()
    failing = [made for made in content["predicate"]["checks"] if made["outcome"] == "fail"]
    lines = ["format: 1", "failures:" if failing else "failures: []"]
    for made in failing:
        message = made.get("message", "")
        begin = re.match(r"[^0-9]*", message)
        symptom = begin[0].rstrip(" [(") if begin and len(begin[0].rstrip(" [(")) >= 4 else message
        lines += [
            f"- case: {made['id']}",
            "  reason: ''   # why it fails, and where that is tracked",
            f"  symptom: {json.dumps(clean(symptom, 300), ensure_ascii=False)}",
            *_known_error(made["figures"]),
            f"  expires: '{expires}'",
        ]
    return "\n".join(lines) + "\n"


def _known_error(figures: Mapping[str, str]) -> list[str]:
    errors = [float(figures[name]) for name in HONEST_UNITS if name in figures]
    if not errors or not all(math.isfinite(error) for error in errors):
        return []
    return [f"  most: {max(2 * max(errors), 0.1):.1f}"]


FORMS: Mapping[str, Callable[..., str]] = {
    "junit": junit, "ctrf": ctrf, "markdown": markdown, "badge": badge, "svg": svg, "github": github,
    "known-failures": known_failures,
}  # fmt: skip
"""Name -> projection; each takes a statement and the keywords `report_id`, `warning`, `lang`, `path` and `now`."""
