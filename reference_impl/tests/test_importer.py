"""Checkpoints that Hugging Face saved become bundles that compute the same, or an error says what does not fit."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

import llmasos
from llmasos import LLMasOSError
from llmasos.errors import InvalidArgument, InvalidFormat, NotFound, Unsupported, UnsupportedArchitecture
from llmasos.tools import agreement, importer, links, original
from llmasos.tools.importer import convert, import_checkpoint

BASE = {
    "gpt2": {"vocab_size": 301, "n_embd": 15, "n_layer": 2, "n_head": 3, "n_positions": 24},
    "llama": {
        "vocab_size": 301, "hidden_size": 24, "intermediate_size": 17, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 40,
    },
    "bert": {
        "vocab_size": 301, "hidden_size": 15, "intermediate_size": 7, "num_hidden_layers": 2,
        "num_attention_heads": 3, "max_position_embeddings": 24,
    },
    "bart": {
        "vocab_size": 301, "d_model": 15, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 7,
        "decoder_ffn_dim": 7, "encoder_attention_heads": 3, "decoder_attention_heads": 3,
        "max_position_embeddings": 24,
    },
}  # fmt: skip
BASE["mistral"] = {**BASE["llama"], "sliding_window": 5}
BASE["marian"] = {**BASE["bart"], "pad_token_id": 300, "decoder_start_token_id": 300}
CONFIGS = {"gpt2": "GPT2", "llama": "Llama", "mistral": "Mistral", "bert": "Bert", "bart": "Bart", "marian": "Marian"}
HEADED = {
    "gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "bert": "BertForMaskedLM",
    "bart": "BartForConditionalGeneration", "marian": "MarianMTModel",
}  # fmt: skip

Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def _silent() -> Any:
    with original.quiet():
        yield


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Save a random model of a type and say where; settings override BASE."""

    def saved(
        kind: str, model: str | None = None, *, dtype: Any = torch.float32, shards: str = "50GB", **settings: Any
    ) -> Path:
        config = getattr(transformers, f"{CONFIGS[kind]}Config")(**{**BASE[kind], **settings})
        made = getattr(transformers, model or HEADED[kind])(config)
        noise = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                # Their copies of one embedding, which are apart when it is not tied, stay equal.
                if (
                    parameter.requires_grad
                    and "encoder.embed_tokens" not in name
                    and "decoder.embed_tokens" not in name
                ):
                    parameter += 0.3 * torch.randn(parameter.shape, generator=noise)
            state = made.state_dict()
            for name in state:
                if name.endswith(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")):
                    state[name].copy_(state[f"{name.split('encoder.')[0].split('decoder.')[0]}shared.weight"])
        made.to(dtype).save_pretrained(tmp_path / "source", max_shard_size=shards)
        return tmp_path / "source"

    return saved


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def edit(directory: Path, name: str = "config.json", **members: Any) -> Path:
    """Change members of a settings file; a member that is `...` goes."""
    path = directory / name
    given = json.loads(path.read_text()) if path.exists() else {}
    given |= members
    path.write_text(json.dumps({key: value for key, value in given.items() if value is not ...}))
    return directory


def edit_tensors(directory: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    """Change the tensors of a checkpoint of one file."""
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, directory / "model.safetensors")
    return directory


def refused(source: Path, out: Path, error: type[LLMasOSError], message: str, **options: Any) -> LLMasOSError:
    """The import is refused with words, and leaves nothing behind."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(error, match=message) as caught:
        import_checkpoint(source, out, **options)
    assert sorted(out.parent.iterdir()) == before
    assert caught.value.where
    return caught.value


# ── what fits ───────────────────────────────────────────────────────────────────────────────────────────────────────

FITTING: list[tuple[str, str | None, dict[str, Any]]] = [
    ("gpt2", None, {}),
    ("gpt2", None, {"tie_word_embeddings": False, "n_inner": 9, "layer_norm_epsilon": 1e-3}),
    ("gpt2", "GPT2Model", {"activation_function": "gelu_pytorch_tanh"}),
    ("llama", None, {}),
    ("llama", None, {"tie_word_embeddings": True, "num_key_value_heads": 6, "rms_norm_eps": 1e-3}),
    ("llama", None, {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}),
    ("mistral", None, {}),
    ("mistral", None, {"sliding_window": None, "num_key_value_heads": 1}),
    ("bert", None, {}),
    ("bert", "BertForPreTraining", {"hidden_act": "gelu_new", "type_vocab_size": 3}),
    ("bert", "BertForPreTraining", {"tie_word_embeddings": False}),
    ("bert", "BertModel", {"hidden_act": "relu", "layer_norm_eps": 1e-5}),
    ("bart", None, {"scale_embedding": True}),
    ("bart", "BartModel", {"activation_function": "relu"}),
    ("bart", None, {"tie_word_embeddings": False}),
    ("marian", None, {"activation_function": "swish"}),
    ("marian", None, {"scale_embedding": True, "tie_word_embeddings": False, "d_model": 21}),
]


@pytest.mark.parametrize(("kind", "model", "settings"), FITTING, ids=lambda value: str(value)[:60])
def test_a_saved_checkpoint_becomes_a_bundle_that_computes_the_same(
    kind: str, model: str | None, settings: dict[str, Any], save: Save, out: Path
) -> None:
    made = import_checkpoint(save(kind, model, **settings), out)
    assert made.checked is not None
    assert made.checked["error"] < 1e-12
    assert made.checked["compared"] == {
        "BertForPreTraining": ["hidden states", "logits", "pooled outputs"],
        "BertModel": ["hidden states", "pooled outputs"],
    }.get(model or "", ["hidden states", "logits"] if kind == "bert" else ["logits"])
    bundle = llmasos.read_bundle(out)
    assert bundle.document == made.document
    assert bundle.config.name == "source"
    assert bundle.document["metadata"]["imported"] == {
        "from": "Hugging Face", "model_type": kind, "notes": list(made.notes),
    }  # fmt: skip


@pytest.mark.parametrize("kind", BASE)
def test_logits_are_those_of_the_model_as_saved(kind: str, save: Save, out: Path) -> None:
    """Compared here by hand, in float32, so that this does not lean on the importer's own check."""
    source = save(kind)
    import_checkpoint(source, out, check=False)
    theirs = getattr(transformers, HEADED[kind]).from_pretrained(source).eval()
    ids, read = [7, 1, 300, 12, 9, 9, 30, 2, 5, 11], [3, 200, 8]
    beside = {"sources": [read]} if kind in ("bart", "marian") else {}
    due = llmasos.load_model(out).forward([ids], **beside)[0]
    given = {"input_ids": torch.tensor([read]), "decoder_input_ids": torch.tensor([ids])} if beside else {
        "input_ids": torch.tensor([ids])
    }  # fmt: skip
    with torch.inference_mode():
        found = theirs(**given).logits[0].numpy()
    assert np.abs(found - due).max() / due.std() < 1e-4


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.float64, "float64"), (torch.float32, "float32"), (torch.float16, "float16"), (torch.bfloat16, "bfloat16")],
)
def test_weights_keep_their_dtype_and_every_bit(dtype: Any, name: str, save: Save, out: Path) -> None:
    source = save("gpt2", dtype=dtype)
    made = import_checkpoint(source, out)
    assert made.checked is not None
    assert made.checked["error"] < 1e-12
    bundle = llmasos.read_bundle(out)
    assert bundle.weights is not None
    assert {array.dtype.name for array in bundle.weights.values()} == {name}
    theirs = transformers.GPT2LMHeadModel.from_pretrained(source, dtype=dtype).transformer
    joined = theirs.h[1].attn.c_attn.weight.detach().double().numpy()
    for i, part in enumerate(("query", "key", "value")):
        ours = bundle.weights[f"layers.1.attention.{part}.weight"].astype(np.float64)
        np.testing.assert_array_equal(ours, joined[:, 15 * i : 15 * (i + 1)])


