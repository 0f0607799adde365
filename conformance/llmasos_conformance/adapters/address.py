"""Addresses: what they may look like, where they lead, and what to say when they lead nowhere.

`check_address` finds without importing anything, so that a pytest controller may call it. `load` imports. A relative
file, an uninstalled module or entry point and a profile are looked for in `directory`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import reduce
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from llmasos_conformance.adapters import nearby
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import CAPABILITIES, DETERMINISM, DTYPES

GROUP = "llmasos.adapters"

BUILT_IN: Mapping[str, str] = {
    "reference": "llmasos_conformance.adapters.reference:ReferenceAdapter",
    "transformers": "llmasos_conformance.adapters.transformers:TransformersAdapter",
    "honest": "llmasos_conformance.mutants:HonestAdapter",
    "mutant": "llmasos_conformance.mutants:MutantAdapter",
    "null": "llmasos_conformance.mutants:NullAdapter",
}
"""The adapters of this package, so that they are found in a checkout that nobody installed."""

_REQUIRES: Mapping[str, str] = {"reference": "llmasos"}
"""Package whose directory an isolated interpreter needs on its path, by built-in name."""

_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<attribute>[^:/\\]*))?")
_OBJECT = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<attribute>\w+(?:\.\w+)*)")
_NAME = re.compile(r"[\w.-]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


OPENAI = "openai:"
APIS = ("completions", "chat")
_MODEL = re.compile(r"[!-~]{1,200}")
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_SOFTWARE = re.compile("[A-Za-z0-9][A-Za-z0-9 ._+/-]{0,59}")
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What an `openai:` address says of a hosted model behind its `#`, as `name=value` joined by `&`; %26 is a `&`.

    Attributes:
        model: its name in requests. api: which of APIS is judged.
        offers: capabilities, joined by `+`, that it is held to beside those that are found by asking.
        dtype, determinism: what it claims. The coarsest dtype stands where nothing is said: nothing here measures it.
        region: where it runs, if that makes a difference. weights: SHA-256 that is claimed for its weights, or "".
        version: which software answers, of which version, as its operator says.
    """

    model: str
    api: str = "completions"
    offers: tuple[str, ...] = ()
    dtype: str = "bfloat16"
    determinism: str = "D1"
    region: str = ""
    weights: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an address leads.

    Attributes:
        address: as given.
        command: argument vector of a process; empty for Python objects and servers.
        scheme, host, port, path: of a server; host is empty for everything else.
        token: name of the environment variable that holds its bearer token, or "".
        endpoint: of a hosted model behind an API like OpenAI's; None for everything else.
        module: dotted name, or path of a .py file. attribute: dotted name in it. argument: for its maker, or "".
        roots: directories that an interpreter needs on its path to import it.
    """

    address: str
    command: tuple[str, ...] = ()
    module: str = ""
    attribute: str = ""
    argument: str = ""
    roots: tuple[Path, ...] = ()
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    token: str = ""
    endpoint: Endpoint | None = None

    @property
    def canonical(self) -> str:
        """An address of the object that needs neither names nor a directory."""
        return f"{self.module}:{self.attribute}"

    @property
    def url(self) -> str:
        """Of a server, in one form only: the port always there, no slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path.rstrip('/')}"

    def descriptor(self) -> dict[str, str] | None:
        """What names a hosted model; None for everything else. Nothing else of it can be hashed."""
        if self.endpoint is None:
            return None
        said = {name: getattr(self.endpoint, name) for name in ("region", "weights", "version")}
        return {
            "api": f"openai/{self.endpoint.api}", "url": self.url, "model": self.endpoint.model,
            **{name: text for name, text in said.items() if text},
        }  # fmt: skip


def known() -> dict[str, str]:
    """Adapters by name: `pkg.mod:attr` of every entry point and of what is built in."""
    return {**BUILT_IN, **{point.name: point.value for point in entry_points(group=GROUP)}}


