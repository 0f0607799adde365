"""Outcomes to the bytes that are signed, and readable projections of bytes that were verified.

The statement is an in-toto Statement v1 with a closed predicate of our own; `schemas/report.schema.json` is its
definition. It holds no float, and nothing that depends on a clock, a path or a process beside `run.id` and the two
times, so that the same seed on the same software gives the same bytes but for those three.

The summary, the roots and the verdict repeat what the checks say. They are there for readers in a hurry; a verifier
computes them again (`verify`), with the functions of this room.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from llmasos_conformance import causes, knownbugs, patterns
from llmasos_conformance.canonical import clean, encode, merkle_root, sha256
from llmasos_conformance.verdict import BLACK_BOX, Outcome, State, Verdict, decide, unanswered

if TYPE_CHECKING:
    from llmasos_conformance.protocol import Description
    from llmasos_conformance.suite import Case, Suite

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://llmasos.org/conformance-report/v1"
SCHEMA_VERSION = "1.0"
ENVELOPE_NAME = "report.intoto.json"
STATEMENT_NAME = "statement.json"
SIGNER_NAME = "signer.pub.pem"
MARKDOWN_NAME, JUNIT_NAME = "report.md", "junit.xml"
INTERRUPTED = "the run was interrupted"
"""Message of every case that an interruption left out; the unsigned statement is known by it."""

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything about a run but its outcomes; what `statement` puts around them.

    Attributes:
        candidate: see `candidate_record`. adapter: digest of the adapter's files.
        suite, reference, harness, run, environment: members of the predicate, as the schema has them.
        bundle: that somebody gave for the run, see `probes.given`; None for a run on probes alone.
        endpoint: which hosted model of which server was asked, see `adapters.address.Target.descriptor`; None for a
            candidate that loads what it is given.
    """

    candidate: Mapping[str, Any]
    adapter: str
    suite: Mapping[str, Any]
    reference: Mapping[str, Any]
    harness: Mapping[str, Any]
    run: Mapping[str, Any]
    environment: Mapping[str, Any]
    bundle: Mapping[str, Any] | None = None
    endpoint: Mapping[str, Any] | None = None


def candidate_record(description: Description) -> dict[str, Any]:
    """A description as the report keeps it, with nothing in it that could steer a reader's terminal."""

    def texts(mapping: Mapping[str, str]) -> dict[str, str]:
        return {
            re.sub(r"[^A-Za-z0-9 ._@/+-]", "-", str(key)).lstrip(" ._@/+-")[:120] or "0": clean(str(text)) or "-"
            for key, text in mapping.items()
        }

    return {
        "name": clean(description.name, 120) or "-",
        "version": clean(description.version, 120) or "-",
        "capabilities": sorted(description.capabilities),
        "claims": {"dtype": description.claims.dtype, "determinism": description.claims.determinism},
        "emulated": texts(description.emulated),
        "runtime": texts(description.runtime),
        "architectures": [clean(name, 120) or "-" for name in description.architectures],
    }


def endpoint_digest(endpoint: Mapping[str, Any]) -> str:
    """What a hosted model is known by, since its weights are nobody's to hash: sha256 over its canonical descriptor."""
    return sha256(encode(endpoint))


def figure(value: float) -> str:
    """Three significant digits; "nan", "inf" and "-inf" as they are. A NaN has no sign here."""
    return f"{value:.2e}" if value == value else "nan"


def entry(outcome: Outcome) -> dict[str, Any]:
    """One element of `checks`; members that say nothing are left out."""
    made: dict[str, Any] = {
        "id": outcome.case,
        "requirement": outcome.requirement,
        "level": outcome.level,
        "outcome": str(outcome.state),
        "emulated": sorted(outcome.emulated),
        "figures": {name: figure(value) for name, value in outcome.figures.items()},
    }
    for name, text in (("message", outcome.message), ("expected", outcome.expected), ("got", outcome.got)):
        if text:
            made[name] = clean(text)
    for name, text in (("fault", outcome.fault), ("evidence", outcome.evidence)):
        if text:
            made[name] = text
    if outcome.example is not None:
        made["example"] = outcome.example
    return made


