"""Hugging Face transformers as a candidate: its models with a bundle's weights, a room for each architecture.

    GPT-3        GPT2LMHeadModel; bands are masks that the adapter narrows in every second block
    Llama        LlamaForCausalLM, with a sliding window MistralForCausalLM; in float32 alone, because both compute
                 rotary angles and norms in float32 whatever the dtype of the weights
    BERT         BertForMaskedLM with its pooler
    Transformer  MarianMTModel, with a norm behind the embeddings BartForConditionalGeneration

The runtime's own: logits of a padded batch, the cache of a session, greedy decoding of one prompt or a batch and beam
search of one prompt (`generate`), log-probabilities of a sequence, what an encoder makes of a row, `logit_bias`,
which is its `sequence_bias`, and `repetition_penalty`, both in its own loop and as its processors of logits in the
kit's. It counts the padding of a batch as repeated, so rows of different lengths with a penalty are asked one by one;
penalties on frequency and presence it has none. The adapter kit's, and declared: the bundle format, text, stop strings,
streaming, sampling.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llmasos_conformance.adapters import kit
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import HALF, NOT_IN_HALF, Claims, Description

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported: nothing here asks a network
try:
    import torch
    import transformers
except ImportError as error:
    raise AddressError(
        f"{error.name} is not installed", where="transformers", hint="pip install 'llmasos[runtimes]'"
    ) from None

from llmasos_conformance.adapters.transformers import bert, gpt3, llama, transformer  # they need torch

DTYPES = ("float32", "float64", *HALF)
ATTENTION = ("sdpa", "eager")
DEVICES = ("cpu", "cuda")

_MAKERS: Mapping[str, Callable[[kit.KitBundle, Any, str, str], Any]] = {
    "GPT-3": gpt3.load,
    "Llama": llama.load,
    "BERT": bert.load,
    "Transformer": transformer.load,
}
_CAPABILITIES = (
    *("load_model", "tokenize", "forward", "session", "generate_ids", "batch", "score", "stream", "stop", "seed"),
    *(
        "gumbel",
        "top_k",
        "top_p",
        "min_p",
        "logit_bias",
        "repetition_penalty",
        "logprobs",
        "beams",
        "encode",
        "fill_mask",
        "perplexity",
        "window",
    ),
    *("hidden_states", "attention", "gradients", "train_step"),
)
_NATIVE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("float32", *HALF), ("session", "score", "generate_ids", "batch", "beams", "logit_bias", "repetition_penalty")
    ),
    # `generate` chooses on logits rounded to float32, which a claim of float64 does not allow.
    "float64": ("session", "score", "logit_bias", "repetition_penalty"),
}


class TransformersAdapter:
    """Models of Hugging Face transformers.

    Args:
        argument: "DTYPE", "DTYPE/ATTENTION" or "DTYPE/ATTENTION/DEVICE"; "" is "float32/sdpa/cpu", of which the first
            two are the runtime's defaults.

    Raises:
        AddressError: no such variant, or torch sees no such device.
    """

    def __init__(self, argument: str = "") -> None:
        dtype, attention, device, *rest = [*argument.split("/"), "", ""]
        self.dtype, self.attention, self.device = dtype or "float32", attention or "sdpa", device or "cpu"
        if self.dtype not in DTYPES or self.attention not in ATTENTION or self.device not in DEVICES or any(rest):
            offered = f"{', '.join(DTYPES)}; {', '.join(ATTENTION)}; {', '.join(DEVICES)}"
            known = f"transformers:DTYPE/ATTENTION/DEVICE with {offered}"
            raise AddressError(f"no such variant: {argument!r:.60}", where=f"transformers:{argument}", hint=known)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise AddressError(
                f"torch {torch.__version__} sees no CUDA device", where=f"transformers:{argument}",
                hint="leave /cuda out, or install a build of torch for the machine's GPU",
            )  # fmt: skip
        self.architectures = tuple(name for name in _MAKERS if self.dtype != "float64" or name != "Llama")
        torch.set_num_threads(1)  # sums then run in one order, whatever the machine

    def describe(self) -> Description:
        return Description(
            name="transformers",
            version=transformers.__version__,
            capabilities=frozenset(_CAPABILITIES) - (NOT_IN_HALF if self.dtype in HALF else set()),
            claims=Claims(dtype=self.dtype, determinism="D1"),
            emulated={
                **kit.emulated(*_NATIVE[self.dtype]),
                "generate_ids beyond greedy": "sampling, and greedy decoding with log-probabilities, loop in the kit",
                "repetition_penalty in a batch": "the adapter asks rows of different lengths one by one",
                "beams with several end-of-sequence ids": "the adapter kit follows the beams",
                "bands of GPT-3": "the adapter narrows the masks of the runtime's blocks",
                "positions and epsilon of a Transformer": "the adapter writes them into the runtime's modules",
            },
            runtime={
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "numpy": np.__version__,
                **self._gpu(),
            },
            architectures=self.architectures,
        )

    def load_model(self, path: str) -> Any:
        bundle = kit.read_bundle(path, self.architectures, windows=True)
        return _MAKERS[bundle.config["architecture"]](bundle, getattr(torch, self.dtype), self.attention, self.device)

    def _gpu(self) -> Mapping[str, str]:
        """What computes, where that is not the processor."""
        if self.device == "cpu":
            return {}
        return {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
