"""Probes are the same everywhere, exact in bfloat16 unless they are there for more digits, and do what their facts say.

The models are run here by a forward pass written for these tests from the formulas alone, in float64.
"""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos import load_model
from llmasos.config import ARCHITECTURES, ModelConfig, parameters_of
from llmasos.weights import expected_tensors
from llmasos_conformance import layout, probes
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.probes import NAMES, Disturbed, Library, Probe, draft, gpt, making

PLAIN_DIGEST = "10a25c4fadc6587714487f154124cb73e8ff474a6437ba4ee8af0be3bf3f5176"
BOS_DIGEST = "353604b18578c128a4041b01b88827779acf98162b7d49a8893087f01765600a"
"""Digests of seed 0. A change here changes every certified input: it needs a new version of the suites."""

GPT = [name for name in NAMES if Library(Path("unused"), "0").parts(name).document["architecture"] == "GPT-3"]
ALL_BITS = [name for name in NAMES if name.rpartition("-")[2] in ("compass", "full")]
"""Probes whose weights have 24 bits."""
COMPASSES = [name for name in ALL_BITS if name.endswith("compass")]
AUTOMATA = ("script", "script-eos", "textless", "context-8")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "probes", "0")


def read(probe: Probe) -> dict[str, np.ndarray]:
    """All tensors of a bundle, by a reader that shares nothing with the writer."""
    raw = (probe.path / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    data, tensors, end = raw[8 + length :], {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        low, high = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        assert low == end
        end = high
        tensors[name] = np.frombuffer(data[low:high], "<f4").reshape(entry["shape"])
    assert end == len(data)
    return tensors


def forward(probe: Probe, ids: list[int]) -> np.ndarray:
    """Logits [T, V] of a GPT-3, one position at a time, float64."""
    w = {name: array.astype(np.float64) for name, array in read(probe).items()}
    c = probe.config
    H, D, T = c["num_heads"], c["embedding_dim"], len(ids)
    K = D // H

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        shifted = x - x.sum() / D
        spread = math.sqrt((shifted**2).sum() / D + c["layer_norm_epsilon"])
        return shifted / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    def affine(x: np.ndarray, name: str) -> np.ndarray:
        return np.einsum("i,io->o", x, w[f"{name}.weight"]) + w[f"{name}.bias"]

    x = [w["token_embedding"][token] + w["position_embedding"][t] for t, token in enumerate(ids)]
    for i in range(c["num_layers"]):
        block, band = f"layers.{i}", (c["local_attention_window"] or T) if i % 2 else T
        seen = [norm(each, f"{block}.attention_norm") for each in x]
        q, k, v = ([affine(each, f"{block}.attention.{part}") for each in seen] for part in ("query", "key", "value"))
        for t in range(T):
            mixed, first = np.zeros(D), max(0, t + 1 - band)
            for head in range(H):
                channels = slice(head * K, head * K + K)
                scores = np.array([q[t][channels] @ k[s][channels] / math.sqrt(K) for s in range(first, t + 1)])
                law = np.exp(scores - scores.max())
                law /= law.sum()
                mixed[channels] = sum(p * v[first + s][channels] for s, p in enumerate(law))
            x[t] = x[t] + affine(mixed, f"{block}.attention.output")
            h = affine(norm(x[t], f"{block}.feed_forward_norm"), f"{block}.feed_forward.up")
            h = h / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
            x[t] = x[t] + affine(h, f"{block}.feed_forward.down")
    head = w["token_embedding"] if c["tie_embeddings"] else w["head.weight"]
    return np.array([head @ norm(each, "final_norm") for each in x])


def some_ids(probe: Probe, count: int) -> list[int]:
    V = probe.config["vocab_size"]
    return [(37 * i + 11) % V for i in range(min(count, probe.config["context_length"]))]


def generated(probe: Probe, prompt: list[int], count: int, *, text: bool = False) -> list[int]:
    """Greedy ids; ids without text masked when text is generated."""
    ids, ends = list(prompt), probe.config["eos_token_ids"]
    while len(ids) < min(len(prompt) + count, probe.config["context_length"]):
        last = forward(probe, ids)[-1]
        if text:
            silent = [i for i in range(len(last)) if i not in ends and (i >= 256 or i == probe.config["bos_token_id"])]
            last[silent] = -np.inf
        ids.append(int(np.argmax(last)))
        if ids[-1] in ends:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_is_the_same_in_every_library_of_its_seed(name: str, tmp_path: Path) -> None:
    first, second = (Library(tmp_path / place, "7").get(name) for place in ("a", "b"))
    assert first.digest == second.digest
    assert first.path.name == first.digest[:16]
    assert [file.read_bytes() for file in sorted(first.path.iterdir())] == [
        file.read_bytes() for file in sorted(second.path.iterdir())
    ]
    assert first.facts == second.facts


def test_probes_do_not_change_between_versions(library: Library) -> None:
    assert library.get("plain").digest == PLAIN_DIGEST
    assert library.get("bos").digest == BOS_DIGEST


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_changes_with_the_seed(name: str, tmp_path: Path) -> None:
    assert Library(tmp_path, "0").get(name).digest != Library(tmp_path, "1").get(name).digest


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ALL_BITS])
def test_every_weight_is_exact_in_bfloat16(name: str, library: Library) -> None:
    for tensor, values in read(library.get(name)).items():
        assert np.isfinite(values).all(), tensor
        assert np.array_equal(values.astype(ml_dtypes.bfloat16).astype(np.float32), values), tensor


