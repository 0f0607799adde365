"""Bundles: the source's own example, the way there and back, and directories that are not to be trusted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmasos
from llmasos.errors import (
    InvalidArgument,
    InvalidFormat,
    LLMasOSError,
    NotFound,
    UnsupportedVersion,
)
from llmasos.tokenizer import FileTokenizer

SEED_TEXT = """{
  "name": "MyLLM",
  "version": "1.0",
  "architecture": "Transformer",
  "parameters": {
    "vocab_size": 10000,
    "embedding_dim": 512,
    "num_layers": 12
  }
}
"""
WORDS = json.dumps(
    {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "?": 2}, "unk_token": "?"},
    }
)


def write(directory: Path, **files: str | bytes) -> Path:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        path = directory / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def test_the_example_of_the_source_is_read_and_described(tmp_path: Path) -> None:
    write(tmp_path, model_json=SEED_TEXT)
    for path in (tmp_path, tmp_path / "model.json", str(tmp_path)):
        bundle = llmasos.read_bundle(path)
        assert bundle.document == json.loads(SEED_TEXT)
        assert bundle.weights is None
    text = "\n".join(llmasos.inspect(tmp_path).lines())
    for part in ("MyLLM: Transformer", "num_heads=8", "context_length=1024", "tokenizer: bytes", 'activation="relu"'):
        assert part in text


def test_the_example_runs_as_any_architecture(tmp_path: Path) -> None:
    write(tmp_path, model_json=SEED_TEXT.replace(": 12", ": 1"))
    model = llmasos.load_model(tmp_path / "model.json")
    # one embedding; per block a norm, four maps of attention, two of the feed-forward; the decoder attends twice
    norm, maps = 2 * 512, 4 * (512 * 512 + 512)
    feed_forward = 2048 * 512 + 2048 + 512 * 2048 + 512
    count = 10000 * 512 + 5 * norm + 3 * maps + 2 * feed_forward
    assert f"parameters: {count:,}" in "\n".join(llmasos.inspect(tmp_path).lines())
    first, second = (model.generate_text(prompt="你好，世界！", max_length=8, seed=1) for _ in range(2))
    assert first == second


def test_mark_order_and_space_do_not_matter(tmp_path: Path) -> None:
    shuffled = json.dumps(dict(reversed(json.loads(SEED_TEXT).items())), indent=7)
    assert llmasos.read_bundle(write(tmp_path, model_json=b"\xef\xbb\xbf\n" + shuffled.encode())).config.name == "MyLLM"


def test_written_and_read_back(make: Callable[..., Path], document: Any, loud_weights: Any) -> None:
    bundle = llmasos.read_bundle(make(name="x", tokenizer_json=WORDS))
    assert bundle.document == document()
    assert bundle.weights is not None
    for name, array in loud_weights(document()).items():
        np.testing.assert_array_equal(bundle.weights[name], array)
    assert isinstance(bundle.tokenizer, FileTokenizer)


def test_writing_again_leaves_nothing_of_the_old_bundle(make: Callable[..., Path], document: Any) -> None:
    directory = make(tokenizer_json=WORDS)
    (directory / "README").write_text("kept")
    llmasos.write_bundle(directory, document())
    assert sorted(path.name for path in directory.iterdir()) == ["README", "model.json"]
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


@pytest.mark.parametrize("step", range(3))
def test_a_write_that_is_cut_off_leaves_no_mixture_of_two_bundles(
    step: int, make: Callable[..., Path], document: Any, loud_weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(tokenizer_json=WORDS)
    replace, done = os.replace, []

    def fails(*arguments: Any, **options: Any) -> None:
        if len(done) == step:
            raise OSError("cut off")
        done.append(arguments)
        replace(*arguments, **options)

    monkeypatch.setattr(os, "replace", fails)
    weights = {name: array * 2 for name, array in loud_weights(document()).items()}
    with pytest.raises(OSError, match="cut off"):
        llmasos.write_bundle(directory, document(), weights, WORDS)
    monkeypatch.undo()
    with pytest.raises(NotFound):
        llmasos.read_bundle(directory)
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]
    llmasos.write_bundle(directory, document(), weights, WORDS)
    assert llmasos.read_bundle(directory).document == document()


def test_a_refused_bundle_leaves_the_old_one_in_place(make: Callable[..., Path], document: Any) -> None:
    directory = make(tokenizer_json=WORDS)
    with pytest.raises(InvalidFormat):
        llmasos.write_bundle(directory, document(num_heads=3))
    assert llmasos.read_bundle(directory).document == document()


def test_a_refused_bundle_is_not_written(tmp_path: Path, document: Any, loud_weights: Any) -> None:
    weights = loud_weights(document())
    nan = {**weights, "final_norm.bias": np.full(16, np.nan)}
    cases: list[tuple[tuple[Any, ...], type[LLMasOSError]]] = [
        ((document(num_heads=3),), InvalidFormat),
        ((document() | {"version": "2.0"},), UnsupportedVersion),
        ((document() | {"metadata": {"x": float("nan")}},), InvalidFormat),
        ((document() | {"metadata": {"x": {1}}},), InvalidFormat),
        ((document() | {"name": "\ud800"},), InvalidFormat),
        ((document(), {}), InvalidFormat),
        ((document(), nan), InvalidFormat),
        ((document(), {**weights, "final_norm.bias": np.arange(16)}), InvalidArgument),
        ((document(), None, "{}"), InvalidFormat),
    ]
    for arguments, kind in cases:
        with pytest.raises(kind):
            llmasos.write_bundle(tmp_path / "new", *arguments)
        assert list(tmp_path.iterdir()) == []


def test_a_bundle_needs_a_place(tmp_path: Path, document: Any) -> None:
    with pytest.raises(NotFound):
        llmasos.write_bundle(tmp_path / "absent" / "new", document())
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument):
        llmasos.write_bundle(tmp_path / "file", document())


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent" / "model.json", tmp_path / ("x" * 5000)):
        with pytest.raises(NotFound, match=r"model\.json|nothing at"):
            llmasos.read_bundle(path)
    for value in (None, 5, "a\0b", b"x"):
        with pytest.raises(InvalidArgument, match="expected a path"):
            llmasos.read_bundle(value)  # type: ignore[arg-type]


def test_another_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InvalidFormat, match="no bundle"):
        llmasos.read_bundle(tmp_path / "weights.bin")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "tokenizer.json"])
def test_only_regular_files_are_opened(name: str, make: Callable[..., Path], tmp_path: Path) -> None:
    directory = make(tokenizer_json=WORDS)
    original = directory / name
    elsewhere = original.rename(tmp_path / "elsewhere")
    inside = directory / "copy"
    inside.write_bytes(elsewhere.read_bytes())
    traps: list[Callable[[], object]] = [
        lambda: original.symlink_to(elsewhere),
        lambda: original.symlink_to(inside),
        lambda: original.symlink_to(tmp_path / "absent"),
        lambda: original.mkdir(),
    ]
    if hasattr(os, "mkfifo"):
        traps.append(lambda: os.mkfifo(original))
    for trap in traps:
        trap()
        with pytest.raises(InvalidFormat, match="not a regular file"):
            llmasos.read_bundle(directory)
        original.rmdir() if original.is_dir() and not original.is_symlink() else original.unlink()


def test_pickled_weights_are_never_opened(make: Callable[..., Path], tmp_path: Path) -> None:
    directory = make()
    for name in ("pytorch_model.bin", "model.pt", "weights.pkl"):
        (directory / name).symlink_to(tmp_path / "absent")  # opening any of them would fail
    assert llmasos.read_bundle(directory).weights is not None


def test_a_directory_reached_by_a_link_is_a_directory(make: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(make(), target_is_directory=True)
    assert llmasos.read_bundle(tmp_path / "link").config.name == "small"


def test_an_oversized_document_is_refused(tmp_path: Path) -> None:
    write(tmp_path, model_json=SEED_TEXT + " " * 2**20)
    with pytest.raises(InvalidFormat, match="larger than 1048576 bytes"):
        llmasos.read_bundle(tmp_path)


def test_the_stated_digest_is_checked(make: Callable[..., Path], document: Any) -> None:
    directory = make()
    digest = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    for stated, fine in ((digest, True), ("0" * 64, False)):
        (directory / "model.json").write_text(json.dumps(document() | {"weights": {"sha256": stated}}))
        if fine:
            llmasos.read_bundle(directory)
        else:
            with pytest.raises(InvalidFormat, match="another digest"):
                llmasos.read_bundle(directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(InvalidFormat, match="is missing"):
        llmasos.read_bundle(directory)


def test_weights_that_contradict_the_document_are_refused(make: Callable[..., Path], document: Any) -> None:
    directory = make()
    (directory / "model.json").write_text(json.dumps(document(vocab_size=301)))
    with pytest.raises(InvalidFormat, match=r"token_embedding: shape \[300, 16\], model.json needs \[301, 16\]"):
        llmasos.read_bundle(directory)
    (directory / "model.json").write_text(json.dumps(document(vocab_size=2**24, embedding_dim=2**16)))
    with pytest.raises(InvalidFormat, match=r"model\.json needs"):  # by the header alone: the arrays would need 8 TB
        llmasos.read_bundle(directory)


def test_a_bundle_cut_anywhere_is_refused(make: Callable[..., Path]) -> None:
    directory = make(
        tokenizer_json=WORDS,
        vocab_size=3,
        embedding_dim=1,
        num_layers=1,
        num_heads=1,
        feed_forward_dim=1,
        context_length=1,
    )
    for name in ("model.json", "model.safetensors", "tokenizer.json"):
        whole = (directory / name).read_bytes()
        for length in range(len(whole.rstrip(b"\n"))):
            (directory / name).write_bytes(whole[:length])
            with pytest.raises(InvalidFormat):
                llmasos.read_bundle(directory)
        (directory / name).write_bytes(whole)
    llmasos.read_bundle(directory)


def test_a_record_cannot_be_changed(make: Callable[..., Path]) -> None:
    bundle = llmasos.read_bundle(make())
    assert bundle.weights is not None
    with pytest.raises(TypeError):
        bundle.weights["x"] = np.zeros(1)  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        bundle.weights["final_norm.bias"][0] = 1
