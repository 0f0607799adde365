"""What the runtime shows of its inside, and how it learns: its own hidden states, attention and automatic gradients.

The runtime names and shapes its parameters in its own way. `origins` finds out where each of their numbers comes from,
so that gradients go back to the tensors of the bundle by the same way: a number that was used twice gets both.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.transformers.runtime import numbers, padded
from llmasos_conformance.protocol import Array, Refusal

Named = Callable[[kit.KitBundle], dict[str, Array]]
"""Weights of a bundle under the runtime's names."""
Origins = Mapping[str, npt.NDArray[np.int64]]

OUT = -100
"""The runtime's label of a position that is not scored; the protocol's is -1."""


def origins(named: Named, bundle: kit.KitBundle) -> Origins:
    """Where every number of the runtime's parameters comes from.

    The bundle's numbers are counted from 1 and go the way of the weights; what arrives is looked up. 0 is a number that
    no tensor of the bundle holds.

    Returns:
        The runtime's name -> for each of its numbers the place in the bundle's numbers, counted from 1.
    """
    counted, start = {}, 1
    for name, array in bundle.weights.items():
        counted[name] = np.arange(start, start + array.size, dtype=np.float64).reshape(array.shape)
        start += array.size
    found = {}
    for name, array in named(replace(bundle, weights=counted)).items():
        places = np.asarray(array)
        whole = bool(np.all(places == np.rint(places)) and places.min() >= 0)
        found[name] = places.astype(np.int64) if whole else np.zeros(places.shape, np.int64)  # a table of sines
    return found