def check_address(address: str, directory: str | Path | None = None) -> Target:
    """Find where an address leads. Nothing is imported and nothing is started.

    Args:
        address: see the package. directory: where relative addresses start; default the current one.

    Raises:
        AddressError: nowhere; says where it looked, what lies near, and how to list adapters.
    """
    if not isinstance(address, str) or not address.strip():
        raise AddressError("the address is empty", hint=f"--adapter=reference, or {nearby.LIST}")
    try:
        return _found(address, Path(directory or ".").resolve())
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, names too long, homes of nobody
        what = f"cannot look there: {getattr(error, 'strerror', None) or error}"
        raise AddressError(what, where=f"{_shown(address):.200}", hint=f"check the path; {nearby.LIST}") from error


def _found(address: str, here: Path) -> Target:
    """Where an address leads, as long as the system lets us look."""
    if address.startswith("@"):
        return check_address(_profile(address, here), here)
    if address.startswith(("http://", "https://")):
        return _server(address)
    if address.startswith(OPENAI):
        return _hosted(address)
    if address.startswith("cmd:"):
        return Target(address=address, command=_command(address, here))
    names = known()
    name, _, argument = address.partition(":")
    if name in names:
        return _named(address, name, names[name], argument, here)
    if _URL.match(address) and name not in _uninstalled(here):
        raise _other_scheme(address)
    if match := _FILE.fullmatch(address):
        return _in_file(address, match["file"], match["attribute"] or "", here)
    local = _uninstalled(here)
    if name in local:
        return _named(address, name, local[name], argument, here)
    if match := _OBJECT.fullmatch(address):
        return _in_module(address, match["module"], match["attribute"], "", here)
    raise _nowhere(address, name, {**names, **local}, here)


def _nowhere(address: str, name: str, names: Iterable[str], here: Path) -> AddressError:
    if "//" in address and "@" in address:  # a URL that is none, with what may be a secret in it
        what = "no adapter has such a name; a server is named by http://… or https://…"
        return AddressError(what, where=_shown(address), hint=nearby.LIST)
    if nearby.is_command(address, here):
        return AddressError("a command has cmd: before it", where=address, hint=nearby.quoted(f"cmd:{address}"))
    if nearby.is_path(name):
        return nearby.at_path(address, name, here)
    names = sorted(names)
    near = get_close_matches(name, names, 3, 0.5)
    if (here / f"{name}.py").is_file():
        hint = f"./{name}.py:NAME, where NAME is the adapter in that file"
    elif (here / name).is_file():
        hint = f"{nearby.offer(here / name, f'./{name}')} runs that file as a program"
    elif near:
        hint = f"{' or '.join(near)}; {nearby.LIST}"
    elif (here / name).is_dir():
        return nearby.at_path(address, name, here)
    else:
        hint = nearby.LIST
    forms = "name, pkg.mod:attr, ./file.py:attr, cmd:…, http://…, https://…, openai:http://…, @profile"
    form = "" if _NAME.fullmatch(name) else f"; forms are {forms}"
    looked = f"looked at entry points of {GROUP}, built-in adapters and entry points in {here / 'pyproject.toml'}"
    return AddressError(f"no adapter {name!r:.80}: {looked}{form}", where=address, hint=hint)


def _other_scheme(address: str) -> AddressError:
    """What to say of a URL of a kind that nobody here speaks."""
    scheme, _, rest = _shown(address).partition("://")
    if scheme.lower() in ("http", "https"):
        hint = f"{scheme.lower()}://{rest}"
    elif scheme.lower() == "file":
        hint = "a file is named by its path: ./file.py:NAME, or 'cmd:./program'"
    else:
        hint = f"http://127.0.0.1:8000 for a server that speaks the protocol, {_HOSTED} for an API like OpenAI's"
    what = f"no server is reached by {scheme}://; understood are http:// and https://, alone and behind {OPENAI}"
    return AddressError(what, where=_shown(address), hint=hint)


