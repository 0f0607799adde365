"""A bundle for the server: model.json and model.safetensors, judged and read with nothing but NumPy.

What the format forbids is refused and never guessed at: a wrong file that loads gives wrong numbers without a word.
"""

import hashlib
import json
import math
import re
from pathlib import Path

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
NUMBER = r"(?:0|[1-9]\d*)"
WORD = rf"(?:{NUMBER}|\d*[A-Za-z-][\dA-Za-z-]*)"
VERSION = rf"({NUMBER})\.{NUMBER}(\.{NUMBER}(-{WORD}(\.{WORD})*)?(\+[\dA-Za-z-]+(\.[\dA-Za-z-]+)*)?)?"
LARGEST = {"vocab_size": 24, "embedding_dim": 16, "num_layers": 12, "num_heads": 16, "feed_forward_dim": 20,
           "context_length": 22}  # fmt: skip


class Refused(Exception):
    """A "no" with a code of the protocol."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def must(condition, what, code="invalid_format"):
    if not condition:
        raise Refused(code, what)


def read(path):
    """Parameters with defaults filled in, and name -> array, of the bundle at a path.

    Raises:
        Refused: with not_found, invalid_format, unsupported_version, unsupported_architecture or unsupported.
    """
    place = Path(path)
    must("\0" not in path and (place.exists() or place.is_symlink()), "nothing is there", "not_found")
    must(place.is_dir() or place.name == "model.json", "neither a bundle nor its model.json")
    place = place if place.is_dir() else place.parent
    raw = plain(place / "model.json")
    must(raw is not None, "no model.json", "not_found")
    document = strict(raw)
    config = parameters(document)
    must(not (place / "tokenizer.json").exists(), "bytes are its only tokens", "unsupported")
    stored = plain(place / "model.safetensors")
    digest = document.get("weights", {}).get("sha256")
    must(stored is not None or digest is None, "weights are named and absent")
    if stored is None:
        alone = "initialisation" not in document and (place / "model.onnx").exists()
        must(not alone, "the weights are in model.onnx alone", "unsupported")
        return config, drawn(shapes(config), document.get("initialisation", {}).get("seed", 0))
    must(digest in (None, hashlib.sha256(stored).hexdigest()), "the weights have another digest")
    return config, tensors(stored, shapes(config))


def plain(path):
    """Bytes of a plain file, None where there is nothing. A link could lead out of the bundle."""
    if not path.exists() and not path.is_symlink():
        return None
    must(path.is_file() and not path.is_symlink(), f"{path.name} is no plain file")
    return path.read_bytes()


def strict(raw):
    """JSON without keys twice, numbers that are none, and half characters."""

    def members(pairs):
        must(len(dict(pairs)) == len(pairs), "a key stands twice")
        return dict(pairs)

    def number(text):
        must(math.isfinite(float(text)), f"{text:.20} is not finite")
        return float(text)

    try:
        value = json.loads(raw.decode().removeprefix("\ufeff"), object_pairs_hook=members, parse_float=number,
                           parse_constant=number)  # fmt: skip
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused("invalid_format", f"no JSON: {error}") from None
    return value


def closed(value, what, required, optional=()):
    must(isinstance(value, dict), f"{what} is no object")
    must(set(required) <= value.keys() <= {*required, *optional}, f"{what} has {sorted(value)}")
    return value


def natural(value, low, high):
    return type(value) is int and low <= value <= high


def parameters(document):
    """The parameters of a model.json of GPT-3."""
    must(isinstance(document, dict), "model.json is no object")
    version = re.fullmatch(VERSION, document["version"]) if isinstance(document.get("version"), str) else None
    must(version, "version is none")
    must(version[1] == "1", f"version {version[0]:.40}", "unsupported_version")
    optional = ("parameters", "metadata", "initialisation", "weights")
    closed(document, "model.json", ("name", "version", "architecture"), optional)
    must(all(isinstance(document[name], str) and document[name] for name in ("name", "architecture")), "no name")
    must(document["architecture"] == "GPT-3", "another architecture", "unsupported_architecture")
    must(isinstance(document.get("metadata", {}), dict), "metadata is no object")
    if "initialisation" in document:
        seed = closed(document["initialisation"], "initialisation", ("seed",))["seed"]
        must(natural(seed, 0, 2**53 - 1), "seed is none")
    if "weights" in document:
        digest = closed(document["weights"], "weights", ("sha256",))["sha256"]
        must(isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest), "sha256 is none")
    must("parameters" in document, "no parameters")
    given = document["parameters"]
    must(isinstance(given, dict), "parameters are no object")
    V, D = given.get("vocab_size"), given.get("embedding_dim")
    must(natural(V, 1, 2**24) and natural(D, 1, 2**16), "vocab_size or embedding_dim is none")
    defaults = {"num_heads": 1 if D % 64 else D // 64, "feed_forward_dim": 4 * D, "context_length": 1024,
                "activation": "gelu_tanh", "layer_norm_epsilon": 1e-5, "tie_embeddings": True, "bos_token_id": None,
                "eos_token_ids": [], "local_attention_window": None}  # fmt: skip
    config = {**defaults, **closed(given, "parameters", ("vocab_size", "embedding_dim", "num_layers"), defaults)}
    for name, bits in LARGEST.items():
        must(natural(config[name], 1, 2**bits), f"{name} is none")
    bos, eos, epsilon = config["bos_token_id"], config["eos_token_ids"], config["layer_norm_epsilon"]
    must(D % config["num_heads"] == 0, "the heads do not divide the width")
    must(config["activation"] == "gelu_tanh", "another activation")
    must(type(config["tie_embeddings"]) is bool, "tie_embeddings is neither true nor false")
    must(type(epsilon) in (int, float) and 0 < epsilon <= 1, "layer_norm_epsilon is none")
    must(bos is None or natural(bos, 0, V - 1), "bos_token_id is none")
    must(isinstance(eos, list) and all(natural(i, 0, V - 1) for i in eos) and len({*eos}) == len(eos), "no eos ids")
    window = config["local_attention_window"]
    must(window is None or natural(window, 1, 2**22), "local_attention_window is none")
    must(window is None, "it has no windows", "unsupported")
    return config


def shapes(config):
    """Name -> shape of every tensor."""
    V, D, F = config["vocab_size"], config["embedding_dim"], config["feed_forward_dim"]
    maps = {f"attention.{part}": (D, D) for part in ("query", "key", "value", "output")}
    maps |= {"feed_forward.up": (D, F), "feed_forward.down": (F, D), "attention_norm": (D,), "feed_forward_norm": (D,)}
    every = {f"layers.{i}.{name}": shape for i in range(config["num_layers"]) for name, shape in maps.items()}
    every["final_norm"] = (D,)
    made = {"token_embedding": (V, D), "position_embedding": (config["context_length"], D)}
    for name, shape in every.items():
        made |= {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}
    return made if config["tie_embeddings"] else {**made, "head.weight": (V, D)}


def tensors(raw, due):
    """The tensors of a safetensors file, which has to hold those that are due and no others."""
    start = 8 + int.from_bytes(raw[:8], "little")
    must(len(raw) >= 8 and start <= min(len(raw), 10**8) and raw[8:9] == b"{", "no header of safetensors")
    header = strict(raw[8:start])
    notes = header.pop("__metadata__", {})
    must(isinstance(notes, dict) and all(isinstance(note, str) for note in notes.values()), "__metadata__ is not texts")
    must(header.keys() == due.keys(), "a tensor is missing, or one too many is there")
    made, spans = {}, []
    for name, entry in header.items():
        closed(entry, name, ("dtype", "shape", "data_offsets"))
        dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
        must(isinstance(dtype, str) and dtype in DTYPES, f"{name} has another dtype")
        must(isinstance(shape, list) and all(natural(n, 0, 2**40) for n in shape), f"{name} has no shape")
        must(tuple(shape) == due[name], f"{name} has another shape")
        must(
            isinstance(span, list) and len(span) == 2 and all(natural(n, 0, 2**60) for n in span), f"{name} has no span"
        )
        must(span[1] - span[0] == math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize, f"{name} does not fit its span")
        must(start + span[1] <= len(raw), f"{name} ends behind the file")
        flat = np.frombuffer(raw[start + span[0] : start + span[1]], DTYPES[dtype])
        array = (flat.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else flat
        must(np.isfinite(array).all() and (np.abs(array) <= np.finfo(np.float32).max).all(), f"{name} is not finite")
        made[name] = array.reshape(shape)
        spans.append(span)
    spans.sort()
    ends = [0, *(end for _, end in spans)]
    must([begin for begin, _ in spans] == ends[:-1] and ends[-1] == len(raw) - start, "tensors overlap, or leave gaps")
    return made


def drawn(due, seed):
    """Weights of a bundle that holds none: a function of the seed and each tensor's name, as the format defines it."""
    must(sum(math.prod(shape) for shape in due.values()) <= 2**30, "too many weights to draw", "unsupported")
    made = {}
    for name, shape in due.items():
        if name.endswith(("norm.weight", ".bias")):
            made[name] = np.full(shape, name.endswith("norm.weight"), np.float32)
            continue
        key = hashlib.sha256(f"llmasos-init/v1\0{seed}\0{name}".encode()).digest()[:8]
        words = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        words += np.uint64(int.from_bytes(key, "big"))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
        total = words.view(np.uint16).astype(np.float64).reshape(-1, 4).sum(-1) - 131070  # four numbers of 16 bits
        spacing = np.exp2(np.frexp(total)[1] - 8.0)  # 8 significant bits
        made[name] = (np.rint(total / spacing) * spacing * 2.0**-21).astype(np.float32).reshape(shape)
    return made
