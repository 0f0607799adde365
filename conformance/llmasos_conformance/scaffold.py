"""What `llmasos init` writes into a vendor's repository, and how: all of it or nothing, and over nothing.

    examples/<language>/        the adapter to begin with, a candidate that passes as it stands; `template.toml` says
                                which files are copied, and what a person has to know of them
    examples/<language>-<arch>/ the same for profiles of another architecture than GPT-3
    docs/ci/                    workflow, policies and file of known failures, as everybody may copy them
    here                        llmasos.toml and a section of the README

A template is an example and works as it is copied. What changes from vendor to vendor is the name, which stands in the
files as "mine", in quotation marks; and in an adapter that several architectures share, the one that is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from llmasos_conformance.errors import HarnessError

LANGUAGES = ("python", "node", "cpp", "http")
MARK = '"mine"'
"""What stands in the files of a template where the vendor's name goes, in the same quotation marks."""
COMPUTED = b'ARCHITECTURES = ("GPT-3",)'
"""What stands in an adapter that computes what its engine does, and takes the place of any decoder's."""
PROFILE = "core/gpt/logits"
TEMPLATE = "template.toml"
CONFIG, README, KNOWN, WORKFLOW = "llmasos.toml", "README.md", "ci/known-failures.yaml", ".github/workflows/llmasos.yml"
POLICIES = ("gate.yaml", "gate-unsigned.yaml")
BEGIN, END = "<!-- llmasos: begin -->", "<!-- llmasos: end -->"
"""Around our section of a README, so that it can be found again."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OPTIONAL: Mapping[str, Any] = {
    "prepare": [], "serve": "", "profile": PROFILE, "passes": [], "needs": [], "gpt": [], "note": ""
}  # fmt: skip
_NEED = ({"program", "get"}, {"program", "get", "version"})
"""Least and most that is told of a program."""


class ScaffoldError(HarnessError):
    """Nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A language's adapter to begin with.

    Attributes:
        language: its name. files: name in the vendor's directory -> where it is copied from.
        address: where an adapter made of it is found.
        prepare: commands that a person runs first. serve: command that a person leaves running, or "".
        profile: that the workflow certifies. passes: that it passes as it stands, this one too.
        needs: program on PATH -> how to get it.
        gpt: files that know no architecture but GPT-3. note: which files are the vendor's to replace.
    """

    language: str
    files: Mapping[str, Path]
    address: str
    prepare: tuple[str, ...] = ()
    serve: str = ""
    profile: str = PROFILE
    passes: tuple[str, ...] = (PROFILE,)
    needs: Mapping[str, str] = field(default_factory=dict)
    gpt: tuple[str, ...] = ()
    note: str = ""

    def missing(self, find: Callable[[str], str | None] = shutil.which) -> dict[str, str]:
        """Programs that are needed and not on PATH."""
        return {program: how for program, how in self.needs.items() if find(program) is None}


def examples() -> Path:
    """Where the templates lie: in the package of a wheel, beside the package's root in a checkout.

    Raises:
        ScaffoldError: in neither place.
    """
    return _found(Path(__file__).parent / "examples", Path(__file__).parents[2] / "examples")


def docs() -> Path:
    """The pages of docs/, where they are installed."""
    return _found(Path(__file__).parent / "docs", Path(__file__).parents[2] / "docs")


def pipelines() -> Path:
    """Where workflow and policies lie, likewise."""
    return docs() / "ci"


def _found(*places: Path) -> Path:
    for place in places:
        if place.is_dir():
            return place
    raise ScaffoldError("no templates are installed", where=places[0], hint="pip install --force-reinstall llmasos")


def read(root: Path, language: str, architecture: str = "") -> Template:
    """The template of a language, of an architecture where it has one of its own.

    Args:
        root: directory of the templates. architecture: that the engine to come computes, "" for any.

    Raises:
        ScaffoldError: there is none, it is malformed, or a file of it is missing.
    """
    path = root / language / TEMPLATE
    own = root / f"{language}-{architecture.lower()}" / TEMPLATE
    if architecture and own.is_file():
        path = own
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(each for each in LANGUAGES if (root / each / TEMPLATE).is_file()) or "none"
        raise ScaffoldError(f"there is no template for {language} here", where=root, hint=f"there is {there}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScaffoldError(f"not valid TOML: {error}", where=path) from None
    return _template(language, document, path)


def _template(language: str, document: Mapping[str, Any], path: Path) -> Template:
    def must(condition: object, what: str) -> None:
        if not condition:
            raise ScaffoldError(what, where=path)

    def texts(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(each, str) and each for each in value)

    must({"files", "address"} <= document.keys() <= {"files", "address", *_OPTIONAL}, f"keys are {sorted(document)}")
    told = {**_OPTIONAL, **document}
    must(texts(told["files"]) and told["files"], "files is no list of names")
    must(texts(told["prepare"]), "prepare is no list of commands")
    must(texts(told["passes"]), "passes is no list of profiles")
    must(all(isinstance(told[name], str) for name in ("address", "serve", "profile", "note")), "a text was due")
    needs = told["needs"]
    must(isinstance(needs, list), "needs is no list of programs")
    for need in needs:
        fits = isinstance(need, dict) and _NEED[0] <= need.keys() <= _NEED[1]
        must(fits and all(isinstance(text, str) for text in need.values()), "a program has program, get and version")
    files = {}
    for name in told["files"]:
        # What two templates share lies in one of them; in the vendor's directory it lies beside the rest.
        place = PurePosixPath(name)
        target = PurePosixPath(*place.parts[2:]) if place.parts[0] == ".." else place
        must(target.parts and not target.is_absolute() and ".." not in target.parts, f"{name} leads elsewhere")
        files[str(target)] = path.parent / place
        must(files[str(target)].is_file(), f"{name} is missing")
    must(texts(told["gpt"]) and {*told["gpt"]} <= files.keys(), "gpt is no list of files that are copied")
    return Template(
        language=language, files=files, address=told["address"], prepare=tuple(told["prepare"]), serve=told["serve"],
        profile=told["profile"], passes=(told["profile"], *told["passes"]), gpt=tuple(told["gpt"]), note=told["note"],
        needs={each["program"]: "; ".join(each[key] for key in ("version", "get") if key in each) for each in needs},
    )  # fmt: skip


def check_name(name: str) -> str:
    """A name that may stand in code, in addresses and in reports.

    Raises:
        ScaffoldError: it is none.
    """
    if not _NAME.fullmatch(name):
        what = f"{name!r:.80} is no name: letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
        raise ScaffoldError(what, hint=f"--name {name_of(Path(name))}")
    return name


def name_of(directory: Path) -> str:
    """A name made of a directory's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", directory.name).strip("._-")[:64] or "mine"


