"""Every check of format, api, text and contracts passes a right candidate and fails a wrong one.

The right one is the reference; a wrong one is the reference with a single answer spoilt on its way back.
"""

import json
import pickle
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from llmasos_conformance import adapters, checks, engine, reference, suite
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.checks import bundles, text
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import Refusal
from llmasos_conformance.verdict import State

FAMILIES = ("format", "loading", "api", "text", "contracts")
ABSENT = object()
"""Instead of a value: the option is not sent."""


@pytest.fixture(scope="module")
def installed():
    return suite.load(checks=checks.registry())


@pytest.fixture(scope="module")
def world(tmp_path_factory, installed):
    """case id, spoil -> outcome; `spoil(method, params, call)` stands between harness and reference."""
    root = tmp_path_factory.mktemp("probes")
    honest = adapters.connect("reference")
    held = reference.connect(honest.description.claims, Library(root / "reference", "0"), adapters.connect)
    probes = Library(root / "candidate", "0")

    def run(case, spoil=None):
        right = adapters.connect("reference")
        if case in OF_GPT_ALONE:
            right.description = replace(right.description, architectures=("GPT-3",))
            right = Spoilt(right, gpt_alone)
        made = Spoilt(right, spoil or pass_on)
        candidate = Candidate(Live(made), made.description, probes)
        bench = engine.Bench(installed, checks.registry(), candidate, held, "0")
        return engine.run_case(bench, installed.cases[case])

    return run


@dataclass
class Spoilt:
    inner: object
    spoil: object

    @property
    def description(self):
        return self.inner.description

    def call(self, method, params):
        def call(**changed):
            asked = {name: value for name, value in {**params, **changed}.items() if value is not ABSENT}
            return self.inner.call(method, asked)

        return self.spoil(method, params, call)

    def close(self):
        self.inner.close()


def pass_on(method, params, call):
    return call()


def on(*methods):
    """A spoiler of some methods alone."""

    def wrap(spoil):
        return lambda method, params, call: spoil(params, call) if method in methods else call()

    return wrap


def generation(**changes):
    """Change members of a generation by functions of their old value."""

    def spoil(params, call):
        answer = call()
        inner = answer.get("generation", answer)
        changed = {**inner, **{name: change(inner.get(name)) for name, change in changes.items()}}
        return {**answer, "generation": changed} if "generation" in answer else changed

    return spoil


def gpt_alone(method, params, call):
    """Runs GPT-3 and no other architecture."""
    if method == "load_model":
        document = json.loads((Path(params["path"]) / "model.json").read_text(encoding="utf-8"))
        if document["architecture"] != "GPT-3":
            raise Refusal("unsupported_architecture")
    return call()


OF_GPT_ALONE = ("format.architecture.not-run",)
"""Cases that ask nothing of a candidate that runs all architectures."""


def other_code(code):
    def spoil(method, params, call):
        try:
            return call()
        except Refusal:
            raise Refusal(code) from None

    return spoil


def lenient(params, call):
    """Answer what must be refused, with the answer to something else."""
    try:
        return call()
    except Refusal:
        return {"finish_reason": "length", "text": "", "ids": []}


def loads_everything(method, params, call):
    try:
        return call()
    except Refusal:
        return {"model": "whatever"}


def nudged(params, call):
    answer = call()
    return {**answer, "logits": [row * 1.001 for row in answer["logits"]]}


class EverySecondLoad:
    """Logits of every second model are off by a thousandth."""

    def __init__(self):
        self.odd = set()

    def __call__(self, method, params, call):
        answer = call()
        if method == "load_model" and int(answer["model"][1:]) % 2 == 0:
            self.odd.add(answer["model"])
        if method == "forward" and params["model"] in self.odd:
            return {"logits": [row * 1.001 for row in answer["logits"]]}
        return answer


class Poisoned:
    """After the first refusal every generation is empty."""

    def __init__(self):
        self.ill = False

    def __call__(self, method, params, call):
        try:
            answer = call()
        except Refusal:
            self.ill = True
            raise
        return {**answer, "text": ""} if self.ill and "text" in answer else answer


class FiltersStay:
    """A request without top-k gets the last one that there was."""

    def __init__(self):
        self.last = 0

    def __call__(self, method, params, call):
        if method != "generate_text":
            return call()
        self.last = params.get("top_k", self.last)
        return call(top_k=self.last)


def executes_what_it_finds(method, params, call):
    """Loads pickles beside the weights, as careless loaders do; the payload copies a directory."""
    if method == "load_model" and params["path"].endswith("bait"):
        with (Path(params["path"]) / "pytorch_model.bin").open("rb") as file:
            pickle.load(file)
    return call()