def outcome_of(made: Entry) -> Outcome:
    """The inverse of `entry`, up to the digits of the figures."""
    return Outcome(
        case=made["id"],
        requirement=made["requirement"],
        level=made["level"],
        state=State(made["outcome"]),
        message=made.get("message", ""),
        expected=made.get("expected", ""),
        got=made.get("got", ""),
        figures={name: float(text) for name, text in made["figures"].items()},
        emulated=tuple(made["emulated"]),
        example=made.get("example"),
        evidence=made.get("evidence", ""),
        fault=made.get("fault", ""),
    )


def checks_root(checks: Iterable[Entry]) -> str:
    return merkle_root([encode(made) for made in checks])


def summary(checks: Iterable[Entry]) -> dict[str, int]:
    """How often each state occurs; all eight are named, so that a zero is said and not left to be guessed."""
    counts = Counter(made["outcome"] for made in checks)
    return {str(state): counts[str(state)] for state in State}


def optional_cases(profile: Mapping[str, Any]) -> frozenset[str]:
    """Cases of a frozen profile that need a capability which the profile does not require."""
    return frozenset(case["id"] for case in profile["cases"] if not set(case["needs"]) <= set(profile["requires"]))


def verdict_of(profile: Mapping[str, Any], checks: Iterable[Entry]) -> Verdict:
    """What the checks amount to under a frozen profile; the levels that count are the profile's."""
    planned = [case["id"] for case in profile["cases"]]
    found = decide(planned, [outcome_of(made) for made in checks], optional_cases(profile))
    return BLACK_BOX[found] if profile.get("hosted") else found


