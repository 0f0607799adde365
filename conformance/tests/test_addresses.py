"""Addresses: every form leads where it says, and every miss says where it looked and what to try."""

import shlex
import subprocess
import sys
import textwrap
import venv

import pytest

from llmasos_conformance.adapters import check_address, connect, known, named_profile
from llmasos_conformance.adapters.digest import as_file
from llmasos_conformance.errors import AddressError

SOURCE = textwrap.dedent("""
    MARK.append(__name__)
    class Model:
        def generate_text(self, prompt, **options):
            return {"finish_reason": "stop", "text": prompt}
    class Adapter:
        def __init__(self, argument="nothing"):
            self.argument = argument
        def describe(self):
            return {"name": f"mine:{self.argument}", "version": "1"}
        def load_model(self, path):
            return Model()
    class Nested:
        Inner = Adapter
    def make():
        return Adapter("made")
    made = Adapter("ready")
    number = 5
    class Half:
        def describe(self):
            return {"name": "half", "version": "1"}
    class Needy(Adapter):
        def __init__(self):
            raise RuntimeError("no licence")
    class Untold(Adapter):
        def describe(self):
            raise OSError("who am I")
""").replace("MARK.append(__name__)", "import builtins\nbuiltins.llmasos_test_imports = 1")


@pytest.fixture
def vendor(tmp_path, monkeypatch):
    """A vendor's repository: a file, a package, a project file; and a path that is put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr("builtins.llmasos_test_imports", 0, raising=False)
    (tmp_path / "adapter.py").write_text(SOURCE, encoding="utf-8")
    package = tmp_path / "vendorpkg_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "deep.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        textwrap.dedent("""
            [project.entry-points."llmasos.adapters"]
            mine = "vendorpkg_of_test.deep:Adapter"
            [tool.llmasos.profiles.nightly]
            adapter = "mine:night"
            [tool.llmasos.profiles.empty]
        """),
        encoding="utf-8",
    )
    (tmp_path / "llmasos.toml").write_text('[profiles.quick]\nadapter = "./adapter.py:made"\n', encoding="utf-8")
    return tmp_path


def test_the_profile_of_a_table_is_that_of_the_first_file_that_has_the_table(tmp_path):
    ours = '[tool.llmasos.profiles.a]\nadapter = "reference"\nprofile = "quick"\n'
    (tmp_path / "pyproject.toml").write_text(ours)
    assert named_profile("@a", tmp_path).profile == "quick"
    assert named_profile("@b", tmp_path) is None
    assert named_profile("reference", tmp_path) is None
    (tmp_path / "llmasos.toml").write_text('[profiles]\nb = 1\n[profiles.a]\nadapter = "honest:plain"\n')
    assert named_profile("@a", tmp_path) is None
    assert named_profile("@b", tmp_path) is None


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("./adapter.py:Adapter", "mine:nothing"),
        ("adapter.py:Adapter", "mine:nothing"),
        ("./adapter.py:make", "mine:made"),
        ("./adapter.py:made", "mine:ready"),
        ("./adapter.py:Nested.Inner", "mine:nothing"),
        ("vendorpkg_of_test.deep:Adapter", "mine:nothing"),
        ("mine", "mine:nothing"),
        ("mine:loud", "mine:loud"),
        ("@nightly", "mine:night"),
        ("@quick", "mine:ready"),
        ("reference", "llmasos"),
        ("reference:float32/split-k", "llmasos"),
    ],
)
@pytest.mark.parametrize("apart", [False, True], ids=["in process", "over stdio"])
def test_every_form_leads_to_its_adapter(vendor, address, name, apart):
    connection = connect(address, directory=vendor, out_of_process=apart)
    connection.close()
    assert connection.description.name == name


def test_an_absolute_file_needs_no_directory(vendor):
    assert connect(f"{vendor}/adapter.py:Adapter").description.name == "mine:nothing"


def test_checking_an_address_imports_nothing(vendor, monkeypatch):
    import builtins

    for address in ("./adapter.py:Adapter", "vendorpkg_of_test.deep:Adapter", "mine", "@nightly", "transformers"):
        assert check_address(address, vendor).module
    assert builtins.llmasos_test_imports == 0
    assert "vendorpkg_of_test" not in sys.modules


def test_checking_does_not_import_the_adapters_it_knows():
    code = (
        "import sys; from llmasos_conformance.adapters import check_address;"
        "check_address('reference'); check_address('transformers');"
        "assert not {'llmasos', 'torch', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_built_in_is_known_without_installation():
    assert known()["reference"] == "llmasos_conformance.adapters.reference:ReferenceAdapter"
    assert known()["transformers"] == "llmasos_conformance.adapters.transformers:TransformersAdapter"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", ["the address is empty"]),
        ("referense", ["no adapter 'referense'", "looked at entry points of llmasos.adapters", "try: reference"]),
        ("mein", ["try: mine", "llmasos list --adapters"]),
        ("adapter", ["./adapter.py:NAME"]),
        ("what is this?", ["forms are name, pkg.mod:attr", "http://…, https://…, openai:http://…"]),
        ("http://127.0.0.1:9", ["the server cannot be reached", "start the server"]),
        ("http://", ["not a URL of visible ASCII with a host"]),
        ("http://127.0.0.1:99999", ["not a URL", "http://127.0.0.1:8000"]),
        ("http://127.0.0.1/né", ["not a URL of visible ASCII"]),
        ("http://me:secret@127.0.0.1", ["http://…@127.0.0.1: a password or a query", "#token=VARIABLE"]),
        ("http://127.0.0.1/?key=secret", ["http://127.0.0.1/: a password or a query"]),
        ("http://127.0.0.1/#secret", ["behind # does not name a variable"]),
        ("http://127.0.0.1/#token=a-b", ["behind # does not name a variable"]),
        ("http://example.org/#token=A", ["for everybody to read", "https://…"]),
        ("http://127.0.0.1/#token=ABSENT_OF_TEST", ["the variable ABSENT_OF_TEST is not set", "16 or more letters"]),
        ("openai:http://127.0.0.1:9/v1#model=m", ["the server cannot be reached", "start the server"]),
        ("openai:http://127.0.0.1:9/v1", ["model='' behind #", "visible ASCII is due"]),
        ("openai:http://127.0.0.1:9/v1#model", ["'model' is no option behind #"]),
        ("openai:http://127.0.0.1:9/v1#model=a&model=b", ["'model=b' is no option behind #, or stands twice"]),
        ("openai:http://127.0.0.1:9/v1#model=m&modell=n", ["no option 'modell' behind #", "try: model"]),
        ("openai:http://127.0.0.1:9/v1#model=m&api=responses", ["api='responses'", "completions or chat is due"]),
        ("openai:http://127.0.0.1:9/v1#model=m&dtype=int8", ["dtype='int8'", "bfloat16"]),
        ("openai:http://127.0.0.1:9/v1#model=m&determinism=D9", ["determinism='D9'", "D0, D1, D2, D3 is due"]),
        ("openai:http://127.0.0.1:9/v1#model=m&weights=abc", ["weights='abc'", "64 digits of hex is due"]),
        ("openai:http://127.0.0.1:9/v1#model=m&offers=top_q", ["offers='top_q': no such capability", "try: top_p"]),
        ("openai:http://127.0.0.1:9/v1#model=m&token=a-b", ["behind # does not name a variable"]),
        ("openai:http://127.0.0.1:9/v1#model=m&token=", ["behind # does not name a variable"]),
        ("openai:http://127.0.0.1:9/v1#model=m&token=ABSENT_OF_TEST", ["the variable ABSENT_OF_TEST is not set"]),
        ("openai:http://example.org/v1#model=m&token=A", ["for everybody to read", "https://…"]),
        ("openai:http://me:secret@127.0.0.1#model=m", ["http://…@127.0.0.1", "a password or a query"]),
        ("openai:example.org", ["behind openai: stands no URL", "try: openai:http://127.0.0.1:8000/v1#model=NAME"]),
        ("openai:ftp://example.org/#model=m", ["behind openai: stands no URL of http:// or https://"]),
        ("ftp://example.org", ["no server is reached by ftp://", "http:// and https://", "openai:http://127.0.0.1:8000"]),
        ("ws://me:secret@host/a.py:b", ["ws://…@host/a.py:b: no server is reached by ws://"]),
        ("HTTP://127.0.0.1:9", ["no server is reached by HTTP://", "try: http://127.0.0.1:9"]),
        ("file:///adapter.py", ["no server is reached by file://", "./file.py:NAME, or 'cmd:./program'"]),
        ("./adaptor.py:Adapter", ["no file", "adaptor.py", "try: ./adapter.py:Adapter"]),
        ("./adapter.py", ["names no object in the file", "./adapter.py:Adapter"]),
        ("./adapter.py:Adaptor", ["has no 'Adaptor'", "try: Adapter"]),
        ("./adapter.py:number", ["number is int, neither an adapter nor something that makes one"]),
        ("engine.mjs", ["engine.mjs is no Python file", "has cmd: before it", "try: 'cmd:node ./engine.mjs'"]),
        ("./engine.mjs", ["engine.mjs is no Python file", "try: 'cmd:node ./engine.mjs'"]),
        ("./engine.mjs:Adapter", ["engine.mjs is no Python file", "try: 'cmd:node ./engine.mjs'"]),
        ("engine", ["no adapter 'engine'", "try: 'cmd:./engine' runs that file as a program"]),
        ("./engine", ["engine is no Python file", "try: 'cmd:./engine'"]),
        ("./my programs/engine", ["engine is no Python file", """try: "cmd:'./my programs/engine'\""""]),
        ("./engine.rb", ["engine.rb is no Python file", "try: 'cmd:PROGRAM ./engine.rb'", "chmod +x ./engine.rb"]),
        ("./engine.ts", ["no file", "engine.ts", "'cmd:node ./engine.mjs'"]),
        ("./engin.js", ["no file", "engin.js", "'cmd:node ./engine.mjs' or "]),
        ("engin.js", ["no file", "'cmd:node ./engine.mjs' or "]),
        ("./adopter", ["no file", "adopter\n", "try: ./adapter.py:Adapter"]),
        ("./quite-other", ["no file", "quite-other\n", "try: check the path"]),
        ("./absent/engine.mjs", ["no file engine.mjs, for there is no directory", "absent\n", "try: check the path"]),
        ("./" + "x" * 300, ["cannot look there: File name too long", "try: check the path"]),
        ("é" * 150, ["cannot look there: File name too long", "try: check the path"]),
        ("cmd:./" + "x" * 300, ["cannot look there: File name too long", "try: check the path"]),
        ("./my programs", ["my programs is a directory", """try: "cmd:'./my programs/engine'\""""]),
        ("programs", ["programs is a directory", "an adapter is in a file", "try: name a file in it, ./programs/"]),
        ("./vendorpkg_of_test", ["is a directory", "try: ./vendorpkg_of_test/deep.py:Adapter"]),
        (".", ["is a directory", "try: ./adapter.py:Adapter or 'cmd:./engine' or 'cmd:node ./engine.mjs'"]),
        ("cmd:./programs", ["programs is a directory", "'cmd:./programs/program'"]),
        (f"{sys.executable} -c 'print(1)'", ["a command has cmd: before it", f'try: "cmd:{sys.executable} -c']),
        ("./adapter.py:Half", ["Half is no adapter: it has no method load_model"]),
        ("./adapter.py:Needy", ["calling Needy() failed: RuntimeError: no licence", "raise RuntimeError"]),
        ("./adapter.py:Untold", ["describe() failed: OSError: who am I"]),
        ("nonsense_of_test.mod:Adapter", ["no module 'nonsense_of_test'", "sys.path"]),
        ("vendorpkg_of_test.deap:Adapter", ["no module 'vendorpkg_of_test.deap'"]),
        ("@nightli", ["no profile 'nightli'", "llmasos.toml", "try: @nightly"]),
        ("@empty", ["has no `adapter`"]),
        ("cmd:", ["the command is empty"]),
        ("cmd:./programme", ["no program", "programme"]),
        ("cmd:./engin", ["no program", "try: 'cmd:./engine'"]),
        ("./a room/in a.py", ["names no object", "try: './a room/in a.py:Adapter'"]),
        ("./a room/adaptr.py:A", ["no file", "try: './a room/adapter.py:Adapter'"]),
        ("./circle.py:A", ["cannot look there"]),
        ("cmd:./circle", ["cannot look there"]),
        (f"./{'a' * 300}.py:A", ["cannot look there: File name too long"]),
        ("~nobody-of-test/a.py", ["cannot look there"]),
        ("a\0b.py:A", ["cannot look there"]),
        ("http//me:sk-secret@host", ["no adapter has such a name", "//…@host"]),
        ("cmd:nonsense-of-test", ["no program 'nonsense-of-test' on PATH"]),
        ("cmd:'unfinished", ["cannot be split into words"]),
        ("cmd:my programs/engine --flag", ["no program 'my': a path with spaces is quoted", "engine' --flag"]),
        ("cmd:./my programs/absent -f", ["a path with spaces is quoted", """try: "cmd:'./my programs/absent' -f\""""]),
        ("cmd:'./my programs/absent' -f", ["no program", "my programs/absent", "try: check the path"]),
        ("cmd:./adapter.py", ["adapter.py is not executable", "try: ./adapter.py:Adapter"]),
        ("cmd:./engine.mjs --flag", ["engine.mjs is not executable", "try: 'cmd:node ./engine.mjs'"]),
        ("cmd:./engine.rb", ["is not executable", "try: 'cmd:PROGRAM ./engine.rb'", "chmod +x ./engine.rb"]),
        ("cmd:./engine", ["cannot be started: Exec format error", "its first line if it is a script"]),
        ("reference:float8", ["no such variant", "float64, float32"]),
        ("reference:float32/sideways", ["no such variant", "split-k"]),
    ],
)  # fmt: skip
def test_a_miss_says_where_it_looked_and_what_to_try(vendor, address, words):
    (vendor / "programs").mkdir()
    (vendor / "my programs").mkdir()
    for name in ("engine.mjs", "engine.rb", "engine", "my programs/engine"):
        (vendor / name).touch()
    for name in ("engine", "my programs/engine"):
        (vendor / name).chmod(0o755)
    (vendor / "a room").mkdir()
    for name in ("in a.py", "adapter.py"):
        (vendor / "a room" / name).write_text("class Adapter:\n    def describe(self): ...\n")
    for name in ("circle", "circle.py"):
        (vendor / name).symlink_to(name)
    with pytest.raises(AddressError) as caught:
        connect(address, directory=vendor)
    assert caught.value.exit_code == 4
    for word in words:
        assert word in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_names_that_steer_a_terminal_are_not_offered_and_a_file_that_cannot_be_parsed_spoils_no_directory(vendor):
    room = vendor / "room"
    room.mkdir()
    (room / "\x1b[31mred.py").write_text("class Red:\n    def describe(self): ...\n")
    (room / "deep.py").write_text("x = " + "-" * 200_000 + "1\n")
    (room / "good.py").write_text("class Good:\n    def describe(self): ...\n")
    with pytest.raises(AddressError, match=r"try: \./room/good\.py:Good$"):
        connect("./room", directory=vendor)
    with pytest.raises(AddressError) as caught:
        connect("./\x1b[31mroom/x.mjs", directory=vendor)
    assert "\x1b" not in str(caught.value)


