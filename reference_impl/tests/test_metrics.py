"""Metrics by hand, by their properties, and against sacrebleu, rouge-score, PyTorch and transformers."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from transformers.loss.loss_utils import ForCausalLMLoss

import llmasos
from llmasos import metrics
from llmasos.errors import ContextOverflow, InvalidArgument, Unsupported
from llmasos.metrics import Bleu, Perplexity, bleu, from_logprobs, perplexity, rouge

U = 2.0**-53
LETTERS = st.lists(st.sampled_from("abcdef"), max_size=14)
SOME = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=14)
PAIRS = st.lists(st.tuples(LETTERS, st.lists(SOME, min_size=1, max_size=3)), min_size=1, max_size=5)


def apart(pairs: list[Any]) -> tuple[list[Any], list[Any]]:
    """Pairs as hypotheses and references."""
    return [hypothesis for hypothesis, _ in pairs], [references for _, references in pairs]


def test_the_door_leads_to_the_metrics() -> None:
    assert llmasos.bleu is bleu
    assert llmasos.rouge is rouge
    assert llmasos.perplexity is perplexity


# ── perplexity ──


class Law:
    """A model that gives each id a fixed natural-log probability, or one that depends on the id before it."""

    def __init__(self, law: Any, context: int = 8, bos: int | None = None, architecture: str = "GPT-3") -> None:
        self.law, self.seen = law, list[list[int]]()
        document = {
            "name": "law", "version": "1.0", "architecture": architecture,
            "parameters": {"vocab_size": 300, "embedding_dim": 4, "num_layers": 1, "num_heads": 1,
                           "context_length": context, "bos_token_id": bos},
        }  # fmt: skip
        self.config = llmasos.ModelConfig.from_document(document)

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def score(self, ids: Any) -> list[float | None]:
        assert 1 <= len(ids) <= self.config.context_length
        self.seen.append(list(ids))
        return [None, *(self.law(before, token) for before, token in pairwise(ids))]


def halves(before: int, token: int) -> float:
    """p = 2^-(token mod 7): every number of bits is whole."""
    return -(token % 7) * math.log(2)


@pytest.fixture
def model(make: Any) -> llmasos.Model:
    return llmasos.load_model(make(context_length=12))


@pytest.fixture
def with_bos(make: Any) -> llmasos.Model:
    return llmasos.load_model(make("bos", context_length=12, bos_token_id=256))


def test_perplexity_is_two_to_the_mean_bits() -> None:
    # 1 + 2 + 3 bits over three tokens: 2^2
    assert from_logprobs([math.log(1 / 2), math.log(1 / 4), math.log(1 / 8)]).value == pytest.approx(4, rel=8 * U)


def test_a_model_that_knows_everything_has_perplexity_one_and_one_that_knows_nothing_has_v() -> None:
    assert from_logprobs([0.0, 0.0]).value == 1
    assert from_logprobs([-math.log(263)] * 9).value == pytest.approx(263, rel=16 * U)


def test_probability_zero_is_an_infinite_perplexity_and_so_is_one_beyond_float64() -> None:
    assert from_logprobs([-1.0, -math.inf]).value == math.inf
    assert from_logprobs([-800.0]).value == math.inf
    assert from_logprobs([-700.0]).value == pytest.approx(math.exp(700), rel=2000 * U)


@pytest.mark.parametrize("value", [math.nan, 0.1, 1e-300, True, "x", 10**400])
def test_what_is_no_log_probability_is_refused_by_its_index(value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"logprobs\[1\]: expected a log-probability"):
        from_logprobs([-1.0, value])


@pytest.mark.parametrize("value", [[], [None], [None, None]])
def test_nothing_to_score_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="nothing to score"):
        from_logprobs(value)


def test_numbers_of_other_kinds_are_log_probabilities_too() -> None:
    assert from_logprobs([np.float32(-1.0), Fraction(-1), -1]).bits == pytest.approx(3 / math.log(2))
    assert from_logprobs([-(10**400)]).value == math.inf


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=20), st.lists(st.floats(-50, 0), min_size=1, max_size=20))
def test_perplexities_add_up_to_that_of_both_texts(a: list[float], b: list[float]) -> None:
    whole, parts = from_logprobs(a + b), from_logprobs(a) + from_logprobs(b)
    assert parts.tokens == whole.tokens
    assert parts.bits == pytest.approx(whole.bits, rel=8 * U)
    low, high = sorted((from_logprobs(a).value, from_logprobs(b).value))
    assert low * (1 - 1e-12) <= whole.value <= high * (1 + 1e-12)


def test_a_text_without_bos_begins_to_be_scored_at_its_second_token() -> None:
    found = perplexity(Law(halves), [3, 1, 2])
    assert (found.bits, found.tokens) == (pytest.approx(3), 2)


def test_a_text_behind_bos_is_scored_from_its_first_token_and_bos_is_not() -> None:
    model = Law(halves, bos=6)
    found = perplexity(model, [3, 1, 2])
    assert (found.bits, found.tokens) == (pytest.approx(6), 3)
    assert model.seen == [[6, 3, 1, 2]]


def test_bos_is_not_put_before_bos() -> None:
    model = Law(halves, bos=6)
    assert perplexity(model, [6, 3, 1, 2]) == perplexity(model, [3, 1, 2])
    assert model.seen == [[6, 3, 1, 2]] * 2
    assert metrics.logprobs(model, [6, 3]) == [None, halves(6, 3)]
    assert metrics.logprobs(model, [3]) == [halves(6, 3)]


@pytest.mark.parametrize(
    ("length", "stride", "expected"),
    [
        (8, None, [(0, 8)]),  # fits
        (9, None, [(0, 8), (4, 9)]),
        (12, None, [(0, 8), (4, 12)]),
        (13, None, [(0, 8), (4, 12), (8, 13)]),
        (10, 1, [(0, 8), (1, 9), (2, 10)]),
        (15, 7, [(0, 8), (7, 15)]),
        (16, 7, [(0, 8), (7, 15), (14, 16)]),
    ],
)
def test_windows_begin_at_multiples_of_the_stride(length: int, stride: int, expected: list[tuple[int, int]]) -> None:
    model = Law(halves)
    perplexity(model, list(range(length)), stride=stride)
    assert model.seen == [list(range(begin, end)) for begin, end in expected]


@given(st.integers(2, 60), st.integers(2, 20), st.data())
def test_each_position_is_scored_once_and_behind_enough(length: int, context: int, data: Any) -> None:
    stride = data.draw(st.integers(1, context - 1))
    scored = []
    for begin, end, first in metrics.windows(length, context, stride):
        assert end - begin <= context
        assert begin % stride == 0
        assert first - begin >= (context - stride if begin else 1)
        scored += range(first, end)
    assert scored == list(range(1, length))


@given(
    st.lists(st.integers(0, 255), min_size=2, max_size=40), st.integers(2, 12), st.sampled_from([None, 9]), st.data()
)
def test_windows_change_nothing_for_a_model_that_looks_back_one_token(
    ids: Any, context: int, bos: Any, data: Any
) -> None:
    law = Law(lambda before, token: -((before * 31 + token * 17) % 64) / 8, context, bos)
    assume(bos is None or len(ids) > 1 or ids != [bos])
    whole = Law(law.law, 64, bos)
    stride = data.draw(st.sampled_from([None, *range(1, context)]))
    found, due = perplexity(law, ids, stride=stride), perplexity(whole, ids)
    assert found.tokens == due.tokens
    assert found.bits == pytest.approx(due.bits, rel=1e-13, abs=0)


@pytest.mark.parametrize("stride", [0, 8, -1, 2.0, True, "4"])
def test_a_stride_out_of_range_is_refused(stride: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"stride: expected an integer, found .* \(1 to 7\)"):
        perplexity(Law(halves), [1, 2], stride=stride)


def test_a_context_of_one_scores_nothing() -> None:
    with pytest.raises(ContextOverflow, match="no room for a token and one before it"):
        perplexity(Law(halves, context=1), [1, 2])
    with pytest.raises(InvalidArgument, match="nothing to score"):
        perplexity(Law(halves, context=1), [1])


@pytest.mark.parametrize("given_", [[], [1], ""])
def test_a_text_with_nothing_to_score_is_refused(given_: Any) -> None:
    with pytest.raises(InvalidArgument, match="holds nothing to score"):
        perplexity(Law(halves), given_)


def test_a_text_of_bos_alone_has_nothing_to_score() -> None:
    with pytest.raises(InvalidArgument, match="ids: holds nothing to score"):
        perplexity(Law(halves, bos=6), [6])


def test_a_corpus_counts_every_token_alike() -> None:
    model = Law(halves)
    found = perplexity(model, [[0, 1, 2, 3], [0, 6]])
    assert (found.bits, found.tokens) == (pytest.approx(12), 4)  # 1 + 2 + 3, and 6
    assert found.value == pytest.approx(8)  # the mean of the perplexities 4 and 64 would be 34
    assert perplexity(model, ["abc", "de"]) == perplexity(model, "abc") + perplexity(model, "de")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (7, "text_or_ids: expected a text, ids, or a list of them, found int"),
        ([1, 300], r"ids\[1\]: 300 is out of range"),
        ([1, "a"], r"ids\[1\]: expected an integer"),
        ([[1, 2], [1, -1]], r"corpus\[1\]\[1\]: -1 is out of range"),
        ([[1, 2], []], r"corpus\[1\]: holds nothing to score"),
        ({"a": 1}, "text_or_ids: expected a text"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_its_place(given_: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        perplexity(Law(halves), given_)


def test_only_causal_models_have_a_perplexity() -> None:
    with pytest.raises(Unsupported, match="BERT gives no probability to a text token by token"):
        perplexity(Law(halves, architecture="BERT"), [1, 2])


def test_a_real_model_scores_text_and_ids_alike(model: llmasos.Model) -> None:
    text = "Perplexität"
    assert perplexity(model, text) == perplexity(model, list(text.encode()))
    assert perplexity(model, np.array(list(text.encode()))) == perplexity(model, text)


def losses(model: llmasos.Model, ids: list[int]) -> torch.Tensor:
    """PyTorch's cross entropy of each id but the first, in nats, from our logits."""
    logits = torch.from_numpy(model.forward([ids])[0])
    return torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")


