"""What a position may depend on, and what it must: causality, prefixes, order, distance, and relabelled weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import (
    LENGTH,
    PROBE,
    against_itself,
    against_truth,
    draw_ids,
    draw_other,
    vocabulary,
)
from llmasos_conformance.inputs import shuffled
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Parts, Probe
    from llmasos_conformance.reference import Reference

# ── causality ───────────────────────────────────────────────────────────────────────────────────────────────────────

CHANGE = {"enum": ["tail", "last"], "description": "every id from a drawn position on, or the last id alone"}


def ask_causal(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A position's logits ignore every later token. (ATT-3)

    Varies: length and content of the row, and where it is changed.
    Compares: the candidate with itself before and after the change.
    Bound: honest error of the claimed dtype, √2 times, because both answers have one.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    V = vocabulary(candidate, given["probe"])
    at = draw.integer(1, len(ids) - 1) if given["change"] == "tail" else len(ids) - 1
    changed = ids[:at] + [draw_other(draw, token, V) for token in ids[at:]]
    model = candidate.model(given["probe"])
    return {"ids": ids, "at": at, "before": model.forward([ids])[0], "after": model.forward([changed])[0]}


def judge_causal(given: Given, asked: Asked, reference: Reference) -> Finding:
    at = asked["at"]
    before, after = asked["before"][:at], asked["after"][:at]
    when = f"token {at} and what follows it changed" if given["change"] == "tail" else f"token {at} changed"
    return against_itself(reference, given["probe"], asked["ids"], after, before, when=when)


check(
    "causal",
    ask_causal,
    judge_causal,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "length": LENGTH, "change": CHANGE},
)


def ask_prefix(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The first logits of a row are those of its beginning alone. (ATT-5)

    Varies: length and content of the row, and where it is cut.
    Compares: the candidate with itself on the whole row and on its beginning.
    Bound: honest error of the claimed dtype, √2 times.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    cut = given["cut"] or draw.integer(1, len(ids) - 1)
    model = candidate.model(given["probe"])
    return {"ids": ids, "whole": model.forward([ids])[0], "part": model.forward([ids[:cut]])[0]}


def judge_prefix(given: Given, asked: Asked, reference: Reference) -> Finding:
    part, total = asked["part"], len(asked["ids"])
    when = f"{len(part)} ids alone, and as the beginning of {total}"
    return against_itself(reference, given["probe"], asked["ids"], asked["whole"][: len(part)], part, when=when)


CUT = {"type": "integer", "minimum": 0, "default": 0, "description": "length of the beginning; 0 draws it"}

check(
    "prefix",
    ask_prefix,
    judge_prefix,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "length": LENGTH, "cut": CUT},
)

# ── order and distance ──────────────────────────────────────────────────────────────────────────────────────────────


def ask_order(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Two different tokens that change places change the logits, by as much as the reference says. (POS-3)

    Varies: length and content of the row, and the two places.
    Compares: the row before and after the exchange with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    places = sorted(shuffled(draw, range(len(ids)))[:2])
    first, second = places
    if ids[first] == ids[second]:
        ids[second] = draw_other(draw, ids[second], vocabulary(candidate, given["probe"]))
    swapped = list(ids)
    swapped[first], swapped[second] = ids[second], ids[first]
    model = candidate.model(given["probe"])
    logits = [model.forward([row])[0] for row in (ids, swapped)]
    return {"rows": [ids, swapped], "places": places, "logits": logits}


def judge_order(given: Given, asked: Asked, reference: Reference) -> Finding:
    first, second = asked["places"]
    situations = ("", f"tokens {first} and {second} changed places")
    rows = zip(asked["rows"], asked["logits"], situations, strict=True)
    return worst([against_truth(reference, given["probe"], row, got, when=when) for row, got, when in rows])


check(
    "order-matters",
    ask_order,
    judge_order,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "length": LENGTH},
)


def ask_far(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The first token moves the last position's logits, however far it is. (ATT-7)

    Varies: length and content of the row, and the other first token.
    Compares: the last position, before and after the change of the first token, with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    changed = [draw_other(draw, ids[0], vocabulary(candidate, given["probe"])), *ids[1:]]
    model = candidate.model(given["probe"])
    logits = [model.forward([row])[0] for row in (ids, changed)]
    return {"rows": [ids, changed], "logits": logits}


def judge_far(given: Given, asked: Asked, reference: Reference) -> Finding:
    away = len(asked["rows"][0]) - 1
    situations = (f"{away} tokens behind the first", f"token 0 changed, {away} tokens before the last")
    rows = zip(asked["rows"], asked["logits"], situations, strict=True)
    return worst([against_truth(reference, given["probe"], row, got, when=when) for row, got, when in rows])


check("far-token", ask_far, judge_far, needs=("load_model", "forward"), given={"probe": PROBE, "length": LENGTH})

# ── the same function, written another way ──────────────────────────────────────────────────────────────────────────

Permutation = npt.NDArray[np.int64]


def _permutation(draw: Draw, count: int) -> Permutation:
    """A permutation that moves something."""
    order = shuffled(draw, range(count))
    if order == list(range(count)):
        order = [*order[1:], order[0]]
    return np.array(order, dtype=np.int64)


def _columns(parts: Parts, name: str, order: Permutation) -> None:
    """Reorder what a linear map gives; its bias too, if it has one."""
    parts.weights[f"{name}.weight"] = parts.weights[f"{name}.weight"][:, order]
    if f"{name}.bias" in parts.weights:
        parts.weights[f"{name}.bias"] = parts.weights[f"{name}.bias"][order]


def _rows(parts: Parts, name: str, order: Permutation) -> None:
    """Reorder what a linear map takes."""
    parts.weights[f"{name}.weight"] = parts.weights[f"{name}.weight"][order]


def _scale(parts: Parts, by: float, *names: str) -> None:
    """Multiply tensors, those of them that the architecture has."""
    for name in names:
        if name in parts.weights:
            parts.weights[name] = parts.weights[name] * np.float32(by)


def _layers(parts: Parts) -> list[str]:
    return [f"layers.{i}" for i in range(parts.document["parameters"]["num_layers"])]


def _named(parts: Parts, end: str) -> list[str]:
    """Names of the model's parts that have a map of that end, in the order of the model."""
    return [name.removesuffix(f".{end}.weight") for name in parts.weights if name.endswith(f".{end}.weight")]


