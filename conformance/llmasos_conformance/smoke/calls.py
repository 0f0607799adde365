"""One call of each capability, and whether the answer is one to this question: shapes, ranges, and what must agree.

What has the form of an answer at all the wire has seen already. Whether the numbers are right is not asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmasos_conformance.candidate import Answer
from llmasos_conformance.checks import replies
from llmasos_conformance.protocol import ARCHITECTURES

TEXT = "abc"
IDS = [97, 98, 99]
"""The same as bytes."""
NEW = 4
"""Tokens that a generation is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A bundle that was loaded.

    Attributes:
        architecture, config: of it. handle: the candidate's name for it.
    """

    architecture: str
    config: Mapping[str, Any]
    handle: str

    @property
    def beside(self) -> dict[str, list[int]]:
        """What stands beside a row of ids where the architecture takes it."""
        return {"source": IDS} if self.architecture == "Transformer" else {}

    @property
    def rows_beside(self) -> dict[str, list[list[int]]]:
        return {"sources": [IDS, IDS[:2]]} if self.architecture == "Transformer" else {}

    @property
    def ids(self) -> list[int]:
        """A row of ids; the target of an encoder-decoder begins with what starts one, a mask stands in an encoder's."""
        if self.architecture == "Transformer":
            return [self.config["decoder_start_token_id"], *IDS]
        return [*IDS, self.config["mask_token_id"]] if self.architecture == "BERT" else IDS


Ask = Callable[[str, Mapping[str, Any]], Answer]
"""Asks a method with parameters and gives the answer, whose shape the wire has seen."""


class Odd(Exception):
    """An answer that has the form of one, and is none to this question."""


def must(condition: object, what: str) -> None:
    if not condition:
        raise Odd(what)


def _is_logits(array: Any, subject: Subject) -> str:
    V = subject.config["vocab_size"]
    must(array.shape[1] == V, f"logits have shape {list(array.shape)}, the vocabulary has {V} ids")
    must(np.isfinite(np.asarray(array, np.float64)).all(), "logits are not finite, for a model of small sound weights")
    return f"logits {list(array.shape)} {array.dtype}"


def _is_ids(ids: Sequence[int], subject: Subject, most: int = NEW) -> str:
    V = subject.config["vocab_size"]
    must(all(0 <= token < V for token in ids), f"ids {list(ids)} are not all below the vocabulary's {V}")
    must(len(ids) <= most, f"{len(ids)} new ids came, max_length was {most}")
    return f"{len(ids)} ids"


def _tokenize(ask: Ask, it: Subject) -> str:
    ids = ask("tokenize", {"model": it.handle, "text": TEXT})["ids"]
    must(ids == IDS, f"{TEXT!r} has the ids {ids}; the bundle has no tokenizer.json, so that they are its bytes {IDS}")
    text = ask("detokenize", {"model": it.handle, "ids": ids})["text"]
    must(text == TEXT, f"the ids of {TEXT!r} came back as {text!r:.60}")
    return f"{TEXT!r} is {ids}, and back"


def forward(ask: Ask, it: Subject) -> str:
    rows = [it.ids, it.ids[:2]]
    types = {"types": [[0] * len(row) for row in rows]} if it.architecture == "BERT" else {}
    logits = ask("forward", {"model": it.handle, "ids": rows, **it.rows_beside, **types})["logits"]
    return " and ".join(_is_logits(row, it) for row in logits)


def generate_text(ask: Ask, it: Subject, **options: Any) -> str:
    options = {"max_length": NEW, "temperature": 0, **options}
    made = ask("generate_text", {"model": it.handle, "prompt": TEXT, **options})
    return f"{len(made['text'])} characters, finish_reason {made['finish_reason']}"


def _generate_ids(ask: Ask, it: Subject, **options: Any) -> str:
    options = {"max_length": NEW, "temperature": 0, **options}
    made = ask("generate_ids", {"model": it.handle, "ids": IDS, **options})
    told = _is_ids(made["ids"], it)
    if "logprobs" in options:
        must(made.get("logprobs") is not None, "logprobs were asked for, and none came")
        told += f" with {len(made['logprobs'])} lists of log-probabilities"
    return told


def _stream(ask: Ask, it: Subject) -> str:
    params = {"model": it.handle, "prompt": TEXT, "max_length": NEW, "temperature": 0}
    made = ask("stream_text", params)
    whole, text = "".join(made["deltas"]), made["generation"]["text"]
    must(whole == text, f"the pieces make {whole!r:.60}, the generation behind them says {text!r:.60}")
    return f"{len(made['deltas'])} pieces"


