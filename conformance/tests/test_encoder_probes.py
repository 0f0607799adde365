"""The probes of BERT and of the Transformer do what their names and facts say.

The models are run here by forward passes written for these tests from the formulas alone, in float64: one query and one
head at a time.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from llmasos_conformance import adapters, reference
from llmasos_conformance.checks import bundles
from llmasos_conformance.probes import NAMES, Library, Probe
from llmasos_conformance.protocol import Claims

KINDS = {name: Library(Path("unused"), "0").parts(name).document["architecture"] for name in NAMES}
BERT = [name for name, kind in KINDS.items() if kind == "BERT"]
TRANSFORMER = [name for name, kind in KINDS.items() if kind == "Transformer"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("probes"), "0")


class Formulas:
    """A bundle by its formulas; `watch` gathers scores and inputs of the activation and of norms."""

    def __init__(self, library: Library, name: str) -> None:
        parts = library.parts(name)
        self.w = {key: array.astype(np.float64) for key, array in parts.weights.items()}
        self.c: dict[str, Any] = dict(parts.document["parameters"])
        self.watch: dict[str, list[Any]] = {"scores": [], "inputs": [], "variances": []}

    def norm(self, x: np.ndarray, key: str) -> np.ndarray:
        self.watch["variances"] += list(x.var(-1))
        made = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + self.c["layer_norm_epsilon"])
        return made * self.w[f"{key}.weight"] + self.w[f"{key}.bias"]

    def linear(self, x: np.ndarray, key: str) -> np.ndarray:
        return x @ self.w[f"{key}.weight"] + self.w[f"{key}.bias"]

    def activation(self, x: np.ndarray) -> np.ndarray:
        self.watch["inputs"] += [x]
        if self.c["activation"] == "relu":
            return np.maximum(x, 0)
        assert self.c["activation"] == "gelu"
        return x * special.ndtr(x)

    def attend(self, x: np.ndarray, over: np.ndarray, key: str, *, causal: bool = False) -> np.ndarray:
        q, k, v = self.linear(x, f"{key}.query"), self.linear(over, f"{key}.key"), self.linear(over, f"{key}.value")
        K, mixed = x.shape[1] // self.c["num_heads"], np.zeros_like(x)
        for t in range(len(x)):
            last = t + 1 if causal else len(over)
            for head in (slice(first, first + K) for first in range(0, x.shape[1], K)):
                scores = k[:last, head] @ q[t, head] / math.sqrt(K)
                self.watch["scores"] += list(scores)
                e = np.exp(scores - scores.max())
                mixed[t, head] = (e / e.sum()) @ v[:last, head]
        return self.norm(x + self.linear(mixed, f"{key}.output"), f"{key}_norm")

    def feed(self, x: np.ndarray, key: str) -> np.ndarray:
        return self.norm(x + self.linear(self.activation(self.linear(x, f"{key}.up")), f"{key}.down"), f"{key}_norm")

    def hidden(self, ids: list[int], types: list[int]) -> np.ndarray:
        w = self.w
        summed = w["token_embedding"][ids] + w["position_embedding"][: len(ids)] + w["type_embedding"][types]
        x = self.norm(summed, "embedding_norm")
        for layer in (f"layers.{i}" for i in range(self.c["num_layers"])):
            x = self.feed(self.attend(x, x, f"{layer}.attention"), f"{layer}.feed_forward")
        return x

    def masked(self, ids: list[int], types: list[int]) -> np.ndarray:
        x = self.activation(self.linear(self.hidden(ids, types), "head.transform"))
        rows = self.w["token_embedding" if self.c["tie_embeddings"] else "head.weight"]
        return self.norm(x, "head.norm") @ rows.T + self.w["head.bias"]

    def placed(self, ids: list[int], side: str) -> np.ndarray:
        D = self.c["embedding_dim"]
        x = self.w["token_embedding"][ids] * (math.sqrt(D) if self.c["scale_embeddings"] else 1)
        if self.c["positions"] == "learned":
            x = x + self.w[f"{side}.position_embedding"][: len(ids)]
        else:
            for p in range(len(ids)):
                for d in range(D):
                    angle = p / 10000 ** (d // 2 * 2 / D)
                    x[p, d] += math.cos(angle) if d % 2 else math.sin(angle)
        return self.norm(x, f"{side}.embedding_norm") if self.c["embedding_norm"] else x

    def target(self, source: list[int], ids: list[int]) -> np.ndarray:
        read = self.placed(source, "encoder")
        for layer in (f"encoder.layers.{i}" for i in range(self.c["num_layers"])):
            read = self.feed(self.attend(read, read, f"{layer}.attention"), f"{layer}.feed_forward")
        x = self.placed(ids, "decoder")
        for layer in (f"decoder.layers.{i}" for i in range(self.c["num_decoder_layers"])):
            x = self.attend(x, x, f"{layer}.attention", causal=True)
            x = self.feed(self.attend(x, read, f"{layer}.cross_attention"), f"{layer}.feed_forward")
        return x @ self.w["token_embedding" if self.c["tie_embeddings"] else "head.weight"].T


def drawn(probe: Probe, length: int, seed: int = 0) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(0, probe.config["vocab_size"], length)]


def loaded(probe: Probe) -> tuple[Any, str]:
    connection = adapters.connect("reference")
    return connection, connection.call("load_model", {"path": str(probe.path)})["model"]


@pytest.mark.parametrize("name", BERT)
def test_the_reference_computes_what_the_formulas_of_bert_say(library, name):
    probe = library.get(name)
    ids = drawn(probe, min(12, probe.config["context_length"]))
    types = [i * probe.config["type_vocab_size"] // len(ids) for i in range(len(ids))]
    connection, model = loaded(probe)
    got = connection.call("forward", {"model": model, "ids": [ids], "types": [types]})["logits"][0]
    due = Formulas(library, name).masked(ids, types)
    np.testing.assert_allclose(got, due, rtol=0, atol=1e-7 * max(1, np.abs(due).max()))


def test_the_pooled_output_is_tanh_of_the_first_position(library):
    probe, formulas = library.get("bert-pooler"), Formulas(library, "bert-pooler")
    ids = drawn(probe, 9)
    model = reference.connect(Claims(), library, adapters.connect).truth.model(probe)
    first = formulas.linear(formulas.hidden(ids, [0] * 9)[:1], "pooler")[0]
    np.testing.assert_allclose(model.encode([ids])[0].pooled, np.tanh(first), rtol=0, atol=1e-10)
    assert np.mean(np.abs(first) > 1) > 0.25


@pytest.mark.parametrize("name", TRANSFORMER)
def test_the_reference_computes_what_the_formulas_of_the_transformer_say(library, name):
    probe = library.get(name)
    source, ids = drawn(probe, 11), [probe.config["decoder_start_token_id"], *drawn(probe, 8, 1)]
    connection, model = loaded(probe)
    got = connection.call("forward", {"model": model, "ids": [ids], "sources": [source]})["logits"][0]
    due = Formulas(library, name).target(source, ids)
    np.testing.assert_allclose(got, due, rtol=0, atol=1e-7 * max(1, np.abs(due).max()))


def watched(library: Library, name: str, length: int = 24) -> Formulas:
    formulas, probe = Formulas(library, name), library.get(name)
    if KINDS[name] == "BERT":
        formulas.masked(drawn(probe, length), [0] * length)
    else:
        formulas.target(drawn(probe, length), drawn(probe, length, 1))
    return formulas


@pytest.mark.parametrize("name", ["bert-small-variance", "trf-small-variance"])
def test_an_epsilon_a_tenth_off_is_seen_where_variances_are_small(library, name):
    formulas = watched(library, name)
    assert np.median(formulas.watch["variances"]) < 100 * formulas.c["layer_norm_epsilon"]


@pytest.mark.parametrize("name", ["bert-hot-attention", "trf-hot-attention"])
def test_hot_scores_pass_thirty_and_plain_ones_do_not(library, name):
    assert np.abs(watched(library, name).watch["scores"]).max() > 30
    assert np.abs(watched(library, f"{name.split('-')[0]}-plain").watch["scores"]).max() < 30


@pytest.mark.parametrize("name", ["bert-overflow", "trf-overflow"])
def test_overflowing_scores_are_beyond_an_exponential_without_its_maximum(library, name):
    assert np.max(watched(library, name).watch["scores"]) > 88.8


def test_hot_inputs_of_gelu_reach_its_tails(library):
    inputs = np.concatenate([x.ravel() for x in watched(library, "bert-hot-ffn").watch["inputs"]])
    assert np.mean(np.abs(inputs) > 3) > 0.25


def test_asymmetric_sizes_fit_no_block(library):
    for name in ("bert-asymmetric", "trf-asymmetric"):
        c = library.get(name).config
        assert c["num_heads"] == 3
        assert c["vocab_size"] % 2 == 1
        assert c["feed_forward_dim"] % 4 != 0


def test_a_script_is_written_at_its_positions_whatever_is_read(library):
    emits = library.get("trf-script").facts["emits"]
    for seed in range(3):
        source, ids = drawn(library.get("trf-script"), 5 + seed, seed), drawn(library.get("trf-script"), 20, 9 + seed)
        assert list(Formulas(library, "trf-script").target(source, ids).argmax(-1)) == emits[:20]
    emits = library.get("bert-script").facts["emits"]
    ids = drawn(library.get("bert-script"), 20)
    assert list(Formulas(library, "bert-script").masked(ids, [0] * 20).argmax(-1)) == emits[:20]


def test_an_echo_is_the_source_place_by_place(library):
    alphabet = library.get("trf-echo").facts["alphabet"]
    source = [alphabet[i * 7 % len(alphabet)] for i in range(30)]
    target = [library.get("trf-echo").config["decoder_start_token_id"], *source[:-1]]
    assert list(Formulas(library, "trf-echo").target(source, target).argmax(-1)) == source


@pytest.mark.parametrize("name", ["bert-twins", "trf-twins"])
def test_twins_have_equal_logits_bit_for_bit(library, name):
    probe = library.get(name)
    connection, model = loaded(probe)
    beside = {} if KINDS[name] == "BERT" else {"sources": [drawn(probe, 6, 2)]}
    got = connection.call("forward", {"model": model, "ids": [drawn(probe, 6)], **beside})["logits"][0]
    np.testing.assert_array_equal(got[:, 0:256:2], got[:, 1:256:2])
    assert not np.array_equal(got[:, 0], got[:, 2])


def test_a_model_without_a_mask_says_so(library):
    assert library.get("bert-maskless").config["mask_token_id"] is None


def test_what_stands_beside_ids_is_part_of_what_the_reference_remembers(library):
    known = reference.connect(Claims(), library, adapters.connect)
    ids, one, other = [5, 1, 2], {"source": [7, 8]}, {"source": [8, 7]}
    first, second = known.logits("trf-plain", ids, one), known.logits("trf-plain", ids, other)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(known.logits("trf-plain", ids, one), first)
    typed = known.logits("bert-types", ids, {"types": [0, 1, 3]})
    assert not np.array_equal(typed, known.logits("bert-types", ids))
    assert [len(known.honest_logits("trf-plain", ids, each)) > 1 for each in (one, other)] == [True, True]


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"says": ["yes"]}, "yes."),
        ({"start": 115, "follows": [["s", "a"], ["a", "b"], ["b", "c"], ["c", "d"]]}, "abcd"),
        ({"echoes": ["abxy"]}, "xbya"),
    ],
)
def test_a_translator_says_what_it_was_made_for(library, model, text):
    made = bundles.speaker(library, {"architecture": "Transformer", **model})
    connection, handle = loaded(made)
    got = connection.call("generate_text", {"model": handle, "prompt": "xbya", "max_length": 4, "temperature": 0})
    assert got["text"] == text