def test_shards_are_put_together(save: Save, out: Path) -> None:
    source = save("bart", shards="20KB")
    assert len(list(source.glob("*.safetensors"))) > 1
    made = import_checkpoint(source, out)
    assert made.checked is not None
    assert made.checked["error"] < 1e-12


def test_links_are_followed_as_caches_of_downloads_have_them(save: Save, tmp_path: Path, out: Path) -> None:
    source, linked = save("gpt2"), tmp_path / "snapshot"
    linked.mkdir()
    for path in source.iterdir():
        (linked / path.name).symlink_to(path)
    assert import_checkpoint(linked, out).checked is not None


def test_ids_come_from_the_generation_settings_first(save: Save, out: Path) -> None:
    source = edit(save("marian"), bos_token_id=9, eos_token_id=8, decoder_start_token_id=7)
    edit(source, "generation_config.json", bos_token_id=..., eos_token_id=[3, 4, 3], decoder_start_token_id=5)
    config = llmasos.read_bundle(import_checkpoint(source, out, check=False).path).config
    assert (config.bos_token_id, config.eos_token_ids, config.decoder_start_token_id) == (9, (3, 4), 5)


def test_ids_outside_the_vocabulary_are_left_out_and_said(save: Save, out: Path) -> None:
    made = import_checkpoint(save("gpt2"), out)  # whose own end of text is 50256
    config = llmasos.read_bundle(out).config
    assert (config.bos_token_id, config.eos_token_ids) == (None, ())
    assert [note for note in made.notes if "outside the vocabulary" in note] == [
        "bos_token_id 50256 is outside the vocabulary and was left out",
        "eos_token_id 50256 is outside the vocabulary and was left out",
    ]


