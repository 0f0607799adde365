"""The torch twin computes what the reference computes: numbers, inside, gradients; in batches, with caches, traced."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from llmasos import Bundle, Model
from llmasos.architectures import KIND
from llmasos.config import ACTIVATIONS, ModelConfig
from llmasos.errors import InvalidArgument, InvalidFormat
from llmasos.tools import agreement, drawn, torch_twin
from llmasos.tools.drawn import Input
from llmasos.tools.figures import distance, exact_bound, float32_bound, logits_of
from llmasos.tools.torch_twin import IGNORED, padded, twin
from llmasos.weights import expected_tensors

AT_LEAST = 50
"""Configurations of each architecture that the standard's bar asks for."""


def twin_pair(architecture: str) -> agreement.Pair:
    return next(pair for pair in agreement.pairs() if (pair.architecture, pair.witness) == (architecture, "torch twin"))


def given_of(row: Input) -> dict[str, Any]:
    """What a twin is given beside ids, for one row."""
    beside = {"source": row.source, "types": row.types}
    return {name: torch.tensor([value]) for name, value in beside.items() if value is not None}


def run(module: Any, ids: Any, **given: Any) -> Any:
    with torch.inference_mode():
        return module(ids, **given)


def near(found: Any, due: np.ndarray) -> None:
    assert distance(found.detach().numpy(), due) < 1e-12


# ── agreement ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("depth", ["logits", "inside", "gradients"])
@pytest.mark.parametrize("architecture", KIND)
def test_it_agrees_with_the_reference_in_float64(architecture: str, depth: str) -> None:
    """Within 64 · 2⁻⁵³ · √(longest sum) of the spread, over at least 50 drawn configurations."""
    row = agreement.measure(twin_pair(architecture), depth, agreement.CONFIGURATIONS[depth])
    assert row.configurations >= AT_LEAST
    assert row.ok, row


@pytest.mark.parametrize("architecture", KIND)
def test_it_agrees_with_the_reference_through_fused_attention_too(architecture: str) -> None:
    pair = twin_pair(architecture)
    fused = dataclasses.replace(pair, open=lambda b: agreement.TwinWitness(twin(b, fused=True)))
    row = agreement.measure(fused, "logits", AT_LEAST)
    assert row.ok, row


@pytest.mark.parametrize("depth", ["tokens", "text"])
@pytest.mark.parametrize("architecture", KIND)
def test_it_chooses_and_writes_the_same(architecture: str, depth: str) -> None:
    row = agreement.measure(twin_pair(architecture), depth, 8)
    assert row.ok, row
    assert row.compared >= 8 * agreement.STEPS / 2


@pytest.mark.parametrize("architecture", KIND)
def test_in_float32_it_is_within_the_float32_bound(architecture: str) -> None:
    for i in range(8):
        bundle = drawn.bundle(architecture, f"float32 {i}")
        given = drawn.inputs(bundle.config, f"float32 {i}")
        due = logits_of(Model(bundle), given)
        found = run(twin(bundle, "float32"), torch.tensor([given.ids]), **given_of(given)).logits[0].numpy()
        assert found.dtype == np.float32
        assert exact_bound(bundle.config, given) < distance(found, due) <= float32_bound(bundle, given, due)


def drawn_parameters(architecture: str) -> list[ModelConfig]:
    keys = [f"{architecture} logits {i}" for i in range(agreement.CONFIGURATIONS["logits"])]
    return [ModelConfig.from_document(drawn.document(architecture, key, {})) for key in keys]


def test_the_draws_hold_what_the_bar_names() -> None:
    """Odd head counts, grouped heads, prime vocabularies, windows, tied and untied, and every variant there is."""
    everything = {architecture: drawn_parameters(architecture) for architecture in KIND}
    for architecture, configs in everything.items():
        assert {config.tie_embeddings for config in configs} == {True, False}
        assert {config.num_heads for config in configs} >= {1, 3, 5, 7}
        assert {config.activation for config in configs} == set(ACTIVATIONS[architecture])
        assert all(all(config.vocab_size % n for n in range(2, 18)) for config in configs)
    llama, gpt, bert, transformer = (everything[name] for name in ("Llama", "GPT-3", "BERT", "Transformer"))
    assert any(1 < config.num_key_value_heads < config.num_heads for config in llama)
    assert any(config.num_key_value_heads == 1 < config.num_heads for config in llama)
    assert any(config.head_dim % 2 for config in gpt)
    for windows, contexts in (
        ([config.sliding_window for config in llama], [config.context_length for config in llama]),
        ([config.local_attention_window for config in gpt], [config.context_length for config in gpt]),
    ):
        assert None in windows
        assert 1 in windows
        assert any(window and 1 < window < 10 for window in windows)
        assert any(window and window > context for window, context in zip(windows, contexts, strict=True))
    assert {config.type_vocab_size for config in bert} == {1, 2, 3}
    variants = {(config.positions, config.scale_embeddings, config.embedding_norm) for config in transformer}
    assert len(variants) == 8
    assert any(config.num_layers != config.num_decoder_layers for config in transformer)
    assert any(config.embedding_dim % 2 and config.positions == "sinusoidal" for config in transformer)


