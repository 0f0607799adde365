"""`llmasos evaluate`: what it says, what it writes, and what it says about lines that cannot be scored."""

import json
import os

import pytest

import llmasos
from llmasos_conformance import cli, evaluate
from llmasos_conformance.errors import HarnessError


@pytest.fixture
def command(capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def call(*words):
        code = cli.run(["evaluate", *map(str, words)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def lines(tmp_path):
    """Write a JSONL file of objects or of texts as they are."""

    def write(*records, name="data.jsonl"):
        path = tmp_path / name
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
        return path

    return write


@pytest.fixture
def model(tmp_path):
    sizes = {"vocab_size": 260, "embedding_dim": 8, "num_layers": 1, "num_heads": 2, "context_length": 12}
    document = {"name": "small", "version": "1.0", "architecture": "GPT-3", "parameters": sizes}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text(json.dumps(document))
    return tmp_path / "model"


PAIRS = [
    {"hypothesis": "the cat sat on the mat", "references": ["the cat sat on a mat", "there was a cat"], "id": 7},
    {"hypothesis": "Привет, мир", "references": ["Привет, мир!"]},
    {"hypothesis": "", "references": ["a b"]},
]


def test_bleu_and_rouge_are_those_of_the_library(command, lines):
    code, out, _ = command(lines(*PAIRS), "--metric", "bleu", "--metric", "rouge", "--tokenize", "word", "--json")
    result = json.loads(out)
    texts = [record["hypothesis"] for record in PAIRS], [record["references"] for record in PAIRS]
    bleu, rouge = llmasos.bleu(*texts, tokenize="word"), llmasos.rouge(*texts)
    assert code == 0
    assert result["metrics"]["bleu"]["score"] == bleu.score > 0
    assert result["metrics"]["bleu"]["matches"] == list(bleu.matches)
    assert result["metrics"]["bleu"]["options"] == {
        "tokenize": "word", "max_order": 4, "smoothing": "none", "smoothing_value": None, "effective_order": False,
        "fold_case": False,
    }  # fmt: skip
    for name, parts in result["metrics"]["rouge"].items():
        assert parts["f1"] == rouge.mean[name].f1
        assert [row["rouge"][name]["f1"] for row in result["segments"]] == [s[name].f1 for s in rouge.segments]
    assert result["data"]["segments"] == 3
    assert [row["line"] for row in result["segments"]] == [1, 2, 3]


def test_perplexity_of_a_file_counts_every_token_alike(command, lines, model):
    data = lines({"text": "a longer text than fits"}, {"ids": [1, 2, 3]})
    code, out, _ = command(data, "--metric", "perplexity", "--model", model, "--stride", "5", "--json")
    found = json.loads(out)["metrics"]["perplexity"]
    loaded = llmasos.load_model(model)
    parts = [llmasos.perplexity(loaded, given, stride=5) for given in ("a longer text than fits", [1, 2, 3])]
    due = parts[0] + parts[1]
    assert code == 0
    assert (found["perplexity"], found["tokens"]) == (due.value, due.tokens)
    assert (found["context"], found["stride"]) == (12, 5)
    assert found["bitsPerToken"] == pytest.approx(due.bits / due.tokens)


def test_the_options_reach_the_metric(command, lines):
    data = lines({"hypothesis": "A b x", "references": ["a b c"]})
    options = ["--max-order", "2", "--smoothing", "floor", "--smoothing-value", "0.5", "--fold-case"]
    _, out, _ = command(data, "--metric", "bleu", *options, "--effective-order", "--json")
    assert json.loads(out)["metrics"]["bleu"]["score"] == pytest.approx((2 / 3 * 1 / 2) ** 0.5)
    assert json.loads(out)["metrics"]["bleu"]["options"]["effective_order"] is True


def test_a_person_reads_scores_what_they_were_made_with_and_what_to_do_next(command, lines, model):
    data = lines(*({**record, "text": "some text"} for record in PAIRS))
    code, out, err = command(data, "--metric", "bleu", "--metric", "rouge", "--metric", "perplexity", "--model", model)
    assert (code, err) == (0, "")
    assert f"{data}: 3 lines" in out
    for word in ("bleu ", "brevity", "tokenize none, max_order 4", "rougeLsum", "bits per token", "stride 6", "next: "):
        assert word in out
    assert "llmasos explain BLEU-1" in out


def test_the_file_is_written_whole_and_nothing_is_overwritten(command, lines, tmp_path):
    data, out = lines(*PAIRS), tmp_path / "scores.json"
    code, said, _ = command(data, "--metric", "rouge", "--out", out)
    assert code == 0
    assert f"written: {out}" in said
    kept = out.read_bytes()
    assert json.loads(kept)["segments"][0]["rouge"]["rouge1"]["f1"] == pytest.approx(5 / 6)
    code, _, err = command(data, "--metric", "rouge", "--out", out)
    assert code == 2
    assert "nothing is overwritten" in err
    assert out.read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "scores.json"]


def test_nothing_is_left_when_a_line_cannot_be_scored(command, lines, tmp_path):
    data = lines(PAIRS[0], {"hypothesis": "a", "references": []})
    code, out, err = command(data, "--metric", "bleu", "--out", tmp_path / "scores.json")
    assert (code, out) == (2, "")
    assert f"where: {data}:2" in err
    assert "nothing was written" in err
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_nothing_is_left_when_it_is_interrupted(lines, tmp_path):
    def stop(done, total, what):
        if done:
            raise KeyboardInterrupt

    order = evaluate.Order(data=lines(*PAIRS), metrics=("bleu",), out=tmp_path / "scores.json")
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(order, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_a_full_disk_is_said_and_leaves_nothing(lines, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    order = evaluate.Order(data=lines(*PAIRS), metrics=("bleu",), out=tmp_path / "scores.json")
    with pytest.raises(HarnessError, match="No space left on device"):
        evaluate.evaluate(order)
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_a_place_that_cannot_be_written_is_said_before_anything_is_computed(lines, tmp_path):
    order = evaluate.Order(data=tmp_path / "absent.jsonl", metrics=("bleu",), out=tmp_path / "no" / "scores.json")
    with pytest.raises(HarnessError, match="cannot be written"):
        evaluate.evaluate(order)


def test_progress_counts_lines(lines):
    seen = []
    evaluate.evaluate(evaluate.Order(data=lines(*PAIRS), metrics=("bleu",)), lambda *told: seen.append(told))
    assert seen == [(0, 3, "bleu"), (1, 3, "bleu"), (2, 3, "bleu"), (3, 3, "")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON at column 2"),
        ('{"hypothesis": "a", "hypothesis": "b"}', "stands twice"),
        ("[1]", "a line is a JSON object"),
        ('{"references": ["a"]}', "the member 'hypothesis' is missing; there are references"),
        ('{"hypothesis": "a"}', "the member 'references' is missing"),
        ('{"hypothesis": 1, "references": ["a"]}', "hypothesis: expected a text or a list of tokens, found 1"),
        ('{"hypothesis": "a", "references": "a"}', "references: expected a list of references, found 'a'"),
        ('{"hypothesis": "a", "references": []}', "references: no reference"),
        ('{"hypothesis": "a", "references": ["a", " "]}', "references[1]: no token in ' '"),
        ('{"hypothesis": "\\ud800", "references": ["a"]}', "hypothesis: character 0 is a lone surrogate"),
    ],
)
def test_a_line_that_cannot_be_scored_is_named_with_what_to_do(command, lines, line, words):
    data = lines(PAIRS[0], "", line)
    code, _, err = command(data, "--metric", "bleu")
    assert code == 2
    assert words in err
    assert f"where: {data}:3" in err
    assert "try: mend the line" in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"x": 1}', "the member 'text' is missing, and so is 'ids'"),
        ('{"text": "a b", "ids": [1, 2]}', "there are both 'text' and 'ids'"),
        ('{"text": 5}', "text: expected a text, found 5"),
        ('{"ids": "ab"}', "ids: expected a list of integers, found 'ab'"),
        ('{"ids": [[1, 2]]}', "ids: expected a list of integers"),
        ('{"ids": [1, 260]}', "ids[1]: 260 is out of range"),
        ('{"ids": [1]}', "ids: holds nothing to score"),
        ('{"text": ""}', "text: holds nothing to score"),
    ],
)
def test_a_line_without_a_perplexity_is_named_with_what_to_do(command, lines, model, line, words):
    data = lines({"text": "fine"}, line)
    code, _, err = command(data, "--metric", "perplexity", "--model", model)
    assert code == 2
    assert words in err
    assert f"where: {data}:2" in err


