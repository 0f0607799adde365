"""Answers: what each method owes, judged against its question where there is one."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from llmasos_conformance.errors import AddressError, Malformed
from llmasos_conformance.protocol import REFUSAL_CODES, ROUGE, ROUGE_PARTS, Array, Generation
from llmasos_conformance.wire.descriptions import describe, description_of
from llmasos_conformance.wire.questions import Params
from llmasos_conformance.wire.values import (
    MAX_HANDLE,
    MAX_TENSORS,
    arrays_of,
    ids_of,
    integer_of,
    items_of,
    logits_of,
    logprob_of,
    members_of,
    number_of,
    text_of,
    wrong,
)

Answer = dict[str, Any]


def check_answer(method: str, params: Params | None, answer: Any) -> Answer:
    """An answer in native form: arrays for tensors, dicts id -> log-probability for lists of them.

    Args:
        method: that was called.
        params: it was called with; None judges the answer without its question.
        answer: `result` of a line, or the same with arrays and NumPy numbers in it.

    Raises:
        Malformed: names the path, what came and what was due.
    """
    return _ANSWERS[method](params, answer)


def _nothing(_: Params | None, answer: Any) -> Answer:
    members_of(answer, "answer", ())
    return {}


def _handle(name: str) -> Callable[[Params | None, Any], Answer]:
    def check(_: Params | None, answer: Any) -> Answer:
        return {name: text_of(members_of(answer, "answer", (name,))[name], name, MAX_HANDLE, 1)}

    return check


def _described(_: Params | None, answer: Any) -> Answer:
    try:
        members_of(answer, "answer", ("protocol",), tuple(answer) if isinstance(answer, Mapping) else ())
        if type(answer.get("frames", False)) is not bool:
            wrong("frames", answer["frames"], "true or false")
        described = {name: value for name, value in answer.items() if name != "frames"}  # of the transport
        return describe(description_of(described, "describe"))
    except AddressError as error:
        raise Malformed(error.what) from None


def _tokenized(_: Params | None, answer: Any) -> Answer:
    return {"ids": ids_of(members_of(answer, "answer", ("ids",))["ids"], "ids")}


def _detokenized(_: Params | None, answer: Any) -> Answer:
    return {"text": text_of(members_of(answer, "answer", ("text",))["text"], "text")}


def _forwarded(params: Params | None, answer: Any) -> Answer:
    rows = items_of(members_of(answer, "answer", ("logits",))["logits"], "logits")
    asked = None if params is None else params["ids"]
    _count("logits", "rows", len(rows), asked)
    arrays: list[Array] = []
    total = 0
    for i, row in enumerate(rows):
        width = arrays[0].shape[1] if arrays else None
        if asked is not None:
            arrays.append(logits_of(row, f"logits[{i}]", (len(asked[i]), width)))
        else:
            arrays.append(logits_of(row, f"logits[{i}]", None))
        total += arrays[-1].nbytes
        if total > MAX_TENSORS:
            raise Malformed(f"logits[0] … logits[{i}] need {total} bytes, {MAX_TENSORS} are allowed in one answer")
    return {"logits": arrays}


def _count(where: str, what: str, found: int, asked: Sequence[Any] | None) -> None:
    if asked is not None and found != len(asked):
        raise Malformed(f"{where} has {found} {what}, {len(asked)} were due")


def _scored(params: Params | None, answer: Any) -> Answer:
    values = items_of(members_of(answer, "answer", ("logprobs",))["logprobs"], "logprobs")
    _count("logprobs", "entries", len(values), None if params is None else params["ids"])
    return {"logprobs": [logprob_of(value, f"logprobs[{i}]") for i, value in enumerate(values)]}


def _law(entry: Any, where: str) -> dict[int, float | None]:
    """Log-probabilities of one token, itself among them: a mapping of ids, or the wire's list of pairs."""
    law: dict[int, float | None] = {}
    if isinstance(entry, Mapping):
        law = {
            integer_of(token, f"{where} id"): logprob_of(value, f"{where}[{token}]") for token, value in entry.items()
        }
    else:
        for i, pair in enumerate(items_of(entry, where)):
            members = members_of(pair, f"{where}[{i}]", ("id", "logprob"))
            token = integer_of(members["id"], f"{where}[{i}].id")
            if token in law:
                raise Malformed(f"{where}[{i}].id is {token} for the second time, distinct ids were due")
            law[token] = logprob_of(members["logprob"], f"{where}[{i}].logprob")
    if not law:
        raise Malformed(f"{where} is empty, at least the chosen token was due")
    return law