@pytest.mark.parametrize("name", [name for name in ALL_BITS if name not in COMPASSES])
def test_every_tensor_with_all_bits_loses_some_in_a_narrower_dtype(name: str, library: Library) -> None:
    assert library.get(name).facts["bits"] == 24
    for tensor, values in read(library.get(name)).items():
        for narrow in (np.float16, ml_dtypes.bfloat16):
            assert np.mean(values.astype(narrow).astype(np.float32) != values) > 0.9, tensor


@pytest.mark.parametrize("name", GPT)
def test_the_reference_computes_what_the_formulas_say(name: str, library: Library) -> None:
    llmasos = pytest.importorskip("llmasos")
    probe = library.get(name)
    ids = some_ids(probe, 12)
    ours, theirs = forward(probe, ids), llmasos.load_model(probe.path).forward([ids])[0]
    assert ours == pytest.approx(theirs, abs=1e-11 * max(1.0, float(np.abs(theirs).max())), rel=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_tells_a_candidate_nothing(name: str, library: Library) -> None:
    probe = library.get(name)
    assert sorted(file.name for file in probe.path.iterdir()) == ["model.json", "model.safetensors"]
    assert json.loads((probe.path / "model.json").read_text())["name"] == "probe"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "plain",
            "tied",
            "small-embedding",
            "hot-attention",
            "hot-ffn",
            "near-constant",
            "asymmetric",
            "long",
            "deep",
        ),
        *("banded", "banded-one", "banded-hot", "banded-asymmetric", "banded-long", "banded-narrow"),
    ],
)
def test_random_probes_have_logits_of_spread_two_to_three(name: str, library: Library) -> None:
    probe = library.get(name)
    assert 2.0 < forward(probe, some_ids(probe, 24)).std() < 3.2


@pytest.mark.parametrize("name", ["deep", "llama-deep", "bert-deep", "trf-deep"])
def test_each_layer_of_a_deep_model_is_heard(name: str, library: Library) -> None:
    parts = library.parts(name)
    beside = {"sources": [[3, 200, 5, 77]]} if name == "trf-deep" else {}
    ids = some_ids(library.get(name), 12)
    whole = load_model(library.get(name).path).forward([ids], **beside)[0]
    ends = ("attention.output.weight", "attention.output.bias", "feed_forward.down.weight", "feed_forward.down.bias")
    layers = {key.partition("layers.")[0] + "layers." + key.split("layers.")[1].split(".")[0]
              for key in parts.weights if "layers." in key}  # fmt: skip
    assert len(layers) == (26 if name == "trf-deep" else 13)
    for layer in layers:
        made = {key: 0 * array if key.startswith(f"{layer}.") and key.endswith(ends) else array
                for key, array in parts.weights.items()}  # fmt: skip
        without = load_model(library.write(parts.document, made).path).forward([ids], **beside)[0]
        assert float(np.sqrt(np.mean((without - whole) ** 2))) > 0.1, layer  # of logits of 2.5