def _named(address: str, name: str, value: str, argument: str, here: Path) -> Target:
    module, _, attribute = value.partition(":")
    target = _in_module(address, module, attribute, argument, here)
    needed = _REQUIRES.get(name) if name in BUILT_IN else None
    if needed is None:
        return target
    spec = _find(needed, here)
    if spec is None:
        raise AddressError(f"package {needed!r} is not installed", where=address, hint="pip install llmasos")
    return Target(
        address=address, module=module, attribute=attribute, argument=argument, roots=(_root(spec), *target.roots)
    )


def unlinked(path: Path) -> Path:
    """An absolute path whose last part is kept where it is a link: the Python of a virtual environment is one, and is
    that environment's by where it lies."""
    return path.parent.resolve() / path.name


def _look(path: Path) -> None:
    """Have the system say why it cannot look there, such as links in a circle: paths alone keep that to themselves.

    Raises:
        OSError: it cannot. That nothing is there is no reason.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def _command(address: str, here: Path) -> tuple[str, ...]:
    try:
        words = shlex.split(address.removeprefix("cmd:"))
    except ValueError as error:
        raise AddressError(f"the command cannot be split into words: {error}", where=address, hint="quote it") from None
    if not words:
        raise AddressError("the command is empty", where=address, hint="cmd:./program --flag")
    program = words[0]
    if (whole := nearby.with_spaces(address, here)) is not None:
        what = f"no program {program!r}: a path with spaces is quoted, or it ends at the first"
        raise AddressError(what, where=address, hint=whole)
    if "/" in program or "\\" in program:
        _look(here / program)
        path = unlinked(here / program)
        if nearby.is_dir(path):
            raise nearby.in_directory(address, path, program)
        if not nearby.is_file(path):
            raise AddressError(f"no program {path}", where=address, hint=nearby.alike(path, program))
        if not os.access(path, os.X_OK):
            raise AddressError(f"{path} is not executable", where=address, hint=nearby.offer(path, program))
        return (str(path), *words[1:])
    found = shutil.which(program)
    if found is None:
        hint = f"cmd:./{program}" if nearby.is_file(here / program) else "give its path, or put it on PATH"
        raise AddressError(f"no program {program!r} on PATH", where=address, hint=hint)
    return (found, *words[1:])


def _server(address: str) -> Target:
    """A server. What an address says stands in reports, shells and logs, so no secret may be in it."""
    parts, port = _url(address)
    name, _, value = parts.fragment.partition("=")
    token = _variable(address, parts, value if name == "token" else "") if parts.fragment else ""
    host, path = parts.hostname or "", parts.path or "/"
    return Target(address=address, scheme=parts.scheme, host=host, port=port, path=path, token=token)


def _hosted(address: str) -> Target:
    """A hosted model: a URL, and behind its # what has to be known of it."""
    if not address.removeprefix(OPENAI).startswith(("http://", "https://")):
        raise AddressError("behind openai: stands no URL of http:// or https://", where=_shown(address), hint=_HOSTED)
    parts, port = _url(address.removeprefix(OPENAI))
    given: dict[str, str] = {}
    for part in filter(None, parts.fragment.split("&")):
        name, equals, value = part.partition("=")
        if not equals or name in given:
            raise AddressError(f"{part!r:.60} is no option behind #, or stands twice", where=address, hint=_HOSTED)
        given[name] = unquote(value)
    token = _variable(address, parts, given.pop("token")) if "token" in given else ""
    offers = tuple(sorted(filter(None, given.pop("offers", "").split("+"))))
    options = [*Endpoint.__dataclass_fields__, "token"]
    for name in given:
        if name not in options:
            near = get_close_matches(name, options, 1, 0.5)
            hint = near[0] if near else ", ".join(options)
            raise AddressError(f"no option {name!r:.60} behind #", where=address, hint=hint)
    endpoint = Endpoint(**{"model": "", **given}, offers=offers)
    _check_endpoint(address, endpoint)
    host, path = parts.hostname or "", parts.path or "/v1"
    return Target(
        address=address, scheme=parts.scheme, host=host, port=port, path=path, token=token, endpoint=endpoint
    )  # fmt: skip