_GENERATION = tuple(field.name for field in fields(Generation) if field.name != "finish_reason")


def _generation(value: Any, where: str, due: str) -> Answer:
    """A generation; `due` is the member that must not be missing."""
    if isinstance(value, Generation):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, str):
        remedy = "return Generation(text=…, finish_reason='stop' or 'length')"
        raise Malformed(f"{where} is a plain text, a Generation was due: {remedy}")
    members = members_of(value, where, ("finish_reason",), _GENERATION)
    if members["finish_reason"] not in ("stop", "length"):
        wrong(f"{where}.finish_reason", members["finish_reason"], "'stop' or 'length'")
    checked: Answer = {"finish_reason": str(members["finish_reason"])}
    if members.get(due) is None:
        raise Malformed(f"{where}.{due} is missing")
    if members.get("text") is not None:
        checked["text"] = text_of(members["text"], f"{where}.text")
    if members.get("ids") is not None:
        checked["ids"] = ids_of(members["ids"], f"{where}.ids")
    for name in ("prompt_tokens", "completion_tokens"):
        if members.get(name) is not None:
            checked[name] = integer_of(members[name], f"{where}.{name}")
    if members.get("logprobs") is not None:
        entries = items_of(members["logprobs"], f"{where}.logprobs")
        _count(f"{where}.logprobs", "entries", len(entries), checked.get("ids"))
        checked["logprobs"] = [_law(entry, f"{where}.logprobs[{i}]") for i, entry in enumerate(entries)]
    return checked


def _generated(due: str) -> Callable[[Params | None, Any], Answer]:
    return lambda _, answer: _generation(answer, "generation", due)


def _batched(params: Params | None, answer: Any) -> Answer:
    rows = items_of(members_of(answer, "answer", ("generations",))["generations"], "generations")
    _count("generations", "rows", len(rows), None if params is None else params["ids"])
    return {"generations": [_generation(row, f"generations[{i}]", "ids") for i, row in enumerate(rows)]}


def _streamed(_: Params | None, answer: Any) -> Answer:
    members = members_of(answer, "answer", ("deltas", "generation"))
    deltas = [text_of(delta, f"deltas[{i}]") for i, delta in enumerate(items_of(members["deltas"], "deltas"))]
    return {"deltas": deltas, "generation": _generation(members["generation"], "generation", "text")}


def _opened(params: Params | None, answer: Any) -> Answer:
    members = members_of(answer, "answer", ("session", "logits"))
    session = text_of(members["session"], "session", MAX_HANDLE, 1)
    return {"session": session, "logits": _logits(params, members["logits"])}


def _extended(params: Params | None, answer: Any) -> Answer:
    return {"logits": _logits(params, members_of(answer, "answer", ("logits",))["logits"])}


def _logits(params: Params | None, value: Any) -> Array:
    return logits_of(value, "logits", None if params is None else (len(params["ids"]), None))