@pytest.mark.parametrize("name", ["many-ids", "llama-many-ids", "trf-many-ids"])
def test_a_model_of_many_ids_says_those_that_16_bits_do_not_hold(name: str, library: Library) -> None:
    model, ids = load_model(library.get(name).path), some_ids(library.get(name), 9)
    made = model.generate_ids(ids, max_length=12, temperature=0).ids
    assert len(made) == 12
    assert min(made) >= draft.FAR_IDS


def test_a_band_of_one_leaves_its_layers_nothing_but_their_own_values(library: Library) -> None:
    parts = library.parts("banded-one")
    # Without the dense layer, a token's logits depend on itself and its position alone.
    parts.weights["layers.0.attention.output.weight"][:] = 0
    made = library.write(parts.document, parts.weights)
    one, other = forward(made, [5, 6, 7]), forward(made, [200, 100, 7])
    assert np.array_equal(one[2], other[2])
    assert not np.allclose(one[1], other[1])


def test_a_dense_document_does_not_speak_of_bands(library: Library) -> None:
    assert "local_attention_window" not in library.parts("plain").document["parameters"]
    assert library.get("banded").config["local_attention_window"] == 5


def test_overflow_reaches_large_scores_and_logits_and_stays_finite_in_float32(library: Library) -> None:
    probe = library.get("overflow")
    logits = forward(probe, some_ids(probe, 24))
    assert 150 < np.abs(logits).max() < 500
    bias = read(probe)["layers.0.attention.key.bias"]
    assert np.abs(bias).max() > 4000
    llmasos = pytest.importorskip("llmasos")
    assert np.isfinite(llmasos.load_model(probe.path, dtype="float32").forward([some_ids(probe, 24)])[0]).all()


def test_sunk_logits_are_a_plain_model_so_far_below_zero_that_exponentials_vanish(
    library: Library,
) -> None:
    probe = library.get("sunk")
    logits = forward(probe, some_ids(probe, 24))
    assert -1060 < logits.min() < logits.max() < -990
    assert 2 < logits.std() < 3
    assert np.exp(logits.max()) == 0
    parts = library.parts("sunk")
    parts.weights["head.weight"][:, 0] = 0
    raised = forward(library.write(parts.document, parts.weights), some_ids(probe, 24))
    assert np.allclose(logits + 1024, raised, rtol=0, atol=1e-9)


def test_near_constant_holds_positions_whose_variance_is_zero(library: Library) -> None:
    probe = library.get("near-constant")
    weights = read(probe)
    x = weights["token_embedding"][8] + weights["position_embedding"][3]
    assert np.ptp(x) == 0
    assert probe.config["layer_norm_epsilon"] == 2e-5
    assert np.isfinite(forward(probe, [8, 16, 3])).all()


def test_the_inputs_of_gelu_are_spread_over_six_on_either_side(library: Library) -> None:
    bias = read(library.get("hot-ffn"))["layers.1.feed_forward.up.bias"]
    assert bias.min() == -6
    assert bias.max() == 6
    assert np.histogram(bias, bins=6)[0].min() > 40


@pytest.mark.parametrize("reach", [draft.REACH, draft.FAR])
def test_channels_of_uneven_sizes_leave_every_bit_of_the_logits_as_it_is(reach: int, library: Library) -> None:
    make = making.Maker("0", "uneven")
    even = gpt.model(make, gpt.Sizes(D=128, F=256))
    weights = {name: array.copy() for name, array in even.weights.items()}
    draft.uneven_inputs(make, weights, reach)
    assert np.ptp(np.log2(np.abs(weights["layers.0.attention_norm.weight"]))) > 2 * reach - 2
    ids = [1, 200, 77, 5, 5, 130]
    due, got = (forward(library.write(even.document, each), ids) for each in (even.weights, weights))
    np.testing.assert_array_equal(got, due)


