"""Small models that the tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import llmasos
from llmasos.weights import expected_tensors

Document = dict[str, Any]
Make = Callable[..., Path]

# Machines that run tests are busy; how long an example takes says nothing about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def small_document(**parameters: Any) -> Document:
    """A GPT-3 document, small unless told otherwise."""
    sizes = {"vocab_size": 300, "embedding_dim": 16, "num_layers": 2, "num_heads": 4, "context_length": 24}
    return {"name": "small", "version": "1.0", "architecture": "GPT-3", "parameters": {**sizes, **parameters}}


def draw_weights(given: Document, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under which every tensor moves the logits; biases and norms are not at their defaults."""
    rng = np.random.default_rng(seed)
    config = llmasos.ModelConfig.from_document(given)
    weights = {}
    for name, shape in expected_tensors(config).items():
        centre = 1.0 if name.endswith("norm.weight") else 0.0
        weights[name] = rng.normal(centre, 0.3, shape)
    return weights


@pytest.fixture(scope="session")
def document() -> Callable[..., Document]:
    """A GPT-3 document from parameters; see `small_document`."""
    return small_document


@pytest.fixture(scope="session")
def loud_weights() -> Callable[..., dict[str, np.ndarray]]:
    """Weights of a document; see `draw_weights`."""
    return draw_weights


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a bundle of loud weights; parameters override the small document's."""

    def make_bundle(name: str = "bundle", tokenizer_json: str | None = None, seed: int = 0, **parameters: Any) -> Path:
        given = small_document(**parameters)
        return llmasos.write_bundle(tmp_path / name, given, draw_weights(given, seed), tokenizer_json)

    return make_bundle


@pytest.fixture
def speaking(tmp_path: Path) -> Callable[..., llmasos.Model]:
    """A model that says a known sequence of ids whatever it is asked, position by position, with the given EOS ids.

    Token embeddings are zero in the residual stream, so the position alone decides: position t carries the one-hot of
    script[t], and the untied head reads it off. Width is the vocabulary, which keeps the script readable.
    """

    def say(script: bytes | list[int], *, at: int, **parameters: Any) -> llmasos.Model:
        """Say `script` from position `at` on, the last position of the prompt."""
        V = parameters.pop("vocab_size", 258)
        given = small_document(
            **{
                "vocab_size": V,
                "embedding_dim": V,
                "num_heads": 1,
                "num_layers": 1,
                "feed_forward_dim": 1,
                "context_length": 64,
                "tie_embeddings": False,
                **parameters,
            }
        )
        config = llmasos.ModelConfig.from_document(given)
        weights = {name: np.zeros(shape, np.float32) for name, shape in expected_tensors(config).items()}
        weights["final_norm.weight"][:] = 1
        weights["head.weight"][:] = 10 * np.eye(V)
        for offset, token in enumerate(script):
            weights["position_embedding"][at + offset, token] = 1
        return llmasos.load_model(llmasos.write_bundle(tmp_path / "speaking", given, weights))

    return say
