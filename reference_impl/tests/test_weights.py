"""Tensors on disk, held against the safetensors library; weights from a seed, held against plain integers."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos import ModelConfig, counter, weights
from llmasos.errors import InvalidArgument, InvalidFormat, Unsupported

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
TENSORS = {
    "b": np.array([[1.5, -2.0, 0.25]], dtype=np.float32),
    "a": np.array([1.0, 2.0, 3.0], dtype=ml_dtypes.bfloat16),
    "scalar": np.array(7.0, dtype=np.float64),
    "half": np.array([0.5], dtype=np.float16),
    "none": np.zeros((0, 4), dtype=np.float32),
}


def file_of(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with any header, honest or not."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype: str = "F32", shape: Any = (1,), begin: Any = 0, end: Any = 4, **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights.safetensors_bytes(TENSORS))
    assert_equal(safetensors.numpy.load_file(path), TENSORS)


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file(TENSORS, path, metadata={"format": "np"})
    assert_equal(weights.read_safetensors(path), TENSORS)


@settings(max_examples=60)
@given(
    shapes=st.dictionaries(
        st.text(min_size=1).filter(lambda s: s != "__metadata__" and s.isprintable()),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
        max_size=4,
    )
)
def test_written_and_read_back(shapes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    tensors = {
        name: np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape).astype(dtype)
        for name, (dtype, shape) in shapes.items()
    }
    raw = weights.safetensors_bytes(tensors)
    path.write_bytes(raw)
    assert_equal(weights.read_safetensors(path), tensors)
    assert weights.safetensors_bytes(dict(reversed(tensors.items()))) == raw


def test_layout_byte_by_byte() -> None:
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    header += b" " * (-len(header) % 8)
    assert weights.safetensors_bytes({"x": np.array([1.0], np.float32)}) == (
        struct.pack("<Q", len(header)) + header + b"\x00\x00\x80\x3f"
    )


def test_integers_are_not_stored() -> None:
    with pytest.raises(InvalidArgument, match="int64"):
        weights.safetensors_bytes({"x": np.array([1])})


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x02\x00\x00", id="half a length"),
        pytest.param(file_of({}, length=2**64 - 1), id="length overflows"),
        pytest.param(file_of({}, length=100_000_001), id="length above the limit"),
        pytest.param(file_of({}, length=3), id="length past the end"),
        pytest.param(file_of([]), id="header is a list"),
        pytest.param(file_of(b" {}"), id="header begins with a space"),
        pytest.param(file_of(b"\xef\xbb\xbf{}"), id="header begins with a mark"),
        pytest.param(file_of(b"{}{}"), id="two values"),
        pytest.param(file_of(b'{"x":1,"x":1}'), id="duplicate key"),
        pytest.param(file_of(b'{"\xff":1}'), id="not UTF-8"),
        pytest.param(file_of(b'{"a":' * 1000), id="deep"),
        pytest.param(file_of({}, b"\0"), id="bytes without a tensor"),
        pytest.param(file_of({"__metadata__": {"a": 1}}), id="metadata of numbers"),
        pytest.param(file_of({"__metadata__": []}), id="metadata is a list"),
        pytest.param(file_of({"x": 1}), id="tensor is a number"),
        pytest.param(file_of({"x": {"dtype": "F32", "shape": [0]}}), id="offsets missing"),
        pytest.param(file_of({"x": entry(extra=1)}, bytes(4)), id="unknown member"),
        pytest.param(file_of({"x": entry("I32")}, bytes(4)), id="integer dtype"),
        pytest.param(file_of({"x": entry(["F32"])}, bytes(4)), id="dtype is a list"),
        pytest.param(file_of({"x": entry(shape=1)}, bytes(4)), id="shape is a number"),
        pytest.param(file_of({"x": entry(shape=[1.0])}, bytes(4)), id="fractional dimension"),
        pytest.param(file_of({"x": entry(shape=[True])}, bytes(4)), id="boolean dimension"),
        pytest.param(file_of({"x": entry(shape=[-1])}, bytes(4)), id="negative dimension"),
        pytest.param(file_of({"x": entry(shape=[2**32, 2**32], end=0)}), id="product overflows 64 bits"),
        pytest.param(file_of({"x": entry(shape=[2**62, 0, 2**64], end=0)}), id="dimension overflows"),
        pytest.param(file_of({"x": entry(shape=[1] * 33)}, bytes(4)), id="too many dimensions"),
        pytest.param(file_of({"x": entry(begin=4, end=0)}, bytes(4)), id="offsets reversed"),
        pytest.param(file_of({"x": entry(end=4.0)}, bytes(4)), id="fractional offset"),
        pytest.param(file_of({"x": entry(begin=-4, end=0)}, bytes(4)), id="negative offset"),
        pytest.param(file_of({"x": entry(shape=[2])}, bytes(4)), id="shape needs more"),
        pytest.param(file_of({"x": entry("F64")}, bytes(4)), id="dtype needs more"),
        pytest.param(file_of({"x": entry()}, bytes(3)), id="file too short"),
        pytest.param(file_of({"x": entry()}, bytes(5)), id="file too long"),
        pytest.param(file_of({"x": entry(begin=4, end=8)}, bytes(8)), id="hole at the start"),
        pytest.param(file_of({"x": entry(), "y": entry()}, bytes(4)), id="overlap"),
        pytest.param(file_of({"x": entry(), "y": entry(begin=8, end=12)}, bytes(12)), id="hole between"),
        pytest.param(file_of({"x": entry()}, struct.pack("<f", float("nan"))), id="NaN"),
        pytest.param(file_of({"x": entry()}, struct.pack("<f", float("-inf"))), id="infinity"),
        pytest.param(file_of({"x": entry("BF16", end=2)}, b"\x80\x7f"), id="bfloat16 infinity"),
    ],
)
def test_a_file_that_breaks_the_format_is_refused(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(raw)
    with pytest.raises(InvalidFormat, match=r"^w\.safetensors"):
        weights.read_safetensors(path)


@settings(max_examples=300)
@given(position=st.integers(0, 399), byte=st.integers(0, 255))
def test_one_changed_byte_is_read_or_refused(
    position: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(weights.safetensors_bytes(TENSORS))
    raw[position % len(raw)] = byte
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    path.write_bytes(raw)
    try:
        ours = weights.read_safetensors(path)
    except InvalidFormat:
        return
    assert_equal(safetensors.numpy.load_file(path), ours)  # what we accept, the library accepts, with equal content


def test_contradictions_with_the_configuration(document: Any) -> None:
    expected = weights.expected_tensors(ModelConfig.from_document(document()))
    weights.check_shapes(expected, expected, "w")
    without = {name: shape for name, shape in expected.items() if name != "final_norm.bias"}
    for found, message in (
        (without, "'final_norm.bias' is missing"),
        ({**expected, "head.weight": (300, 16)}, "'head.weight' is not part"),
        ({**expected, "final_norm.bias": (17,)}, r"shape \[17\], model.json needs \[16\]"),
    ):
        with pytest.raises(InvalidFormat, match=message):
            weights.check_shapes(found, expected, "w")


def test_tensors_of_a_configuration(document: Any) -> None:
    given_document = document(
        vocab_size=7, embedding_dim=4, num_layers=1, num_heads=2, feed_forward_dim=3, context_length=5
    )
    config = ModelConfig.from_document(given_document)
    shapes = weights.expected_tensors(config)
    assert shapes["token_embedding"] == (7, 4)
    assert shapes["position_embedding"] == (5, 4)
    assert shapes["layers.0.feed_forward.up.weight"] == (4, 3)
    assert shapes["layers.0.feed_forward.down.weight"] == (3, 4)
    assert len(shapes) == 2 + 16 + 2
    assert weights.parameter_count(config) == 7 * 4 + 5 * 4 + 2 * 8 + 4 * 20 + (4 * 3 + 3) + (3 * 4 + 4) + 8
    untied = ModelConfig.from_document(document(tie_embeddings=False))
    assert weights.expected_tensors(untied)["head.weight"] == (300, 16)


def plain_word(key: int, n: int) -> int:
    """Word n of a stream, in Python's unbounded integers."""
    mask = 2**64 - 1
    z = (key + (n + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def plain_value(word: int) -> float:
    """The weight of a word, with no float before the last step."""
    centred = sum((word >> shift) & 0xFFFF for shift in (0, 16, 32, 48)) - 131070
    size = abs(centred)
    shift = max(size.bit_length() - 8, 0)
    kept, rest, half = size >> shift, size & ((1 << shift) - 1), (1 << shift) >> 1
    kept += shift > 0 and (rest > half or (rest == half and kept & 1 == 1))
    return (-1 if centred < 0 else 1) * (kept << shift) / 2**21


def test_splitmix_gives_its_published_first_outputs() -> None:
    assert [int(word) for word in counter.words(1234567, 0, 3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@given(key=st.integers(0, 2**64 - 1), start=st.integers(0, 2**40))
def test_words_and_values_equal_those_of_plain_integers(key: int, start: int) -> None:
    words = counter.words(key, start, 5)
    assert [int(word) for word in words] == [plain_word(key, start + i) for i in range(5)]
    assert list(weights._near_normal(words)) == [plain_value(int(word)) for word in words]
    assert counter.word(key, start) == plain_word(key, start)


def test_every_centred_sum_rounds_as_plain_integers_do() -> None:
    parts = np.minimum(np.arange(0, 262141)[:, None] - 65535 * np.arange(4), 65535).clip(0).astype(np.uint64)
    words = (parts << np.arange(0, 64, 16, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    assert weights._near_normal(words).tolist() == [plain_value(int(word)) for word in words]


def test_seeded_weights_are_what_the_document_says(document: Any) -> None:
    config = ModelConfig.from_document(document() | {"initialisation": {"seed": 42}})
    made = weights.initialise(config)
    assert {name: array.shape for name, array in made.items()} == weights.expected_tensors(config)
    key = int.from_bytes(hashlib.sha256(b"llmasos-init/v1\x0042\x00token_embedding").digest()[:8], "big")
    expected = [plain_value(plain_word(key, i)) for i in range(300 * 16)]
    np.testing.assert_array_equal(made["token_embedding"].ravel(), expected)
    assert np.all(made["final_norm.weight"] == 1)
    assert not any(array.any() for name, array in made.items() if name.endswith("bias"))


def test_seeded_weights_are_exact_in_bfloat16_and_nearly_normal(document: Any) -> None:
    config = ModelConfig.from_document(document(vocab_size=20000))
    drawn = weights.initialise(config)["token_embedding"]
    np.testing.assert_array_equal(drawn.astype(ml_dtypes.bfloat16).astype(np.float32), drawn)
    assert abs(drawn.mean()) < 2e-4
    assert abs(drawn.std() / (37837.2 / 2**21) - 1) < 0.01


def test_long_tensors_are_made_in_pieces_that_fit(document: Any) -> None:
    config = ModelConfig.from_document(document(vocab_size=2**16 + 3, embedding_dim=32))
    drawn = weights.initialise(config)["token_embedding"].ravel()
    key = counter.stream_key("llmasos-init/v1\x000\x00token_embedding")
    for i in (0, 2**20 - 1, 2**20, 2**21 - 1, len(drawn) - 1):
        assert drawn[i] == plain_value(plain_word(key, i))


def test_more_weights_than_memory_are_refused_before_they_are_made(document: Any) -> None:
    config = ModelConfig.from_document(document(vocab_size=2**24, embedding_dim=2**16, num_heads=1))
    with pytest.raises(Unsupported, match="more than are made from a seed"):
        weights.initialise(config)


def test_weights_lie_in_one_block_and_are_what_they_were():
    stored = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones((), np.float16), "c": np.zeros((0, 4))}
    made = weights.in_one_block(stored, "float64")
    assert all(np.array_equal(made[name], stored[name]) and made[name].shape == stored[name].shape for name in stored)
    assert {array.dtype for array in made.values()} == {np.dtype(np.float64)}
    assert made["a"].flags.c_contiguous
    assert made["a"].base is made["b"].base
    assert weights.in_one_block({"tall": np.ones((3, 2))}, "float64")["tall"].T.flags.c_contiguous
    assert weights.in_one_block({}, "float64") == {}


def test_a_weight_that_the_dtype_of_the_computation_cannot_hold_is_named():
    with pytest.raises(InvalidFormat, match="NaN or infinity") as caught:
        weights.in_one_block({"a": np.ones(3), "b": np.full(2, 1e300)}, "float32")
    assert caught.value.where == "b as float32"