def _encoded(params: Params | None, answer: Any) -> Answer:
    members = members_of(answer, "answer", ("hidden", "pooled"))
    rows = items_of(members["hidden"], "hidden")
    asked = None if params is None else params["ids"]
    _count("hidden", "rows", len(rows), asked)
    hidden: list[Array] = []
    total = 0
    for i, row in enumerate(rows):
        width = hidden[0].shape[1] if hidden else None
        hidden.append(logits_of(row, f"hidden[{i}]", None if asked is None else (len(asked[i]), width)))
        total += hidden[-1].nbytes
        if total > MAX_TENSORS:
            raise Malformed(f"hidden[0] … hidden[{i}] need {total} bytes, {MAX_TENSORS} are allowed in one answer")
    pooled = logits_of(members["pooled"], "pooled", None if asked is None else (len(asked), None))
    return {"hidden": hidden, "pooled": pooled}


def _filled(_: Params | None, answer: Any) -> Answer:
    fills = items_of(members_of(answer, "answer", ("fills",))["fills"], "fills")
    return {"fills": [_law(entry, f"fills[{i}]") for i, entry in enumerate(fills)]}


def _listed(name: str, rank: int) -> Callable[[Params | None, Any], Answer]:
    def check(params: Params | None, answer: Any) -> Answer:
        arrays = arrays_of(members_of(answer, "answer", (name,))[name], name, (rank,))
        for i, array in enumerate(arrays):
            due = array.shape[-2] if params is None else len(params["ids"])
            if array.shape[-2] != due:
                raise Malformed(f"{name}[{i}] has shape {list(array.shape)}, {due} positions were due")
        return {name: arrays}

    return check


def _differentiated(_: Params | None, answer: Any) -> Answer:
    members = members_of(answer, "answer", ("loss", "gradients"))
    if not isinstance(members["gradients"], Mapping):
        wrong("gradients", members["gradients"], "an object of tensors")
    names = [text_of(name, "gradients", MAX_HANDLE, 1) for name in members["gradients"]]
    arrays = arrays_of(list(members["gradients"].values()), "gradients", (1, 2))
    return {"loss": _loss(members["loss"]), "gradients": dict(zip(names, arrays, strict=True))}


def _trained(_: Params | None, answer: Any) -> Answer:
    members = members_of(answer, "answer", ("loss", "model"))
    return {"loss": _loss(members["loss"]), "model": text_of(members["model"], "model", MAX_HANDLE, 1)}


MAX_FILES = 16
_FILE_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")


def _exported(_: Params | None, answer: Any) -> Answer:
    """Files by name, each as base64; bytes become that."""
    files = members_of(answer, "answer", ("files",))["files"]
    if not isinstance(files, Mapping) or not 1 <= len(files) <= MAX_FILES:
        wrong("files", files, f"an object of 1 to {MAX_FILES} files")
    made: dict[str, str] = {}
    total = 0
    for name, content in files.items():
        if not _FILE_NAME.fullmatch(text_of(name, "the name of a file", MAX_HANDLE, 1)):
            wrong("the name of a file", name, "a name without folders")
        data = binascii.b2a_base64(content, newline=False).decode() if isinstance(content, bytes) else content
        if type(data) is not str:
            wrong(f"files.{name}", content, "bytes")
        try:
            total += len(binascii.a2b_base64(data, strict_mode=True))
        except ValueError as error:
            raise Malformed(f"files.{name} is not base64: {error}") from None
        if total > MAX_TENSORS:
            raise Malformed(f"files need {total} bytes, {MAX_TENSORS} are allowed in one answer")
        made[name] = data
    return {"files": made}


def _loss(value: Any) -> float:
    number = logprob_of(value, "loss")
    if number is None:
        wrong("loss", value, "a finite number")
    return number


def _surprised(_: Params | None, answer: Any) -> Answer:
    members = members_of(answer, "answer", ("perplexity", "tokens"))
    value = logprob_of(members["perplexity"], "perplexity")  # as with log-probabilities, null is what no number can say
    return {"perplexity": value, "tokens": integer_of(members["tokens"], "tokens")}


def _bleu(_: Params | None, answer: Any) -> Answer:
    return {"score": number_of(members_of(answer, "answer", ("score",))["score"], "score")}


def _came(_: Params | None, answer: Any) -> Answer:
    return _reply(answer, "answer")