def test_agrees_with_cross_entropy_of_pytorch_and_the_loss_of_transformers(model: llmasos.Model) -> None:
    ids = [1, 200, 3, 77, 5, 299, 7, 8, 0]
    found = perplexity(model, ids)
    assert found.value == pytest.approx(float(losses(model, ids).mean().exp()), rel=1e-12)
    logits = torch.from_numpy(model.forward([ids])[0])[None]
    # transformers casts logits to float32 before its loss, so this witness is good to 1e-6.
    loss = ForCausalLMLoss(logits, torch.tensor([ids]), vocab_size=300)
    assert found.value == pytest.approx(float(loss.exp()), rel=1e-5)


@pytest.mark.parametrize("stride", [1, 4, 6, 11])
def test_agrees_with_pytorch_over_windows(model: llmasos.Model, stride: int) -> None:
    """The loop of transformers' guide: windows of the context, of which only what is new is scored."""
    rng = np.random.default_rng(stride)
    ids = [int(i) for i in rng.integers(0, 300, 41)]
    nats, count, before = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + 12, len(ids))
        new = losses(model, ids[begin:end])[-(end - max(before, 1)) :]
        nats, count, before = nats + float(new.sum()), count + len(new), end
        if end == len(ids):
            break
    found = perplexity(model, ids, stride=stride)
    assert found.tokens == count == 40
    assert found.value == pytest.approx(math.exp(nats / count), rel=1e-12)