class Looking:
    """Mixed into the models of the adapter.

    Args:
        bundle, module: what is loaded, and as what. named: the bundle's weights under the module's names.
    """

    config: Mapping[str, Any]

    def __init__(self, bundle: kit.KitBundle, module: Any, named: Named) -> None:
        self.config, self._bundle, self._module, self._named = bundle.config, bundle, module, named

    def hidden_states(self, ids: Sequence[int], **beside: Any) -> list[Array]:
        """[T, D] before the first block and behind each."""
        with torch.inference_mode():
            made = self._module(**self._one(ids, beside), output_hidden_states=True)
        states = getattr(made, "decoder_hidden_states", None) or made.hidden_states
        return [numbers(state[0]) for state in states]

    def attention(self, ids: Sequence[int], **beside: Any) -> list[Array]:
        """[H, T, T] of each layer."""
        made = self._watched(ids, beside)
        return [numbers(each[0]) for each in getattr(made, "decoder_attentions", None) or made.attentions]

    def cross_attention(self, ids: Sequence[int], **beside: Any) -> list[Array]:
        """[H, T, S] of each layer."""
        if not hasattr(self._module, "get_encoder") or not self._module.config.is_encoder_decoder:
            raise Refusal("unsupported", "there is no source to look at")
        return [numbers(each[0]) for each in self._watched(ids, beside).cross_attentions]

    def _watched(self, ids: Sequence[int], beside: Mapping[str, Any]) -> Any:
        with torch.inference_mode(), eager(self._module):
            return self._module(**self._one(ids, beside), output_attentions=True)

    def _one(self, ids: Sequence[int], beside: Mapping[str, Any]) -> dict[str, Any]:
        """What the module is given for one row."""
        sources, types = beside.get("source"), beside.get("types")
        rows = {"sources": None if sources is None else [sources], "types": None if types is None else [types]}
        return self._given([ids], rows)[0]

    def _given(
        self, batch: Sequence[Sequence[int]], beside: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[list[int]]]:
        """What the module is given for a padded batch, and the rows; each argument judged."""
        config = self._module.config
        rows = [kit.check_ids(self.config, row) for row in batch]
        ids, mask = padded(rows, self._module.device)
        if getattr(config, "is_encoder_decoder", False):
            kit.refuse_beside(types=beside.get("types"))
            read = [kit.check_ids(self.config, row or []) for row in kit.beside(rows, beside.get("sources"), "sources")]
            source, seen = padded(read, self._module.device)
            return {"input_ids": source, "attention_mask": seen, "decoder_input_ids": ids, "use_cache": False}, rows
        kit.refuse_beside(sources=beside.get("sources"))
        if self.config["architecture"] == "BERT":
            kinds = kit.beside(rows, beside.get("types"), "types")
            types = [kit.check_types(self.config, kind, len(row)) for kind, row in zip(kinds, rows, strict=True)]
            return {
                "input_ids": ids,
                "attention_mask": mask,
                "token_type_ids": padded(types, self._module.device)[0],
            }, rows
        kit.refuse_beside(types=beside.get("types"))
        return {"input_ids": ids, "attention_mask": mask, "use_cache": False}, rows

    def gradients(
        self, batch: Sequence[Sequence[int]], labels: Sequence[Sequence[int]] | None = None, **beside: Any
    ) -> tuple[float, dict[str, Array]]:
        """Loss, and its gradient by every tensor of the bundle, by the runtime's automatic differentiation."""
        if not batch:
            raise Refusal("invalid_argument", "no rows")
        given, rows = self._given(batch, beside)
        wanted = torch.tensor(self._labels(rows, labels), device=self._module.device)
        self._module.zero_grad(set_to_none=True)
        with torch.enable_grad():
            for parameter in self._module.parameters():
                parameter.requires_grad_(True)
            logits = self._module(**given).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=OUT)
            loss.backward()
        return float(loss.detach()), self._home()

    def _home(self) -> dict[str, Array]:
        """The parameters' gradients under the bundle's names."""
        found = origins(self._named, self._bundle)
        total = sum(array.size for array in self._bundle.weights.values())
        kind = str(self._module.dtype).rpartition(".")[2]
        flat = np.zeros(total + 1, dtype=kind)
        for name, parameter in self._module.named_parameters():
            if name in found and parameter.grad is not None:
                np.add.at(flat, found[name].reshape(-1), numbers(parameter.grad).reshape(-1))
        made, start = {}, 1
        for name, array in self._bundle.weights.items():
            made[name] = flat[start : start + array.size].reshape(array.shape)
            start += array.size
        return made

    def _labels(self, rows: Sequence[Sequence[int]], labels: Sequence[Sequence[int]] | None) -> list[list[int]]:
        longest = max(map(len, rows))
        if labels is None:
            if self.config["architecture"] == "BERT":
                raise Refusal("invalid_argument", "labels are missing")
            wanted = [[*row[1:], OUT] for row in rows]
        else:
            fits = len(labels) == len(rows) and all(len(a) == len(b) for a, b in zip(labels, rows, strict=True))
            V = self.config["vocab_size"]
            if not fits or any(type(n) is not int or not -1 <= n < V for row in labels for n in row):
                raise Refusal("invalid_argument", "labels do not fit the rows")
            wanted = [[OUT if label == -1 else label for label in row] for row in labels]
        if all(label == OUT for row in wanted for label in row):
            raise Refusal("invalid_argument", "nothing is scored")
        return [[*row, *[OUT] * (longest - len(row))] for row in wanted]

    def train_step(self, batch: Sequence[Sequence[int]], learning_rate: Any, **beside: Any) -> tuple[float, Any]:
        """Loss before the step, and another model behind it."""
        real = isinstance(learning_rate, int | float) and not isinstance(learning_rate, bool)
        if not real or not 0 <= learning_rate < math.inf:
            raise Refusal("invalid_argument", f"learning_rate is {learning_rate!r:.40}")
        loss, _ = self.gradients(batch, **beside)
        twin = copy.copy(self)
        twin._module = copy.deepcopy(self._module)
        with torch.no_grad():
            for ours, theirs in zip(twin._module.parameters(), self._module.parameters(), strict=True):
                if theirs.grad is not None:
                    ours.sub_(learning_rate * self._shared(theirs))
        return loss, twin

    def _shared(self, parameter: Any) -> Any:
        """The gradient of a parameter, and of those that hold the same numbers of the bundle."""
        found = origins(self._named, self._bundle)
        names = {id(each): name for name, each in self._module.named_parameters()}
        home = np.concatenate([np.zeros(1), *(array.reshape(-1) for array in self._home().values())])
        name = names[id(parameter)]
        if name not in found:
            return torch.zeros_like(parameter)
        return torch.from_numpy(home[found[name].reshape(-1)].reshape(parameter.shape)).to(parameter)


@contextmanager
def eager(module: Any) -> Iterator[None]:
    """The kernel that has weights to show: the others return none, and do not say so."""
    before = module.config._attn_implementation
    module.set_attn_implementation("eager")
    try:
        yield
    finally:
        module.set_attn_implementation(before)