def _sizes(parts: Parts) -> tuple[int, int, int]:
    """H, K, F."""
    parameters = parts.document["parameters"]
    H = int(parameters["num_heads"])
    return H, int(parameters["embedding_dim"]) // H, int(parameters["feed_forward_dim"])


def heads(parts: Parts, draw: Draw) -> None:
    """Heads in another order: channels of a head stay together, and the output map takes them where they went."""
    H, K, _ = _sizes(parts)
    for name in _named(parts, "query"):
        order = (_permutation(draw, H)[:, None] * K + np.arange(K)).reshape(-1)
        for part in ("query", "key", "value"):
            _columns(parts, f"{name}.{part}", order)
        _rows(parts, f"{name}.output", order)


def head_channels(parts: Parts, draw: Draw) -> None:
    """Channels within each head in another order, one for queries and keys and one for values."""
    H, K, _ = _sizes(parts)
    for name in _named(parts, "query"):
        matched, mixed = (
            np.concatenate([h * K + _permutation(draw, K) for h in range(H)]) for _ in ("queries and keys", "values")
        )
        _columns(parts, f"{name}.query", matched)
        _columns(parts, f"{name}.key", matched)
        _columns(parts, f"{name}.value", mixed)
        _rows(parts, f"{name}.output", mixed)