def test_what_changes_generation_unasked_is_left_to_the_request(save: Save, out: Path) -> None:
    made = import_checkpoint(edit(save("bart"), "generation_config.json", no_repeat_ngram_size=3), out, check=False)
    assert "left to the request, not taken over: forced_eos_token_id, no_repeat_ngram_size" in made.notes


def test_parts_of_bert_that_are_not_there_say_nothing(save: Save, out: Path) -> None:
    """Zeros, not noise: every logit is 0 without a head, every pooled vector without a pooler."""
    made = import_checkpoint(save("bert", "BertModel"), out)
    assert "no head over the vocabulary in the checkpoint: every logit is 0" in made.notes
    model = llmasos.load_model(out)
    assert not np.any(model.forward([[1, 2, 3]])[0])
    assert np.any(model.encode([[1, 2, 3]])[0].pooled)
    shutil.rmtree(out)
    made = import_checkpoint(save("bert", "BertForMaskedLM"), out)
    assert "no pooler in the checkpoint: every pooled vector is 0" in made.notes
    assert not np.any(llmasos.load_model(out).encode([[1, 2, 3]])[0].pooled)
    shutil.rmtree(out)
    made = import_checkpoint(save("bert", "BertForPreTraining"), out)
    assert "left out: the head that tells whether two texts follow each other" in made.notes


def test_an_untied_bert_adds_the_bias_that_theirs_adds(save: Save, out: Path) -> None:
    source = save("bert", tie_word_embeddings=False)
    tensors = load_file(source / "model.safetensors")
    assert not np.array_equal(tensors["cls.predictions.bias"], tensors["cls.predictions.decoder.bias"])
    import_checkpoint(source, out)
    bundle = llmasos.read_bundle(out)
    assert bundle.weights is not None
    np.testing.assert_array_equal(bundle.weights["head.bias"], tensors["cls.predictions.decoder.bias"])


def test_old_names_of_norms_and_old_buffers_are_known(save: Save, out: Path) -> None:
    def age(tensors: dict[str, np.ndarray]) -> None:
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = np.arange(24)[None]

    assert import_checkpoint(edit_tensors(save("bert"), age), out, check=False).path == out
    shutil.rmtree(out)

    def masks(tensors: dict[str, np.ndarray]) -> None:
        tensors["transformer.h.0.attn.bias"] = np.tril(np.ones((1, 1, 24, 24), dtype=bool))
        tensors["transformer.h.0.attn.masked_bias"] = np.float32(-1e4).reshape(())

    assert import_checkpoint(edit_tensors(save("gpt2"), masks), out, check=False).path == out


def test_settings_that_are_left_out_are_their_defaults(save: Save, out: Path) -> None:
    source = save("llama", rms_norm_eps=1e-6, tie_word_embeddings=False)
    edit(source, rms_norm_eps=..., tie_word_embeddings=..., rope_parameters=..., eos_token_id=..., hidden_act=...)
    edit(source, "generation_config.json", eos_token_id=...)
    made = import_checkpoint(source, out)
    assert made.checked is not None
    config = llmasos.read_bundle(out).config
    assert (config.rms_norm_epsilon, config.tie_embeddings, config.rope_theta) == (1e-6, False, 10000.0)
    assert config.eos_token_ids == (2,)


def test_a_rotary_base_in_the_old_place_is_read(save: Save, out: Path) -> None:
    source = edit(save("llama"), rope_parameters=..., rope_scaling=None, rope_theta=123.0)
    assert llmasos.read_bundle(import_checkpoint(source, out, check=False).path).config.rope_theta == 123.0


def test_marians_table_of_positions_may_be_in_the_file(save: Save, out: Path) -> None:
    def with_table(factor: float) -> Callable[[dict[str, np.ndarray]], None]:
        def change(tensors: dict[str, np.ndarray]) -> None:
            table = links.half_split_sinusoids(24, 15).astype(np.float32)
            tensors["model.encoder.embed_positions.weight"] = table * np.float32(factor)

        return change

    source = save("marian")
    assert import_checkpoint(edit_tensors(source, with_table(1)), out, check=False).path == out
    shutil.rmtree(out)
    refused(edit_tensors(source, with_table(1.001)), out, Unsupported, "positions are not sinusoids")