def _batch(ask: Ask, it: Subject) -> str:
    params = {"model": it.handle, "ids": [IDS, IDS[:2]], "max_length": NEW, "temperature": 0}
    return " and ".join(_is_ids(row["ids"], it) for row in ask("generate_batch", params)["generations"])


def _score(ask: Ask, it: Subject) -> str:
    logprobs = ask("score", {"model": it.handle, "ids": it.ids, **it.beside})["logprobs"]
    must(logprobs[0] is None, "the first id has a score, and nothing stands before it: null was due")
    return f"{len(logprobs)} log-probabilities"


def _session(ask: Ask, it: Subject) -> str:
    opened = ask("open", {"model": it.handle, "ids": it.ids, **it.beside})
    told = _is_logits(opened["logits"], it)
    fork = ask("fork", {"session": opened["session"]})["session"]
    _is_logits(ask("extend", {"session": fork, "ids": IDS[:1]})["logits"], it)
    ask("close", {"session": fork})
    ask("close", {"session": opened["session"]})
    return f"opened with {told}, forked, extended, closed"


def _encode(ask: Ask, it: Subject) -> str:
    made, D = ask("encode", {"model": it.handle, "ids": [it.ids]}), it.config["embedding_dim"]
    shapes = [list(made["hidden"][0].shape), list(made["pooled"].shape)]
    must(shapes == [[len(it.ids), D], [1, D]], f"hidden and pooled have shapes {shapes}, the width is {D}")
    return f"hidden {shapes[0]}, pooled {shapes[1]}"


def _fill_mask(ask: Ask, it: Subject) -> str:
    fills = ask("fill_mask", {"model": it.handle, "ids": it.ids, "count": 3})["fills"]
    must(len(fills) == 1 and len(fills[0]) == 3, f"{[len(law) for law in fills]} fills came, 3 for one mask were due")
    return "3 ids for a mask"


def _hidden_states(ask: Ask, it: Subject) -> str:
    hidden = ask("hidden_states", {"model": it.handle, "ids": it.ids, **it.beside})["hidden"]
    layers, D = it.config.get("num_decoder_layers", it.config["num_layers"]), it.config["embedding_dim"]
    must(len(hidden) == layers + 1, f"{len(hidden)} came, {layers} layers have {layers + 1}")
    must(all(each.shape[1] == D for each in hidden), f"the last has shape {list(hidden[-1].shape)}, the width is {D}")
    return f"{len(hidden)} of {list(hidden[0].shape)}"


def _attention(ask: Ask, it: Subject) -> str:
    told = []
    for method in ("attention", "cross_attention") if it.architecture == "Transformer" else ("attention",):
        made = ask(method, {"model": it.handle, "ids": it.ids, **it.beside})["attention"]
        layers, H = it.config.get("num_decoder_layers", it.config["num_layers"]), it.config["num_heads"]
        fits = len(made) == layers and all(each.shape[0] == H for each in made)
        must(fits, f"{method}: {[list(each.shape) for each in made]}, there are {layers} layers of {H} heads")
        told.append(f"{len(made)} of {list(made[0].shape)}")
    return " and ".join(told)


def _rows(it: Subject) -> dict[str, Any]:
    """A row to learn from, with what the architecture needs beside it."""
    labels = {"labels": [[*([-1] * (len(it.ids) - 1)), IDS[0]]]} if it.architecture == "BERT" else {}
    sources = {"sources": [IDS]} if it.architecture == "Transformer" else {}
    return {"model": it.handle, "ids": [it.ids], **sources, **labels}


def _gradients(ask: Ask, it: Subject) -> str:
    made = ask("gradients", _rows(it))
    return f"loss {made['loss']:.4g}, gradients of {len(made['gradients'])} tensors"


def _train_step(ask: Ask, it: Subject) -> str:
    made = ask("train_step", {**_rows(it), "learning_rate": 0.01})
    ask("unload_model", {"model": made["model"]})
    return f"loss {made['loss']:.4g}, and another model"


def _export(ask: Ask, it: Subject) -> str:
    files = ask("export", {"model": it.handle})["files"]
    must("model.onnx" in files, f"{', '.join(files)} came, model.onnx was due")
    return f"{', '.join(sorted(files))}"


def _perplexity(ask: Ask, it: Subject) -> str:
    made = ask("perplexity", {"model": it.handle, "ids": IDS})
    must(made["perplexity"] is not None and made["perplexity"] >= 1, f"perplexity is {made['perplexity']}")
    return f"{made['perplexity']:.4g} over {made['tokens']} tokens"