def test_agrees_with_pytorch_behind_bos(with_bos: llmasos.Model) -> None:
    ids = [1, 200, 3, 77]
    due = float(losses(with_bos, [256, *ids]).mean().exp())
    assert perplexity(with_bos, ids).value == pytest.approx(due, rel=1e-12)
    assert perplexity(with_bos, [256, *ids]).value == pytest.approx(due, rel=1e-12)


# ── BLEU by hand ──

# The first worked example of Papineni et al., ACL 2002, word for letter: 18 words against references of 16, 18 and 16.
# The paper finds 17 of 18 unigrams and 10 of 17 bigrams.
PAPER = "a b c d e f g h i j k l m j n o j p"
PAPER_REFERENCES = [
    "a b c d e f i h i j k r s t p n",
    "a b j u v g w j k x l y z j A o j p",
    "a b j B d C j D l e t j E o j p",
]


@pytest.mark.parametrize(
    ("hypotheses", "references", "options", "due"),
    [
        # seven times a word that one reference holds twice: 2/7, no penalty for 7 against 6 and 7
        (["the " * 7], [["the cat is on the mat", "there is a cat on the mat"]], {"max_order": 1}, 2 / 7),
        (["a b c d e"], [["a b c d e f g"]], {}, math.exp(1 - 7 / 5)),
        (["a b c d e f g h i j k l"], [["a b c d e f g h i j k l" + " z" * 16]], {}, math.exp(1 - 28 / 12)),
        (["a b c d e f"], [["a b c x e f"]], {}, 0.0),  # no four in a row
        (["a b c d e f"], [["a b c d x f"]], {}, (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25),
        (["a b c d e f"], [["a b c d e x"]], {}, (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25),
        (["a b c"], [["a b c"]], {}, 0.0),  # no n-gram of order 4
        (["a b c"], [["a b c"]], {"effective_order": True}, 1.0),
        (["a b c"], [["a b d"]], {"effective_order": True}, 0.0),
        (["a x b y"], [["a b"]], {"smoothing": "floor"}, (2 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25),
        (["a x b y"], [["a b"]], {"smoothing": "floor", "smoothing_value": 1}, (2 / 4 * 1 / 3 * 1 / 2) ** 0.25),
        (["a x b y"], [["a b"]], {"smoothing": "add-k"}, (2 / 4 * 1 / 4 * 1 / 3 * 1 / 2) ** 0.25),
        (["a b x y"], [["a b"]], {"smoothing": "add-k", "smoothing_value": 0.5},
         (2 / 4 * 1.5 / 3.5 * 0.5 / 2.5 * 0.5 / 1.5) ** 0.25),
        (["a x b y"], [["a b"]], {"smoothing": "exp"}, (2 / 4 * 1 / 6 * 1 / 8 * 1 / 8) ** 0.25),
        (["a b"], [["a c"]], {"smoothing": "exp", "effective_order": True}, (1 / 2 * 1 / 2) ** 0.5),
        (["a b"], [["a c"]], {"smoothing": "exp"}, 0.0),  # orders 3 and 4 have no n-gram to smooth
        (["a b c d"], [["e f g h"]], {"smoothing": "floor"}, 0.0),
        (["a b c d"], [["e f g h"]], {"smoothing": "add-k"}, 0.0),
        (["a b c d"], [["e f g h"]], {"smoothing": "exp"}, 0.0),
        # r is 3 for the first (2 and 4 are as close as each other: 2), and 5 for the second
        (["a b c", "a b c d e"], [["a b", "a b c z"], ["a b c d e", "a"]], {"max_order": 1}, 1.0),
        (["a b c"], [["a b c z", "a b"]], {"max_order": 1}, 1.0),
        (["a b c"], [["a b c z", "a"]], {"max_order": 1}, math.exp(1 - 4 / 3)),
        # half of one and all of the other: 3 of 4, not the mean of 0 and 1
        (["a b c d", "x b c d"], [["a b c d"], ["y b c d"]], {"max_order": 1}, 7 / 8),
        (["", "a b c d"], [["a"], ["a b c d"]], {}, math.exp(1 - 5 / 4)),
        (["", ""], [["a"], ["b"]], {}, 0.0),
        (["a b"], [["b a", "a b"]], {"max_order": 2}, 1.0),
        (["a a b b"], [["a a", "b b"]], {"max_order": 1}, 1.0),  # each word from the reference that holds it most often
        (["A b c d"], [["a B c d"]], {}, 0.0),
        (["A b c d"], [["a B c d"]], {"fold_case": True}, 1.0),
        ([["a b", "c", "d", "e"]], [[["a b", "c", "d", "e"]]], {}, 1.0),  # tokens are taken as they are
        (["Straße, da!"], [["STRASSE, DA!"]], {"tokenize": "word", "fold_case": True}, 1.0),
        (["我用Python。"], [["我用 Python 。"]], {"tokenize": "zh"}, 1.0),
        (["我 用 py"], [["我用py"]], {"tokenize": "char"}, 1.0),
    ],
)  # fmt: skip
def test_bleu_by_hand(hypotheses: Any, references: Any, options: dict[str, Any], due: float) -> None:
    assert bleu(hypotheses, references, **options).score == pytest.approx(due, rel=16 * U, abs=0)


def test_bleu_of_the_example_of_its_paper() -> None:
    found = bleu([PAPER], [PAPER_REFERENCES])
    assert (found.matches, found.totals) == ((17, 10, 7, 4), (18, 17, 16, 15))
    assert (found.hypothesis_length, found.reference_length, found.brevity_penalty) == (18, 18, 1.0)
    assert found.score == pytest.approx((7 / 108) ** 0.25, rel=16 * U)  # 17·10·7·4 / (18·17·16·15) = 7/108


# ── BLEU by its properties ──


@given(PAIRS, st.sampled_from(["none", "floor", "add-k", "exp"]), st.booleans(), st.integers(1, 5))
def test_bleu_lies_between_zero_and_one(pairs: Any, smoothing: str, effective: bool, order: int) -> None:
    found = bleu(*apart(pairs), smoothing=smoothing, effective_order=effective, max_order=order)
    assert 0 <= found.score <= 1


@given(st.lists(SOME, min_size=1, max_size=5))
def test_bleu_of_a_text_with_itself_is_one(texts: Any) -> None:
    assert bleu(texts, [[text] for text in texts], effective_order=True).score == 1
    longest = max(map(len, texts))
    assert bleu(texts, [[text] for text in texts]).score == (1 if longest >= 4 else 0)


@given(PAIRS, st.randoms(use_true_random=False))
def test_bleu_does_not_know_the_order_of_segments_and_references(pairs: Any, random: Any) -> None:
    shuffled = [(hypothesis, random.sample(references, len(references))) for hypothesis, references in pairs]
    random.shuffle(shuffled)
    assert bleu(*apart(shuffled)) == bleu(*apart(pairs))


@given(PAIRS, PAIRS)
def test_bleu_of_two_shards_adds_up_to_that_of_the_whole(a: Any, b: Any) -> None:
    assert bleu(*apart(a)) + bleu(*apart(b)) == bleu(*apart(a + b))


def test_bleu_of_unlike_options_does_not_add_up() -> None:
    with pytest.raises(InvalidArgument, match="differ"):
        bleu(["a"], [["a"]]) + bleu(["a"], [["a"]], max_order=3)


@given(LETTERS, st.lists(SOME, min_size=1, max_size=3), SOME)
def test_another_reference_never_lowers_the_matches(hypothesis: Any, references: Any, more: Any) -> None:
    fewer, found = bleu([hypothesis], [references]), bleu([hypothesis], [[*references, more]])
    assert all(a <= b for a, b in zip(fewer.matches, found.matches, strict=True))
    if found.reference_length == fewer.reference_length:
        assert fewer.score <= found.score


@given(LETTERS, LETTERS, st.sampled_from(["none", "floor", "add-k", "exp"]))
def test_texts_without_a_common_token_score_zero_whatever_the_smoothing(a: Any, b: Any, smoothing: str) -> None:
    assert bleu([a], [[[token.upper() for token in b] or ["Z"]]], smoothing=smoothing).score == 0


@given(st.integers(1, 30), st.integers(1, 30))
def test_only_brevity_is_punished(c: int, r: int) -> None:
    found = bleu([["a"] * c], [[["a"] * r]], max_order=1)
    assert found.brevity_penalty == (1 if c >= r else math.exp(1 - r / c))


# ── BLEU against sacrebleu ──


@given(PAIRS, st.sampled_from(["none", "floor", "exp"]), st.booleans(), st.integers(1, 4))
def test_bleu_agrees_with_sacrebleu(pairs: Any, smoothing: str, effective: bool, order: int) -> None:
    texts = [
        (" ".join(hypothesis), [" ".join(reference) for reference in references]) for hypothesis, references in pairs
    ]
    found = bleu(*apart(texts), smoothing=smoothing, effective_order=effective, max_order=order)
    due = theirs(texts, smoothing, effective, order)
    assert (list(found.matches), list(found.totals)) == (due.counts, due.totals)
    assert (found.hypothesis_length, found.reference_length) == (due.sys_len, due.ref_len)
    assert found.score == pytest.approx(due.score / 100, rel=1e-13, abs=0)


def theirs(texts: Any, smoothing: str, effective: bool, order: int, value: float | None = None) -> Any:
    """sacrebleu with the same settings. It wants references by number, and None where a segment has fewer."""
    most = max(len(references) for _, references in texts)
    columns = [[references[k] if k < len(references) else None for _, references in texts] for k in range(most)]
    metric = BLEU(
        tokenize="none", smooth_method=smoothing, smooth_value=value, effective_order=effective, max_ngram_order=order,
        force=True,
    )  # fmt: skip
    return metric.corpus_score([hypothesis for hypothesis, _ in texts], columns)


@given(PAIRS, st.sampled_from([1.0, 0.25]), st.integers(1, 4))
def test_bleu_agrees_with_sacrebleu_on_add_k_where_every_order_occurs(pairs: Any, value: float, order: int) -> None:
    texts = [
        (" ".join(hypothesis), [" ".join(reference) for reference in references]) for hypothesis, references in pairs
    ]
    found = bleu(*apart(texts), smoothing="add-k", smoothing_value=value, max_order=order)
    assume(found.totals[-1])
    # Where nothing at all matches ours is 0; theirs is too.
    assert found.score == pytest.approx(theirs(texts, "add-k", False, order, value).score / 100, rel=1e-13, abs=0)


def test_bleu_differs_from_sacrebleu_on_add_k_where_an_order_does_not_occur() -> None:
    # Two words have no 3-gram. sacrebleu adds k to nothing over nothing and takes precision 1.
    assert bleu(["a b"], [["a c"]], smoothing="add-k").score == 0
    assert theirs([("a b", ["a c"])], "add-k", False, 4).score == pytest.approx(100 * (1 / 2 * 1 / 2) ** 0.25)


# ── BLEU refuses ──


@pytest.mark.parametrize(
    ("hypotheses", "references", "options", "message"),
    [
        ([], [], {}, "hypotheses: no segments"),
        (["a"], [], {}, "references: 1 hypotheses and 0 lists of references"),
        (["a"], [["a"], ["b"]], {}, "references: 1 hypotheses and 2 lists of references"),
        ("a", [["a"]], {}, "hypotheses: expected a list, found str"),
        (["a"], "a", {}, "references: expected a list, found str"),
        (["a"], ["a"], {}, r"references\[0\]: expected a list of references, found 'a' \(wrap it in a list\)"),
        (["a", "b"], [["a"], []], {}, r"references\[1\]: no reference"),
        (["a", "b"], [["a"], ["b", " "]], {}, r"references\[1\]\[1\]: no token in ' '"),
        (["a"], [[[]]], {}, r"references\[0\]\[0\]: no token in \[\]"),
        ([1], [["a"]], {}, r"hypotheses\[0\]: expected a text or a list of tokens, found 1"),
        ([["a", 1]], [["a"]], {}, r"hypotheses\[0\]\[1\]: expected a text, found int"),
        (["\ud800"], [["a"]], {}, r"hypotheses\[0\]: character 0 is a lone surrogate"),
        ([["a"]], [["a"]], {"tokenize": "word"}, r"hypotheses\[0\]: a list of tokens, and tokenize is 'word'"),
        (["a"], [["a"]], {"tokenize": "13a"}, "tokenize: '13a' is not known"),
        (["a"], [["a"]], {"smoothing": "laplace"}, "smoothing: 'laplace' is not known"),
        (["a"], [["a"]], {"max_order": 0}, "max_order: expected an integer, found 0"),
        (["a"], [["a"]], {"max_order": 17}, "max_order: expected an integer, found 17"),
        (["a"], [["a"]], {"max_order": True}, "max_order: expected an integer, found True"),
        (["a"], [["a"]], {"effective_order": 1}, "effective_order: expected a boolean, found 1"),
        (["a"], [["a"]], {"fold_case": None}, "fold_case: expected a boolean, found None"),
        (["a"], [["a"]], {"smoothing_value": 1}, "smoothing_value: smoothing 'none' takes no value"),
        (["a"], [["a"]], {"smoothing": "exp", "smoothing_value": 1}, "smoothing_value: smoothing 'exp' takes no value"),
        (["a"], [["a"]], {"smoothing": "floor", "smoothing_value": 0}, "smoothing_value: expected a number above 0"),
        (["a"], [["a"]], {"smoothing": "floor", "smoothing_value": 1.5}, "smoothing_value: expected a number above 0"),
        (
            ["a"],
            [["a"]],
            {"smoothing": "add-k", "smoothing_value": math.inf},
            "smoothing_value: expected a finite number",
        ),
        (["a"], [["a"]], {"smoothing": "add-k", "smoothing_value": "1"}, "smoothing_value: expected a finite number"),
    ],
)
def test_bleu_refuses_what_cannot_be_scored_by_its_place(
    hypotheses: Any, references: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        bleu(hypotheses, references, **options)


# ── ROUGE by hand ──


def one(hypothesis: str, *references: str) -> dict[str, tuple[float, float, float]]:
    """Precision, recall and F1 of one segment."""
    found = rouge([hypothesis], [list(references)])
    assert found.mean == dict(found.segments[0])
    return {name: (score.precision, score.recall, score.f1) for name, score in found.mean.items()}


def shares(m: int, h: int, r: int) -> tuple[float, float, float]:
    return (m / h, m / r, 2 * m / (h + r)) if m else (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "due"),
    [
        # the two worked examples of Lin, ACL workshop 2004, with letters for words
        ("a x c d", "a b c d", {"rouge1": (3, 4, 4), "rouge2": (1, 3, 3), "rougeL": (3, 4, 4), "rougeLsum": (3, 4, 4)}),
        ("c d x a", "a b c d", {"rouge1": (3, 4, 4), "rouge2": (1, 3, 3), "rougeL": (2, 4, 4), "rougeLsum": (2, 4, 4)}),
        # its union: w1 w2 with the first sentence, w1 w3 w5 with the second, w1 w2 w3 w5 together
        ("1 2 6 7 8\n1 3 8 9 5", "1 2 3 4 5", {"rougeL": (4, 10, 5), "rougeLsum": (4, 10, 5), "rouge1": (4, 10, 5)}),
        ("the the the", "the cat", {"rouge1": (1, 3, 2), "rouge2": (0, 2, 1), "rougeL": (1, 3, 2)}),
        ("a b c d e", "a b", {"rouge1": (2, 5, 2), "rouge2": (1, 4, 1), "rougeL": (2, 5, 2)}),
        ("a", "a", {"rouge1": (1, 1, 1), "rouge2": (0, 0, 0), "rougeL": (1, 1, 1), "rougeLsum": (1, 1, 1)}),
        ("", "a b", dict.fromkeys(metrics.ROUGE, (0, 0, 2))),
        ("!?", "a b", dict.fromkeys(metrics.ROUGE, (0, 0, 2))),
        ("c d", "a b", dict.fromkeys(metrics.ROUGE, (0, 2, 2))),
        # "a" once in the hypothesis, in both sentences of the reference: it is shared once
        ("a b", "a c\na d", {"rougeL": (1, 2, 4), "rougeLsum": (1, 2, 4), "rouge1": (1, 2, 4)}),
        # sentences in another order: nothing for L to cross, everything for Lsum
        ("c d\na b", "a b\nc d", {"rougeL": (2, 4, 4), "rougeLsum": (4, 4, 4), "rouge2": (2, 3, 3)}),
        ("a b\n\n\nc d\n", "a b\r\nc d", {"rougeL": (4, 4, 4), "rougeLsum": (4, 4, 4)}),
        # "b a" and "a b" have "a" or "b" in common, "b" and "a b" have "b". From the ends, where the last one of the
        # reference is dropped first, the former is "a", and the union is both.
        ("b a\nb", "a b", {"rougeL": (2, 3, 2), "rougeLsum": (2, 3, 2)}),
        # "a b" and "b a" have, from the ends, "b": "a" is dropped first. With "b x" it is "b" again: one shared word.
        ("a b\nb x", "b a", {"rougeLsum": (1, 4, 2), "rouge1": (2, 4, 2)}),
        ("A, b!", "a B", dict.fromkeys(("rouge1", "rougeL", "rougeLsum"), (2, 2, 2))),
    ],
)  # fmt: skip
def test_rouge_by_hand(hypothesis: str, reference: str, due: dict[str, tuple[int, int, int]]) -> None:
    found = one(hypothesis, reference)
    for name, (m, h, r) in due.items():
        assert found[name] == shares(m, h, r), name


@pytest.mark.parametrize(
    "text",
    ["naïve café", "Привет мир", "καλή μέρα", "السلام عليكم", "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "한국어 텍스트",
     "我爱北京", "日本語テスト", "😀 🎉"],
)  # fmt: skip
def test_a_text_of_any_script_is_like_itself_and_unlike_another(text: str) -> None:
    assert one(text, text)["rouge1"] == one(text, text)["rougeLsum"] == (1, 1, 1)
    assert one(text, text)["rouge2"] == (1, 1, 1)
    assert one(text, "qqq zzz")["rouge1"] == (0, 0, 0)


def test_of_several_references_the_one_with_the_largest_f1_counts_and_the_first_of_equals() -> None:
    found = one("a b c d", "a b c d e f g h", "a b x y")
    assert found["rouge1"] == shares(4, 4, 8)  # 2/3 beats 1/2
    assert found["rouge2"] == shares(3, 3, 7)
    # 2·1/(2+4) = 2·1/(4+2): precision and recall of the first
    assert one("a b", "a c d e", "a")["rouge1"] == shares(1, 2, 1)
    assert one("a b c", "a", "a b x y z")["rouge1"] == shares(1, 3, 1)
    assert one("a b c", "a b x y z", "a")["rouge1"] == shares(2, 3, 5)


def test_rouge_of_a_corpus_is_the_mean_of_each_number() -> None:
    found = rouge(["a b", "a"], [["a"], ["a b c"]])
    assert found.mean["rouge1"].precision == (1 / 2 + 1) / 2
    assert found.mean["rouge1"].recall == (1 + 1 / 3) / 2
    assert found.mean["rouge1"].f1 == (2 / 3 + 1 / 2) / 2
    assert len(found.segments) == 2
    assert found == rouge(["a b"], [["a"]]) + rouge(["a"], [["a b c"]])


# ── ROUGE by its properties ──

TEXTS = st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8), min_size=1, max_size=4).map(
    lambda sentences: "\n".join(" ".join(sentence) for sentence in sentences)
)


@given(TEXTS, TEXTS)
def test_rouge_lies_between_zero_and_one_and_swaps_precision_and_recall(a: str, b: str) -> None:
    there, back = one(a, b), one(b, a)
    for name in metrics.ROUGE:
        assert all(0 <= share <= 1 for share in there[name])
        if name != "rougeLsum":  # of several longest subsequences the choice is the reference's
            assert there[name] == (back[name][1], back[name][0], back[name][2])


@given(TEXTS, TEXTS)
def test_no_subsequence_is_longer_than_what_is_shared_in_any_order(a: str, b: str) -> None:
    found = one(a, b)
    assert found["rougeL"][2] <= found["rouge1"][2]
    assert found["rougeLsum"][2] <= found["rouge1"][2]


@given(LETTERS, LETTERS)
def test_the_longest_common_subsequence_is_one_and_none_is_longer(a: list[str], b: list[str]) -> None:
    positions = metrics.lcs_positions(a, b)[::-1]
    assert positions == sorted(set(positions))
    found = [a[i] for i in positions]
    rest = iter(b)
    assert all(token in rest for token in found)  # a subsequence of b
    assert len(found) == metrics.lcs_length(a, b) == slow_lcs(a, b)


def slow_lcs(a: list[str], b: list[str]) -> int:
    """By trying all subsequences of a, longest first."""
    if len(a) > 10:
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
        return table[-1][-1]
    for size in range(len(a), 0, -1):
        for chosen in combinations(a, size):
            rest = iter(b)
            if all(token in rest for token in chosen):
                return size
    return 0


def test_texts_longer_than_a_machine_word_have_a_subsequence_too() -> None:
    a = [str(i % 97) for i in range(500)]
    b = [str(i * 7 % 101) for i in range(400)]
    assert metrics.lcs_length(a, b) == slow_lcs(a, b)


# ── ROUGE against rouge-score ──


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_rouge_agrees_with_rouge_score_on_ascii(hypothesis: str, references: list[str]) -> None:
    due = RougeScorer(list(metrics.ROUGE)).score_multi(references, hypothesis)
    found = rouge([hypothesis], [references]).segments[0]
    for name in metrics.ROUGE:
        assert found[name].f1 == pytest.approx(due[name].fmeasure, rel=8 * U, abs=0), name
        if len(references) == 1:
            assert found[name].precision == pytest.approx(due[name].precision, rel=8 * U, abs=0)
            assert found[name].recall == pytest.approx(due[name].recall, rel=8 * U, abs=0)


# ── ROUGE refuses ──


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "hypotheses: no segments"),
        (["a"], [["a"], ["b"]], "references: 1 hypotheses and 2 lists of references"),
        (["a"], [[]], r"references\[0\]: no reference"),
        (["a"], [["a", "?!"]], r"references\[0\]\[1\]: no token in '\?!'"),
        (["a"], ["a"], r"references\[0\]: expected a list of references"),
        ([["a"]], [["a"]], r"hypotheses\[0\]: expected a text, found list"),
        (["a"], [["\udfff"]], r"references\[0\]\[0\]: character 0 is a lone surrogate"),
    ],
)
def test_rouge_refuses_what_cannot_be_scored_by_its_place(hypotheses: Any, references: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        rouge(hypotheses, references)


def test_results_are_values() -> None:
    assert bleu(["a b"], [["a b"]]) == Bleu(
        matches=(2, 1, 0, 0), totals=(2, 1, 0, 0), hypothesis_length=2, reference_length=2
    )
    assert from_logprobs([0.0]) == Perplexity(bits=0.0, tokens=1)
    assert rouge(["a"], [["a"]]) == rouge(["A!"], [["a"]])


@pytest.mark.parametrize("architecture", ["GPT-3", "Llama", "BERT", "Transformer"])
def test_every_architecture_has_a_perplexity_or_says_that_it_has_none(architecture: str, tmp_path: Any) -> None:
    sizes = {"vocab_size": 260, "embedding_dim": 16, "num_layers": 1}
    loaded = llmasos.load_model(llmasos.new_bundle(tmp_path / "bundle", architecture, sizes))
    if architecture in metrics.CAUSAL:
        assert perplexity(loaded, "text").value == pytest.approx(
            from_logprobs(p for p in loaded.score(list(b"text")) if p is not None).value
        )
    else:
        with pytest.raises(Unsupported, match=f"{architecture} gives no probability"):
            perplexity(loaded, "text")
