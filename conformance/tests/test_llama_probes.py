"""The probes of Llama do what their names and facts say.

The models are run here by a forward pass written for these tests from the formulas alone, in float64: one query, one
head and one key at a time, rotations as complex numbers.
"""

from __future__ import annotations

import cmath
import math
from pathlib import Path

import numpy as np
import pytest

from llmasos_conformance.probes import NAMES, Library, Probe

LLAMA = [name for name in NAMES if Library(Path("unused"), "0").parts(name).document["architecture"] == "Llama"]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "probes", "0")


def turned(x: np.ndarray, position: int, theta: float) -> np.ndarray:
    """A head's channels [K], pair i as one complex number, turned by position · θ^(-2i/K)."""
    half = len(x) // 2
    pairs = [complex(x[i], x[i + half]) for i in range(half)]
    moved = [pair * cmath.exp(1j * position * theta ** (-2 * i / len(x))) for i, pair in enumerate(pairs)]
    return np.array([pair.real for pair in moved] + [pair.imag for pair in moved])


def forward(library: Library, name: str, ids: list[int], watch: dict[str, list[float]] | None = None) -> np.ndarray:
    """Logits [T, V]; `watch` gathers scores and inputs of silu."""
    parts = library.parts(name)
    w = {key: array.astype(np.float64) for key, array in parts.weights.items()}
    c = parts.document["parameters"]
    H, G, T = c["num_heads"], c["num_key_value_heads"], len(ids)
    K = c["embedding_dim"] // H
    window = c["sliding_window"] or T
    seen = watch if watch is not None else {}

    def norm(x: np.ndarray, key: str) -> np.ndarray:
        mean_square = sum(value * value for value in x) / len(x)
        return x / math.sqrt(mean_square + c["rms_norm_epsilon"]) * w[f"{key}.weight"]

    x = [w["token_embedding"][token] for token in ids]
    for layer in (f"layers.{i}" for i in range(c["num_layers"])):
        normed = [norm(each, f"{layer}.attention_norm") for each in x]
        q, k, v = (
            [each @ w[f"{layer}.attention.{part}.weight"] for each in normed] for part in ("query", "key", "value")
        )
        for t in range(T):
            first, mixed = max(0, t - window + 1), []
            for h in range(H):
                shared = slice(h * G // H * K, (h * G // H + 1) * K)
                query = turned(q[t][h * K : (h + 1) * K], t, c["rope_theta"])
                scores = [query @ turned(k[s][shared], s, c["rope_theta"]) / math.sqrt(K) for s in range(first, t + 1)]
                seen.setdefault("scores", []).extend(scores)
                law = np.exp(np.array(scores) - max(scores))
                mixed.append(sum(p * v[first + s][shared] for s, p in enumerate(law / law.sum())))
            x[t] = x[t] + np.concatenate(mixed) @ w[f"{layer}.attention.output.weight"]
        for t in range(T):
            h = norm(x[t], f"{layer}.feed_forward_norm")
            gate, up = (h @ w[f"{layer}.feed_forward.{part}.weight"] for part in ("gate", "up"))
            seen.setdefault("gates", []).extend(gate)
            x[t] = x[t] + (gate / (1 + np.exp(-gate)) * up) @ w[f"{layer}.feed_forward.down.weight"]
    head = w["token_embedding"] if c["tie_embeddings"] else w["head.weight"]
    return np.array([head @ norm(each, "final_norm") for each in x])


def some_ids(library: Library, name: str, count: int = 12) -> list[int]:
    V = library.parts(name).document["parameters"]["vocab_size"]
    return [(37 * i + 11) % V for i in range(count)]


def sizes(library: Library, name: str) -> dict[str, int]:
    parameters: dict[str, int] = library.parts(name).document["parameters"]
    return parameters


@pytest.mark.parametrize("name", LLAMA)
def test_the_reference_computes_what_the_formulas_say(name: str, library: Library) -> None:
    llmasos = pytest.importorskip("llmasos")
    ids = some_ids(library, name)
    ours, theirs = forward(library, name, ids), llmasos.load_model(library.get(name).path).forward([ids])[0]
    assert ours == pytest.approx(theirs, abs=1e-10 * max(1.0, float(np.abs(theirs).max())), rel=0)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in LLAMA
        if name.rpartition("-")[2]
        not in ("bare", "overflow", "ids", "tiny", "uniform", "twins", "circle", "ends", "compass")
    ],
)
def test_random_probes_have_logits_of_spread_two_to_three(name: str, library: Library) -> None:
    assert 2.0 < forward(library, name, some_ids(library, name, 24)).std() < 3.2


