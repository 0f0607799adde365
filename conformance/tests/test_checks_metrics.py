"""Judges of metrics: what is right passes, what is not is named; and the contract's methods that need no model."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmasos
from llmasos_conformance import numerics, wire
from llmasos_conformance.adapters import connect, kit
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.checks import metrics
from llmasos_conformance.errors import Malformed, Raised
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.mutants.honest import HONEST
from llmasos_conformance.mutants.scoring import OtherScores, Scores
from llmasos_conformance.protocol import ROUGE, Refusal

WORDS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=12).map(" ".join)
SEGMENTS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=4)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


# ── BLEU and ROUGE ──


@pytest.mark.parametrize(
    ("due", "score"),
    [
        ({"precisions": [[2, 7]], "lengths": [7, 7]}, 2 / 7),
        ({"precisions": [[5, 5], [4, 4], [3, 3], [2, 2]], "lengths": [5, 7]}, math.exp(1 - 7 / 5)),
        ({"precisions": [[1, 2], [0.1, 1]], "lengths": [2, 2]}, 0.05**0.5),
        ({"precisions": [[3, 3], [0, 2]], "lengths": [3, 3]}, 0.0),
        ({"precisions": [[2, 2], [0, 0]], "lengths": [2, 2]}, 0.0),
        ({"precisions": [[0, 0]], "lengths": [0, 3]}, 0.0),
    ],
)
def test_counts_make_a_score(due, score):
    assert metrics.bleu_of(due) == pytest.approx(score, rel=1e-15, abs=0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_roundings_pass_and_more_does_not(dtype):
    u = numerics.UNIT_ROUNDOFF[dtype]
    assert numerics.judge_score("BLEU", 0.5 * (1 + 30 * u), 0.5, 8, dtype).ok
    wrong = numerics.judge_score("BLEU", 0.5 * (1 + 40 * u), 0.5, 8, dtype)
    assert not wrong.ok
    assert wrong.figures["rounding"] == pytest.approx(1.25, rel=0.05)


def test_nothing_is_rounded_to_zero_or_away_from_it():
    assert numerics.judge_score("BLEU", 0.0, 0.0, 0, "float32").ok
    wrong = numerics.judge_score("BLEU", 5e-324, 0.0, 0, "float32")
    assert wrong.message.startswith("BLEU is 4.94e-324, 0 was due") or wrong.message.startswith(
        "BLEU is 4.94065646e-324"
    )


@pytest.mark.parametrize("got", [1.33, -0.1, 41.2])
def test_a_score_outside_zero_to_one_is_named_as_that(got):
    assert "a score is 0 … 1" in metrics.judge_bleu("BLEU", got, 0.5, "float32").message


def test_the_figures_of_a_summary_follow_from_its_counts():
    assert metrics.shares(3, 4, 6) == {"precision": 3 / 4, "recall": 1 / 2, "f1": 3 / 5}
    assert metrics.shares(0, 0, 6) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_drawn_texts_are_the_same_on_every_machine():
    corpus = {"segments": [2, 2], "length": [3, 6], "references": [1, 2], "alphabet": 4, "lines": True}
    drawn = metrics.draw_corpus(KeyedDraw("", "seed", "case", 0), corpus)
    assert drawn == metrics.draw_corpus(KeyedDraw("", "seed", "case", 0), corpus)
    hypotheses, references = drawn
    assert len(hypotheses) == len(references) == 2
    assert all(text.strip() == text and text for several in references for text in several)


@given(SEGMENTS, st.sampled_from(["none", "floor", "add-k", "exp"]), st.booleans(), st.integers(1, 4))
def test_the_metrics_written_apart_agree_with_the_reference(pairs, smoothing, effective, order):
    texts = [hypothesis for hypothesis, _ in pairs], [references for _, references in pairs]
    options = {"smoothing": smoothing, "effective_order": effective, "max_order": order}
    bleu, rouge = llmasos.bleu(*texts, **options).score, llmasos.rouge(*texts)
    for scores in (Scores(), OtherScores()):
        assert scores.bleu(*texts, **options) == pytest.approx(bleu, rel=1e-13, abs=0)
        found = scores.rouge(*texts)
        for name in ROUGE:
            assert found["mean"][name]["f1"] == pytest.approx(rouge.mean[name].f1, rel=1e-13, abs=0)


@given(ANY, st.sampled_from(["none", "word", "char", "zh"]))
def test_the_tokens_cut_apart_are_those_of_the_reference(text, how):
    from llmasos.words import TOKENISERS, content

    assert Scores().cut(text, how) == TOKENISERS[how](text)
    assert Scores().content(text) == content(text)


# ── perplexity ──


@given(st.integers(2, 60), st.integers(2, 20), st.data())
def test_the_judges_windows_are_those_of_the_reference(length, context, data):
    from llmasos.metrics import windows

    stride = data.draw(st.integers(1, context - 1))
    assert list(metrics.windows(length, context, stride)) == list(windows(length, context, stride))


def logits(*rows):
    return np.array(rows, dtype=np.float64)


def test_a_perplexity_within_honest_error_passes_and_one_beyond_it_does_not():
    truth, ids = logits([0.0, 1.0, 2.0], [2.0, 0.0, 1.0]), [2, 0]
    law = numerics.log_softmax(truth)
    due = math.exp(-(law[0, 2] + law[1, 0]) / 2)
    honest = [truth.astype(np.float32)]
    assert numerics.judge_perplexity("perplexity", due, truth, honest, ids, "float32").ok
    assert numerics.judge_perplexity("perplexity", due * (1 + 1e-6), truth, honest, ids, "float32").ok
    wrong = numerics.judge_perplexity("perplexity", due * (1 + 1e-4), truth, honest, ids, "float32")
    assert not wrong.ok
    assert wrong.figures["peak"] > numerics.KAPPA_MAX["float32"]
    assert not numerics.judge_perplexity("perplexity", due * (1 + 1e-6), truth, [truth], ids, "float64").ok


@pytest.mark.parametrize("got", [0.0, -1.0])
def test_a_perplexity_that_is_none_is_wrong(got):
    truth = logits([0.0, 1.0])
    assert not numerics.judge_perplexity("perplexity", got, truth, [truth], [0], "float64").ok


def test_an_infinite_perplexity_is_null_and_null_is_infinite():
    far, near = logits([0.0, 2000.0]), logits([0.0, 1.0])
    assert numerics.judge_perplexity("perplexity", None, far, [far], [0], "float64").ok
    assert "null, was due" in numerics.judge_perplexity("perplexity", 1.7e308, far, [far], [0], "float64").message
    assert "is null, 3.7" in numerics.judge_perplexity("perplexity", None, near, [near], [0], "float64").message


# ── the contract ──


class Vendor:
    """An adapter with metrics that are wrong on demand."""

    def __init__(self, capabilities=("bleu", "rouge"), score=0.5, scores=None):
        self.capabilities, self.score, self.scores = capabilities, score, scores
        self.asked = []

    def describe(self):
        return {"name": "vendor", "version": "1", "capabilities": list(self.capabilities)}

    def load_model(self, path):
        raise AssertionError("metrics of texts need no model")

    def bleu(self, hypotheses, references, **options):
        self.asked.append((hypotheses, references, options))
        if options.get("smoothing") == "raise":
            raise ValueError("no")
        return self.score

    def rouge(self, hypotheses, references, **options):
        parts = dict.fromkeys(("precision", "recall", "f1"), np.float64(0.25))
        return self.scores or {"mean": dict.fromkeys(ROUGE, parts), "segments": [dict.fromkeys(ROUGE, parts)]}


def test_metrics_of_texts_are_methods_of_the_adapter_and_need_no_model():
    vendor = Vendor(score=np.float32(0.5))
    link = InProcess(vendor)
    params = {"hypotheses": [["a", "b"], "c"], "references": [["a b"], [["c"]]], "smoothing": "exp"}
    assert link.call("bleu", params) == {"score": 0.5}
    assert vendor.asked == [([["a", "b"], "c"], [["a b"], [["c"]]], {"smoothing": "exp"})]
    answer = link.call("rouge", {"hypotheses": ["a"], "references": [["b"]]})
    assert answer["mean"]["rougeLsum"] == {"precision": 0.25, "recall": 0.25, "f1": 0.25}
    json.dumps(answer)


@pytest.mark.parametrize("score", [None, "0.5", math.nan, math.inf, True])
def test_a_score_that_is_no_finite_number_is_malformed(score):
    with pytest.raises(Malformed, match="score is"):
        InProcess(Vendor(score=score)).call("bleu", {"hypotheses": ["a"], "references": [["a"]]})


def test_as_many_segments_come_as_were_asked():
    with pytest.raises(Malformed, match="segments has 1 entries, 2 were due"):
        InProcess(Vendor()).call("rouge", {"hypotheses": ["a", "b"], "references": [["a"], ["b"]]})


def test_a_kind_of_rouge_that_is_missing_is_named():
    link = InProcess(Vendor(scores={"mean": {"rouge1": {}}, "segments": []}))
    with pytest.raises(Malformed, match="mean lacks 'rouge2'"):
        link.call("rouge", {"hypotheses": [], "references": []})


def test_what_a_metric_raises_is_the_candidates_fault():
    with pytest.raises(Raised, match="ValueError: no"):
        InProcess(Vendor()).call("bleu", {"hypotheses": ["a"], "references": [["a"]], "smoothing": "raise"})


def test_a_metric_that_is_not_offered_is_refused_and_one_that_is_declared_must_be_there():
    class Bare:
        def __init__(self, *capabilities):
            self.capabilities = capabilities

        def describe(self):
            return {"name": "bare", "version": "1", "capabilities": list(self.capabilities)}

    question = {"hypotheses": ["a"], "references": [["a"]]}
    with pytest.raises(Refusal, match="rouge is not offered"):
        InProcess(Bare("load_model")).call("rouge", question)
    with pytest.raises(Malformed, match="declared rouge, but the adapter"):
        InProcess(Bare("rouge")).call("rouge", question)


@pytest.mark.parametrize(
    "params",
    [
        {"hypotheses": ["a"]},
        {"hypotheses": "a", "references": [["a"]]},
        {"hypotheses": ["a"], "references": ["a"]},
        {"hypotheses": [1], "references": [["a"]]},
        {"hypotheses": [["a", 1]], "references": [["a"]]},
        {"hypotheses": ["\ud800"], "references": [["a"]]},
    ],
)
def test_a_malformed_question_about_texts_is_our_own_fault(params):
    with pytest.raises(ValueError, match="bleu: "):
        wire.check_params("bleu", params)


def test_wrong_values_may_be_asked():
    wire.check_params("bleu", {"hypotheses": [], "references": [[], [[], ""]], "max_order": -1, "x": None})


def test_the_reference_answers_in_a_process_of_its_own_as_in_this_one(tmp_path):
    sizes = {"vocab_size": 260, "embedding_dim": 8, "num_layers": 1, "context_length": 8}
    document = {"name": "s", "version": "1.0", "architecture": "GPT-3", "parameters": sizes}
    (tmp_path / "model.json").write_text(json.dumps(document))
    texts = {"hypotheses": ["a b c", "Привет мир"], "references": [["a b d"], ["Привет, мир", "x"]]}
    calls = [("bleu", {**texts, "smoothing": "exp"}), ("rouge", texts)]
    answers = []
    for apart in (False, True):
        link = connect("reference", out_of_process=apart)
        held = link.call("load_model", {"path": str(tmp_path)})["model"]
        asked = [*calls, ("perplexity", {"model": held, "ids": [5, 9, 200, 7, 1, 3, 4, 250, 17, 99], "stride": 3})]
        answers.append([link.call(*call) for call in asked])
        with pytest.raises(Refusal) as caught:
            link.call("rouge", {**texts, "use_stemmer": True})
        assert caught.value.code == "unknown_parameter"
        link.close()
    assert answers[0] == answers[1]
    assert answers[0][2]["tokens"] == 9


class Uniform(kit.KitModel):
    """Equal logits of five ids."""

    def __init__(self, context, bos=None):
        self.config = {"vocab_size": 5, "context_length": context, "bos_token_id": bos, "eos_token_ids": []}
        self.tokenizer = None
        self.rows = []

    def forward(self, batch):
        self.rows += batch
        return [np.zeros((len(row), 5)) for row in batch]


def test_the_kit_makes_a_perplexity_of_scores():
    model = Uniform(4)
    found = model.perplexity([0, 1, 2, 3, 4, 0, 1], stride=3)
    assert found["tokens"] == 6
    assert found["perplexity"] == pytest.approx(5, rel=1e-15)
    assert model.rows == [[0, 1, 2, 3], [3, 4, 0, 1]]
    assert Uniform(4, bos=2).perplexity([1])["tokens"] == 1
    assert Uniform(4, bos=2).perplexity([2, 1])["tokens"] == 1


@pytest.mark.parametrize(
    ("ids", "options", "code"),
    [
        ([1], {}, "invalid_argument"),
        ([1, 5], {}, "invalid_argument"),
        ([1, 2], {"stride": 4}, "invalid_argument"),
        ([1, 2], {"stride": True}, "invalid_argument"),
        ([1, 2], {"base": 2}, "unknown_parameter"),
    ],
)
def test_the_kit_refuses_what_has_no_perplexity(ids, options, code):
    with pytest.raises(Refusal) as caught:
        Uniform(4).perplexity(ids, **options)
    assert caught.value.code == code


def test_honest_variants_compute_metrics_in_more_than_one_way():
    assert {kind.scores for kind in HONEST.values()} == {Scores, OtherScores}