def plan(
    template: Template, pipeline: Path, name: str, readme: str | None = None, architectures: Sequence[str] = ("GPT-3",)
) -> dict[str, bytes]:
    """All that is written: path with forward slashes -> content.

    Args:
        architectures: that the engine to come computes.
        pipeline: directory of workflow and policies. name: of the candidate.
        readme: the README that is there, whose text stays around our section; None where there is none.
    """
    mark, said = MARK.encode(), f'"{name}"'.encode()
    computed = f"ARCHITECTURES = ({', '.join(map(json.dumps, architectures))},)".encode()
    made = {
        target: source.read_bytes().replace(mark, said).replace(COMPUTED, computed)
        for target, source in template.files.items()
    }
    made[CONFIG] = _config(template, name).encode()
    made[KNOWN] = (pipeline / "known-failures.yaml").read_bytes()
    for policy in POLICIES:
        text = (pipeline / policy).read_text(encoding="utf-8")
        made[f"ci/{policy}"] = _replaced(text, PROFILE, template.profile).encode()
    made[WORKFLOW] = _workflow((pipeline / "github-actions.yml").read_text(encoding="utf-8"), template).encode()
    made[README] = _with_section(readme if readme is not None else f"# {name}\n", _section(template, name)).encode()
    return made


def _config(template: Template, name: str) -> str:
    first = f"# It has to run before it is asked: {template.serve}\n" if template.serve else ""
    return (
        f"# Where LLMasOS finds {name}: `llmasos smoke` and `llmasos try` look here, other commands take @default.\n"
        f"{first}[profiles.default]\nadapter = {json.dumps(template.address)}\n"
        f"profile = {json.dumps(template.profile)}   # asked where a command line names none\n"
    )