def follows_links(method, params, call):
    try:
        return call()
    except Refusal:
        target = params["path"] + "-followed"
        shutil.copytree(params["path"], target, dirs_exist_ok=True)
        return call(path=target)


def drops(*names):
    return on("generate_text", "stream_text")(lambda params, call: call(**dict.fromkeys(names, ABSENT)))


def lenient_with_context(method, params, call):
    """A prompt beyond the context loses its end."""
    try:
        return call()
    except Refusal:
        return call(prompt=params["prompt"][:8])


def refuses(params, call):
    raise Refusal("unsupported")


WRONG = {
    "format.unknown-keys.refused": loads_everything,
    "format.version.newer-major": other_code("invalid_format"),
    "format.three-keys.loads": on("load_model")(refuses),
    "format.architecture.not-run": other_code("unsupported"),
    "format.json.presentation": EverySecondLoad(),
    "format.parameters.epsilon": on("forward")(nudged),
    "loading.tensors.missing": loads_everything,
    "loading.tensors.contradict-document": loads_everything,
    "loading.file.cut-anywhere": loads_everything,
    "format.json.cut-anywhere": other_code("not_found"),
    "tokenizers.files.cut-anywhere": on("load_model")(refuses),
    "loading.dtypes.stored": EverySecondLoad(),
    "loading.digest.compared": loads_everything,
    "loading.path.not-found": other_code("invalid_format"),
    "loading.path.document": on("generate_text")(generation(text=lambda text: text[1:])),
    "loading.safety.links": follows_links,
    "loading.safety.bait-beside-weights": executes_what_it_finds,
    "loading.safety.bait-without-weights": executes_what_it_finds,
    "loading.refused.serves-on": Poisoned(),
    "api.max-length.counts-new-tokens": on("generate_text")(lambda p, call: call(max_length=p["max_length"] + 1)),
    "api.counts.are-ids": on("generate_text")(generation(completion_tokens=lambda count: count - 1)),
    "api.finish-reason.stop-or-length": on("generate_text")(generation(finish_reason=lambda reason: "stop")),
    "api.textless-ids.as-ids": on("generate_ids")(generation(ids=lambda ids: [104 for _ in ids])),
    "api.options.unknown": on("generate_text")(lenient),
    "api.temperature.refused": other_code("unknown_parameter"),
    "api.context.prompt-too-long": Poisoned(),
    "api.top-p.smallest-set": drops("top_p"),
    "api.top-k.keeps-k": on("generate_text")(lambda params, call: call(top_k=params["top_k"] - 1)),
    "format.parameters.context-length": lenient_with_context,
    "api.neutral.top-k": on("generate_text")(lambda params, call: call(top_k=3 if "top_k" in params else 0)),
    "api.temperature.default": on("generate_text")(lambda p, call: call(temperature=p.get("temperature", 0.7))),
    "api.seed.same": drops("seed"),
    "shaping.repetition.batch": on("generate_batch")(lambda params, call: call(repetition_penalty=1)),
    "api.seed.different": on("generate_text")(lambda params, call: call(seed=params["seed"] % 2**32)),
    "api.seed.after-filters": FiltersStay(),
    "api.seed.zero": on("generate_text")(lambda params, call: call(seed=params.get("seed") or ABSENT)),
    "api.seed.same-ids": on("generate_ids")(lambda params, call: call(seed=ABSENT)),
    "api.seed.different-ids": on("generate_ids")(lambda params, call: call(seed=7)),
    "text.stream.seeded": on("stream_text")(lambda params, call: call(seed=ABSENT)),
    "api.seed.none": on("generate_text")(lambda params, call: call(seed=1)),
    "text.round-trip.any-unicode": on("detokenize")(lambda params, call: {"text": call()["text"].strip() + "."}),
    "text.round-trip.long": on("tokenize")(lambda params, call: {"ids": call()["ids"][: 2**16]}),
    "text.bytes.any-unicode": on("tokenize")(lambda params, call: {"ids": [32, *call()["ids"]]}),
    "text.special.literals-file": on("tokenize")(lambda params, call: call(allow_special=True)),
    "text.detokenize.textless-ids": on("detokenize")(lambda params, call: {"text": call()["text"] + "\ufffd"}),
    "text.stream.whole": on("stream_text")(lambda params, call: {**call(), "deltas": call()["deltas"][:-1]}),
    "text.stream.no-half-characters": on("stream_text")(
        lambda params, call: {**call(), "deltas": ["\ufffd", *call()["deltas"]]}
    ),
    "text.stream.in-pieces": on("stream_text")(lambda params, call: {**call(), "deltas": ["".join(call()["deltas"])]}),
    "text.stream.same-end": on("stream_text")(generation(prompt_tokens=lambda count: 0)),
    "text.no-tokenizer.ids-only": other_code("invalid_argument"),
    "contracts.ids.generate-ids": on("generate_ids")(lenient),
    "contracts.ids.forward": other_code("not_found"),
    "contracts.context.forward-full": on("forward")(refuses),
    "contracts.session.refused-step": on("extend")(
        lambda params, call: {"logits": call(ids=[token % 260 for token in params["ids"]])["logits"]}
    ),
    "contracts.batch.forward": other_code("unsupported"),
}
"""A wrong candidate for each check, under a case that the check judges."""