@pytest.mark.parametrize("probe", ["uneven-keys", "far"])
def test_keys_and_queries_are_uneven_the_opposite_way(probe: str, library: Library) -> None:
    weights = library.parts(probe).weights
    query, key = (
        np.log2(np.abs(weights[f"layers.0.attention.{part}.weight"]).max(axis=0)) for part in ("query", "key")
    )
    assert np.ptp(key) > 2 * draft.REACH - 2
    assert np.ptp(query + key) < draft.REACH


@pytest.mark.parametrize("probe", ["bert-uneven", "bert-far", "trf-uneven", "trf-far"])
def test_a_few_channels_in_front_of_the_blocks_are_constants(probe: str, library: Library) -> None:
    model = load_model(library.get(probe).path)
    beside = {"source": [3, 9, 4]} if probe.startswith("trf") else {}
    first, second, last = model.hidden_states([5, 7, 8, 200], **beside)
    for state in (first, second, *([last] if beside else [])):
        np.testing.assert_array_equal(state[:, [0, 1, 32, 33]], np.tile([64.0, -64.0], (4, 2)))
        assert np.std(state[:, 2:32]) < 3
    if not beside:
        np.testing.assert_array_equal(last[:, [0, 1, 32, 33]], np.zeros((4, 4)))


@pytest.mark.parametrize(("name", "V"), [("uniform", 263), ("uniform-bytes", 256)])
def test_uniform_logits_are_exactly_zero(name: str, V: int, library: Library) -> None:
    logits = forward(library.get(name), [5, 200, 31])
    assert logits.shape == (3, V)
    assert not logits.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_twins_tie_bit_for_bit_in_any_order_of_summation(dtype: type, library: Library) -> None:
    head = read(library.get("twins"))["head.weight"].astype(dtype)
    assert head.shape[0] == 264
    assert np.array_equal(head[0::2], head[1::2])
    assert (np.count_nonzero(head, axis=1) <= 1).all()
    logits = forward(library.get("twins"), [1, 2, 3, 4])
    assert np.array_equal(logits[:, 0::2], logits[:, 1::2])
    assert (logits.argmax(axis=1) < 256).all()


@pytest.mark.parametrize("name", COMPASSES)
def test_the_matrices_of_a_compass_have_all_the_digits_of_float32(name: str, library: Library) -> None:
    probe = library.get(name)
    assert probe.facts["bits"] == 24
    for tensor, values in read(probe).items():
        if values.ndim == 2 and not tensor.startswith("encoder."):
            used = values[values != 0].view(np.uint32)
            assert np.mean(used & 1) > 0.3, tensor


@pytest.mark.parametrize("name", COMPASSES)
@pytest.mark.parametrize("seed", range(3))
def test_a_character_of_a_compass_tells_the_signs_of_its_sums(name: str, seed: int, tmp_path: Path) -> None:
    llmasos = pytest.importorskip("llmasos")
    probe = Library(tmp_path, str(seed)).get(name)
    alphabet = probe.facts["alphabet"]
    assert "".join(map(chr, alphabet)).isprintable()
    beside = {"sources": [alphabet[:9]]} if name.startswith("trf") else {}
    logits = llmasos.load_model(probe.path).forward([alphabet[5:40:3]], **beside)[0]
    low = logits[:, alphabet[0]]
    sums = np.stack([(logits[:, alphabet[0] + 2**i] - low) / 2 for i in range(6)], axis=-1)
    due = (sums > 0) @ (2 ** np.arange(6))
    assert logits.argmax(-1).tolist() == (alphabet[0] + due).tolist()
    two = np.partition(logits, -2, axis=-1)[:, -2:]
    # Rows of the head add up sixteen times their codes, each rounded to float32.
    assert two[:, 1] - two[:, 0] == pytest.approx(2 * np.abs(sums).min(-1), abs=1e-3)
    others = np.delete(logits, alphabet, axis=-1)
    assert not others.any()
    assert np.abs(sums).max() < 2