_HOSTED = "openai:http://127.0.0.1:8000/v1#model=NAME&token=VARIABLE"


def _check_endpoint(address: str, endpoint: Endpoint) -> None:
    for name, value, fits, due in (
        ("model", endpoint.model, _MODEL.fullmatch(endpoint.model), "the model's name in requests, visible ASCII"),
        ("api", endpoint.api, endpoint.api in APIS, " or ".join(APIS)),
        ("dtype", endpoint.dtype, endpoint.dtype in DTYPES, ", ".join(DTYPES)),
        ("determinism", endpoint.determinism, endpoint.determinism in DETERMINISM, ", ".join(DETERMINISM)),
        ("region", endpoint.region, not endpoint.region or _PLACE.fullmatch(endpoint.region), "letters, digits, . _ -"),
        ("weights", endpoint.weights, not endpoint.weights or _DIGEST.fullmatch(endpoint.weights), "64 digits of hex"),
        (
            "version",
            endpoint.version,
            not endpoint.version or _SOFTWARE.fullmatch(endpoint.version),
            "letters, digits, blanks, . _ + / -",
        ),
    ):
        if not fits:
            raise AddressError(f"{name}={value!r:.60} behind #; {due} is due", where=address, hint=_HOSTED)
    for name in endpoint.offers:
        if name not in CAPABILITIES:
            near = get_close_matches(name, CAPABILITIES, 3, 0.5) or ["stop", "stream", "seed", "logprobs"]
            raise AddressError(f"offers={name!r:.60}: no such capability", where=address, hint=" or ".join(near))


def _shown(address: str) -> str:
    """An address without what may be a secret in it."""
    return re.sub("//.*@", "//…@", address.partition("?")[0])


def _url(address: str) -> tuple[SplitResult, int]:
    """The parts of a URL that may be shown and stored, and its port."""
    shown = _shown(address)
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError as error:
        raise AddressError(f"not a URL: {error}", where=shown, hint="http://127.0.0.1:8000") from None
    host = parts.hostname or ""
    if not host or re.search(r"[^!-~]", address):
        raise AddressError("not a URL of visible ASCII with a host", where=shown, hint="http://127.0.0.1:8000")
    if "@" in parts.netloc or parts.query:
        what = "a password or a query has no place in an address, which is shown and stored"
        raise AddressError(what, where=shown, hint="put a token into a variable and name it: …#token=VARIABLE")
    return parts, port