def _replaced(text: str, old: str, new: str) -> str:
    """A text with another part in it; ValueError where that part is not there, as nobody may change one of the two."""
    if old not in text:
        raise ValueError(f"{old!r} is not in the template")
    return text.replace(old, new)


_INSTALL = "run: python -m pip install llmasos\n"
_COPY = " Copy to .github/workflows/llmasos.yml, and the policies to ci/; see docs/gates.md."


def _workflow(text: str, template: Template) -> str:
    """The workflow that everybody may copy, for this adapter and with what has to run before."""
    smoke = ["llmasos smoke"]
    if template.serve:
        # A server needs a moment; whoever is started by the harness is waited for.
        smoke = [f"nohup {template.serve} > server.log 2>&1 &", "for wait in 1 2 4 8 0; do", "  llmasos smoke && break",
                 "  if [ $wait = 0 ]; then exit 1; fi", "  sleep $wait", "done"]  # fmt: skip
    steps = (
        f"run: |\n{_script([_INSTALL[5:-1], *template.prepare])}      - name: Smoke\n        run: |\n{_script(smoke)}"
    )
    text = _replaced(text, _COPY, " `llmasos init` wrote this, and the policies in ci/.")
    text = _replaced(text, "ADAPTER: ./adapter.py:Mine", "ADAPTER: '@default'")
    text = _replaced(text, f"PROFILE: {PROFILE}", f"PROFILE: {template.profile}")
    return _replaced(text, _INSTALL, steps)


def _script(lines: Sequence[str]) -> str:
    return "".join(f"          {line}\n" for line in lines)


def _section(template: Template, name: str) -> str:
    """What a README says, in the order in which a newcomer needs it."""
    commands = {
        "pip install llmasos": "",
        **dict.fromkeys(template.prepare, ""),
        **({template.serve: "leave it running, and go on in another terminal"} if template.serve else {}),
        "llmasos smoke": "is the wiring right? No verdict",
        "llmasos try": "one case, and what travels",
        "pytest --adapter=@default": "a verdict for yourself",
        f"llmasos certify --adapter @default --profile {template.profile} --out report": "a report for others",
    }
    width = max(map(len, commands))
    needs = [f"- {program} is needed: {how}" for program, how in template.needs.items()]
    return "\n".join(
        [
            "## Conformance",
            "",
            f"{name} is held to the LLMasOS standard. Its adapter is found at `{template.address}`,",
            f"as `{CONFIG}` says.",
            "",
            *([*needs, ""] if needs else []),
            "```sh",
            *(f"{command:<{width}}  # {why}" if why else command for command, why in commands.items()),
            "```",
            "",
            f"Failures that are known stand in `{KNOWN}`, each with a reason, a symptom and a last day; pytest takes",
            f"it as `--llmasos-known-failures={KNOWN}`. `{WORKFLOW}` certifies every change and",
            "holds the report against the policies in `ci/`.",
        ]
    )


def _with_section(text: str, section: str) -> str:
    """A README with our section in the place of an earlier one, or behind everything else."""
    block = f"{BEGIN}\n{section}\n{END}"
    before, end, after = text.partition(END)
    before, begin, _ = before.rpartition(BEGIN)  # a beginning without an end is the vendor's text, and what follows too
    if begin and end:
        return f"{before}{block}{after}"
    return f"{text.rstrip()}\n\n{block}\n"