@pytest.mark.parametrize("name", AUTOMATA)
def test_a_script_emits_its_ids_whatever_goes_in(name: str, library: Library) -> None:
    probe = library.get(name)
    emits = probe.facts["emits"]
    assert len(emits) == probe.config["context_length"]
    due = [probe.facts.get("raw", {}).get(p, token) for p, token in enumerate(emits)]
    for ids in ([0] * len(emits), some_ids(probe, len(emits))):
        logits = forward(probe, ids)
        assert logits.argmax(axis=1).tolist() == due
        two = np.partition(logits, -2, axis=1)[:, -2:]
        assert (two[:, 1] - two[:, 0] > 31).all()


def test_the_script_speaks_characters_of_one_to_four_bytes(library: Library) -> None:
    probe = library.get("script")
    facts = probe.facts
    assert bytes(generated(probe, list(b"whatever "), 200)).decode() == facts["text"][:-1]
    assert bytes(facts["emits"][facts["text_from"] :]).decode() == facts["text"]
    assert {len(character.encode()) for character in facts["text"]} == {1, 2, 3, 4}
    assert all(word in facts["text"] for word in ("ab abc abcd", "stop", "abcabcabd"))
    assert probe.config["eos_token_ids"] == []


def test_the_second_end_id_comes_first(library: Library) -> None:
    probe = library.get("script-eos")
    at, later = probe.facts["eos_at"], probe.facts["first_eos_at"]
    assert probe.config["eos_token_ids"] == [256, 257]
    assert generated(probe, [65], 100, text=True) == [*probe.facts["emits"][:at], 257]
    assert generated(probe, [65] * (at + 2), 100) == [*probe.facts["emits"][at + 1 : later], 256]


def test_an_id_without_text_gives_way_to_the_byte_next_to_it(library: Library) -> None:
    probe = library.get("textless")
    emits, raw = probe.facts["emits"], probe.facts["raw"]
    assert generated(probe, [1], 30, text=True) == emits[:30]
    assert generated(probe, [1], 30) == [raw.get(p, emits[p]) for p in range(30)]
    assert set(raw.values()) == {258, 260, 262}
    assert probe.config["bos_token_id"] == 258


def test_from_bos_each_id_decides_the_next(library: Library) -> None:
    probe = library.get("bos")
    assert generated(probe, [258], 40) == probe.facts["from_bos"][:40]
    for token in (258, 0, 97, 122, 255, 262):
        assert generated(probe, [token], 1) == [probe.facts["successor"][token]]


def test_parameters_are_reported_with_their_defaults(library: Library) -> None:
    given = {"architecture": "GPT-3", "parameters": {"vocab_size": 300, "embedding_dim": 128, "num_layers": 1}}
    written = library.write(given, None)
    assert written.config == {
        "vocab_size": 300,
        "embedding_dim": 128,
        "num_layers": 1,
        "num_heads": 2,
        "feed_forward_dim": 512,
        "context_length": 1024,
        "layer_norm_epsilon": 1e-5,
        "activation": "gelu_tanh",
        "tie_embeddings": True,
        "bos_token_id": None,
        "eos_token_ids": [],
        "local_attention_window": None,
    }
    assert library.write({"parameters": {"vocab_size": 300, "embedding_dim": 60}}, None).config["num_heads"] == 1
    assert library.write(b"{", None).config == {}


def test_a_bundle_of_a_question_holds_exactly_the_files_given(library: Library) -> None:
    made = library.write(b"{}", b"\0", tokenizer="{}", files={"evil.pkl": b"x", "a/b.txt": b"y"})
    found = {path.relative_to(made.path).as_posix(): path.read_bytes() for path in made.path.rglob("*.*")}
    assert found == {
        "model.json": b"{}",
        "model.safetensors": b"\0",
        "tokenizer.json": b"{}",
        "evil.pkl": b"x",
        "a/b.txt": b"y",
    }
    assert made.digest != library.write(b"{}", b"\0", tokenizer="{}").digest


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "model.json", "a//b", "./x"])
def test_a_further_file_cannot_leave_the_bundle(name: str, library: Library) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        library.write(b"{}", None, files={name: b""})