def _variable(address: str, parts: SplitResult, name: str) -> str:
    """The name of the variable that holds a token, where the way to the server keeps what it holds."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        what = "what stands as token behind # does not name a variable"  # it may be a token, which is not to be shown
        hint = "token=VARIABLE, the variable's name and not its value"
        raise AddressError(what, where=_shown(address).partition("#")[0] + "#…", hint=hint)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        what = "a token would travel over the network for everybody to read"
        raise AddressError(what, where=_shown(address), hint="https://…")
    return name


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _in_file(address: str, file: str, attribute: str, here: Path) -> Target:
    path = here / Path(file).expanduser()
    _look(path)
    path = path.resolve()
    if not path.is_file():
        raise AddressError(f"no file {path}", where=address, hint=nearby.alike(path, file, ".py"))
    if not attribute:
        offered = ", ".join(shlex.quote(f"{file}:{name}") for name in nearby.definitions(path)[:3])
        raise AddressError("the address names no object in the file", where=address, hint=offered or f"{file}:NAME")
    return Target(address=address, module=str(path), attribute=attribute, roots=(path.parent,))


def _in_module(address: str, module: str, attribute: str, argument: str, here: Path) -> Target:
    spec = _find(module, here)
    if spec is None:
        parts = module.split(".")
        missing = next(
            ".".join(parts[:n]) for n in range(1, len(parts) + 1) if _find(".".join(parts[:n]), here) is None
        )
        looked = f"looked on sys.path ({len(sys.path)} entries) and in {here}"
        near = get_close_matches(missing.rpartition(".")[2], [*known(), *(p.stem for p in here.glob("*.py"))], 3, 0.5)
        hint = f"{' or '.join(near) or 'install the package, or start in its directory'}; {nearby.LIST}"
        raise AddressError(f"no module {missing!r}: {looked}", where=address, hint=hint)
    top = _find(module.partition(".")[0], here)
    assert top is not None
    return Target(address=address, module=module, attribute=attribute, argument=argument, roots=(_root(top),))


def _find(module: str, here: Path) -> ModuleSpec | None:
    """The spec of a module, without importing it or its parents."""
    top, _, rest = module.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    spec = spec or PathFinder.find_spec(top, [str(here)])
    name = top
    for part in rest.split(".") if rest else ():
        if spec is None:
            break
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations) if spec.submodule_search_locations else None
    return spec


def _root(spec: ModuleSpec) -> Path:
    """The directory on the path in which a top-level module lies."""
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(spec.origin or ".").parent


DEFAULT = "default"
"""The profile that stands for an address that was not given."""


def default_address(directory: str | Path | None = None) -> str:
    """The profile of a directory that stands for an address that was not given: @default, or the only one there is.

    Raises:
        AddressError: there is none, or there are several and none is called default.
    """
    found, looked = _profiles(Path(directory or ".").resolve())
    if DEFAULT in found or len(found) == 1:
        return f"@{DEFAULT if DEFAULT in found else next(iter(found))}"
    if found:
        hint = " or ".join(f"@{name}" for name in found)
        raise AddressError(f"which adapter? {len(found)} profiles are there, none is called {DEFAULT!r}", hint=hint)
    hint = f'give its address, or [profiles.{DEFAULT}] with adapter = "…" in llmasos.toml; `llmasos init` writes one'
    raise AddressError(f"which adapter? No address was given, and none is in {looked}", hint=hint)


def profiles_in(directory: str | Path | None = None) -> dict[str, Any]:
    """Profiles by name, as the files of a directory have them; not judged.

    Raises:
        AddressError: a file is not TOML.
    """
    return _profiles(Path(directory or ".").resolve())[0]


def _places(here: Path) -> tuple[tuple[Path, tuple[str, ...]], ...]:
    """Files and tables that profiles stand in; what the first one has counts."""
    return (here / "llmasos.toml", ("profiles",)), (here / "pyproject.toml", ("tool", "llmasos", "profiles"))


def _profiles(here: Path) -> tuple[dict[str, Any], str]:
    """Profiles by name, and the places where they were looked for."""
    places = _places(here)
    found: dict[str, Any] = {}
    for path, keys in places:
        found = {**_table(path, keys), **found}
    return found, " and ".join(f"[{'.'.join(keys)}] of {path}" for path, keys in places)


@dataclass(frozen=True, slots=True)
class Named:
    """The profile of the suites that a table of a directory asks for, and where that stands."""

    profile: str
    where: str


def named_profile(address: str, directory: str | Path | None = None) -> Named | None:
    """What is asked of an adapter where no command line says it: `profile` of the table that an address @NAME means.

    Returns:
        None for every other address, and where the table has no such key. Whether there is such a profile is not known
        here.

    Raises:
        AddressError: it is no text, or a file is not TOML.
    """
    if not address.startswith("@"):
        return None
    name = address.removeprefix("@")
    for path, keys in _places(Path(directory or ".").resolve()):
        table = _table(path, keys).get(name)
        if table is not None:  # the first file that has the table counts, as it does for its adapter
            profile = table.get("profile") if isinstance(table, dict) else None
            where = f"{path}: `profile` of [{'.'.join((*keys, name))}]"
            if profile is not None and not isinstance(profile, str):
                raise AddressError("is no text", where=where, hint='profile = "core/gpt/logits"')
            return None if profile is None else Named(profile, where)
    return None


def _profile(address: str, here: Path) -> str:
    name = address.removeprefix("@")
    found, looked = _profiles(here)
    if name in found:
        profile = found[name]
        adapter = profile.get("adapter") if isinstance(profile, dict) else None
        if not isinstance(adapter, str) or adapter.startswith("@"):
            what = f"profile {name!r} has no `adapter` that is an address"
            raise AddressError(what, where=address, hint='adapter = "pkg.mod:attr"')
        return adapter
    near = get_close_matches(name, found, 3, 0.5)
    hint = " or ".join(f"@{n}" for n in near) or f'[profiles.{name or "NAME"}] with adapter = "…" in llmasos.toml'
    raise AddressError(f"no profile {name!r}: looked at {looked}", where=address, hint=hint)


def _table(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """A table of a TOML file; empty where file or table is absent."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AddressError(f"not valid TOML: {error}", where=path, hint="mend the file") from None
    table: Any = reduce(lambda level, key: level.get(key, {}) if isinstance(level, dict) else {}, keys, document)
    return dict(table) if isinstance(table, dict) else {}


