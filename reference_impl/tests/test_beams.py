"""Beam search beyond one end-of-sequence id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import llmasos
from llmasos import ModelConfig, generation
from llmasos.generation import Prompt, Request

FIRST = [0.3, 0.2, 0.15, 0.12, 0.13, 0.1]
"""Three ids that end are likelier than any that goes on."""
BEHIND_3 = [0.001, 0.001, 0.001, 0.001, 0.001, 0.995]
ELSEWHERE = [1 / 6] * 6


def six_ids(*eos: int) -> ModelConfig:
    parameters = {"vocab_size": 6, "embedding_dim": 1, "num_layers": 1, "eos_token_ids": list(eos)}
    return ModelConfig.from_document({"name": "x", "version": "1.0", "architecture": "GPT-3", "parameters": parameters})


def test_as_many_are_followed_as_beams_are_asked_for_however_many_ids_end_a_sequence() -> None:
    """Three of the four likeliest ids end; with two beams, 3 is followed beside 4, and is where the best lies."""
    config = six_ids(0, 1, 2)

    def advance(cache: Any, ids: Sequence[int]) -> tuple[np.ndarray, Any]:
        law = FIRST if cache is None else BEHIND_3 if ids[-1] == 3 else ELSEWHERE
        return np.log(law), "held"

    request = Request(max_length=2, beams=2, length_penalty=1.0)
    made = generation.beam_search(advance, None, config, None, Prompt(ids=[5], given=1), request)
    assert made.ids == (3, 5)


def test_a_penalty_beyond_all_numbers_leaves_the_first_that_was_put_aside(make: Any) -> None:
    model = llmasos.load_model(make())
    for penalty in (1e6, 1.7e308):
        made = model.generate_ids([1, 2, 3], 4, 0, beams=2, length_penalty=penalty)
        assert made.completion_tokens == len(made.ids) == 4


def test_equals_are_ranked_by_the_continuation_and_then_by_the_id() -> None:
    """Every continuation of a length is as likely as every other, and each step adds the same number."""
    for beams in (2, 3, 4):
        request = Request(max_length=4, beams=beams, length_penalty=1.0)
        made = generation.beam_search(even, None, six_ids(), None, Prompt(ids=[5], given=1), request)
        assert made.ids == (0, 0, 0, 0)


def test_of_equal_results_the_one_that_was_finished_first_is_taken() -> None:
    """One id ends at once and scores ln 1/6; two of them, half of twice as much."""
    request = Request(max_length=2, beams=2, length_penalty=1.0)
    made = generation.beam_search(even, None, six_ids(1), None, Prompt(ids=[5], given=1), request)
    assert (made.ids, made.finish_reason) == ((1,), "stop")


def even(cache: Any, ids: Sequence[int]) -> tuple[np.ndarray, Any]:
    """A model that knows nothing."""
    return np.zeros(6), "held"
