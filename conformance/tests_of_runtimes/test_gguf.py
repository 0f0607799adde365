"""Bundles as GGUF: what llama-cpp-python, as its users call it, makes of the file.

`tox run -e runtimes` installs it and runs this.
"""

import json

import llama_cpp
import numpy as np
import pytest

import llmasos
from llmasos import weights
from llmasos_conformance.adapters.llamacpp import converting, gguf
from llmasos_conformance.checks import vocabularies
from llmasos_conformance.protocol import Refusal

OWN = {"GPT-3": {}, "Llama": {"num_key_value_heads": 2}}
ROW = [5, 9, 2, 7, 30, 1]


def bundle(place, architecture, tokenizer=None, **own):
    sizes = {
        "vocab_size": 263, "embedding_dim": 32, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 37,
        "context_length": 19, "eos_token_ids": [256],
    }  # fmt: skip
    document = {
        "name": "m", "version": "1.0", "architecture": architecture,
        "parameters": {**sizes, **OWN[architecture], **own},
    }  # fmt: skip
    random = np.random.default_rng(1)
    shapes = weights.expected_tensors(llmasos.ModelConfig.from_document(document))
    tensors = {name: (random.normal(size=shape) / 2).astype(np.float32) for name, shape in shapes.items()}
    path = llmasos.write_bundle(place, document, tensors)
    if tokenizer is not None:
        (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return path


def loaded(path, dtype="float32"):
    out = path / "m.gguf"
    converting.convert(path, out, dtype)
    return llama_cpp.Llama(
        str(out), n_ctx=19, logits_all=True, n_threads=1, n_threads_batch=1, type_k=0, type_v=0, verbose=False
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", OWN)
@pytest.mark.parametrize(("dtype", "share"), [("float32", 1e-3), ("float16", 1e-2), ("bfloat16", 0.05), ("q8_0", 0.1)])
def test_a_file_of_each_dtype_has_the_logits_of_the_bundle(tmp_path, architecture, tied, dtype, share):
    """Coarse, because it tells maps that are turned, swapped or paired wrongly: without pairs by 0.86."""
    path = bundle(tmp_path / "b", architecture, tie_embeddings=tied)
    model = loaded(path, dtype)
    model.eval(ROW)
    due = llmasos.load_model(path).forward([ROW])[0]
    assert np.abs(model.scores[: len(ROW)] - due).max() < share * np.abs(due).max()


def test_a_text_of_bytes_is_its_bytes_and_only_ids_of_the_document_end_it(tmp_path):
    for name, ends in (("none", []), ("some", [256, 10, 259])):
        model = loaded(bundle(tmp_path / name, "Llama", eos_token_ids=ends, bos_token_id=258))
        text = "hé \n\0<256> 这".encode()
        assert model.tokenize(text, add_bos=False) == list(text)
        assert b"".join(model.detokenize([byte]) for byte in range(256)) == bytes(range(256))
        assert model.detokenize([256, 262]) == b""
        vocabulary = model._model.vocab
        assert [token for token in range(263) if llama_cpp.llama_vocab_is_eog(vocabulary, token)] == sorted(ends)
        assert model.token_bos() == 258


def test_byte_level_pairs_are_those_of_the_file(tmp_path):
    document = vocabularies.merges()
    names = vocabularies.ids_by_name(document)
    end = names["<|end|>"]
    path = bundle(tmp_path / "b", "GPT-3", document, vocab_size=max(names.values()) + 1, eos_token_ids=[end])
    model, due = loaded(path), llmasos.load_model(path)
    for text in ("the other tokens, 1234 of them", "it's ooooo", "这些 naïve é", "Öl<br>"):
        assert model.tokenize(text.encode(), add_bos=False) == list(due.tokenize(text))
        assert model.detokenize(due.tokenize(text)) == text.encode()
    assert model.tokenize(b"a<|end|>", add_bos=False, special=True) == [97, end]


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "fallback"])
def test_a_tokenizer_that_llama_cpp_does_not_have_is_refused(tmp_path, kind):
    document = vocabularies.KINDS[kind]()
    path = bundle(tmp_path / "b", "GPT-3", document, vocab_size=400)
    with pytest.raises(Refusal, match="no vocabulary for this tokenizer") as caught:
        converting.convert(path, tmp_path / "m.gguf")
    assert caught.value.code == "unsupported"


def test_more_ends_than_have_names_are_refused(tmp_path):
    with pytest.raises(Refusal, match="7 ends; 6 have names"):
        converting.convert(bundle(tmp_path / "b", "GPT-3", eos_token_ids=[0, 1, 2, 3, 4, 5, 6]), tmp_path / "m.gguf")


def test_values_and_tensors_stand_where_the_format_wants_them(tmp_path):
    gguf.write(tmp_path / "m", {"n": 3, "yes": True, "x": 0.5, "all": ["a", "bc"], "ids": [-1], "none": []}, {
        "t": np.arange(6.0).reshape(2, 3), "u": np.ones(1),
    })  # fmt: skip
    raw = (tmp_path / "m").read_bytes()
    assert raw[:24] == b"GGUF" + b"\3\0\0\0" + b"\2" + bytes(7) + b"\6" + bytes(7)
    assert b"\3" + bytes(7) + b"yes" + b"\7\0\0\0\1" in raw
    assert len(raw) % 32 == 0
    assert np.frombuffer(raw[-64:-40], "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    assert np.frombuffer(raw[-32:-28], "<f4").tolist() == [1]
    assert raw[-40:-32] + raw[-28:] == bytes(36)
