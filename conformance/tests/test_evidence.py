"""Evidence: deterministic, bound line by line, and the same conversation when it is read again."""

import gzip
import json

import numpy as np
import pytest

from llmasos_conformance import evidence
from llmasos_conformance.candidate import Exchange
from llmasos_conformance.canonical import Unacceptable, merkle_root, sha256

LOGITS = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
CONVERSATION = [
    [
        Exchange("load_model", {"bundle": "ab"}, result={}),
        Exchange("forward", {"model": "ab", "ids": [[1, 2]]}, result={"logits": [LOGITS]}),
        Exchange("open", {"model": "ab", "ids": [1, 2]}, result={"session": "s1", "logits": LOGITS.astype(np.float64)}),
        Exchange("score", {"model": "ab", "ids": [1, 2]}, result={"logprobs": [None, -0.1]}),
        Exchange(
            "generate_ids",
            {"model": "ab", "ids": [1], "seed": 2**64 - 1, "temperature": 0.5},
            result={"finish_reason": "length", "ids": [3], "logprobs": [{3: -0.25, 1: None}]},
        ),
        Exchange("close", {"session": "s1"}, result={}),
    ],
    [
        Exchange("generate_text", {"model": "ab", "prompt": "é\u2028"}, refusal="invalid_argument"),
        Exchange("generate_text", {"model": "ab", "prompt": "a"}, result={"sample": 1}),
        Exchange("tokenize", {"model": "ab", "text": ""}, fault="timeout"),
    ],
]


def plain(value):
    if isinstance(value, np.ndarray):
        return (value.dtype.name, value.tolist())
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def write(path, *cases):
    store = evidence.Store(path)
    digests = [store.add(case, examples) for case, examples in cases]
    return digests, store.close()


def test_what_was_stored_is_read_again_in_native_form(tmp_path):
    digests, root = write(tmp_path / "e.gz", ("a.b", CONVERSATION), ("a.c", CONVERSATION[1:]))
    records, again = evidence.read(tmp_path / "e.gz")
    assert again == root
    assert [(record.case, record.digest) for record in records] == [("a.b", digests[0]), ("a.c", digests[1])]
    native = evidence.exchanges(records[0])
    assert [[(e.method, e.params, plain(e.result), e.refusal, e.fault) for e in row] for row in native] == [
        [(e.method, e.params, plain(e.result), e.refusal, e.fault) for e in row] for row in CONVERSATION
    ]


def test_the_same_conversation_is_the_same_file(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, ("a.b", CONVERSATION))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_digests_and_root_are_over_the_lines_without_their_ends(tmp_path):
    digests, root = write(tmp_path / "e.gz", ("a.b", CONVERSATION), ("a.c", CONVERSATION))
    lines = gzip.decompress((tmp_path / "e.gz").read_bytes()).split(b"\n")[:-1]
    assert digests == [sha256(line) for line in lines]
    assert root == merkle_root(lines)
    assert all(line.isascii() for line in lines)


def test_a_case_that_was_not_tried_leaves_no_line(tmp_path):
    digests, _ = write(tmp_path / "e.gz", ("a.b", ()), ("a.c", [[]]))
    assert digests[0] == ""
    assert [record.case for record in evidence.read(tmp_path / "e.gz")[0]] == ["a.c"]


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path):
    store = evidence.Store(tmp_path / "e.gz")
    store.add("a.b", CONVERSATION)
    assert not (tmp_path / "e.gz").exists()
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["e.gz"]


