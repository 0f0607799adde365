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


def test_as_many_are_followed_as_beams_are_asked_for_however_many_ids_end_a_sequence() -> None:
    """Three of the four likeliest ids end; with two beams, 3 is followed beside 4, and is where the best lies."""
    parameters = {"vocab_size": 6, "embedding_dim": 1, "num_layers": 1, "eos_token_ids": [0, 1, 2]}
    config = ModelConfig.from_document(
        {"name": "x", "version": "1.0", "architecture": "GPT-3", "parameters": parameters}
    )

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