def test_several_bad_lines_are_said_at_once_and_many_are_cut(command, lines):
    data = lines(*(["{"] * 30))
    code, _, err = command(data, "--metric", "rouge")
    assert code == 2
    assert f"{data}:1: " in err
    assert f"{data}:8: " in err
    assert f"{data}:9: " not in err
    assert "and more lines like these" in err


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_lines_is_refused(command, tmp_path, content):
    (tmp_path / "empty.jsonl").write_text(content)
    code, _, err = command(tmp_path / "empty.jsonl", "--metric", "bleu")
    assert code == 2
    assert "holds no line to score" in err


def test_bytes_that_are_no_text_are_named(command, tmp_path):
    (tmp_path / "latin.jsonl").write_bytes(b'{"hypothesis": "\xe9", "references": ["a"]}\n')
    code, _, err = command(tmp_path / "latin.jsonl", "--metric", "bleu")
    assert code == 2
    assert "UTF-8" in err
    assert "latin.jsonl:1" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metric", "bleu", "--stride", "3"], "--stride is an option of perplexity"),
        (["--metric", "rouge", "--tokenize", "char"], "--tokenize is an option of bleu"),
        (["--metric", "bleu", "--model", "x"], "--model is an option of perplexity"),
        (["--metric", "perplexity"], "perplexity is of a model, and none is given"),
        (["--metric", "perplexity", "--model", "absent"], "not_found"),
        (["--metric", "meteor"], "'meteor' is not one of"),
        ([], "Missing option '--metric'"),
    ],
)
def test_a_command_line_that_fits_nothing_is_refused(command, lines, words, said):
    code, _, err = command(lines(*PAIRS), *words)
    assert code == 2
    assert said in err


def test_a_file_that_is_not_there_is_said(command, tmp_path):
    code, _, err = command(tmp_path / "absent.jsonl", "--metric", "bleu")
    assert code == 2
    assert "cannot be read: No such file or directory" in err


def test_options_out_of_range_are_refused_at_the_first_line(command, lines):
    code, _, err = command(lines(*PAIRS), "--metric", "bleu", "--max-order", "99")
    assert code == 2
    assert "max_order: expected an integer, found 99 (1 to 16)" in err


def test_a_model_that_has_no_perplexity_is_said_once_and_not_of_every_line(command, lines, tmp_path):
    sizes = {"vocab_size": 260, "embedding_dim": 8, "num_layers": 1, "num_heads": 2}
    document = {"name": "b", "version": "1.0", "architecture": "BERT", "parameters": sizes}
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "model.json").write_text(json.dumps(document), encoding="utf-8")
    data = lines({"text": "one"}, {"text": "two"})
    code, out, err = command(data, "--metric", "perplexity", "--model", tmp_path / "bert")
    assert (code, out) == (2, "")
    assert err.count("BERT gives no probability to a text token by token") == 1
    assert f"where: {tmp_path / 'bert'}\n" in err
    assert "data.jsonl:1" not in err