def line(**changes):
    made = {"case": "a.b", "examples": [[{"method": "tokenize", "params": {}, "result": {"ids": [1]}}]]}
    return json.dumps(made | changes, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_the_line_that_the_following_tests_break_is_right(tmp_path):
    (tmp_path / "e.gz").write_bytes(gzip.compress(line()))
    assert evidence.exchanges(evidence.read(tmp_path / "e.gz")[0][0])[0][0].result == {"ids": [1]}


MALFORMED = {
    "no line end": line()[:-1],
    "not JSON": b"{\n",
    "an empty line": b"\n",
    "a blank": line().replace(b":", b": ", 1),
    "another order of keys": b'{"examples":[[]],"case":"a.b"}\n',
    "a number in another spelling": line(examples=[[{"method": "m", "params": {"t": 0.5}, "result": {}}]]).replace(
        b"0.5", b"5e-1"
    ),
    "a further key": line(more=1),
    "no examples": line(examples=[]),
    "examples that are no lists": line(examples=[{}]),
    "an exchange without params": line(examples=[[{"method": "m", "result": {}}]]),
    "an exchange with two ends": line(examples=[[{"method": "m", "params": {}, "result": {}, "fault": "died"}]]),
    "an exchange without end": line(examples=[[{"method": "m", "params": {}}]]),
    "an empty refusal": line(examples=[[{"method": "m", "params": {}, "refusal": ""}]]),
    "a result that is a list": line(examples=[[{"method": "m", "params": {}, "result": []}]]),
    "a key twice": b'{"case":"a","case":"b","examples":[[]]}\n',
    "NaN": line(examples=[[{"method": "m", "params": {"t": float("nan")}, "result": {}}]]),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_line_is_refused(name, tmp_path):
    (tmp_path / "e.gz").write_bytes(gzip.compress(MALFORMED[name]))
    with pytest.raises(Unacceptable) as caught:
        evidence.read(tmp_path / "e.gz")
    assert caught.value.code == "E_EVIDENCE_FORMAT"


@pytest.mark.parametrize(
    "entry",
    [
        {"method": "tokenize", "params": {}, "result": {"ids": ["x"]}},
        {
            "method": "forward",
            "params": {"model": "m", "ids": [[1]]},
            "result": {"logits": [{"dtype": "F32", "shape": [1, 2], "data": ""}]},
        },
        {"method": "nonsense", "params": {}, "result": {}},
        {"method": "load_model", "params": {}, "result": {"model": "handle"}},
        {"method": "generate_text", "params": {}, "result": {"sample": -1}},
        {"method": "generate_text", "params": {}, "result": {"sample": True}},
        {"method": "tokenize", "params": {}, "refusal": "no thanks"},
        {"method": "tokenize", "params": {}, "fault": "tired"},
        {"method": "tokenize", "params": {"n": {"number": "many"}}, "result": {"ids": [1]}},
    ],
)  # fmt: skip
def test_what_is_no_answer_of_the_contract_cannot_be_replayed(entry, tmp_path):
    (tmp_path / "e.gz").write_bytes(gzip.compress(line(examples=[[entry]])))
    with pytest.raises(Unacceptable) as caught:
        evidence.exchanges(evidence.read(tmp_path / "e.gz")[0][0])
    assert caught.value.code == "E_EVIDENCE_FORMAT"


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path):
    (tmp_path / "e.gz").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(Unacceptable) as caught:
        evidence.read(tmp_path / "e.gz", limit=10**5)
    assert caught.value.code == "E_EVIDENCE_SIZE"


@pytest.mark.parametrize("bomb", [b"[],", b"[]\n", b"\n"])
def test_a_bomb_of_200_mb_that_nobody_signed_is_neither_parsed_nor_held(bomb, tmp_path):
    import tracemalloc
    import zlib

    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    block = bomb * (2 * 10**6 // len(bomb))
    parts = [packer.compress(block) for _ in range(100)]
    (tmp_path / "e.gz").write_bytes(b"".join(parts) + packer.flush())
    tracemalloc.start()
    try:
        with pytest.raises(Unacceptable) as caught:
            evidence.read(tmp_path / "e.gz", signed=["0" * 64])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == ("E_EVIDENCE_SIZE" if bomb == b"[]," else "E_EVIDENCE_DIGEST")
    assert most < 3 * evidence.MAX_LINE


def test_a_signed_line_of_too_many_values_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "MAX_VALUES", 5)
    (tmp_path / "e.gz").write_bytes(gzip.compress(line()))
    with pytest.raises(Unacceptable) as caught:
        evidence.read(tmp_path / "e.gz", signed=[sha256(line()[:-1])])
    assert caught.value.code == "E_EVIDENCE_SIZE"


@pytest.mark.parametrize(
    "change", [lambda b: b[:-5], lambda b: b"plain", lambda b: b + b"rest", lambda b: b[:20] + b"\xff" + b[21:]]
)
def test_a_damaged_file_is_refused(change, tmp_path):
    (tmp_path / "e.gz").write_bytes(change(gzip.compress(line() * 50)))
    with pytest.raises(Unacceptable) as caught:
        evidence.read(tmp_path / "e.gz")
    assert caught.value.code == "E_EVIDENCE_FORMAT"


def test_a_missing_file_has_a_code_of_its_own(tmp_path):
    with pytest.raises(Unacceptable) as caught:
        evidence.read(tmp_path / "e.gz")
    assert caught.value.code == "E_EVIDENCE_MISSING"
