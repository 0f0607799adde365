"""Mutants whose inside is wrong, of the other architectures: Hugging Face transformers behind its adapter, spoilt.

What they answer to requests is right, and comes from automatic differentiation that nobody here has written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from llmasos_conformance.mutants.catalogue import Mutant, record
from llmasos_conformance.protocol import Array, Description

LOOKING = frozenset({"load_model", "forward", "window", "hidden_states", "attention", "gradients", "train_step"})
"""What they offer: enough to be asked about their inside."""

SHORT: Mapping[str, str] = {"Llama": "llama", "BERT": "bert", "Transformer": "transformer"}

Fault = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], Any]
"""(model, method, arguments, named arguments) -> what the broken method returns."""


class Spoilt:
    """A model one of whose methods is another."""

    def __init__(self, model: Any, method: str, fault: Fault) -> None:
        self._model, self._method, self._fault = model, method, fault

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._model, name)
        return lambda *args, **named: self._fault(self._model, name, args, named)


class Looker:
    """The transformers adapter for one architecture, with a fault in one method."""

    def __init__(self, architecture: str, name: str, method: str, fault: Fault) -> None:
        from llmasos_conformance.adapters.transformers import TransformersAdapter  # loads torch

        self.adapter, self.name, self.method, self.fault = TransformersAdapter("float32"), name, method, fault
        self.adapter.architectures = (architecture,)

    def describe(self) -> Description:
        return replace(self.adapter.describe(), name=self.name, capabilities=LOOKING, emulated={})

    def load_model(self, path: str) -> Any:
        return Spoilt(self.adapter.load_model(path), self.method, self.fault)


def spoilt(
    name: str, method: str, source: str, requirement: str, architectures: Sequence[str] = tuple(SHORT)
) -> Callable[[Fault], Fault]:
    """Record a fault, once for each architecture; its docstring is the bug."""

    def note(fault: Fault) -> Fault:
        for architecture in architectures:
            called = f"hf-{SHORT[architecture]}-{name}"
            record(
                Mutant(
                    name=called,
                    group="lookers",
                    source=source,
                    requirement=requirement,
                    bug=" ".join((fault.__doc__ or "").split()),
                    adapter=lambda architecture=architecture, called=called: Looker(  # type: ignore[misc]
                        architecture, called, method, fault
                    ),
                )
            )
        return fault

    return note


def half(x: Array) -> Array:
    return np.asarray(x.astype(ml_dtypes.bfloat16).astype(np.float32))


@spoilt("hidden-without-embeddings", "hidden_states", "huggingface/transformers#32117", "INS-1")
def hidden_without_embeddings(model: Any, method: str, args: Any, named: Any) -> Any:
    """Hidden states begin behind the first block."""
    return getattr(model, method)(*args, **named)[1:]


@spoilt("hidden-in-half", "hidden_states", "google/gemma_pytorch#67", "INS-1")
def hidden_in_half(model: Any, method: str, args: Any, named: Any) -> Any:
    """Hidden states are kept in bfloat16."""
    return [half(state) for state in getattr(model, method)(*args, **named)]


@spoilt("hidden-last-too-early", "hidden_states", "huggingface/transformers#26142", "INS-2", ("Llama", "Transformer"))
def hidden_last_too_early(model: Any, method: str, args: Any, named: Any) -> Any:
    """The last hidden state is the one before it."""
    states = getattr(model, method)(*args, **named)
    return [*states[:-1], states[-2]]


@spoilt("attention-mean-of-heads", "attention", "pytorch/pytorch#109528", "INS-4")
def attention_mean_of_heads(model: Any, method: str, args: Any, named: Any) -> Any:
    """The heads' weights are averaged."""
    return [
        np.repeat(each.mean(0, keepdims=True), len(each), axis=0) for each in getattr(model, method)(*args, **named)
    ]


@spoilt("attention-in-half", "attention", "pytorch/pytorch#119811", "INS-3")
def attention_in_half(model: Any, method: str, args: Any, named: Any) -> Any:
    """Weights are computed in float16, so that rows no longer sum to 1."""
    return [each.astype(np.float16).astype(np.float32) for each in getattr(model, method)(*args, **named)]


@spoilt("attention-leaks", "attention", "pytorch/pytorch#103749", "INS-5", ("Llama", "Transformer"))
def attention_leaks(model: Any, method: str, args: Any, named: Any) -> Any:
    """What is masked has a weight of 1e-9."""
    return [np.maximum(each, np.float32(1e-9)) for each in getattr(model, method)(*args, **named)]


@spoilt("cross-attention-of-one-layer", "cross_attention", "huggingface/transformers#4499", "INS-4", ("Transformer",))
def cross_attention_of_one_layer(model: Any, method: str, args: Any, named: Any) -> Any:
    """Every layer is given the weights of the first."""
    weights = getattr(model, method)(*args, **named)
    return [weights[0]] * len(weights)


@spoilt("cross-attention-in-half", "cross_attention", "pytorch/pytorch#119811", "INS-3", ("Transformer",))
def cross_attention_in_half(model: Any, method: str, args: Any, named: Any) -> Any:
    """Weights over the source are computed in float16."""
    return [each.astype(np.float16).astype(np.float32) for each in getattr(model, method)(*args, **named)]


@spoilt("loss-base-two", "gradients", "huggingface/transformers#46204", "INS-9")
def loss_base_two(model: Any, method: str, args: Any, named: Any) -> Any:
    """The loss is reported in bits."""
    loss, gradients = getattr(model, method)(*args, **named)
    return loss / float(np.log(2)), gradients


@spoilt("gradients-in-half", "gradients", "intel/auto-round#113", "INS-10")
def gradients_in_half(model: Any, method: str, args: Any, named: Any) -> Any:
    """Gradients are accumulated in bfloat16."""
    loss, gradients = getattr(model, method)(*args, **named)
    return loss, {name: half(gradient) for name, gradient in gradients.items()}


@spoilt("embedding-not-learnt", "gradients", "paiml/entrenar#314", "INS-10")
def embedding_not_learnt(model: Any, method: str, args: Any, named: Any) -> Any:
    """The token embedding is taken for a constant."""
    loss, gradients = getattr(model, method)(*args, **named)
    still = np.zeros_like(gradients["token_embedding"])
    return loss, {**gradients, "token_embedding": still}


@spoilt("loss-mean-of-rows", "gradients", "huggingface/transformers#34191", "INS-11")
def loss_mean_of_rows(model: Any, method: str, args: Any, named: Any) -> Any:
    """Loss and gradients are the means of the rows' means."""
    (batch,) = args
    parts = [
        getattr(model, method)([row], **{key: [rows[i]] for key, rows in named.items() if rows is not None})
        for i, row in enumerate(batch)
    ]
    mean = {name: np.mean([part[1][name] for part in parts], axis=0) for name in parts[0][1]}
    return float(np.mean([part[0] for part in parts])), mean


@spoilt("step-decays", "train_step", "huggingface/transformers#35203", "INS-12")
def step_decays(model: Any, method: str, args: Any, named: Any) -> Any:
    """Each step also shrinks the weights by a thousandth of the learning rate."""
    loss, after = getattr(model, method)(*args, **named)
    for parameter in after._module.parameters():
        parameter.detach().mul_(1 - 1e-3 * args[1])
    return loss, after


@spoilt("step-in-place", "train_step", "facebookresearch/lingua#74", "INS-13")
def step_in_place(model: Any, method: str, args: Any, named: Any) -> Any:
    """The step changes the model that it was taken from."""
    loss, after = getattr(model, method)(*args, **named)
    model._module = after._module
    return loss, after