@pytest.mark.parametrize("case", WRONG)
def test_a_right_candidate_passes(world, case):
    trial = world(case)
    assert trial.outcome.state is State.PASS, trial.outcome.message + trial.detail


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_candidate_fails_and_the_message_says_what_was_due(world, case):
    trial = world(case, WRONG[case])
    assert trial.outcome.state is State.FAIL, trial.outcome.message + trial.detail
    assert trial.outcome.message


def test_a_file_that_ends_too_early_is_named_with_what_is_left_of_it(world):
    message = world("loading.file.cut-anywhere", loads_everything).outcome.message
    assert re.match(r"model\.safetensors of which \d+ of \d+ bytes are left: it loaded, refusal with inval", message)


def test_who_refuses_every_file_does_not_pass_for_one_that_sees_where_it_ends(world):
    message = world("tokenizers.files.cut-anywhere", on("load_model")(refuses)).outcome.message
    assert message.startswith("the whole tokenizer.json was refused with unsupported")


def test_a_seed_that_another_request_spoils_is_told_with_that_request(world):
    message = world("api.seed.after-filters", FiltersStay()).outcome.message
    assert re.match(r"call 3 with seed \d+ and another with \{'top_k': 1\} between, compared with call 0", message)


@pytest.mark.parametrize("length", [1, 61, 70001])
def test_a_long_text_has_the_characters_asked_for_and_holds_what_was_drawn(length):
    made = text.long_text(KeyedDraw("ab", "0", "case", 0), length)
    assert len(made) == length
    assert (made[:61] * (length // 61 + 1))[:length] == made
    assert made == text.long_text(KeyedDraw("ab", "0", "case", 0), length)


def pads_wrongly(params, call):
    """The short rows of a batch are computed as if they were as long as the longest, with padding before them."""
    most = max((len(row) for row in params["ids"]), default=0)
    found = call()["logits"]
    if most <= 1 or len(found) == 1:
        return {"logits": found}
    return {"logits": [np.roll(row, 1, axis=-1) if len(row) < most else row for row in found]}


def test_a_wrong_batch_is_not_blamed_on_the_refusal_behind_it(world):
    message = world("contracts.batch.forward", on("forward")(pads_wrongly)).outcome.message
    assert message.startswith(
        "forward([[97, 98], [97, 98, 99], [97]]), before anything wrong was asked: "
        "the likeliest ids by position, row after row, are ["
    )


def test_what_a_refusal_breaks_is_blamed_on_it(world):
    ill = set()

    def spoil(params, call):
        try:
            answer = call()
        except Refusal:
            ill.add(True)
            raise
        return {"logits": [np.roll(row, 1, axis=-1) for row in answer["logits"]]} if ill else answer

    message = world("contracts.empty.forward", on("forward")(spoil)).outcome.message
    assert message.startswith("forward([[97, 98, 99]]), after forward([[]]) was refused: the likeliest ids by position")


def test_every_check_of_these_families_has_a_wrong_candidate(installed):
    modules = {f"{checks.__name__}.{family}" for family in FAMILIES}
    ours = {name for name, made in checks.registry().items() if made.question.__module__ in modules}
    assert ours == {installed.cases[case].check for case in WRONG}


def test_bundles_are_the_same_bytes_in_every_library(tmp_path):
    model = {"says": ["né", 256], "after": 2, "eos": [256], "pieces": {"ab": 257}, "special": {"<s>": 258}}
    digests = {bundles.speaker(Library(tmp_path / name, name), model).digest for name in "ab"}
    assert len(digests) == 1


def test_an_edited_document_says_exactly_what_was_put(tmp_path):
    made = bundles.document({"name": "x", "put": {"parameters.num_heads": '2, "num_heads": 4'}, "drop": ["name"]})
    assert b'"num_heads":2, "num_heads": 4' in made
    assert b"small" not in made


def test_stored_bfloat16_is_the_upper_half_of_float32():
    assert bundles.stored(np.array([1.0, -0.5], dtype="f4"), "BF16") == b"\x80\x3f\x00\xbf"


def test_weights_of_the_small_document_survive_every_dtype_of_storage():
    for array in bundles.tensors(bundles.config({"name": "small"}), quiet=True).values():
        bits = array.view("u4")
        assert not (bits & 0xFFFF).any()
        assert (array.astype("f2").astype("f4") == array).all()