def test_a_program_that_is_named_from_the_root_is_offered_as_that(vendor):
    (vendor / "engine.mjs").touch()
    with pytest.raises(AddressError) as caught:
        connect(f"{vendor}/engine.mjs")
    assert caught.value.hint == f"'cmd:node {vendor}/engine.mjs'"
    with pytest.raises(AddressError) as caught:
        connect(f"{vendor}/engin.mjs")
    assert (caught.value.what, caught.value.hint) == (
        f"no file {vendor}/engin.mjs", f"'cmd:node {vendor}/engine.mjs'"
    )  # fmt: skip


def test_the_python_of_a_virtual_environment_stays_that_of_the_environment(vendor):
    """Its Python is a link, and where the link leads is another one that lacks what the environment has."""
    venv.create(vendor / "own", symlinks=True)
    (vendor / "says.py").write_text(
        "import json, pathlib, sys\n"
        "for line in sys.stdin:\n"
        "    said = {'protocol': '0.1-draft', 'name': pathlib.Path(sys.prefix).name, 'version': '1',\n"
        "            'capabilities': [], 'claims': {'dtype': 'float32', 'determinism': 'D0'}}\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': json.loads(line)['id'], 'result': said}), flush=True)\n"
    )
    connection = connect("cmd:own/bin/python says.py", directory=vendor)
    assert connection.call("describe", {})["name"] == "own"
    connection.close()
    assert as_file("own/bin/python", vendor) == str(vendor / "own" / "bin" / "python")


