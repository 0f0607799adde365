"""What an adapter written in Python may lean on: the bundle format, and everything of a model but its numbers.

    class Mine(KitModel):
        def forward(self, batch): ...        # one [T, V] array per row; the rest is made from it

    class Adapter:
        def describe(self): ...              # emulated=emulated(): what comes from here is declared
        def load_model(self, path): return Mine(read_bundle(path))

That is a decoder. `KitEncoderDecoder` and `KitEncoder` do the same for a Transformer and for BERT, and `read_bundle` is
told which architectures the adapter runs, and whether it runs windows.

document     model.json: what it may hold, defaults, and rules between members
tensors      the tensors that a document needs, a reader of safetensors, and weights from a seed
text         text to ids and back
tokenfile    tokenizer.json: what it must be, ids of texts, texts of ids
bundle       the three together
requests     arguments of calls, judged
choosing     logits to law to ids: sampling, beams
models       the models that adapters derive theirs from

Written apart from the reference, which no adapter may import; property tests hold the two together, so this package is
a second witness of the format's rules. What an adapter takes from here is behaviour of the adapter and not of its
runtime: it is declared in `emulated`, shown in the report and not counted as the runtime's.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmasos_conformance.adapters.kit.bundle import KitBundle, read_bundle
from llmasos_conformance.adapters.kit.choosing import choose, law, log_law, shaped, top_logprobs
from llmasos_conformance.adapters.kit.models import Chooser, KitEncoder, KitEncoderDecoder, KitModel, PrefixSession
from llmasos_conformance.adapters.kit.requests import (
    Request,
    beside,
    check_ids,
    check_request,
    check_types,
    known_ids,
    refuse_beside,
    require_beside,
    still_open,
)
from llmasos_conformance.adapters.kit.tensors import initialise, refuse_large, tensor_shapes
from llmasos_conformance.adapters.kit.text import KitTokenizer

__all__ = [
    "EMULATED",
    "Chooser",
    "KitBundle",
    "KitEncoder",
    "KitEncoderDecoder",
    "KitModel",
    "KitTokenizer",
    "PrefixSession",
    "Request",
    "beside",
    "check_ids",
    "check_request",
    "check_types",
    "choose",
    "emulated",
    "initialise",
    "known_ids",
    "law",
    "log_law",
    "read_bundle",
    "refuse_beside",
    "refuse_large",
    "require_beside",
    "shaped",
    "still_open",
    "tensor_shapes",
    "top_logprobs",
]

EMULATED: Mapping[str, str] = {
    "format": "bundles are read and judged by the adapter kit",
    "arguments": "ranges and types of arguments are checked by the adapter kit",
    "generate_text": "the text loop is the adapter kit's",
    "generate_ids": "the decoding loop is the adapter kit's",
    "tokenize": "text is encoded and decoded by the adapter kit",
    "session": "the adapter kit keeps the ids and computes the whole prefix again",
    "batch": "the adapter kit runs the rows one after another",
    "score": "the adapter kit computes log-probabilities from logits",
    "stream": "pieces are cut by the adapter kit",
    "stop": "stop strings are found by the adapter kit",
    "seed": "random numbers are drawn by the adapter kit",
    "gumbel": "noise is drawn and added, and ids are chosen, by the adapter kit",
    "top_k": "the filter is the adapter kit's",
    "top_p": "the filter is the adapter kit's",
    "min_p": "the filter is the adapter kit's",
    "logit_bias": "the adapter kit adds it to the logits",
    "repetition_penalty": "the penalty is the adapter kit's",
    "frequency_penalty": "the penalty is the adapter kit's",
    "presence_penalty": "the penalty is the adapter kit's",
    "logprobs": "the adapter kit computes log-probabilities from logits",
    "beams": "the adapter kit follows the beams",
    "perplexity": "the adapter kit computes it from the scores of windows",
    "fill_mask": "the adapter kit reads what fills a mask off the logits",
}
"""One sentence for each behaviour that an adapter can take from here."""


def emulated(*native: str) -> dict[str, str]:
    """The sentences to declare.

    Args:
        native: behaviours that the runtime brings itself.
    """
    return {name: sentence for name, sentence in EMULATED.items() if name not in native}