# ── effects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def readme_in(directory: Path) -> str | None:
    """The README that is there.

    Raises:
        ScaffoldError: it is a link or no file, or cannot be read as text.
    """
    path = directory / README
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise ScaffoldError("is no file of its own, and is not written through", where=path, hint="move it")
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ScaffoldError(f"cannot be read: {error}", where=path) from None


def check_free(directory: Path, files: Mapping[str, bytes], readme: str | None, *, force: bool) -> None:
    """Whether all may be written there.

    Raises:
        ScaffoldError: the directory is none; something is in the way; without `force` also: a file is there already, or
            the README has our section.
    """
    if os.path.lexists(directory) and not directory.is_dir():
        raise ScaffoldError("is no directory", where=directory, hint="--dir DIRECTORY")
    there = [name for name in files if os.path.lexists(directory / name)]
    folders = {parent for name in files for parent in PurePosixPath(name).parents}
    blocked = [name for name in there if (directory / name).is_dir()]
    blocked += [str(each) for each in folders if os.path.lexists(directory / each) and not (directory / each).is_dir()]
    # A link to a directory leads elsewhere; that the directory itself is one is its owner's choice.
    blocked += [str(each) for each in folders if str(each) != "." and (directory / each).is_symlink()]
    if blocked:
        raise ScaffoldError(f"{', '.join(sorted(blocked))} is in the way", where=directory, hint="move it")
    kept = [name for name in there if name != README or (readme is not None and BEGIN in readme)]
    if kept and not force:
        what = f"{', '.join(kept)} {'is' if len(kept) == 1 else 'are'} there already; nothing was written"
        raise ScaffoldError(what, where=directory, hint="--dir with another directory, or --force to write over them")


def kept_in(directory: Path) -> tuple[str, ...]:
    """What nothing writes over, as it is the vendor's from the first: failures that somebody has learned to know."""
    return tuple(name for name in (KNOWN,) if os.path.lexists(directory / name))


def left_in(directory: Path, root: Path, files: Mapping[str, object]) -> dict[str, str]:
    """Files that are there under a name of another language's template and are not written now: name -> language."""
    return {
        name: language
        for language in LANGUAGES
        if (root / language / TEMPLATE).is_file()
        for name in read(root, language).files
        if name not in files and (directory / name).is_file()
    }


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write all files, or none: what was done before something failed is undone.

    Raises:
        ScaffoldError: something cannot be written.
    """
    undo: list[Callable[[], object]] = []
    try:
        for name, content in files.items():
            target = directory / name
            for folder in _absent(target.parent):
                folder.mkdir()
                undo.append(folder.rmdir)
            _put(target, content, undo)
    except BaseException as error:
        for action in reversed(undo):
            with contextlib.suppress(OSError):
                action()
        if isinstance(error, OSError):
            where = error.filename or directory
            raise ScaffoldError(f"cannot be written: {error.strerror}; nothing was", where=where) from None
        raise


def _absent(folder: Path) -> Sequence[Path]:
    """A folder and those above it that are not there, the uppermost first."""

    def upwards() -> Iterator[Path]:
        place = folder
        while not place.exists():
            yield place
            place = place.parent

    return list(upwards())[::-1]


def _put(target: Path, content: bytes, undo: list[Callable[[], object]]) -> None:
    """A whole file in its place, at once; `undo` gets what takes it away, or puts back what was there."""
    part = target.with_name(target.name + ".part")
    with part.open("xb") as stream:
        undo.append(lambda: part.unlink(missing_ok=True))
        stream.write(content)
    old = target.read_bytes() if target.is_file() else None
    if old is not None:
        shutil.copymode(target, part)
    part.replace(target)
    undo.append(target.unlink if old is None else lambda: target.write_bytes(old))