def test_an_offer_can_be_typed_in_a_shell_and_is_the_address_of_the_file(vendor):
    room = vendor / "it's $5"
    room.mkdir()
    (room / "engine").touch()
    (room / "engine").chmod(0o755)
    with pytest.raises(AddressError) as caught:
        check_address("./it's $5/engine", vendor)
    (word,) = shlex.split(caught.value.hint)
    assert check_address(word, vendor).command == (str(room / "engine"),)


@pytest.mark.parametrize("attribute", ["Half", "Needy", "Absent"])
def test_what_to_try_about_an_object_of_python_is_told_once(vendor, attribute):
    told = []
    for apart in (False, True):
        with pytest.raises(AddressError) as caught:
            connect(f"./adapter.py:{attribute}", directory=vendor, out_of_process=apart)
        assert str(caught.value).count("try: ") == 1
        told.append(caught.value.hint)
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import absent_of_test\n", ["importing it failed", "No module named 'absent_of_test'", "line 1"]),
        ("def broken(:\n", ["importing it failed: SyntaxError"]),
        ("raise SystemExit(3)\n", ["importing it failed: SystemExit: 3"]),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_imported_shows_the_last_lines(vendor, source, words):
    (vendor / "broken.py").write_text(source, encoding="utf-8")
    with pytest.raises(AddressError) as caught:
        connect("./broken.py:Adapter", directory=vendor)
    for word in words:
        assert word in str(caught.value)


