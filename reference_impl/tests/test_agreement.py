"""Hugging Face's models agree with the reference on the same weights, at every depth; and disagreement is seen."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import llmasos
from llmasos import Model
from llmasos.errors import Unsupported
from llmasos.tools import agreement, drawn, witness
from llmasos.tools.agreement import Pair, Row, measure
from llmasos.tools.drawn import Draw
from llmasos.tools.figures import distance, exact_bound, float32_bound, logits_of
from llmasos.tools.torch_twin import twin

THEIRS = [pair for pair in agreement.pairs() if pair.witness != "torch twin"]
COUNTS = {**agreement.CONFIGURATIONS, "tokens": 12, "text": 6, "beams": 12}
AT_LEAST = 50


PINNED = {
    "vocab_size": 293, "embedding_dim": 32, "num_layers": 2, "num_heads": 2, "feed_forward_dim": 59,
    "context_length": 46, "activation": "silu", "tie_embeddings": False, "num_key_value_heads": 1,
    "rope_theta": 10000.0, "rms_norm_epsilon": 0.01, "sliding_window": 35,
}  # fmt: skip
PINNED_WEIGHTS, PINNED_IDS = [0.27802415624917404, 0.7365198086529058, 0.1901287099928641], [132, 289, 139, 199]


def pair_id(pair: Pair) -> str:
    return f"{pair.architecture} - {pair.witness} - {pair.dtype}"


def find(architecture: str, name: str, dtype: str = "float64") -> Pair:
    return next(p for p in THEIRS if (p.architecture, p.witness, p.dtype) == (architecture, name, dtype))


# ── agreement ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pair", THEIRS, ids=pair_id)
def test_their_numbers_are_ours(pair: Pair) -> None:
    """In float64 within 64 · 2⁻⁵³ · √(longest sum) of the spread; in float32 within the float32 bound."""
    row = measure(pair, "logits", COUNTS["logits"])
    assert row.configurations >= AT_LEAST
    assert row.ok, row
    assert row.bound < 1e-12 or pair.dtype == "float32"


CHOICES = [(pair, depth) for pair in THEIRS for depth in pair.depths if depth != "logits"]


@pytest.mark.parametrize(("pair", "depth"), CHOICES, ids=lambda item: pair_id(item) if isinstance(item, Pair) else item)
def test_their_choices_are_ours(pair: Pair, depth: str) -> None:
    row = measure(pair, depth, COUNTS[depth])
    assert row.ok, row
    assert row.doubtful == 0
    assert row.compared >= agreement.STEPS


def test_every_architecture_has_a_witness_that_is_not_ours_at_three_depths() -> None:
    for architecture in ("Transformer", "GPT-3", "GPT-3, banded", "BERT", "Llama"):
        depths = {depth for pair in THEIRS if pair.architecture == architecture for depth in pair.depths}
        assert depths >= {"logits", "tokens", "text"}


def test_a_trained_encoder_agrees() -> None:
    """all-MiniLM-L6-v2, imported from the package that carries it: encodings, ids of texts, texts."""
    rows = list(agreement.trained())
    assert [row.depth for row in rows] == ["logits", "tokens", "text"]
    assert all(row.ok for row in rows), rows
    assert rows[0].compared > 6 * 384


def test_a_trained_encoder_that_is_not_there_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "find_spec", lambda name: None)
    assert [(row.ok, row.configurations) for row in agreement.trained()] == [(None, 0)] * 3


# ── float32 steps ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("attention", "steps", "exact"),
    [
        ("sdpa", (), False),
        ("sdpa", ("norm",), False),
        ("sdpa", ("rotary",), False),
        ("sdpa", ("norm", "rotary"), True),
        ("eager", ("norm", "rotary"), False),
    ],
)
def test_llama_of_theirs_has_three_float32_steps_in_float64(attention: str, steps: Sequence[str], exact: bool) -> None:
    """Norm, rotary angles, and softmax of eager attention: with all three replaced, and not before, it is float64."""
    errors = []
    for i in range(12):
        bundle = drawn.bundle("Llama", f"steps {i}")
        given = drawn.inputs(bundle.config, f"steps {i}")
        theirs = witness.carrying(bundle, attention=attention)
        witness.without_float32(theirs.module, bundle.config, steps)
        errors.append(distance(theirs.logits(given.ids), logits_of(Model(bundle), given)))
    assert (max(errors) < 1e-12) == exact
    if not exact:
        assert 1e-8 < max(errors) < 1e-4


def test_marians_table_of_positions_is_rounded_to_float32() -> None:
    bundle = drawn.bundle("Transformer", "table", {"positions": "sinusoidal", "embedding_norm": False})
    given = drawn.inputs(bundle.config, "table")
    theirs = witness.carrying(bundle)
    due = logits_of(Model(bundle), given)
    assert distance(theirs.logits(given.ids, source=given.source), due) < 1e-12
    for side in (theirs.module.model.encoder, theirs.module.model.decoder):
        side.embed_positions.weight.data = side.embed_positions.create_weight()
    rounded = distance(theirs.logits(given.ids, source=given.source), due)
    assert 1e-9 < rounded < float32_bound(bundle, given, due)


def test_a_cache_of_theirs_with_a_window_of_one_keeps_all() -> None:
    """Why `generate` runs without a cache there: a slice that begins at -0 begins at the front."""
    bundle = drawn.bundle("Llama", "window 1", {"sliding_window": 1, "num_layers": 2})
    theirs, prompt = witness.carrying(bundle), list(range(20))
    assert theirs.generate(prompt, 16) == list(Model(bundle).generate_ids(prompt, 16, 0.0).ids)
    import torch
    import transformers

    settings = transformers.GenerationConfig(do_sample=False, max_new_tokens=16, pad_token_id=0, use_cache=True)
    ids = torch.tensor([prompt])
    cached = theirs.module.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    assert cached[0, 20:].tolist() != theirs.generate(prompt, 16)


def test_beams_agree_with_several_ids_that_end_a_sequence() -> None:
    fixed = {"positions": "learned", "embedding_norm": True}
    differing = []
    for i in range(20):
        bundle = drawn.bundle("Transformer", f"several {i}", fixed)
        prompt, draw = drawn.inputs(bundle.config, f"several {i}", 20).ids, Draw(f"several {i}")
        start = [bundle.config.decoder_start_token_id]
        likely = np.argsort(-Model(bundle).forward([start], sources=[prompt])[0][0])[: draw.between(2, 5)]
        eos = {"eos_token_ids": [int(token) for token in likely]}
        bundle = drawn.bundle("Transformer", f"several {i}", {**fixed, **eos})
        beams, penalty = draw.between(2, 4), draw.of((0.0, 1.0, 2.0))
        ours = list(Model(bundle).generate_ids(prompt, 16, 0.0, beams=beams, length_penalty=penalty).ids)
        theirs = witness.carrying(bundle).generate(
            prompt, 16, num_beams=beams, length_penalty=penalty, early_stopping="never"
        )
        differing += [i] if ours != theirs else []
    assert differing == []


# ── disagreement is seen ────────────────────────────────────────────────────────────────────────────────────────────


class Off:
    """A witness that is wrong in one way."""

    def __init__(self, bundle: Any, how: str) -> None:
        self._right, self._how = agreement.TwinWitness(twin(bundle)), how

    def __getattr__(self, name: str) -> Any:
        def answer(*args: Any, **given: Any) -> Any:
            right = getattr(self._right, name)(*args, **given)
            if self._how == "numbers" and name == "logits":
                right[-1, 0] += 1e-10
            if self._how == "numbers" and name == "inside":
                right[1][0][0, 0, 0] += 1e-10
            if self._how == "numbers" and name == "gradients":
                right[1]["token_embedding"][0, 0] += 1e-10
            if self._how == "choices" and name == "generate":
                right[-1] = (right[-1] + 1) % 256
            if self._how == "short" and name == "generate":
                right.pop()
            return right

        return answer


@pytest.mark.parametrize(
    ("how", "depth"),
    [
        ("numbers", "logits"),
        ("numbers", "inside"),
        ("numbers", "gradients"),
        ("choices", "tokens"),
        ("choices", "text"),
        ("short", "tokens"),
    ],
)
def test_a_witness_that_differs_is_outside_its_bound(how: str, depth: str) -> None:
    pair = dataclasses.replace(
        next(p for p in agreement.pairs() if p.architecture == "GPT-3"), open=lambda bundle: Off(bundle, how)
    )
    row = measure(pair, depth, 3)
    assert row.ok is False
    assert row.error > row.bound


def test_an_encoding_or_a_mask_that_differs_is_outside_its_bound() -> None:
    class Wrong(witness.Witness):
        def encoded(self, ids: Sequence[int], types: Sequence[int]) -> Any:
            hidden, pooled = super().encoded(ids, types)
            return hidden, pooled * (1 + 1e-10)

        def logits(self, ids: Sequence[int], **given: Any) -> Any:
            found = super().logits(ids, **given)
            return np.roll(found, 1, axis=-1) if self.shifted else found

        shifted = False

    def wrong(bundle: Any) -> Wrong:
        right = witness.carrying(bundle)
        return Wrong(right.module, right.config)

    pair = dataclasses.replace(find("BERT", "BERT"), open=wrong)
    assert measure(pair, "logits", 2).ok is False
    assert measure(pair, "tokens", 2).ok is True
    Wrong.shifted = True
    assert measure(pair, "tokens", 2).ok is False
    assert measure(pair, "text", 2).ok is False


def test_beams_that_differ_are_outside_their_bound() -> None:
    class Greedy(witness.Witness):
        def generate(self, ids: Sequence[int], count: int, **options: Any) -> list[int]:
            return super().generate(ids, count)

    def greedy(bundle: Any) -> Greedy:
        right = witness.carrying(bundle)
        return Greedy(right.module, right.config)

    pair = dataclasses.replace(find("Transformer", "BART"), open=greedy)
    assert measure(pair, "beams", 6).ok is False


def test_a_text_that_differs_is_outside_its_bound() -> None:
    pair = find("GPT-3", "GPT-2")

    def encoding(raw: bytes) -> Any:
        encode, decode = pair.text(raw)
        return lambda text: encode(text)[::-1], decode

    def decoding(raw: bytes) -> Any:
        encode, decode = pair.text(raw)
        return encode, lambda ids: decode(ids).strip() + "."

    for text in (encoding, decoding):
        assert measure(dataclasses.replace(pair, text=text), "text", 2).ok is False


def test_two_ids_too_close_to_call_are_doubtful_and_not_wrong() -> None:
    """The head has the row of the likeliest id twice, but for what rounding may decide."""
    pair = next(p for p in agreement.pairs() if p.architecture == "GPT-3")
    fixed = {"tie_embeddings": False, "eos_token_ids": []}
    bundle = drawn.bundle("GPT-3", "close", fixed)
    prompt = [1, 2, 3]
    ours = list(Model(bundle).generate_ids(prompt, 1, 0.0).ids)
    other = (ours[0] + 1) % bundle.config.vocab_size
    assert bundle.weights is not None
    head = bundle.weights["head.weight"].copy()
    for gap, doubtful in ((1e-16, True), (1e-6, False)):
        head[other] = head[ours[0]] * (1 - gap)
        near = dataclasses.replace(bundle, weights={**bundle.weights, "head.weight": head})
        found = agreement._same(pair, near, prompt, ours, [other])
        assert (found.doubtful, found.error) == (doubtful, 0 if doubtful else 1)
    longer = agreement._same(pair, bundle, prompt, ours, [*ours, other])
    assert longer.error == 1


def test_a_bound_in_float64_is_not_that_of_float32() -> None:
    bundle = drawn.bundle("GPT-3", "bounds")
    given = drawn.inputs(bundle.config, "bounds")
    due = logits_of(Model(bundle), given)
    assert exact_bound(bundle.config, given) < 1e-12 < 1e-7 < float32_bound(bundle, given, due) < 1e-3


def test_draws_are_the_same_on_every_machine() -> None:
    document = drawn.document("Llama", "pinned", {})
    assert document["parameters"] == PINNED
    config = llmasos.ModelConfig.from_document(document)
    first = drawn.weights(config, "pinned")["token_embedding"][0, :3]
    np.testing.assert_allclose(first, PINNED_WEIGHTS, rtol=1e-15)
    assert drawn.inputs(config, "pinned").ids[:4] == PINNED_IDS


# ── what is missing ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_transformer_that_none_of_their_models_is_has_no_witness_of_theirs() -> None:
    bundle = drawn.bundle("Transformer", "none", {"positions": "learned", "embedding_norm": False})
    with pytest.raises(Unsupported, match="no model of Hugging Face has learned positions without embedding_norm"):
        witness.carrying(bundle)


@pytest.mark.parametrize(("absent", "extra"), [("torch", "llmasos[torch]"), ("transformers", "llmasos[runtimes]")])
def test_a_package_that_is_not_installed_is_named_with_the_extra_that_has_it(absent: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{absent!r}] = None\n"
        "from llmasos import LLMasOSError\n"
        "from llmasos.tools import agreement\n"
        "try: agreement.table()\n"
        "except LLMasOSError as error: print(error.code, error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("unsupported")
    assert f"{absent} is not installed" in out
    assert f"pip install '{extra}'" in out


def test_a_row_says_all_of_itself() -> None:
    pair = find("GPT-3", "GPT-2")
    row = measure(pair, "logits", 2)
    assert isinstance(row, Row)
    assert row.as_json() == {
        "architecture": "GPT-3",
        "witness": "GPT-2",
        "depth": "logits",
        "dtype": "float64",
        "configurations": 2,
        "compared": row.compared,
        "error": row.error,
        "bound": row.bound,
        "doubtful": 0,
        "ok": True,
        "note": "",
    }
