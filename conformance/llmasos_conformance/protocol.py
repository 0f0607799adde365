"""What a vendor implements: the adapter contract, version 0.1 (draft).

An adapter is an object with two methods. `describe()` says who the candidate is, what it can do and what it claims.
`load_model(path)` opens a bundle directory and returns a model object. A model object needs one method,
`generate_text`; every other method below belongs to a capability that the adapter may declare, and a declared
capability is tested in full in the profiles that ask it.

    capability      method of the model object                       returns
    (always)        generate_text(prompt, max_length, temperature)   Generation with text
    tokenize        tokenize(text), detokenize(ids)                  list of ids; text
    forward         forward(batch of id lists)                       one [T, V] array of logits per row
    session         open(ids) -> object with logits, extend(ids),    logits of the ids just given, [t, V]
                    fork(), close()
    generate_ids    generate_ids(ids, max_length, temperature)       Generation with ids
    batch           generate_batch(batch of id lists, max_length)    one Generation per row, greedy
    score           score(ids)                                       raw natural-log probabilities, first is None
    stream          stream_text(prompt, max_length, temperature)     iterable of text pieces, then a Generation
    stop            option stop=[…] of generate_text / stream_text
    seed            option seed=…; sampling at temperature > 0 is reproducible
    gumbel          option seed=… of these and of generate_batch: sampling with the standard's noise, docs/gumbel.md
    top_k top_p min_p   options of generate_text and generate_ids
    logit_bias      option logit_bias={"17": -100, …} of these and of generate_batch; ids as text, as JSON has them
    repetition_penalty frequency_penalty presence_penalty   options of these and of generate_batch, each on its own
    logprobs        option logprobs=k of generate_ids
    beams           options beams=n and length_penalty=a of generate_text and generate_ids
    window          (none) bundles with local_attention_window (GPT-3) or sliding_window (Llama) run
    encode          encode(batch)                                    one Encoding per row
    fill_mask       fill_mask(ids, count)                            per mask its likeliest ids, id -> log-probability
    hidden_states   hidden_states(ids)                               [T, D] before the first block and behind each
    attention       attention(ids), cross_attention(ids, source=…)   per layer [H, T, S]
    gradients       gradients(batch)                                 loss, and name of tensor -> gradient
    train_step      train_step(batch, learning_rate)                 loss before the step, and a model after it
    onnx            (load_model runs a bundle's model.onnx)
    export          export(opset, cached, external)                  file name -> bytes: model.onnx and what it needs
    perplexity      perplexity(ids, stride)                          {"perplexity": number, None if infinite,
                                                                     "tokens": N}

Some capabilities need no model that was loaded. Their methods belong to the adapter itself:

    capability      method of the adapter object                     returns
    bleu            bleu(hypotheses, references, **options)          number from 0 to 1
    rouge           rouge(hypotheses, references)                    {"mean": scores, "segments": [scores, …]}
    completions     completions(request)                             what came, see below
    chat            chat(request)                                    what came
    template        template(request)                                what came: the text or ids that messages become
    concurrent      together(requests)                               a list of what came, of requests made at once
    echo choices    options echo and n of completions and chat

Hypotheses are S texts, or for BLEU also lists of tokens; references are S lists of one or more of the same. `scores`
has the four kinds of ROUGE, each {"precision": number, "recall": number, "f1": number}. Options of `bleu` are tokenize,
max_order, smoothing, smoothing_value, effective_order and fold_case; `docs/metrics.md` says what each does.

Who declares `completions` or `chat` serves a model of his own choice behind an API like OpenAI's, and needs no
`load_model`. `request` is the body of such a request without `model`, and what came of it is kept as it came, refusals
of the server too: {"status": of HTTP, "type": content type without parameters, "body": text}. A request with
`"stream": true` has the events as its body. stream, stop, seed, logprobs, top_k, top_p, min_p and the penalties are
then parameters of that API.

What depends on the architecture: a decoder (GPT-3, Llama) continues what it is given. A Transformer reads it as source
and writes the target; its `forward` takes `sources=`, a source per row, and its `open` and `score` take `source=`, and
the ids are targets that begin with decoder_start_token_id. BERT has `forward`, `encode` and `fill_mask`, which take
`types=`, token types, and refuses to generate with `unsupported`. What looks inside or learns takes `source=`,
`sources=` or `types=` likewise. `gradients` and `train_step` also take `labels=`, the id to predict per position or -1.
BERT needs them; others have the next id by default. The last hidden state has passed the final norm, if there is one.

What model.onnx must be is said in `graphs.contract`. Who declares `onnx` runs it where a bundle holds it, whether
model.safetensors stands beside it or not. `export` writes a bundle's weights in the claimed dtype; all its options have
defaults: opset 17, cached False (keys and values go in and out), external False (large tensors lie in further files).

Only NumPy and typing are imported here, so that a vendor's adapter may import this module at no cost. The same
contract travels as JSON-RPC lines; see `wire`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

PROTOCOL_VERSION = "0.1-draft"

Array = npt.NDArray[Any]

CAPABILITIES: Mapping[str, str] = {
    "load_model": "opens a bundle directory that the suite wrote",
    "tokenize": "text to ids and back",
    "forward": "logits of every position for a batch of id lists",
    "session": "incremental decoding with an explicit cache: open, extend, fork, close",
    "generate_ids": "generation from ids to ids",
    "batch": "several prompts in one greedy call",
    "score": "log-probability of each token of a given sequence",
    "stream": "text in pieces",
    "stop": "stop strings",
    "seed": "reproducible sampling",
    "gumbel": "sampling with the noise that the standard fixes",
    "top_k": "top-k filter",
    "top_p": "nucleus filter",
    "min_p": "min-p filter",
    "logit_bias": "numbers that are added to the logits of ids",
    "repetition_penalty": "penalty on ids of prompt and text, a factor",
    "frequency_penalty": "penalty on generated ids, for each time that they came",
    "presence_penalty": "penalty on generated ids, once",
    "logprobs": "log-probabilities of generated tokens",
    "beams": "beam search",
    "encode": "hidden states and pooled output of an encoder",
    "fill_mask": "what an encoder puts behind a mask",
    "hidden_states": "what enters the first block and leaves each block",
    "attention": "weights of the attention of every layer",
    "gradients": "loss of rows of ids, and its gradient by every tensor of the bundle",
    "train_step": "one step of gradient descent",
    "onnx": "runs the model.onnx of a bundle",
    "export": "writes a bundle as ONNX",
    "perplexity": "perplexity of a sequence of ids",
    "bleu": "BLEU of hypotheses against references",
    "rouge": "ROUGE of hypotheses against references",
    "window": "attention that sees the nearest keys alone, where the document says so",
    "completions": "an API like OpenAI's completions, of a model that nobody loads",
    "chat": "an API like OpenAI's chat completions, of a model that nobody loads",
    "echo": "completions that begin with the prompt",
    "choices": "several continuations of one prompt",
    "concurrent": "several requests at once",
    "template": "what messages become before a model reads them",
}
"""The closed vocabulary of capabilities, versioned with the protocol."""

OF_SERVERS = frozenset({"completions", "chat", "echo", "choices", "concurrent", "template"})
"""Capabilities of who serves a model of his own choice; whoever loads what he is given has no such thing."""

ARCHITECTURES = ("Transformer", "GPT-3", "BERT", "Llama")
"""Architectures of the model format. A case may need one, as it may need a capability."""

HALF = ("float16", "bfloat16")
DTYPES = ("float64", "float32", *HALF)
"""Arithmetic that this version can judge. Others are refused by name, never judged by a guess."""

NOT_IN_HALF = frozenset({"gradients", "train_step"})
"""Capabilities that are not judged where half precision is claimed: whoever trains accumulates in more."""

BITS: Mapping[str, int] = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
"""Significant bits of each dtype."""

LARGEST: Mapping[str, float] = {
    "float64": sys.float_info.max,
    "float32": (2 - 2.0**-23) * 2.0**127,
    "float16": (2 - 2.0**-10) * 2.0**15,
    "bfloat16": (2 - 2.0**-7) * 2.0**127,
}
"""The largest number of each dtype."""

DETERMINISM = ("D0", "D1", "D2", "D3")

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
ROUGE_PARTS = ("precision", "recall", "f1")
"""What an answer of `rouge` holds for the corpus and for each segment."""

REFUSAL_CODES = (
    "invalid_argument",  # a value outside the standard's range, or of the wrong type
    "unknown_parameter",  # an option the candidate does not know
    "context_overflow",  # the prompt is longer than the context
    "not_found",  # no bundle there
    "invalid_format",  # a bundle that the format forbids
    "unsupported_version",  # a newer major version of the format
    "unsupported_architecture",  # a known or unknown architecture that the candidate does not run
    "unsupported",  # anything else that was asked for and is not offered
)


class Refusal(Exception):
    """A typed "no": what an adapter raises when the standard wants the request refused.

    Attributes:
        code: one of REFUSAL_CODES.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a candidate says of itself and is held to.

    Attributes:
        dtype: arithmetic, one of DTYPES. Weights, accumulation and cache are at least this precise.
        determinism: D0 none, D1 same call gives same ids, D2 also across batches and caches, D3 bitwise logits.
    """

    dtype: str = "float32"
    determinism: str = "D1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Who the candidate is, what it offers, what it claims, and what its adapter adds.

    Attributes:
        name, version: identity of the candidate, never of the transport.
        capabilities: names from CAPABILITIES.
        claims: what the candidate is held to.
        emulated: capability or behaviour -> one sentence on what the adapter, not the runtime, does for it.
        runtime: library name -> version, for the report.
        architectures: architectures of the model format that the candidate runs.
    """

    name: str
    version: str
    capabilities: frozenset[str] = frozenset()
    claims: Claims = field(default_factory=Claims)
    emulated: Mapping[str, str] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)
    architectures: tuple[str, ...] = ("GPT-3",)

    @property
    def offers(self) -> frozenset[str]:
        """All that a case may need of it: capabilities and architectures."""
        return offers(self.capabilities, self.architectures)