def _uninstalled(here: Path) -> dict[str, str]:
    """Entry points that the project in this directory declares, installed or not."""
    table = _table(here / "pyproject.toml", ("project", "entry-points", GROUP))
    return {name: value for name, value in table.items() if isinstance(value, str)}


# ── importing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def load(target: Target) -> Any:
    """Import the adapter of a target, and make it if it is a class or function.

    Raises:
        AddressError: importing or making it fails, or what is there is no adapter.
    """
    for root in target.roots:
        if str(root) not in sys.path:
            sys.path.append(str(root))
    module = _guarded(target, "importing it", lambda: _import(target))
    try:
        found = reduce(getattr, target.attribute.split("."), module)
    except AttributeError:
        hint = " or ".join(_adapters_in(module, target.attribute)[:3]) or "define it, with describe and load_model"
        raise AddressError(f"{target.module} has no {target.attribute!r}", where=target.address, hint=hint) from None
    if isinstance(found, type) or not hasattr(found, "describe"):
        found = _make(target, found)
    serves = any(callable(getattr(found, name, None)) for name in APIS)  # a model that nobody loads
    needed = ("describe",) if serves else ("describe", "load_model")
    missing = [name for name in needed if not callable(getattr(found, name, None))]
    if missing:
        what = f"{type(found).__name__} is no adapter: it has no method {' and no method '.join(missing)}"
        raise AddressError(what, where=target.address, hint="see llmasos_conformance.protocol.Adapter")
    return found


def _adapters_in(module: Any, wanted: str) -> list[str]:
    """Names in a module of what looks like an adapter, the closest to a wanted name first."""

    def likely(name: str) -> bool:
        thing = vars(module)[name]
        return name[0] != "_" and hasattr(thing, "describe") and not getattr(thing, "_is_protocol", False)

    names = filter(likely, vars(module))
    return sorted(names, key=lambda name: SequenceMatcher(None, wanted, name).ratio(), reverse=True)


def _make(target: Target, maker: Any) -> Any:
    if not callable(maker):
        what = f"{target.attribute} is {type(maker).__name__}, neither an adapter nor something that makes one"
        raise AddressError(what, where=target.address, hint="it needs the methods describe and load_model")
    arguments = (target.argument,) if target.argument else ()
    return _guarded(target, f"calling {target.attribute}({', '.join(map(repr, arguments))})", lambda: maker(*arguments))


def _import(target: Target) -> Any:
    if not target.module.endswith(".py"):
        return importlib.import_module(target.module)
    path = Path(target.module)
    name = "llmasos_adapter_" + re.sub(r"\W", "_", str(path.with_suffix("")))
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _guarded(target: Target, doing: str, action: Callable[[], Any]) -> Any:
    """Run a vendor's code; what it raises becomes an AddressError with the last lines of the trace."""
    try:
        return action()
    except (AddressError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, and panics of extension modules, are no Exceptions
        last = "".join(traceback.format_exception(error)).rstrip().splitlines()[-6:]
        what = f"{doing} failed: {type(error).__name__}: {error}\n" + "\n".join(f"    {line}" for line in last)
        raise AddressError(what, where=target.address, hint="mend the adapter, or install what it imports") from None