def _reply(value: Any, where: str) -> Answer:
    """What an API said, as it came; whether it says what it should is the judge's to see."""
    members = members_of(value, where, ("status", "type", "body"))
    return {
        "status": integer_of(members["status"], f"{where}.status", 100, 599),
        "type": text_of(members["type"], f"{where}.type", MAX_HANDLE),
        "body": text_of(members["body"], f"{where}.body"),
    }


def _came_together(params: Params | None, answer: Any) -> Answer:
    replies = items_of(members_of(answer, "answer", ("answers",))["answers"], "answers")
    _count("answers", "entries", len(replies), None if params is None else params["requests"])
    return {"answers": [_reply(reply, f"answers[{i}]") for i, reply in enumerate(replies)]}


def _rouge(params: Params | None, answer: Any) -> Answer:
    members = members_of(answer, "answer", ("mean", "segments"))
    segments = items_of(members["segments"], "segments")
    _count("segments", "entries", len(segments), None if params is None else params["hypotheses"])
    return {
        "mean": _rouge_scores(members["mean"], "mean"),
        "segments": [_rouge_scores(scores, f"segments[{i}]") for i, scores in enumerate(segments)],
    }


def _rouge_scores(value: Any, where: str) -> dict[str, dict[str, float]]:
    scores = members_of(value, where, ROUGE)
    return {
        name: {
            part: number_of(parts[part], f"{where}.{name}.{part}")
            for parts in [members_of(scores[name], f"{where}.{name}", ROUGE_PARTS)]
            for part in ROUGE_PARTS
        }
        for name in ROUGE
    }


_ANSWERS: Mapping[str, Callable[[Params | None, Any], Answer]] = {
    "describe": _described,
    "load_model": _handle("model"),
    "unload_model": _nothing,
    "tokenize": _tokenized,
    "detokenize": _detokenized,
    "forward": _forwarded,
    "score": _scored,
    "generate_text": _generated("text"),
    "generate_ids": _generated("ids"),
    "generate_batch": _batched,
    "stream_text": _streamed,
    "open": _opened,
    "extend": _extended,
    "fork": _handle("session"),
    "close": _nothing,
    "encode": _encoded,
    "fill_mask": _filled,
    "hidden_states": _listed("hidden", 2),
    "attention": _listed("attention", 3),
    "cross_attention": _listed("attention", 3),
    "gradients": _differentiated,
    "train_step": _trained,
    "export": _exported,
    "perplexity": _surprised,
    "bleu": _bleu,
    "rouge": _rouge,
    "completions": _came,
    "chat": _came,
    "template": _came,
    "together": _came_together,
}


class Widths:
    """V of every model seen so far, because a model does not change its vocabulary between two calls."""

    def __init__(self) -> None:
        self._width: dict[str, int] = {}
        self._model: dict[str, str] = {}

    def see(self, method: str, params: Params, answer: Answer) -> Answer:
        """Note an answer's width.

        Raises:
            Malformed: it is not the width that the model had before.
        """
        if "logits" not in answer:
            if method == "fork" and params["session"] in self._model:
                self._model[answer["session"]] = self._model[params["session"]]
            return answer
        model = params["model"] if "model" in params else self._model.get(params["session"], "")
        if method == "open":
            self._model[answer["session"]] = model
        arrays = answer["logits"] if method == "forward" else [answer["logits"]]
        for array in arrays:
            due = self._width.setdefault(model, array.shape[1])
            if array.shape[1] != due:
                raise Malformed(f"logits have shape {list(array.shape)}, [{array.shape[0]}, {due}] was due as before")
        return answer


def check_refusal(code: Any) -> str:
    """A refusal's code.

    Raises:
        Malformed: none of the protocol's.
    """
    if code not in REFUSAL_CODES:
        raise Malformed(f"refused with code {code!r:.60}, one of {', '.join(REFUSAL_CODES)} was due")
    return str(code)