def test_a_file_that_was_changed_is_found(library: Library) -> None:
    probe = library.get("bos")
    assert library.changed() == []
    (probe.path / "model.json").write_text("{}")
    (probe.path / "model.safetensors").unlink()
    os.mkfifo(probe.path / "model.safetensors")
    assert sorted(path.name for path in library.changed()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_nothing_is_written_where_somebody_else_wrote(kind: str, library: Library, tmp_path: Path) -> None:
    place = library.root / Library(tmp_path / "elsewhere", "0").get("bos").path.name
    outside = tmp_path / "outside"
    outside.mkdir()
    library.root.mkdir()
    {"directory": place.mkdir, "link": lambda: place.symlink_to(outside), "pipe": lambda: os.mkfifo(place)}[kind]()
    with pytest.raises(Disturbed, match="somebody else wrote here"):
        library.get("bos")
    assert list(outside.iterdir()) == []


def test_parts_can_be_altered_without_harm(library: Library) -> None:
    parts = library.parts("plain")
    parts.weights["head.weight"][:] = 0
    parts.document["parameters"]["layer_norm_epsilon"] = 1e-3
    assert library.write(parts.document, parts.weights).digest != library.get("plain").digest
    assert library.parts("plain").weights["head.weight"].any()


def test_an_unknown_probe_is_named_with_the_known_ones(library: Library) -> None:
    with pytest.raises(SuiteError, match="no probe is called 'plane'") as caught:
        library.get("plane")
    assert "plain" in caught.value.hint


def test_rounding_keeps_eight_bits_and_carries(library: Library) -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 2**-9, 1.999, -1.999, 0.0, 255.4, 255.5])
    expected = [1.0, 1 + 2**-7, 1.0, 2.0, -2.0, 0.0, 255.0, 256.0]
    assert probes.significant(values).tolist() == expected


def test_random_numbers_have_mean_zero_and_variance_one() -> None:
    values = making.Maker("0", "any").unit("tensor", 40_000)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert np.abs(values).max() < 3.47


def test_a_safetensors_file_keeps_other_dtypes(tmp_path: Path) -> None:
    from safetensors.numpy import load

    weights = {"b": np.arange(6, dtype=np.float64).reshape(2, 3), "a": np.arange(3, dtype=np.float16)}
    loaded = load(layout.safetensors_bytes(weights))
    assert {name: array.dtype.name for name, array in loaded.items()} == {"a": "float16", "b": "float64"}
    assert all(np.array_equal(loaded[name], weights[name]) for name in weights)


@settings(max_examples=60)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    sizes=st.fixed_dictionaries(
        {
            "vocab_size": st.integers(1, 40),
            "embedding_dim": st.sampled_from([4, 12, 24]),
            "num_layers": st.integers(1, 3),
        },
        optional={
            "num_heads": st.sampled_from([1, 2]),
            "feed_forward_dim": st.integers(1, 9),
            "context_length": st.integers(1, 9),
            "tie_embeddings": st.booleans(),
            "bos_token_id": st.just(0),
        },
    ),
    own=st.fixed_dictionaries(
        {},
        optional={
            "num_key_value_heads": st.just(1),
            "type_vocab_size": st.integers(1, 4),
            "num_decoder_layers": st.integers(1, 3),
            "positions": st.sampled_from(["sinusoidal", "learned"]),
            "embedding_norm": st.booleans(),
        },
    ),
)
def test_layout_and_reference_know_the_same_defaults_and_tensors(
    architecture: str, sizes: dict[str, Any], own: dict[str, Any]
) -> None:
    known = parameters_of(architecture)
    parameters = sizes | {key: value for key, value in own.items() if key in known}
    document = {"name": "x", "version": "1.0", "architecture": architecture, "parameters": parameters}
    config = ModelConfig.from_document(document)
    filled = layout.with_defaults(parameters, architecture)
    assert set(filled) == set(known)
    for key, value in filled.items():
        theirs = getattr(config, key)
        assert value == (list(theirs) if isinstance(theirs, tuple) else theirs), key
    assert layout.shapes(filled, architecture) == expected_tensors(config)