def groups(parts: Parts, draw: Draw) -> None:
    """Key-value heads in another order, and within the query heads of each another order."""
    H, K, _ = _sizes(parts)
    G = int(parts.document["parameters"]["num_key_value_heads"])
    for layer in _layers(parts):
        group = _permutation(draw, G) if G > 1 else np.zeros(1, dtype=np.int64)
        query = np.concatenate([g * (H // G) + _permutation(draw, H // G) for g in group]) if G < H else group
        shared, own = ((order[:, None] * K + np.arange(K)).reshape(-1) for order in (group, query))
        for part, order in (("query", own), ("key", shared), ("value", shared)):
            _columns(parts, f"{layer}.attention.{part}", order)
        _rows(parts, f"{layer}.attention.output", own)


def pairs(parts: Parts, draw: Draw) -> None:
    """Pairs of channels of queries and keys turned by a quarter, and channels of values in another order.

    A quarter turn makes (a, b) into (-b, a), which rounds nothing; it commutes with the turn by a position, and it
    leaves the product of queries and keys as it is.
    """
    H, K, _ = _sizes(parts)
    G = int(parts.document["parameters"]["num_key_value_heads"])
    for layer in _layers(parts):
        chosen = np.array([[draw.integer(0, 1) for _ in range(K // 2)] for _ in range(G)], dtype=bool)
        chosen[0, 0] = True
        mixed = np.stack([_permutation(draw, K) for _ in range(G)])  # [G, K]
        for part, count in (("query", H), ("key", G)):
            weight = parts.weights[f"{layer}.attention.{part}.weight"]
            a, b = np.moveaxis(weight.reshape(len(weight), count, 2, K // 2), 2, 0)  # [D, count, K/2] each
            turn = chosen.repeat(count // G, axis=0)
            turned = np.stack([np.where(turn, -b, a), np.where(turn, a, b)], axis=2)
            parts.weights[f"{layer}.attention.{part}.weight"] = turned.reshape(weight.shape)
        for part, count in (("value", G), ("output", H)):
            order = (np.arange(count)[:, None] * K + mixed.repeat(count // G, axis=0)).reshape(-1)
            (_columns if part == "value" else _rows)(parts, f"{layer}.attention.{part}", order)


def up_and_down(parts: Parts, draw: Draw) -> None:
    """What a gate multiplies twice as large, the map that takes it half as large. The gate itself is not linear."""
    for layer in _layers(parts):
        _scale(parts, 2.0, f"{layer}.feed_forward.up.weight")
        _scale(parts, 0.5, f"{layer}.feed_forward.down.weight")


def hidden_units(parts: Parts, draw: Draw) -> None:
    """Units of the feed-forward in another order."""
    _, _, F = _sizes(parts)
    for name in _named(parts, "up"):
        order = _permutation(draw, F)
        _columns(parts, f"{name}.up", order)
        if f"{name}.gate.weight" in parts.weights:
            _columns(parts, f"{name}.gate", order)
        _rows(parts, f"{name}.down", order)


def query_and_key(parts: Parts, draw: Draw) -> None:
    """Queries twice as large, keys half as large. Powers of two round nothing, and the scores stay."""
    for name in _named(parts, "query"):
        for part, by in (("query", 2.0), ("key", 0.5)):
            _scale(parts, by, f"{name}.{part}.weight", f"{name}.{part}.bias")


def norm_gain(parts: Parts, draw: Draw) -> None:
    """What a norm gives twice as large, the maps that take it half as large."""
    takers = {"attention_norm": ("attention.query", "attention.key", "attention.value"),
              "feed_forward_norm": ("feed_forward.up", "feed_forward.gate")}  # fmt: skip
    for layer in _layers(parts):
        for norm, maps in takers.items():
            _scale(parts, 2.0, f"{layer}.{norm}.weight", f"{layer}.{norm}.bias")
            _scale(parts, 0.5, *(f"{layer}.{name}.weight" for name in maps))
    _scale(parts, 2.0, "final_norm.weight", "final_norm.bias")
    _scale(parts, 0.5, "head.weight")


RELABELLINGS: Mapping[str, Callable[[Parts, Draw], None]] = {
    "heads": heads,
    "head-channels": head_channels,
    "hidden-units": hidden_units,
    "query-and-key": query_and_key,
    "norm-gain": norm_gain,
    "groups": groups,
    "pairs": pairs,
    "up-and-down": up_and_down,
}
"""Rewritings by name. `heads` and `head-channels` are for heads that have keys and values of their own and are not
turned; `groups`, `pairs` and `up-and-down` for Llama."""


def rewritten(probes: Library, probe: str, change: str, draw: Draw) -> tuple[Probe, list[int]]:
    """A bundle that computes the same function from other tensors.

    Returns:
        The bundle, and where each id of the vocabulary went: id i of the probe is id place[i] of the bundle.
    """
    parts = probes.parts(probe)
    V = int(parts.document["parameters"]["vocab_size"])
    if change != "vocabulary":
        RELABELLINGS[change](parts, draw)
        return probes.write(parts.document, parts.weights), list(range(V))
    order = _permutation(draw, V)
    for name in ("token_embedding", "head.weight", "head.bias"):
        if name in parts.weights:
            parts.weights[name] = parts.weights[name][order]
    place = np.empty(V, dtype=np.int64)
    place[order] = np.arange(V)
    parameters = parts.document["parameters"]
    for name in ("mask_token_id", "decoder_start_token_id"):
        if parameters.get(name) is not None:
            parameters[name] = int(place[parameters[name]])
    return probes.write(parts.document, parts.weights), [int(i) for i in place]


def ask_symmetry(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A bundle that computes the same function from other tensors gives the same logits.

    Varies: length and content of the row, and the order of heads, channels, units or ids.
    Compares: the candidate with itself on the probe and on the rewritten bundle, ids brought back to their places.
    Bound: honest error of the claimed dtype, √2 times; a permuted sum may run in another order.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    bundle, place = rewritten(candidate.probes, given["probe"], given["change"], draw)
    plain = candidate.model(given["probe"]).forward([ids])[0]
    other = candidate.model(bundle).forward([[place[token] for token in ids]])[0]
    return {"ids": ids, "plain": plain, "other": other, "place": place}


def judge_symmetry(given: Given, asked: Asked, reference: Reference) -> Finding:
    other = asked["other"]
    back = other[:, asked["place"]] if other.shape[-1] == len(asked["place"]) else other
    when = f"{given['probe']} with {given['change'].replace('-', ' ')} rewritten"
    return against_itself(reference, given["probe"], asked["ids"], back, asked["plain"], when=when)


KIND = {"enum": [*RELABELLINGS, "vocabulary"], "description": "what is rewritten"}

check(
    "symmetry",
    ask_symmetry,
    judge_symmetry,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "length": LENGTH, "change": KIND},
)