# ── tokenizers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tokenizer_json_is_taken_over(save: Save, out: Path) -> None:
    source = save("gpt2", vocab_size=331)
    (source / "tokenizer.json").write_bytes(agreement.byte_pairs())
    edit(source, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    made = import_checkpoint(source, out)
    assert made.tokenizer == "tokenizer.json as it stood"
    assert made.checked is not None
    assert made.checked["texts"] == len(original.TEXTS)
    assert (out / "tokenizer.json").read_bytes() == agreement.byte_pairs()
    assert llmasos.load_model(out).tokenize("The quick") == [
        *transformers.PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))("The quick")["input_ids"]
    ]


def test_a_tokenizer_that_their_class_reads_otherwise_is_refused(
    save: Save, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save("gpt2", vocab_size=331)
    (source / "tokenizer.json").write_bytes(agreement.byte_pairs())

    class Other:
        @classmethod
        def from_pretrained(cls, *args: Any, **options: Any) -> Other:
            return cls()

        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            return {"input_ids": [0]}

    monkeypatch.setattr(original.transformers, "AutoTokenizer", Other)
    refused(source, out, InvalidFormat, "by tokenizer.json and")


def test_a_tokenizer_that_does_not_fit_the_vocabulary_is_refused(save: Save, out: Path) -> None:
    source = save("gpt2")
    (source / "tokenizer.json").write_bytes(agreement.byte_pairs())
    error = refused(source, out, InvalidFormat, "does not fit vocab_size 301")
    assert "without a tokenizer" in error.hint
    made = import_checkpoint(source, out, tokenizer=False)
    assert any(note.startswith("no tokenizer") for note in made.notes)
    assert not (out / "tokenizer.json").exists()
    shutil.rmtree(out)
    (source / "tokenizer.json").write_text("{}")
    refused(source, out, InvalidFormat, "not a tokenizer")


def old_tokenizer(source: Path) -> Mapping[str, Any]:
    """The tokenizer of `byte_pairs` as GPT-2's two files."""
    document: Mapping[str, Any] = json.loads(agreement.byte_pairs())
    (source / "vocab.json").write_text(json.dumps(document["model"]["vocab"]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in document["model"]["merges"]]
    (source / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    return document


def test_vocab_and_merges_of_gpt2_become_a_tokenizer_json(save: Save, out: Path) -> None:
    source = save("gpt2", vocab_size=331)
    old_tokenizer(source)
    made = import_checkpoint(source, out, check=False)
    assert made.tokenizer == "tokenizer.json made from vocab.json and merges.txt"
    model = llmasos.load_model(out)
    theirs = transformers.GPT2Tokenizer.from_pretrained(source)
    for text in (*original.TEXTS, *agreement.PROMPTS):
        assert model.tokenize(text) == theirs(text)["input_ids"]
        assert model.detokenize(model.tokenize(text)) == text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", "[]", "expected an object from tokens to ids"),
        ("vocab.json", '{"a": -1}', "expected an object from tokens to ids"),
        ("vocab.json", '{"a": 0, "a": 1}', "appears twice"),
        ("merges.txt", "a b c", "expected two tokens on each line"),
        ("merges.txt", "no such", "no byte-pair encoding"),
    ],
)
def test_broken_vocab_or_merges_are_refused(name: str, content: str, message: str, save: Save, out: Path) -> None:
    source = save("gpt2", vocab_size=331)
    old_tokenizer(source)
    (source / name).write_text(content)
    refused(source, out, InvalidFormat, message)


def test_merges_that_are_no_text_are_refused(save: Save, out: Path) -> None:
    source = save("gpt2", vocab_size=331)
    old_tokenizer(source)
    (source / "merges.txt").write_bytes(b"\xff\xfe")
    refused(source, out, InvalidFormat, "not valid UTF-8")


@pytest.mark.parametrize(
    ("kind", "name"), [("bert", "vocab.txt"), ("llama", "tokenizer.model"), ("marian", "source.spm")]
)
def test_a_tokenizer_in_another_form_is_refused_and_not_forgotten(kind: str, name: str, save: Save, out: Path) -> None:
    source = save(kind)
    (source / name).write_bytes(b"x")
    error = refused(source, out, Unsupported, f"the tokenizer is in {name} only")
    assert "save_pretrained" in error.hint
    assert import_checkpoint(source, out, tokenizer=False, check=False).tokenizer == "left out"


def test_the_mask_is_found_by_its_name(save: Save, out: Path) -> None:
    source = save("bert", vocab_size=331)
    (source / "tokenizer.json").write_bytes(agreement.word_pieces()[0])
    edit(source, "tokenizer_config.json", mask_token={"content": "[MASK]", "lstrip": False})
    import_checkpoint(source, out, check=False)
    assert llmasos.read_bundle(out).config.mask_token_id == 4
    shutil.rmtree(out)
    edit(source, mask_token_id=9)
    import_checkpoint(source, out, check=False)
    assert llmasos.read_bundle(out).config.mask_token_id == 9
    shutil.rmtree(out)
    edit(source, mask_token_id=999)
    made = import_checkpoint(source, out, check=False)
    assert llmasos.read_bundle(out).config.mask_token_id is None
    assert "mask_token_id 999 is outside the vocabulary and was left out" in made.notes
    shutil.rmtree(out)
    edit(source, mask_token_id=...)
    edit(source, "tokenizer_config.json", mask_token="[NONE]")
    assert llmasos.read_bundle(import_checkpoint(source, out, check=False).path).config.mask_token_id is None


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"7", b"{}", b"\xff", b"[" * 10**5, b'{"added_tokens": [{}]}', b'{"model": []}']
)
def test_a_tokenizer_json_that_is_none_is_refused(raw: bytes, save: Save, out: Path) -> None:
    source = edit(save("bert"), "tokenizer_config.json", mask_token="[MASK]")
    (source / "tokenizer.json").write_bytes(raw)
    refused(source, out, InvalidFormat, "tokenizer.json")