@pytest.mark.parametrize("architecture", KIND)
def test_a_weight_that_differs_is_seen(architecture: str) -> None:
    """The bound is no formality: any weight off by 10⁻⁹ is outside, as long as it moves the logits at all."""
    bundle = drawn.bundle(architecture, "off", {"num_layers": 1, "tie_embeddings": False})
    given = drawn.inputs(bundle.config, "off")
    due = logits_of(Model(bundle), given)
    for name in expected_tensors(bundle.config):
        module = twin(bundle)
        parameter = dict(module.named_parameters())[name]
        with torch.no_grad():
            parameter += 1e-9 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        found = run(module, torch.tensor([given.ids]), **given_of(given)).logits[0].numpy()
        # Softmax ignores what a key's bias adds, and the pooled output is another one.
        blind = name.endswith("key.bias") or name.startswith("pooler.")
        assert (distance(found, due) > exact_bound(bundle.config, given)) != blind, name


# ── the module ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", KIND)
def test_its_parameters_are_the_tensors_of_the_bundle(architecture: str, tied: bool) -> None:
    bundle = drawn.bundle(architecture, "names", {"tie_embeddings": tied})
    module = twin(bundle)
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == expected_tensors(bundle.config)
    assert set(module.state_dict()) == set(expected_tensors(bundle.config))
    assert not module.training
    assert bundle.weights is not None
    for name, array in module.arrays().items():
        np.testing.assert_array_equal(array, bundle.weights[name])


def test_a_bundle_without_weights_has_those_of_its_seed() -> None:
    bundle = drawn.bundle("Llama", "seed")
    empty = Bundle(document=bundle.document, config=bundle.config, weights=None, tokenizer=None)
    ids = [3, 1, 2]
    near(run(twin(empty), torch.tensor([ids])).logits[0], Model(empty).forward([ids])[0])


def test_making_one_moves_no_generator() -> None:
    torch.manual_seed(7)
    twin(drawn.bundle("BERT", "generator"))
    moved = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(moved, torch.rand(3))


def test_what_does_not_fit_is_refused() -> None:
    bundle = drawn.bundle("GPT-3", "refused")
    with pytest.raises(InvalidArgument, match="float16"):
        twin(bundle, "float16")
    assert bundle.weights is not None
    large = dataclasses.replace(bundle, weights={**bundle.weights, "final_norm.bias": np.full(99, 1e300)})
    with pytest.raises(InvalidFormat, match=r"final_norm\.bias as float32"):
        twin(large, "float32")


def test_training_it_leaves_the_bundle_as_it_was() -> None:
    bundle = drawn.bundle("GPT-3", "apart")
    assert bundle.weights is not None
    before = {name: array.copy() for name, array in bundle.weights.items()}
    torch_twin.sgd_step(twin(bundle), 1.0, torch.tensor([[1, 2, 3]]))
    for name, array in bundle.weights.items():
        np.testing.assert_array_equal(array, before[name])


# ── batches and caches ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", KIND)
def test_rows_of_a_padded_batch_come_out_as_alone(architecture: str, side: str) -> None:
    fixed = {"GPT-3": {"local_attention_window": 3, "num_layers": 3}, "Llama": {"sliding_window": 3}}
    bundle = drawn.bundle(architecture, "padded", fixed.get(architecture, {}))
    rows = [drawn.inputs(bundle.config, f"padded {i}", longest) for i, longest in enumerate((20, 1, 9))]
    ids, mask = padded([row.ids for row in rows], side)
    given: dict[str, Any] = {"mask": mask}
    if rows[0].source is not None:
        given["source"], given["source_mask"] = padded([row.source or [] for row in rows], side)
    if rows[0].types is not None:
        given["types"], _ = padded([row.types or [] for row in rows], side)
    module = twin(bundle)
    answer = run(module, ids, **given)
    assert torch.isfinite(answer.logits).all()
    for i, row in enumerate(rows):
        alone = run(module, torch.tensor([row.ids]), **given_of(row))
        near(answer.logits[i][mask[i]], alone.logits[0].numpy())
        if alone.pooled is not None:
            near(answer.pooled[i], alone.pooled[0].numpy())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ["GPT-3", "Llama", "Transformer"])