def test_probes_share_heads_as_their_names_say(library: Library) -> None:
    shared = {name: (sizes(library, name)["num_heads"], sizes(library, name)["num_key_value_heads"]) for name in LLAMA}
    assert shared["llama-plain"] == (4, 4)
    assert shared["llama-gqa"] == (8, 2)
    assert shared["llama-one-group"] == (4, 1)
    assert shared["llama-asymmetric"] == (9, 3)


def test_hot_attention_reaches_scores_that_a_clamp_at_thirty_would_cut(library: Library) -> None:
    watch: dict[str, list[float]] = {}
    forward(library, "llama-hot-attention", some_ids(library, "llama-hot-attention", 24), watch)
    assert max(map(abs, watch["scores"])) > 30


def test_the_gates_of_hot_ffn_go_beyond_nine_and_are_not_all_large(library: Library) -> None:
    watch: dict[str, list[float]] = {}
    forward(library, "llama-hot-ffn", some_ids(library, "llama-hot-ffn", 24), watch)
    gates = np.abs(watch["gates"])
    assert gates.max() > 9
    assert 0.1 < (gates < 1).mean() < 0.6


def test_overflow_reaches_large_scores_and_logits_and_stays_finite_in_float32(library: Library) -> None:
    watch: dict[str, list[float]] = {}
    logits = forward(library, "llama-overflow", some_ids(library, "llama-overflow", 24), watch)
    assert max(map(abs, watch["scores"])) > 8000
    assert 150 < np.abs(logits).max() < 900
    llmasos = pytest.importorskip("llmasos")
    ids = some_ids(library, "llama-overflow", 24)
    model = llmasos.load_model(library.get("llama-overflow").path, dtype="float32")
    assert np.isfinite(model.forward([ids])[0]).all()


def test_a_token_of_zeros_stays_zero_through_the_whole_model(library: Library) -> None:
    assert not forward(library, "llama-near-zero", [8, 16, 24]).any()
    assert np.isfinite(forward(library, "llama-near-zero", [8, 3, 16])).all()
    assert sizes(library, "llama-near-zero")["rms_norm_epsilon"] == 2e-5


def test_a_row_of_one_token_has_the_same_logits_everywhere(library: Library) -> None:
    logits = forward(library, "llama-hot-attention", [7] * 8)
    assert logits == pytest.approx(np.broadcast_to(logits[0], logits.shape), abs=1e-10)


def test_with_a_window_of_one_every_token_is_alone(library: Library) -> None:
    together = forward(library, "llama-window-one", [3, 4, 5])
    assert np.array_equal(together[2], forward(library, "llama-window-one", [5])[0])


@pytest.mark.parametrize("name", ["llama-window", "llama-window-long"])
def test_windows_are_shorter_than_their_contexts(name: str, library: Library) -> None:
    assert 2 * sizes(library, name)["sliding_window"] < sizes(library, name)["context_length"]


def test_uniform_logits_are_exactly_zero(library: Library) -> None:
    assert not forward(library, "llama-uniform", [5, 200, 31]).any()


def test_twins_tie_bit_for_bit_and_the_others_never_win(library: Library) -> None:
    head = library.parts("llama-twins").weights["head.weight"]
    assert np.array_equal(head[0::2], head[1::2])
    assert (np.count_nonzero(head, axis=1) <= 1).all()
    assert (forward(library, "llama-twins", [1, 2, 3, 4]).argmax(axis=1) < 256).all()


def follows(library: Library, probe: Probe, token: int) -> int:
    return int(forward(library, probe.name, [token])[0].argmax())


def test_the_circle_goes_round_and_every_other_id_leads_into_it(library: Library) -> None:
    probe = library.get("llama-circle")
    facts = probe.facts
    token, came = 258, []
    for _ in range(40):
        token = follows(library, probe, token)
        came.append(token)
    assert came == facts["from_bos"][:40]
    assert len(set(came)) == 36
    assert all(follows(library, probe, token) == facts["successor"][token] for token in (0, 97, 255, 262))


def test_what_ends_ends_at_a_distance_that_the_last_token_decides(library: Library) -> None:
    probe = library.get("llama-ends")
    successor = probe.facts["successor"]
    assert probe.config["eos_token_ids"] == [256, 257]
    distances = []
    for token in range(60):
        steps = 0
        while token != 257:
            token, steps = successor[token], steps + 1
        distances.append(steps)
    assert set(distances) == set(range(1, 25))
    assert all(follows(library, probe, token) == successor[token] for token in (0, 97, 120, 200))
    logits = forward(library, "llama-ends", [97, 5, 120])
    assert [int(each) for each in logits.argmax(axis=1)] == [successor[97], successor[5], 257]
    two = np.partition(logits, -2, axis=1)[:, -2:]
    assert (two[:, 1] - two[:, 0] > 60).all()