WEIRD: list[Any] = [None, True, 0, -1, 1, 2**70, 1.5, 1e308, "", "x" * 100, [], [1, "a"], {}, {"type": {}}, [2**70]]


@pytest.mark.parametrize("kind", BASE)
def test_whatever_a_setting_is_the_answer_is_a_bundle_or_a_typed_error(kind: str, save: Save) -> None:
    source = save(kind)
    given = json.loads((source / "config.json").read_text())
    others = ("rope_scaling", "rope_theta", "layer_types", "mask_token_id", "quantization_config", "bad_words_ids")
    answers = {True: 0, False: 0}
    for key in (*given, *others):
        for value in WEIRD:
            (source / "config.json").write_text(json.dumps({**given, key: value}))
            try:
                convert(source)
            except LLMasOSError:
                answers[False] += 1
            else:
                answers[True] += 1
    assert min(answers.values()) > 100


# ── what does not fit ───────────────────────────────────────────────────────────────────────────────────────────────

SETTINGS: list[tuple[str, dict[str, Any], type[LLMasOSError], str]] = [
    ("gpt2", {"model_type": "gpt_neo"}, UnsupportedArchitecture, "model_type 'gpt_neo' is not imported"),
    ("gpt2", {"model_type": ...}, UnsupportedArchitecture, "model_type '' is not imported"),
    ("gpt2", {"model_type": 5}, InvalidFormat, "expected a text"),
    ("gpt2", {"quantization_config": {"bits": 4}}, Unsupported, "quantised weights are not read"),
    ("gpt2", {"activation_function": "relu"}, Unsupported, "activation 'relu' is not supported"),
    ("gpt2", {"activation_function": "gelu"}, Unsupported, "activation 'gelu' is not supported"),
    ("gpt2", {"scale_attn_weights": False}, Unsupported, "scores are divided"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, Unsupported, "scores are not scaled by layer"),
    ("gpt2", {"add_cross_attention": True}, Unsupported, "a decoder alone"),
    ("gpt2", {"n_embd": "15"}, InvalidFormat, "n_embd: expected a positive integer, found '15'"),
    ("gpt2", {"n_embd": 15.0}, InvalidFormat, "expected a positive integer"),
    ("gpt2", {"n_embd": -1}, InvalidFormat, "expected a positive integer"),
    ("gpt2", {"n_embd": 2**80}, InvalidFormat, "embedding_dim: expected an integer from"),
    ("gpt2", {"n_layer": 10**9}, InvalidFormat, "num_layers: expected an integer from"),
    ("gpt2", {"n_head": 4}, InvalidFormat, "4 heads do not divide"),
    ("gpt2", {"layer_norm_epsilon": 0}, InvalidFormat, "layer_norm_epsilon: expected a number above 0"),
    ("gpt2", {"layer_norm_epsilon": "small"}, InvalidFormat, "expected a number"),
    ("gpt2", {"layer_norm_epsilon": 10**400}, InvalidFormat, "expected a number"),
    ("gpt2", {"tie_word_embeddings": 1}, InvalidFormat, "expected true or false"),
    ("gpt2", {"tie_word_embeddings": False}, InvalidFormat, "tensor 'lm_head.weight' is missing"),
    ("gpt2", {"n_positions": 23}, InvalidFormat, r"shape \[24, 15\], config.json needs \[23, 15\]"),
    ("gpt2", {"n_layer": 3}, InvalidFormat, "tensor 'h.2.ln_1.weight' is missing"),
    ("gpt2", {"n_layer": 1}, InvalidFormat, "'h.1.attn.c_attn.bias' has no place in GPT-3"),
    ("llama", {"attention_bias": True}, Unsupported, "Llama has no biases"),
    ("llama", {"mlp_bias": True}, Unsupported, "Llama has no biases"),
    ("llama", {"head_dim": 8}, Unsupported, "heads of width 8 do not fill the width 24"),
    ("llama", {"num_attention_heads": 5}, Unsupported, "5 heads do not fill the width 24"),
    ("llama", {"hidden_act": "gelu"}, Unsupported, "activation 'gelu' is not supported"),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, Unsupported, "rotary positions are not scaled"),
    ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, Unsupported, "positions are not scaled"),
    ("llama", {"rope_parameters": {"rope_type": "default", "factor": 8.0}}, Unsupported, "not scaled"),
    ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, Unsupported, "all channels of a head are turned"),
    ("llama", {"rope_parameters": [1]}, InvalidFormat, "rope_parameters: expected an object"),
    ("llama", {"rope_parameters": {"rope_theta": -1.0}}, InvalidFormat, "rope_theta: expected a number above 0"),
    ("llama", {"partial_rotary_factor": 0.25}, Unsupported, "all channels of a head are turned"),
    ("llama", {"num_key_value_heads": 4}, InvalidFormat, "4 key-value heads do not divide"),
    ("llama", {"num_key_value_heads": 3}, InvalidFormat, r"shape \[8, 24\], config.json needs \[12, 24\]"),
    ("mistral", {"layer_types": ["full_attention", "sliding_attention"]}, Unsupported, "windows in some layers only"),
    ("mistral", {"sliding_window": 0}, InvalidFormat, "expected a positive integer"),
    ("bert", {"position_embedding_type": "relative_key"}, Unsupported, "positions are learned and absolute"),
    ("bert", {"is_decoder": True}, Unsupported, "BERT sees both ways"),
    ("bert", {"hidden_act": "silu"}, Unsupported, "activation 'silu' is not supported"),
    ("bart", {"normalize_before": True}, Unsupported, "norms stand behind the blocks"),
    ("bart", {"add_final_layer_norm": True}, Unsupported, "no norm stands behind the last"),
    ("bart", {"normalize_embedding": False}, Unsupported, "the embeddings of BART have a norm"),
    ("bart", {"static_position_embeddings": True}, Unsupported, "BART's positions are learned"),
    ("bart", {"encoder_attention_heads": 5}, Unsupported, "encoder has 5, decoder 3"),
    ("bart", {"decoder_ffn_dim": 8}, Unsupported, "encoder has 7, decoder 8"),
    ("bart", {"is_encoder_decoder": False}, Unsupported, "a Transformer has both"),
    ("bart", {"eos_token_id": "2"}, InvalidFormat, "expected a token id"),
    ("marian", {"share_encoder_decoder_embeddings": False}, Unsupported, "share one embedding"),
    ("marian", {"decoder_vocab_size": 300}, Unsupported, "share one vocabulary"),
    ("marian", {"normalize_embedding": True}, Unsupported, "those of Marian have none"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "members", "error", "message"),
    SETTINGS,
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_settings_that_do_not_fit_are_refused(
    kind: str, members: dict[str, Any], error: type[LLMasOSError], message: str, save: Save, out: Path
) -> None:
    source = edit(save(kind), **members)
    if "eos_token_id" in members:
        edit(source, "generation_config.json", eos_token_id=...)
    refused(source, out, error, message)