def statement(facts: Facts, profile: Mapping[str, Any], outcomes: Sequence[Outcome], evidence_root: str) -> bytes:
    """The bytes to be signed.

    Args:
        facts: about the run. profile: the frozen profile.
        outcomes: one per case of the profile, in its order. evidence_root: of the evidence file.
    """
    checks = [entry(outcome) for outcome in outcomes]
    return encode(
        {
            "_type": STATEMENT_TYPE,
            "predicateType": PREDICATE_TYPE,
            "subject": [
                {"name": "description", "digest": {"sha256": sha256(encode(facts.candidate))}},
                {"name": "adapter", "digest": {"sha256": facts.adapter}},
                *([{"name": "bundle", "digest": {"sha256": facts.bundle["digest"]}}] if facts.bundle else []),
                *(
                    [{"name": "endpoint", "digest": {"sha256": endpoint_digest(facts.endpoint)}}]
                    if facts.endpoint
                    else []
                ),
            ],
            "predicate": {
                "schemaVersion": SCHEMA_VERSION,
                "candidate": facts.candidate,
                **({"bundle": facts.bundle} if facts.bundle else {}),
                **({"endpoint": facts.endpoint} if facts.endpoint else {}),
                "suite": facts.suite,
                "reference": facts.reference,
                "harness": facts.harness,
                "run": facts.run,
                "environment": facts.environment,
                "checks": checks,
                "checksRoot": checks_root(checks),
                "evidenceRoot": evidence_root,
                "summary": summary(checks),
                "emulated": sum(1 for made in checks if made["emulated"]),
                "verdict": str(verdict_of(profile, checks)),
            },
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What the numbers of a run say of the precision that is claimed.

    Attributes:
        claimed, found: dtypes; what is found is the finest whose honest error explains every row of logits, or empty.
        ratio: the largest error of a row, root mean square, in honest errors of the claimed dtype.
    """

    claimed: str
    found: str
    ratio: float

    @property
    def sentence(self) -> str:
        from llmasos_conformance import numerics  # NumPy, which a look at signatures does without

        came = self.found or "coarser than any dtype"
        return (
            f"precision: {self.claimed} claimed, arithmetic of {came} found; rows of logits err by {self.ratio:.3g} "
            f"honest {self.claimed} errors at most, allowed {numerics.KAPPA_RMS[self.claimed]:g}"
        )


def precision(content: Mapping[str, Any]) -> Precision | None:
    """Precision of a statement's candidate by the cases of numbers (NUM-…); None if none of them measured a row."""
    from llmasos_conformance import numerics

    predicate = content["predicate"]
    numbers = [made for made in predicate["checks"] if made["requirement"].startswith("NUM-")]
    ratios = [float(made["figures"]["ratio"]) for made in numbers if "ratio" in made["figures"]]
    if not ratios:
        return None
    claimed, ratio = predicate["candidate"]["claims"]["dtype"], max(ratios)
    # Rows that hold no numbers, or have another shape, have no error to speak of.
    none = any(made["outcome"] == State.FAIL and not made["figures"] for made in numbers)
    return Precision(claimed=claimed, found="" if none else numerics.found(ratio, claimed), ratio=ratio)


def share(made: Entry, dtype: str) -> float | None:
    """How much of its bound a case uses: the largest of three figures over its bound; above 1 it fails.

    Args:
        made: element of `checks`. dtype: that the candidate claims.

    Returns:
        None for a case that measured no row of numbers; NaN where what came are no numbers.
    """
    from llmasos_conformance import numerics

    figures = made["figures"]
    bounds = {"ratio": numerics.KAPPA_RMS, "position": numerics.KAPPA_POSITION, "peak": numerics.KAPPA_MAX}
    if not bounds.keys() <= figures.keys():
        return None
    shares = [float(figures[name]) / bound[dtype] for name, bound in bounds.items()]
    return max(shares, key=lambda value: math.inf if math.isnan(value) else value)


# ── projections: for people and for CI, made from a statement whose bytes were verified ──────────────────────────────


def headline(content: Mapping[str, Any]) -> str:
    """One line: who, in which profile, what came out."""
    predicate = content["predicate"]
    added = sum(1 for made in predicate["checks"] if made["outcome"] == State.PASS and made["emulated"])
    marks = {State.PASS: f", {added} of them with behaviour that the adapter adds"} if added else {}
    counts = ", ".join(
        f"{count} {state}{marks.get(State(state), '')}" for state, count in predicate["summary"].items() if count
    )
    who = predicate["candidate"]
    name, profile = clean(f"{who['name']} {who['version']}"), clean(predicate["suite"]["profile"])
    given = predicate.get("bundle")
    bundle = f" on the bundle {clean(given['name'])} {given['digest'][:12]}" if given else ""
    asked = predicate.get("endpoint")
    endpoint = f" at {clean(asked['url'])}" if asked else ""
    return f"{predicate['verdict']}: {name}, profile {profile}{bundle}{endpoint} ({counts})"


def read_together(content: Mapping[str, Any]) -> causes.Reading:
    """A statement's failures, read together; see `causes`."""
    return causes.read(
        patterns.Told(
            case=made["id"], requirement=made["requirement"], state=made["outcome"], message=made.get("message", ""),
            figures={name: float(text) for name, text in made["figures"].items()},
        )
        for made in content["predicate"]["checks"]
    )  # fmt: skip


def markdown(
    content: Mapping[str, Any], payload_digest: str, sentences: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """A page about a statement: verdict, what was not right, what was isolated, and all checks in a table.

    Args:
        sentences: requirement -> its sentence, "en" and "zh", for the likely causes.
    """
    predicate = content["predicate"]
    suite, run, candidate = predicate["suite"], predicate["run"], predicate["candidate"]
    claims = f"{candidate['claims']['dtype']} {candidate['claims']['determinism']}"
    lines = [
        f"# {cell(candidate['name'])} {cell(candidate['version'])}: {predicate['verdict']}",
        "",
        f"Profile `{suite['profile']}`, suite {cell(suite['version'])} `{suite['digest'][:16]}`, "
        f"seed `{run['seed']}`, {run['mode']}, claimed {claims}.",
        f"Report id `{payload_digest}`, run `{run['id']}`, {run['startedAt']} to {run['finishedAt']}{_asked(run)}.",
        "",
        *([f"{measured.sentence[0].upper()}{measured.sentence[1:]}.", ""] if (measured := precision(content)) else []),
        *_given(predicate.get("bundle")),
        *_endpoint(predicate.get("endpoint")),
        "| " + " | ".join(predicate["summary"]) + " | emulated |",
        "|" + "---|" * (len(predicate["summary"]) + 1),
        "| " + " | ".join(str(count) for count in predicate["summary"].values()) + f" | {predicate['emulated']} |",
        "",
    ]
    wrong = [made for made in predicate["checks"] if made["outcome"] not in ("pass", "not_declared", "not_applicable")]
    if wrong:
        lines += ["## Not right", ""]
        lines += [f"- **{made['outcome']}** `{made['id']}` ({made['requirement']}, {made['level']}): "
                  f"{cell(made.get('message', ''))}" for made in wrong]  # fmt: skip
        lines.append("")
    reading = read_together(content)
    if told := causes.told(reading, sentences or {}):
        lines += ["## What the failures have in common", "", *(f"- {cell(line.strip())}" for line in told), ""]
        lines += [*(f"- {cell(line.strip())}" for line in causes.told(reading, sentences or {}, "zh")), ""]
    if candidate["emulated"]:
        lines += ["## What the adapter does for the runtime", ""]
        lines += [f"- `{name}`: {cell(text)}" for name, text in candidate["emulated"].items()] + [""]
    lines += ["## Isolation", "", *(f"- {cell(sentence)}" for sentence in run["isolation"]), ""]
    lines += ["## Checks", "", "| case | requirement | level | outcome | figures |", "|---|---|---|---|---|"]
    for made in predicate["checks"]:
        figures = ", ".join(f"{name} {text}" for name, text in made["figures"].items())
        mark = " (emulated)" if made["emulated"] else ""
        lines.append(
            f"| `{made['id']}` | {made['requirement']} | {made['level']} | {made['outcome']}{mark} | {figures} |"
        )
    return "\n".join(lines) + "\n"


def _asked(run: Mapping[str, Any]) -> str:
    asked = run.get("asked")
    return f"; asked {asked['calls']} times, {asked['seconds']} s until the answers were there" if asked else ""


def _given(bundle: Mapping[str, Any] | None) -> list[str]:
    """What a page says of the bundle that somebody gave, with digests that `sha256sum` prints too."""
    if bundle is None:
        return []
    head = f"The verdict is about one model, {cell(bundle['name'])} ({bundle['architecture']}), and no other:"
    return [head, "", *(f"- `{name}` sha256 `{digest}`" for name, digest in bundle["files"].items()), ""]


def _endpoint(endpoint: Mapping[str, Any] | None) -> list[str]:
    """What a page says of the server that was asked."""
    if endpoint is None:
        return []
    head = (
        f"The verdict is about what a server answered in this run (subject `{endpoint_digest(endpoint)}`). Nobody "
        "could look at its model, and it may be another one tomorrow:"
    )
    return [head, "", *(f"- {name}: {cell(str(value))}" for name, value in endpoint.items()), ""]


def cell(text: str) -> str:
    """Foreign text inside Markdown: no markup, no links, no table breaks."""
    text = re.sub(r"([\\`*_{}\[\]<>|#!~&@])", r"\\\1", text)
    return re.sub(r"(?i)(https?|ftp|mailto|xmpp):|(www)\.", lambda m: f"{m[1]}\\:" if m[1] else f"{m[2]}\\.", text)


def junit(content: Mapping[str, Any], properties: Mapping[str, str] | None = None) -> str:
    """JUnit XML, which every CI reads. A state that is neither pass nor fail never becomes a silent pass.

    Args:
        properties: of the suite, for what is not a test.
    """
    predicate = content["predicate"]
    suite = f"llmasos.{predicate['suite']['profile']}"
    rows, counts = [], Counter[str]()
    for made in predicate["checks"]:
        name = f"  <testcase classname={quoteattr(suite)} name={quoteattr(made['id'])}"
        state, text = made["outcome"], made.get("message", "")
        kind = {"pass": "", "fail": "failure", "not_declared": "skipped", "not_applicable": "skipped"}.get(
            state, "error"
        )
        counts[kind] += 1
        if not kind:
            rows.append(f"{name}/>")
        elif kind == "skipped":
            rows.append(f"{name}><skipped message={quoteattr(state)}/></testcase>")
        else:
            body = escape(f"{made['requirement']} ({made['level']}): {text}")
            rows.append(f"{name}><{kind} type={quoteattr(state)} message={quoteattr(text)}>{body}</{kind}></testcase>")
    head = (
        f'<testsuite name={quoteattr(suite)} tests="{len(rows)}" '
        f'failures="{counts["failure"]}" errors="{counts["error"]}" skipped="{counts["skipped"]}" '
        f'timestamp="{predicate["run"]["startedAt"][:-1]}">'
    )
    told = [
        f"    <property name={quoteattr(key)} value={quoteattr(text)}/>" for key, text in (properties or {}).items()
    ]
    beside = ["  <properties>", *told, "  </properties>"] if told else []
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', head, *beside, *rows, "</testsuite>", ""])


# ── one outcome, explained ────────────────────────────────────────────────────────────────────────────────────────

_LABELS = {
    "en": (
        "requirement",
        "expected",
        "got",
        "where",
        "what such a failure would mean for users",
        "known bugs that also fail it",
        "reproduce",
        "no more is known",
    ),
    "zh": (
        "要求",
        "应为",
        "实为",
        "位置",
        "此类失败对使用者意味着",
        "同样未通过此用例的已知缺陷",
        "重现",
        "没有更多信息",
    ),
}
STATES_ZH = {
    "pass": "通过", "fail": "未通过", "error": "出错", "not_declared": "未声明", "not_applicable": "不适用",
    "waived": "已豁免", "not_run": "未运行", "inconclusive": "无定论",
}  # fmt: skip


def explain_outcome(
    outcome: Outcome, suite: Suite, lang: str = "en", *, adapter: str = "mine", seed: str | None = None,
    bundle: str = "",
) -> str:  # fmt: skip
    """A failure as a person needs it: what the standard demands, what came, where, why it matters, how to see it again.

    Args:
        outcome: of any state. suite: that the case is from. lang: "en" or "zh".
        adapter, seed, bundle: for the command that reproduces it.
    """
    requirement, expected, got, where, effect, like, reproduce, nothing = _LABELS[lang]
    case = suite.cases.get(outcome.case)
    sentence = (
        suite.requirements[outcome.requirement].sentence[lang] if outcome.requirement in suite.requirements else ""
    )
    state = state_in(outcome.state, lang)
    example = "" if outcome.example is None else f" [{outcome.example}]"
    # What a wrong answer does to people, and which bugs answer so, says nothing of a call that was not answered.
    fits = outcome.state is State.FAIL and not unanswered(outcome.message)
    bugs = knownbugs.fitting_bugs(outcome.case, outcome.requirement, outcome.message, outcome.figures) if fits else []
    lines = [f"{state} {outcome.case}{example}: {outcome.message or nothing}"]
    rows = [
        (requirement, f"{outcome.requirement} ({outcome.level}) {sentence}".rstrip()),
        (expected, outcome.expected),
        (got, outcome.got),
        (where, case.where if case else ""),
        (effect, case.effect.get(lang, "") if case and fits else ""),
        (like, "\n".join(bugs)),
        (reproduce, reproduce_command(case, adapter, seed, bundle) if case else ""),
    ]
    lines += [f"  {label}: {clean(text, 1000)}" for label, text in rows if text]
    return "\n".join(lines)


def state_in(state: State, lang: str) -> str:
    """The name of a state in a language."""
    return STATES_ZH[state] if lang == "zh" else str(state)


def reproduce_command(case: Case, adapter: str, seed: str | None = None, bundle: str = "") -> str:
    """The command that runs one case again, in whichever profile it is; with seed and bundle on the same inputs."""
    options = {"--adapter": adapter, "--llmasos-seed": seed or "", "--llmasos-bundle": bundle}
    quoted = [f"{name}={shlex.quote(text)}" for name, text in options.items() if text]
    return " ".join(["pytest", quoted[0], case.node_id, *quoted[1:]])


def write_text(path: Path, text: str) -> None:
    """UTF-8 with plain line ends on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")