def test_a_cache_changes_nothing_wherever_a_padded_batch_is_cut(architecture: str, side: str) -> None:
    """Prompts of different lengths, then more ids for all; padding on the right then lies in the middle."""
    fixed = {"GPT-3": {"local_attention_window": 4, "num_layers": 2}, "Llama": {"sliding_window": 4}}
    bundle = drawn.bundle(architecture, "cut", fixed.get(architecture, {}))
    module, V = twin(bundle), bundle.config.vocab_size
    prompts = [drawn.Draw(f"cut {i}").ids(count, V) for i, count in enumerate((3, 9, 6))]
    more = [drawn.Draw(f"more {i}").ids(7, V) for i in range(3)]
    given: dict[str, Any] = {}
    if architecture == "Transformer":
        given["source"] = run(module.read, torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]]))
    ids, mask = padded(prompts, side)
    answer = run(module, ids, mask=mask, **given)
    whole = mask
    for low, high in ((0, 1), (1, 4), (4, 7)):
        fed = torch.tensor([row[low:high] for row in more])
        whole = torch.cat([whole, torch.ones_like(fed, dtype=torch.bool)], dim=1)
        answer = run(module, fed, mask=whole, cache=answer.cache, **given)
        for i in range(3):
            row = torch.tensor([[*prompts[i], *more[i][:high]]])
            source = {"source": torch.tensor([[3 * i + 1, 3 * i + 2, 3 * i + 3]])} if given else {}
            alone = run(module, row, **source).logits[0, -(high - low) :]
            near(answer.logits[i], alone.numpy())


@pytest.mark.parametrize("architecture", KIND)
def test_a_traced_one_takes_other_batches_and_lengths(architecture: str) -> None:
    bundle = drawn.bundle(architecture, "traced")
    module = twin(bundle)

    class Plain(torch.nn.Module):
        """Tensors in, one tensor out, as exporters want it."""

        def forward(self, ids: Any, mask: Any, source: Any, source_mask: Any) -> Any:
            given = {"source": source, "source_mask": source_mask} if architecture == "Transformer" else {}
            return module(ids, mask, **given).logits

    traced = torch.export.export(
        Plain(),
        (*padded([[1, 2, 3], [4, 5]], "left"), *padded([[1, 2, 3, 4], [5]])),
        dynamic_shapes=({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},) * 4,
    ).module()
    for rows in ([[5]], [[1] * 7, [2] * 4, [3, 4, 5, 6]]):
        ids, mask = padded(rows, "left")
        source, source_mask = padded([[*row[::-1], 9] for row in rows])
        due = run(Plain(), ids, mask=mask, source=source, source_mask=source_mask)
        near(traced(ids, mask, source, source_mask)[mask], due[mask].numpy())


# ── loss and training ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_loss_is_the_mean_over_all_ids_that_are_predicted() -> None:
    """Base e; the first id of a row is predicted by nothing, and padding neither predicts nor is predicted."""
    bundle = drawn.bundle("GPT-3", "loss")
    model, rows = Model(bundle), [[1, 2, 3, 4], [5, 6], [7, 8, 9]]
    due = [-logprob for row in rows for logprob in model.score(row)[1:] if logprob is not None]
    for side in ("left", "right"):
        ids, mask = padded(rows, side)
        assert float(twin(bundle).loss(ids, mask=mask).detach()) == pytest.approx(np.mean(due), rel=1e-13)


def test_labels_say_what_each_position_predicts() -> None:
    bundle = drawn.bundle("BERT", "labels")
    ids, labels = torch.tensor([[1, 2, 3]]), torch.tensor([[IGNORED, 7, IGNORED]])
    law = run(twin(bundle), ids).logits.log_softmax(-1)
    assert float(twin(bundle).loss(ids, labels).detach()) == pytest.approx(-float(law[0, 1, 7]), rel=1e-14)
    with pytest.raises(InvalidArgument, match="BERT predicts no next id"):
        twin(bundle).loss(ids)


@pytest.mark.parametrize("architecture", KIND)
def test_a_step_of_training_is_that_of_the_reference(architecture: str) -> None:
    bundle = drawn.bundle(architecture, "step")
    row = drawn.inputs(bundle.config, "step")
    labels = None if row.types is None else [[5, *([-1] * (len(row.ids) - 2)), 9]]
    beside: dict[str, Any] = {"labels": labels} if labels else {}
    beside |= {} if row.source is None else {"sources": [row.source]}
    beside |= {} if row.types is None else {"types": [row.types]}
    loss, trained = Model(bundle).trained([row.ids], 0.1, **beside)
    module = twin(bundle)
    due = None if labels is None else torch.tensor(labels).masked_fill(torch.tensor(labels) < 0, IGNORED)
    before = torch_twin.sgd_step(module, 0.1, torch.tensor([row.ids]), due, **given_of(row))
    assert before == pytest.approx(loss, rel=1e-12)
    for name, array in module.arrays().items():
        np.testing.assert_allclose(array, trained._weights[name], rtol=0, atol=1e-12, err_msg=name)
    assert float(module.loss(torch.tensor([row.ids]), due, **given_of(row)).detach()) < loss


def test_gradients_of_a_tied_embedding_are_those_of_both_uses() -> None:
    tied = drawn.bundle("GPT-3", "both", {"tie_embeddings": True})
    untied = drawn.bundle("GPT-3", "both", {"tie_embeddings": False})
    assert tied.weights is not None
    same = {**tied.weights, "head.weight": tied.weights["token_embedding"]}
    ids = torch.tensor([[1, 2, 3, 4]])
    _, both = torch_twin.gradients(twin(tied), ids)
    _, apart = torch_twin.gradients(twin(dataclasses.replace(untied, weights=same)), ids)
    assert distance(apart["token_embedding"] + apart["head.weight"], both["token_embedding"]) < 1e-13