def _bleu(ask: Ask) -> str:
    score = ask("bleu", {"hypotheses": ["a b c d e"], "references": [["a b c d e"]]})["score"]
    must(0 <= score <= 1, f"the score is {score}, a number from 0 to 1 was due")
    return f"a text against itself: {score:.4g}"


def _rouge(ask: Ask) -> str:
    mean = ask("rouge", {"hypotheses": ["a b c"], "references": [["a b c"]]})["mean"]
    return f"a text against itself: rouge1 {mean['rouge1']['f1']:.4g}"


DECODERS, GENERATES = ("GPT-3", "Llama"), ("GPT-3", "Llama", "Transformer")


@dataclass(frozen=True, slots=True)
class Call:
    """How a capability is called once: by whom, and for which architectures it means anything."""

    ask: Callable[..., str]
    architectures: tuple[str, ...] = GENERATES
    options: Mapping[str, Any] = field(default_factory=dict)


_SAMPLED = {"temperature": 1.0}

CALLS: Mapping[str, Call] = {
    "tokenize": Call(_tokenize, ARCHITECTURES),
    "forward": Call(forward, ARCHITECTURES),
    "generate_ids": Call(_generate_ids),
    "session": Call(_session),
    "batch": Call(_batch),
    "score": Call(_score),
    "stream": Call(_stream),
    "stop": Call(generate_text, options={"stop": ["\0"]}),
    "seed": Call(generate_text, options={"seed": 1, **_SAMPLED}),
    "gumbel": Call(generate_text, options={"seed": 1, **_SAMPLED}),
    "top_k": Call(generate_text, options={"top_k": 5, **_SAMPLED}),
    "top_p": Call(generate_text, options={"top_p": 0.9, **_SAMPLED}),
    "min_p": Call(generate_text, options={"min_p": 0.1, **_SAMPLED}),
    "logit_bias": Call(generate_text, options={"logit_bias": {"65": 1.0}}),
    "repetition_penalty": Call(generate_text, options={"repetition_penalty": 1.1}),
    "frequency_penalty": Call(generate_text, options={"frequency_penalty": 0.5}),
    "presence_penalty": Call(generate_text, options={"presence_penalty": 0.5}),
    "logprobs": Call(_generate_ids, options={"logprobs": 2}),
    "beams": Call(generate_text, options={"beams": 2, "length_penalty": 1.0}),
    "encode": Call(_encode, ("BERT",)),
    "fill_mask": Call(_fill_mask, ("BERT",)),
    "hidden_states": Call(_hidden_states, ARCHITECTURES),
    "attention": Call(_attention, ARCHITECTURES),
    "gradients": Call(_gradients, ARCHITECTURES),
    "train_step": Call(_train_step, ARCHITECTURES),
    "export": Call(_export, ARCHITECTURES),
    "perplexity": Call(_perplexity, DECODERS),
}
"""One call of every capability that is a call to a model; `load_model`, `window`, `onnx`, `bleu` and `rouge` are tried
apart."""

OF_ADAPTER: Mapping[str, Callable[..., str]] = {"bleu": _bleu, "rouge": _rouge}


# ── a model that is served ──────────────────────────────────────────────────────────────────────────────────────────

SERVED: Mapping[str, Mapping[str, Any]] = {
    "completions": {"prompt": "One, two, three,", "max_tokens": 4, "temperature": 0},
    "chat": {"messages": [{"role": "user", "content": "One, two, three,"}], "max_tokens": 4, "temperature": 0},
}
"""A request by API."""


def served(ask: Ask, api: str, *, stream: bool = False) -> str:
    """A text over an API like OpenAI's, whole or as a stream."""
    answer = ask(api, {"request": {**SERVED[api], **({"stream": True} if stream else {})}})
    try:
        reply = replies.read(api, answer, stream=stream)
    except replies.Broken as broken:
        raise Odd(broken.message) from None
    choice = reply.choices[0]
    pieces = f" in {sum(map(bool, choice.pieces))} pieces" if stream else ""
    return f"{len(choice.text)} characters{pieces}, finish_reason {choice.finish:.20}"


def turned_away(ask: Ask, api: str) -> str:
    """A request without what is to be continued is the asker's mistake."""
    lacking = {"completions": "prompt", "chat": "messages"}[api]
    answer = ask(api, {"request": {name: value for name, value in SERVED[api].items() if name != lacking}})
    must(replies.refused(answer), f"a request without {lacking} was answered with status {answer['status']}")
    return f"a request without {lacking}: status {answer['status']}"