def test_a_target_needs_an_id_to_start_from(save: Save, out: Path) -> None:
    source = edit(save("bart"), decoder_start_token_id=400)
    edit(source, "generation_config.json", decoder_start_token_id=...)
    refused(source, out, InvalidFormat, "no id of the vocabulary starts a target")


TENSORS: list[tuple[str, str, Callable[[dict[str, np.ndarray]], None], type[LLMasOSError], str]] = [
    ("missing", "gpt2", lambda t: t.pop("transformer.h.1.ln_2.bias"), InvalidFormat, "'h.1.ln_2.bias' is missing"),
    ("of bert", "bert", lambda t: t.pop("cls.predictions.transform.dense.bias"), InvalidFormat, "is missing"),
    ("unknown", "bert", lambda t: t.update({"classifier.weight": np.ones((2, 15), np.float32)}), InvalidFormat,
     "'classifier.weight' has no place in BERT"),
    ("adapter", "llama", lambda t: t.update({"model.layers.0.self_attn.q_proj.lora_A": np.ones(1, np.float32)}),
     InvalidFormat, "has no place in Llama"),
    ("NaN", "llama", lambda t: t["model.norm.weight"].__setitem__(0, np.nan), InvalidFormat, "NaN or infinity"),
    ("integers", "gpt2", lambda t: t.update({"transformer.ln_f.bias": np.ones(15, np.int8)}), Unsupported,
     "stored as I8: quantised weights"),
    ("shape", "gpt2", lambda t: t.update({"transformer.wte.weight": np.ones((15, 301), np.float32)}), InvalidFormat,
     r"shape \[15, 301\], config.json needs \[301, 15\]"),
    ("bias of the head", "bart", lambda t: t["final_logits_bias"].__setitem__((0, 3), 0.5), Unsupported,
     "the head has a bias that is not 0"),
    ("other head", "gpt2", lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"] + 1}), InvalidFormat,
     "wte.weight and lm_head.weight differ"),
    ("other embedding", "bart", lambda t: t.update({"model.encoder.embed_tokens.weight": t["model.shared.weight"] + 1}),
     InvalidFormat, "shared.weight and encoder.embed_tokens.weight differ"),
    ("twice", "gpt2", lambda t: t.update({"wte.weight": t["transformer.wte.weight"]}), InvalidFormat, "is there twice"),
    ("no positions", "bart", lambda t: t.pop("model.decoder.embed_positions.weight"), InvalidFormat, "is missing"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change", "error", "message"), [row[1:] for row in TENSORS], ids=[r[0] for r in TENSORS]
)
def test_tensors_that_do_not_fit_are_refused(
    kind: str, change: Any, error: type[LLMasOSError], message: str, save: Save, out: Path
) -> None:
    refused(edit_tensors(save(kind), change), out, error, message)


def test_quantised_weights_of_eight_bit_floats_are_refused(save: Save, out: Path) -> None:
    source = save("gpt2")
    state = {name: torch.from_numpy(array) for name, array in load_file(source / "model.safetensors").items()}
    state["transformer.h.0.mlp.c_fc.weight"] = state["transformer.h.0.mlp.c_fc.weight"].to(torch.float8_e4m3fn)
    save_torch(state, source / "model.safetensors")
    refused(source, out, Unsupported, "stored as F8_E4M3")


WTE = "transformer.wte.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files, _: files.update({WTE: "../secret.safetensors"}), "no plain name"),
        (lambda files, _: files.update({WTE: "/etc/x.safetensors"}), "no plain name"),
        (lambda files, _: files.update({WTE: "config.json"}), "no plain name"),
        (lambda files, _: files.update({WTE: 3}), "expected weight_map"),
        (lambda files, _: files.update({"more": files[WTE]}), "does not hold 'more'"),
        (lambda files, _: files.pop("transformer.h.0.ln_1.bias"), "which the index does not say"),
        (lambda files, _: files.clear(), "expected weight_map"),
        (lambda files, source: (source / files[WTE]).unlink(), "is missing"),
    ],
)
def test_an_index_that_does_not_fit_its_files_is_refused(change: Any, message: str, save: Save, out: Path) -> None:
    source = save("gpt2", shards="10KB")
    index = json.loads((source / "model.safetensors.index.json").read_text())
    change(index["weight_map"], source)
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(source, out, InvalidFormat, message)