def test_a_project_file_that_is_no_toml_is_named(vendor):
    (vendor / "pyproject.toml").write_text("nonsense", encoding="utf-8")
    with pytest.raises(AddressError, match=r"pyproject\.toml: not valid TOML"):
        connect("mein", directory=vendor)


def test_a_missing_runtime_says_what_to_install():
    # In a fresh interpreter: this one may hold torch already, and whoever imported it keeps it.
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from llmasos_conformance.adapters import connect\n"
        "connect('transformers')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "torch is not installed\n  try: pip install 'llmasos[runtimes]'" in done.stderr


@pytest.mark.parametrize(
    ("address", "package", "extra"),
    [
        ("onnxruntime", "onnxruntime", "onnx"),
        ("openvino", "openvino", "openvino"),
        ("ctranslate2", "ctranslate2", "ctranslate2"),
        ("onnxruntime-genai", "onnxruntime_genai", "genai"),
        ("mlx", "mlx", "mlx"),
    ],
)
def test_each_adapter_of_a_runtime_says_what_to_install(address, package, extra):
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from llmasos_conformance.adapters import connect\n"
        f"connect({address!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"is not installed\n  try: pip install 'llmasos[{extra}]'" in done.stderr


def test_near_names_are_those_of_adapters_alone_with_the_closest_first(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import math, pathlib\nfrom llmasos_conformance.protocol import Adapter\nADAPTERS = 3\ndef Adapted(): ...\n"
        "class Zebra:\n    def describe(self): ...\n    def load_model(self, path): ...\nclass MyAdapter(Zebra): ...\n"
    )
    with pytest.raises(AddressError) as caught:
        connect("./mine.py:Adapters", directory=tmp_path)
    assert caught.value.hint == "MyAdapter or Zebra"
    (tmp_path / "empty.py").write_text("import math\n")
    with pytest.raises(AddressError, match="define it"):
        connect("./empty.py:mat", directory=tmp_path)
