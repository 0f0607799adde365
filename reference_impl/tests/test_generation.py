"""What a continuation is: limits, ends, stop strings, pieces, refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmasos
from llmasos import ModelConfig, generation, sampling
from llmasos.errors import ContextOverflow, InvalidArgument, UnknownParameter, Unsupported
from llmasos.generation import Generation, Prompt
from llmasos.tokenizer import ByteTokenizer

Say = Callable[..., llmasos.Model]


def recite(script: Sequence[int], document: Any, **options: Any) -> tuple[list[str], Generation]:
    """Run the loop on a step function that says a script, greedily; the pieces and the result."""
    config = ModelConfig.from_document(document(context_length=64, eos_token_ids=[299]))
    position = 0

    def step(ids: Sequence[int]) -> np.ndarray:
        nonlocal position
        position += 1
        return np.eye(300)[script[position - 1]]

    request = generation.check_request(config, options.pop("max_length", len(script)), 0.0, options)
    *pieces, last = generation.stream(step, config, ByteTokenizer(), Prompt(ids=[0], given=1), request)
    return [str(piece) for piece in pieces], last  # type: ignore[return-value]


def test_the_limit_counts_new_tokens(speaking: Say) -> None:
    model = speaking(b"abcdef", at=2)
    result = model.generate("xyz", 4, 0.0)
    assert (result.text, result.ids, result.finish_reason) == ("abcd", tuple(b"abcd"), "length")
    assert (result.prompt_tokens, result.completion_tokens) == (3, 4)


def test_the_end_of_sequence_counts_and_is_no_text(speaking: Say) -> None:
    model = speaking([*b"ab", 257, *b"cd"], at=0, eos_token_ids=[256, 257])
    result = model.generate("x", 10, 0.0)
    assert (result.text, result.ids, result.finish_reason) == ("ab", (97, 98, 257), "stop")
    assert result.completion_tokens == 3


def test_stop_beats_length_on_the_same_step(speaking: Say) -> None:
    model = speaking([*b"ab", 257], at=0, eos_token_ids=[257])
    assert model.generate("x", 3, 0.0).finish_reason == "stop"
    assert model.generate("x", 2, 0.0).finish_reason == "length"
    assert model.generate("x", 2, 0.0, stop="b").finish_reason == "stop"


def test_nothing_asked_nothing_said(speaking: Say) -> None:
    result = speaking(b"abc", at=0).generate("x", 0, 0.0, logprobs=3)
    assert (result.text, result.ids, result.finish_reason, result.logprobs) == ("", (), "length", ())


def test_a_continuation_ends_at_the_context(speaking: Say) -> None:
    model = speaking(b"abcde", at=0, context_length=5)
    assert model.generate("x", 100, 0.0).text == "abcd"
    for prompt, left in (("xxxx", 1), ("xxxxx", 0)):
        result = model.generate(prompt, 100, 0.0)
        assert (result.completion_tokens, result.finish_reason) == (left, "length")


def test_an_overlong_prompt_is_refused_even_for_no_tokens(speaking: Say) -> None:
    model = speaking(b"a", at=0, context_length=5)
    for ask in (
        lambda: model.generate("xxxxxx", 0),
        lambda: model.generate_ids([1] * 6),
        lambda: model.stream_text("x" * 6),
    ):
        with pytest.raises(ContextOverflow, match="6 tokens, the context holds 5"):
            ask()


def test_an_empty_prompt_starts_from_bos_or_is_refused(speaking: Say) -> None:
    result = speaking(b"ab", at=0, bos_token_id=256).generate("", 2, 0.0)
    assert (result.text, result.prompt_tokens) == ("ab", 1)
    without = speaking(b"ab", at=0)
    for ask in (lambda: without.generate_text(""), lambda: without.generate_ids([])):
        with pytest.raises(InvalidArgument, match="no BOS"):
            ask()


def test_ids_without_text_are_not_chosen_for_text(speaking: Say) -> None:
    model = speaking([257, 257], at=0, bos_token_id=256)
    assert 257 not in model.generate("x", 2, 0.0).ids
    assert model.generate_ids([1], 2, 0.0).ids == (257, 257)
    for seed in range(50):
        assert max(model.generate("x", 8, 2.0, seed=seed).ids) < 256


@pytest.mark.parametrize(
    ("script", "stop", "text"),
    [
        (b"hello world", ["o w"], "hell"),
        (b"hello world", "o w", "hell"),
        (b"hello world", ["xyz", "wor", "lo"], "hel"),
        (b"hello", ["h"], ""),
        (b"hello", ["hellp", "ello!"], "hello"),
        (b"abcabd", ["abd"], "abc"),
        (b"aaab", ["aab"], "a"),
        ("é€😀é".encode(), ["😀"], "é€"),
        (b"a\xffb", ["\ufffd"], "a"),
        (b"a\xe4\xbd", ["\ufffd"], "a"),
        ("a你b".encode(), ["\ufffd"], "a你b"),
    ],
)
def test_stop_strings(script: bytes, stop: Any, text: str, document: Any) -> None:
    pieces, result = recite(script, document, stop=stop)
    assert result.text == text
    assert "".join(pieces) == text
    assert result.finish_reason == ("stop" if text != script.decode(errors="replace") else "length")
    assert result.ids == tuple(script[: result.completion_tokens])


def test_the_earliest_start_wins_within_one_step() -> None:
    assert generation.first_stop("abcd", ("bc", "abcd", "cd")) == 0
    assert generation.first_stop("abcd", ("x",)) is None


def test_possible_beginnings_are_held_back(document: Any) -> None:
    pieces, _ = recite(b"abcabx", document, stop=["abd", "bx!"])
    assert pieces == ["abc", "abx"]
    assert [generation.held_back(text, ("abc", "b")) for text in ("xab", "xa", "x", "", "abc")] == [2, 1, 0, 0, 0]


def test_half_characters_are_held_back_until_they_are_whole_or_the_end(document: Any) -> None:
    assert recite("a你b".encode(), document)[0] == ["a", "你", "b"]
    assert recite(b"a\xe4\xbd", document)[0] == ["a", "\ufffd"]
    assert recite([*b"a\xe4\xbd", 299], document)[0] == ["a", "\ufffd"]
    assert recite(b"\xe4\xbdA", document)[0] == ["\ufffdA"]


@given(
    script=st.lists(st.sampled_from([*b"ab", 0xE4, 0xBD, 0xA0, 0xFF, 299, 280]), max_size=14),
    stop=st.lists(st.text("ab你\ufffd", min_size=1, max_size=3), max_size=4),
)
def test_pieces_join_to_the_text_and_the_text_holds_no_stop(script: list[int], stop: list[str], document: Any) -> None:
    pieces, result = recite(script, document, stop=stop)
    assert "".join(pieces) == result.text
    assert all(pieces)
    assert not any(string in result.text for string in stop)
    said = script[: script.index(299)] if 299 in script else script
    whole = ByteTokenizer().decode(said)
    assert whole.startswith(result.text)
    if not any(string in whole for string in stop):
        assert result.text == whole
        assert result.finish_reason == ("stop" if 299 in script else "length")
    else:
        assert result.finish_reason == "stop"


def test_same_seed_same_result_and_no_seed_fresh(make: Callable[..., Path]) -> None:
    model = llmasos.load_model(make())
    first = model.generate("hello", 16, 1.0, seed=11)
    assert model.generate("hello", 16, 1.0, seed=11) == first
    assert len({model.generate("hello", 16, 1.0, seed=seed).ids for seed in range(8)}) == 8
    assert len({model.generate("hello", 16, 1.0).ids for _ in range(8)}) == 8
    unseeded = model.generate("hello", 16, 1.0)
    assert model.generate("hello", 16, 1.0, seed=unseeded.seed) == unseeded


def test_the_choice_is_the_documented_function_of_logits_and_seed(make: Callable[..., Path]) -> None:
    model = llmasos.load_model(make())
    result = model.generate_ids([1, 2, 3], 8, 0.7, seed=5, top_k=20, top_p=0.9, min_p=0.01, logit_bias={4: 1.5})
    sampler = sampling.Sampler(temperature=0.7, top_k=20, top_p=0.9, min_p=0.01, logit_bias={4: 1.5})
    sequence = [1, 2, 3]
    for n in range(8):
        p = sampling.law(model.forward([sequence])[0][-1], sampler)
        sequence.append(sampling.draw(p, sampling.noise(5, n, model.config.vocab_size)))
    assert list(result.ids) == sequence[3:]


def test_logprobs_are_raw_and_hold_the_chosen(make: Callable[..., Path]) -> None:
    model = llmasos.load_model(make())
    result = model.generate_ids([1, 2], 6, 2.0, seed=4, top_k=5, logprobs=3)
    scores = model.score([1, 2, *result.ids])[2:]
    assert result.logprobs is not None
    for chosen, score, reported in zip(result.ids, scores, result.logprobs, strict=True):
        assert len(reported) in (3, 4)
        assert reported[chosen] == pytest.approx(score, rel=1e-12)
        assert list(reported.values())[:3] == sorted(reported.values(), reverse=True)[:3]
    assert model.generate_ids([1], 2, 0.0).logprobs is None
    only = model.generate_ids([1], 2, 0.0, logprobs=0)
    assert only.logprobs is not None
    assert [list(row) for row in only.logprobs] == [[token] for token in only.ids]


def test_a_model_without_text_still_runs_on_ids(make: Callable[..., Path]) -> None:
    model = llmasos.load_model(make(vocab_size=7))
    result = model.generate_ids([1, 2], 3, 0.0)
    assert (result.text, len(result.ids)) == (None, 3)
    for ask in (
        lambda: model.generate_text("x"),
        lambda: model.tokenize("x"),
        lambda: model.detokenize([1]),
        lambda: model.generate_ids([1], 3, stop=["x"]),
    ):
        with pytest.raises(Unsupported, match="no tokenizer"):
            ask()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_length", value) for value in (-1, 1.0, "5", None, True, [10**5000])),
        *(("temperature", value) for value in (-0.1, float("nan"), float("inf"), "1", None, True, 1j, 10**400)),
        *(("seed", value) for value in (-1, 2**64, 0.5, "1", True)),
        *(("top_k", value) for value in (-1, 1.5, None, False)),
        *(("top_p", value) for value in (0, -0.5, 1.01, float("nan"), "1", None)),
        *(("min_p", value) for value in (-0.01, 1.01, float("nan"), None)),
        *(("stop", value) for value in ("", [""], ["a", ""], [1], 5, None, {"a"}, ["\ud800"], [None])),
        *(("logprobs", value) for value in (-1, 301, 1.0, True)),
        *(("logit_bias", value) for value in ([1], {300: 1.0}, {-1: 1.0}, {"1": 1.0}, {1: float("nan")}, {1: "x"})),
        ("allow_special", 1),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: object, document: Any) -> None:
    config = ModelConfig.from_document(document())
    given_options = {"max_length": 5, "temperature": 1.0, name: value}
    with pytest.raises(InvalidArgument) as caught:
        generation.check_request(
            config, given_options.pop("max_length"), given_options.pop("temperature"), given_options
        )
    assert caught.value.where.startswith(name)


@pytest.mark.parametrize("name", ["tempertaure", "max_tokens", "n", "repeat_penalty", "do_sample"])
def test_an_unknown_option_is_refused(name: str, make: Callable[..., Path]) -> None:
    model = llmasos.load_model(make())
    for ask in (model.generate_text, model.generate, model.stream_text, lambda p, **o: model.generate_ids([1], **o)):
        with pytest.raises(UnknownParameter, match=f"unknown option '{name}'"):
            ask("x", **{name: 1})


def test_integers_of_thousands_of_digits_are_refused_in_few_words(document: Any) -> None:
    config = ModelConfig.from_document(document())
    for name in ("seed", "stop", "logit_bias", "logprobs", "top_p"):
        with pytest.raises(InvalidArgument):
            generation.check_request(config, 1, 1.0, {name: 10**5000})


def test_numbers_of_numpy_are_numbers(make: Callable[..., Path]) -> None:
    model = llmasos.load_model(make())
    given_ids = np.array([1, 2])
    result = model.generate_ids(given_ids, np.int64(3), np.float32(0), seed=np.uint64(1), top_k=np.int32(2))
    assert result.ids == model.generate_ids([1, 2], 3, 0, seed=1).ids