def hostile(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x04K.",
        struct.pack("<Q", 2**63) + b"{}",
        hostile([]),
        hostile({"wte.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"1234"),
        hostile({"wte.weight": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"1"),
        hostile({"wte.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345"),
    ],
)
def test_weights_that_break_their_format_are_refused(raw: bytes, save: Save, out: Path) -> None:
    source = save("gpt2")
    (source / "model.safetensors").write_bytes(raw)
    refused(source, out, InvalidFormat, "model.safetensors")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[1]", "expected an object"),
        (b"{", "not valid JSON"),
        (b'{"model_type": "gpt2", "model_type": "gpt2"}', "appears twice"),
        (b'{"model_type": "gpt2", "layer_norm_epsilon": NaN}', "NaN is not JSON"),
        (b"[" * 100 + b"]" * 100, "nested deeper"),
        (b"\xff", "not valid UTF-8"),
        (b" " * (2**24 + 1), "larger than"),
    ],
)
def test_settings_that_are_no_strict_json_are_refused(raw: bytes, message: str, save: Save, out: Path) -> None:
    source = save("gpt2")
    (source / "config.json").write_bytes(raw)
    refused(source, out, InvalidFormat, message)


def test_pickled_weights_are_never_opened(save: Save, out: Path, tmp_path: Path) -> None:
    source = save("gpt2")
    (source / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'exploded'}",)

    torch.save({"wte.weight": Bomb()}, source / "pytorch_model.bin")
    error = refused(source, out, Unsupported, "pytorch_model.bin only: loading it would run code")
    assert "save_pretrained" in error.hint
    assert not (tmp_path / "exploded").exists()


def test_code_beside_a_checkpoint_is_never_run(save: Save, out: Path, tmp_path: Path) -> None:
    source = edit(save("gpt2"), auto_map={"AutoModelForCausalLM": "modeling.Mine", "AutoConfig": "modeling.Mine"})
    (source / "modeling.py").write_text(f"open({str(tmp_path / 'exploded')!r}, 'w')\n")
    made = import_checkpoint(source, out)
    assert made.checked is not None
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("absent", NotFound, "is no directory"),
        ("openai-community/gpt2", NotFound, "is no directory"),
        ("empty", NotFound, "holds no config.json"),
        ("no-weights", NotFound, "holds neither model.safetensors nor"),
        ("file", NotFound, "is no directory"),
        ("nul\0", InvalidArgument, "expected a path"),
        (7, InvalidArgument, "expected a path"),
    ],
)
def test_a_source_that_is_none_is_refused(
    source: Any, error: type[LLMasOSError], message: str, tmp_path: Path, out: Path, save: Save
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (save("gpt2") / "model.safetensors").unlink()
    (tmp_path / "source").rename(tmp_path / "no-weights")
    place = tmp_path / source if isinstance(source, str) and "\0" not in source else source
    caught = refused(place, out, error, message)
    assert "hub" not in str(caught)


def test_a_place_that_is_taken_is_refused_and_left_alone(save: Save, out: Path, tmp_path: Path) -> None:
    source = save("gpt2")
    out.mkdir()
    assert import_checkpoint(source, out).path == out
    before = (out / "model.json").read_bytes()
    refused(save("llama"), out, InvalidArgument, "is taken")
    assert (out / "model.json").read_bytes() == before
    refused(source, source, InvalidArgument, "is taken")
    (tmp_path / "file").write_text("x")
    refused(source, tmp_path / "file", InvalidArgument, "is taken")
    with pytest.raises(NotFound, match="is no directory"):
        import_checkpoint(source, tmp_path / "no" / "where")


# ── the check ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "model", "tensor"),
    [
        ("gpt2", None, "layers.1.attention.key.weight"),
        ("llama", None, "layers.0.feed_forward.gate.weight"),
        ("mistral", None, "layers.1.attention.query.weight"),
        ("bert", "BertModel", "pooler.bias"),
        ("bert", "BertForMaskedLM", "head.bias"),
        ("bart", None, "decoder.layers.1.cross_attention.value.weight"),
        ("marian", None, "encoder.layers.0.attention_norm.weight"),
    ],
)
def test_a_bundle_that_computes_something_else_is_not_kept(
    kind: str, model: str | None, tensor: str, save: Save, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = importer._tensors

    def wrong(*args: Any) -> Any:
        tensors = right(*args)
        return {**tensors, tensor: tensors[tensor] * np.float32(1.00001)}

    monkeypatch.setattr(importer, "_tensors", wrong)
    refused(save(kind, model), out, InvalidFormat, "differ from those of transformers by")


def test_no_check_says_so(save: Save, out: Path) -> None:
    made = import_checkpoint(save("gpt2"), out, check=False)
    assert made.checked is None
    assert made.unchecked == "it was not asked for"


def test_what_transformers_does_not_load_is_refused_unless_unchecked(save: Save, out: Path) -> None:
    source = edit(save("gpt2"), attn_pdrop="much")
    error = refused(source, out, Unsupported, "transformers does not load it")
    assert "without a check" in error.hint
    assert import_checkpoint(source, out, check=False).path == out


def test_without_torch_and_transformers_it_converts_and_says_that_nothing_was_checked(save: Save, out: Path) -> None:
    source = save("marian")
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'safetensors'): sys.modules[name] = None\n"
        "from llmasos.tools.importer import import_checkpoint\n"
        f"made = import_checkpoint({str(source)!r}, {str(out)!r})\n"
        "assert made.checked is None\n"
        "print(made.unchecked)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "torch is not installed (pip install 'llmasos[runtimes]')\n"
    shutil.rmtree(out)
    assert import_checkpoint(source, out).checked is not None


def test_converting_writes_nothing(save: Save, tmp_path: Path) -> None:
    source = save("gpt2")
    before = sorted(tmp_path.iterdir())
    made = convert(source, name="mine")
    assert made.document["name"] == "mine"
    assert sorted(tmp_path.iterdir()) == before