def offers(capabilities: Iterable[str], architectures: Iterable[str]) -> frozenset[str]:
    """What a candidate with these has to offer to a case."""
    return frozenset(capabilities) | (frozenset(architectures) & frozenset(ARCHITECTURES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The result of one generation.

    Attributes:
        finish_reason: "stop" (end-of-sequence id or stop string) or "length".
        text: the continuation alone; None when the call was made on ids and no text exists.
        ids: the new ids, an end-of-sequence id included when one ended the generation; None if not exposed.
        prompt_tokens, completion_tokens: counts of ids; the end-of-sequence id counts as one.
        logprobs: per new token a mapping id -> raw natural-log probability; None unless asked for.
    """

    finish_reason: str
    text: str | None = None
    ids: Sequence[int] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: Sequence[Mapping[int, float]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What an encoder makes of a row of T ids.

    Attributes:
        hidden: [T, D], what leaves the last block. pooled: [D].
    """

    hidden: Array
    pooled: Array


class Session(Protocol):
    """An open cache. `logits` holds [t, V] for the ids last given."""

    logits: Array

    def extend(self, ids: Sequence[int]) -> Array: ...
    def fork(self) -> Session: ...
    def close(self) -> None: ...


@runtime_checkable
class Model(Protocol):
    """A loaded bundle. Only `generate_text` is required; see the module's table for the rest."""

    def generate_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation: ...


@runtime_checkable
class Adapter(Protocol):
    """What `--adapter` must lead to: an object like this one, or a class or function that makes one unaided."""

    def describe(self) -> Description | Mapping[str, Any]: ...
    def load_model(self, path: str) -> Model: ...


def logits_like(value: Any) -> Array:
    """A candidate's logits as an array of its own float dtype.

    Args:
        value: anything NumPy can read as a float array.

    Raises:
        TypeError: not a float array.
    """
    array = np.asarray(value)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise TypeError(f"logits must be floating point, found dtype {array.dtype}")
    return array
