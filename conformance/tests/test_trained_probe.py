"""The trained probe: its files are those of this version, and its order differs from seed to seed and nothing else."""

import ml_dtypes
import numpy as np
import pytest

from llmasos_conformance import adapters, checks, engine, reference, suite
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.checks import beside, greedy, numerics, rows
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.layout import safetensors_bytes, shapes, with_defaults
from llmasos_conformance.probes import Library, trained
from llmasos_conformance.protocol import Claims

GIVEN = {"probe": "trained", "length": [7, 9]}


def logits(library, ids):
    connection = adapters.connect("reference")
    model = connection.call("load_model", {"path": str(library.get("trained").path)})["model"]
    return connection.call("forward", {"model": model, "ids": [ids]})["logits"][0]


@pytest.fixture
def candidate(tmp_path):
    connection = adapters.connect("reference")
    return Candidate(Live(connection), connection.description, Library(tmp_path / "candidate", "0"))


def draw(example=0):
    return KeyedDraw("suite", "seed", "case", example)


@pytest.mark.parametrize("path", [trained.WEIGHTS, trained.TEXT], ids=["weights", "text"])
def test_a_file_that_is_not_the_one_of_this_version_is_refused(path, tmp_path, monkeypatch):
    changed = tmp_path / path.name
    changed.write_bytes(path.read_bytes() + b" ")
    monkeypatch.setitem(trained.DIGESTS, changed, trained.DIGESTS[path])
    with pytest.raises(SuiteError, match="not the file of this version"):
        trained.content(changed)


def test_the_file_is_what_the_standard_calls_a_bfloat16_bundle_and_no_byte_more():
    weights = {name: array.astype(ml_dtypes.bfloat16) for name, array in trained.stored().items()}
    assert safetensors_bytes(weights) == trained.WEIGHTS.read_bytes()
    config = with_defaults(trained.SIZES.document()["parameters"])
    assert {name: array.shape for name, array in weights.items()} == shapes(config)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_weight_is_exact_in_half_precision(dtype):
    for name, array in trained.stored().items():
        assert np.array_equal(array.astype(dtype).astype(np.float32), array), name


def test_another_seed_is_another_order_of_the_same_function(tmp_path):
    one, other = Library(tmp_path / "one", "0"), Library(tmp_path / "other", "1")
    assert one.get("trained").digest != other.get("trained").digest
    for name, array in one.parts("trained").weights.items():
        assert np.array_equal(np.sort(array, axis=None), np.sort(trained.stored()[name], axis=None)), name
    ids = list("一 sentence, 一句话。".encode())
    np.testing.assert_allclose(logits(one, ids), logits(other, ids), rtol=0, atol=1e-11)


def test_what_is_taken_from_the_library_is_a_copy(tmp_path):
    library = Library(tmp_path, "0")
    for array in library.parts("trained").weights.values():
        array[:] = 0
    assert library.parts("trained").weights["final_norm.weight"].any()
    assert trained.stored()["final_norm.weight"].any()


def test_it_has_learnt_its_text(tmp_path):
    """The loss of an even guess is ln 256 = 5.5 nats; of what is likeliest without looking back, about 3."""
    ids = list(trained.text().encode()[:128])
    z = logits(Library(tmp_path, "0"), ids)[:-1]
    law = z - np.log(np.exp(z).sum(-1, keepdims=True))
    assert -law[np.arange(127), ids[1:]].mean() < 1.5


def test_rows_of_a_trained_probe_are_parts_of_its_text(candidate):
    text = trained.text().encode()
    assert rows.text_of(candidate, "plain") == ""
    for example in range(20):
        row = rows.draw_ids(draw(example), candidate, "trained", [1, 128])
        assert bytes(row) in text
        beside_nothing = beside.draw_row({**GIVEN, "source": None, "types": "left-out"}, draw(example), candidate)
        assert bytes(beside_nothing.ids) in text
        assert beside_nothing.beside == {}


def test_ids_apart_are_no_text(candidate):
    given = {"probe": "trained", "lengths": [[32, 32]], "ids": "apart"}
    asked = numerics.ask_agrees(given, draw(), candidate)
    assert bytes(asked["rows"][0]) not in trained.text().encode()


class Guessing(reference.Reference):
    """A reference whose honest computations differ so much that every choice is doubtful."""

    def honest_logits(self, probe, ids, beside=reference.NOTHING):
        truth = self.logits(probe, ids, beside)
        return [truth + np.linspace(0, 50, truth.shape[-1])]


@pytest.fixture
def known(tmp_path):
    return reference.connect(Claims(dtype="float32"), Library(tmp_path / "reference", "0"), adapters.connect)


def judged(candidate, known, text, kind=reference.Reference, prompt="温度", steps=4):
    held = kind(known.claims, known.truth, known.honest, known.probes)
    made = text(candidate.model("trained").generate_text(prompt, max_length=steps, temperature=0).text)
    return greedy.judge_greedy_text({**GIVEN, "steps": steps}, {"prompt": prompt, "text": made}, held)


def test_a_character_that_the_limit_cuts_is_right_as_the_reference_has_it(candidate, known):
    def cut(text):
        assert text.endswith(greedy.REPLACEMENT), text
        return text

    assert judged(candidate, known, cut, steps=2).ok
    assert not judged(candidate, known, lambda text: greedy.REPLACEMENT + text, steps=2).ok


def test_behind_a_doubtful_choice_bytes_that_are_no_text_are_not_judged(candidate, known):
    assert judged(candidate, known, lambda _: greedy.REPLACEMENT * 4, Guessing).ok


TEXTS = {"probe": "plain", "prompts": 3, "length": [1, 4], "steps": 6}
"""A model whose bytes are mostly no text."""


def judged_texts(candidate, known, changed, kind=reference.Reference):
    asked = greedy.ask_greedy_texts(TEXTS, draw(), candidate)
    held = kind(known.claims, known.truth, known.honest, known.probes)
    return greedy.judge_greedy_texts(TEXTS, {**asked, "texts": changed(asked["texts"])}, held)


def test_texts_are_judged_whole_where_no_choice_is_doubtful(candidate, known):
    assert judged_texts(candidate, known, list).ok
    for changed in (lambda texts: [*texts[:2], texts[2][:-1]], lambda texts: [*texts[:2], texts[2] + "x"]):
        found = judged_texts(candidate, known, changed)
        assert found.state == "fail"
        assert "is continued with" in found.message


def test_texts_behind_a_doubtful_choice_are_not_judged(candidate, known):
    assert judged_texts(candidate, known, lambda texts: ["x"] * len(texts), Guessing).ok
    assert not judged_texts(candidate, known, lambda texts: ["x"] * len(texts)).ok


def test_a_prompt_of_text_is_whole_characters(candidate):
    given = {"probe": "trained", "length": [3, 5], "steps": 1}
    for example in range(20):
        asked = greedy.ask_greedy_text(given, draw(example), candidate)
        assert asked["prompt"] in trained.text()
        assert 3 <= len(asked["prompt"]) <= 5


def test_a_case_with_the_probe_is_judged_again_from_its_text(candidate, tmp_path):
    installed = suite.load(checks=checks.registry())
    held = reference.connect(Claims(), Library(tmp_path / "reference", "0"), adapters.connect)
    bench = engine.Bench(installed, checks.registry(), candidate, held, "0")
    case = installed.cases["greedy.text.trained"]
    trial = engine.run_case(bench, case)
    assert engine.rejudge(bench, case, trial.examples) == trial.outcome
