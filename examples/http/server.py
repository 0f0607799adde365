"""An engine as a candidate that is reached over HTTP, without a line of LLMasOS: `python server.py [PORT]`.

Each question is a POST of one JSON object, its response the answer; docs/wire.md and docs/protocol.md of LLMasOS say
what they hold. `METHODS` at the end is what this candidate can do: put your engine behind it, call by call.
"""

import base64
import json
import math
import random
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import bundle
import numpy as np
import vendor_engine
from bundle import Refused, must

MODELS, LOCK = {}, threading.Lock()


# ── what the engine does ────────────────────────────────────────────────────────────────────────────────────────────


EMULATED = {
    "format": "bundles are read and judged by bundle.py",
    "arguments": "ranges and types of arguments are checked by server.py",
    "generate_ids": "the decoding loop is server.py's",
    "generate_text": "the text loop is server.py's",
}
"""What these files do for your engine. Delete the line of what it does itself."""


def describe():
    return {"protocol": "0.1-draft", "name": "mine", "version": "0.1", "architectures": ["GPT-3"],
            "capabilities": ["load_model", "forward", "generate_ids"],
            "claims": {"dtype": "float32", "determinism": "D1"}, "emulated": EMULATED, "runtime": {}}  # fmt: skip


def load_model(path):
    name = f"m{len(MODELS) + 1}"
    MODELS[name] = vendor_engine.Engine(*bundle.read(path))
    return {"model": name}


def unload_model(model):
    MODELS[model] = None
    return {}


def forward(model, ids):
    engine = held(model)
    rows = [fitting(checked(row, engine.config), engine.config) for row in ids]
    return {"logits": [tensor(engine.logits(row)[0]) for row in rows]}


def generate_ids(model, ids, max_length=100, temperature=1.0):
    engine = held(model)
    prompt = started(checked(ids, engine.config), engine.config)
    new, reason = generated(engine, prompt, max_length, temperature)
    return {"ids": new, "finish_reason": reason, "prompt_tokens": len(prompt), "completion_tokens": len(new)}


def generate_text(model, prompt, max_length=100, temperature=1.0):
    engine = held(model)
    ids, eos = started(in_bytes(prompt, engine.config), engine.config), engine.config["eos_token_ids"]
    may = np.isin(np.arange(engine.config["vocab_size"]), [*({*range(256)} - {engine.config["bos_token_id"]}), *eos])
    new, reason = generated(engine, ids, max_length, temperature, may)
    text = bytes(token for token in new if token < 256 and token not in eos).decode(errors="replace")
    return {"text": text, "finish_reason": reason, "prompt_tokens": len(ids), "completion_tokens": len(new)}


def generated(engine, prompt, max_length, temperature, may=True):
    """New ids and why they end; `may` is True for ids that may come."""
    must(type(max_length) is int and max_length >= 0, "max_length", "invalid_argument")
    number = type(temperature) in (int, float) and 0 <= temperature < math.inf
    must(number, "temperature", "invalid_argument")
    config, new, feed, cache = engine.config, [], prompt, ()
    while len(new) < min(max_length, config["context_length"] - len(prompt)):
        logits, cache = engine.logits(feed, cache)
        scores = np.where(may, logits[-1].astype(np.float64), -np.inf)
        if temperature:
            law = np.exp((scores - scores.max()) / temperature)
            token = random.choices(range(len(law)), law)[0]
        else:
            token = int(scores.argmax())  # the lowest id of equal ones
        new.append(token)
        if token in config["eos_token_ids"]:
            return new, "stop"
        feed = [token]
    return new, "length"


def held(model):
    must(MODELS.get(model) is not None, f"no model {model!r:.40}", "invalid_argument")
    return MODELS[model]


def in_bytes(text, config):
    must(config["vocab_size"] >= 256, "its ids have no text", "unsupported")
    must(isinstance(text, str) and not any("\ud800" <= c <= "\udfff" for c in text), "no text", "invalid_argument")
    return list(text.encode())


def checked(ids, config):
    fine = all(type(token) is int and 0 <= token < config["vocab_size"] for token in ids)
    must(fine, "an id outside the vocabulary", "invalid_argument")
    return ids


def started(ids, config):
    """What a generation starts from: the ids given, or BOS for none."""
    bos = config["bos_token_id"]
    return fitting([bos] if not ids and bos is not None else ids, config)


def fitting(ids, config):
    must(ids, "no ids", "invalid_argument")
    must(len(ids) <= config["context_length"], "longer than the context", "context_overflow")
    return ids


def tensor(array):
    data = base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
    return {"dtype": "F32", "shape": list(array.shape), "data": data}


METHODS = {each.__name__: each for each in (describe, load_model, unload_model, forward, generate_ids,
                                            generate_text)}  # fmt: skip


# ── the wire ────────────────────────────────────────────────────────────────────────────────────────────────────────


def answer(question):
    """The answer to a question, errors of the protocol among them."""
    method, params = question["method"], question["params"]
    try:
        must(method in METHODS, f"{method:.40} is not offered", "unsupported")
        asked = METHODS[method]
        names = asked.__code__.co_varnames[: asked.__code__.co_argcount]
        unknown = sorted(params.keys() - {*names})
        must(not unknown, f"no option {unknown}", "unknown_parameter")
        with LOCK:
            return {"result": asked(**params)}
    except Refused as no:
        return {"error": {"code": -32000, "message": str(no), "data": {"refusal": no.code}}}
    except Exception as error:
        trace = traceback.format_exc()
        return {"error": {"code": -32000, "message": f"{type(error).__name__}: {error}",
                          "data": {"raised": type(error).__name__, "detail": trace}}}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"jsonrpc": "2.0", "id": question["id"], **answer(question)}).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """A line for each question would bury what matters."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"serving at http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
