"""Certify servers with an API like OpenAI's, each a child process here, and hold what fails to what is known.

python bench/certify_servers.py                       all of SERVERS, both profiles
python bench/certify_servers.py mlx_lm.server         one of them
python bench/certify_servers.py --only hosted/chat    profiles of such names
python bench/certify_servers.py --out runs            keep the reports, unsigned, and what the servers printed
python bench/certify_servers.py --key key.pem --trust trust.json --publish reports/servers
                                                      sign them, and put them there as `llmasos publish` does
python bench/certify_servers.py mlx_lm.server --stay  start it, say its addresses, and wait for the end of the input

A server whose packages are not installed is left out and told. All of them serve one small model, which is made here: a
Llama with drawn weights, byte-level pairs, an end and a chat template. It says nothing that makes sense, but what it
says varies; nothing in the profiles asks for more.

A line for each run: server and its version, profile, verdict, cases that passed and cases in all, seconds, and the
cases that did not pass. The exit code is 1 where a case fails that is not known to. Causes of what is known are told in
reports/findings.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from certify_runtimes import certified, published

from llmasos_conformance import layout
from llmasos_conformance.checks.requests import FOREIGN, WORDS
from llmasos_conformance.probes import trained
from llmasos_conformance.probes.making import Maker, significant
from llmasos_conformance.protocol import Array

PROFILES = {"hosted/completions": "completions", "hosted/chat": "chat"}
"""Profiles, and the API that each is about."""
START_S, END_S = 120.0, 10.0
"""How long a server may take to listen, and to end when it is told to."""

# ── the model ───────────────────────────────────────────────────────────────────────────────────────────────────────

V, D, LAYERS, HEADS, GROUPS, F, CONTEXT = 1536, 64, 2, 4, 2, 160, 2048
THETA, EPSILON = 10000.0, 1e-5
SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
"""Ids from 0 on. The first ends a text, and nobody says the others."""
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer() -> Any:
    """Byte-level pairs, learnt from this project's sentences and from the prompts of the checks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=V, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    # Written often, so that many of their characters are one token, and a text has some.
    made.train_from_iterator([trained.text(), *FOREIGN * 100, *[", ".join(WORDS)] * 200], trainer)
    return made


def weights(words: Any) -> dict[str, Array]:
    """Tensors of a Llama as in a bundle, whose logits have a standard deviation of about 4.

    A byte that is no character, or none that is shown, is seldom the likeliest token; the end is it now and then.
    """
    make = Maker("0", "served")
    made = {}
    for name, shape in layout.shapes(parameters(), "Llama").items():
        if len(shape) == 1:
            made[name] = significant(1.0 + 0.2 * make.unit(name, *shape))
            continue
        spread = 0.8 if name == "token_embedding" else 1.4 / math.sqrt(shape[0])
        if name == "head.weight":
            spread = 4.0 / math.sqrt(D)
        made[name] = significant(spread * make.unit(name, *shape))
    texts = [words.decode([token]) for token in range(V)]
    loudness = [0.0 if "\ufffd" in text or min(text, default=" ") < " " else 1.0 for text in texts]
    loudness[: len(SPECIAL)] = [1.3, 0.0, 0.0, 0.0]
    made["head.weight"] *= [[each] for each in loudness]
    return made


def parameters() -> dict[str, Any]:
    given = {
        "vocab_size": V, "embedding_dim": D, "num_layers": LAYERS, "num_heads": HEADS, "num_key_value_heads": GROUPS,
        "feed_forward_dim": F, "context_length": CONTEXT, "rms_norm_epsilon": EPSILON, "rope_theta": THETA,
        "tie_embeddings": False, "eos_token_ids": [0],
    }  # fmt: skip
    return layout.with_defaults(given, "Llama")


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def bundle(folder: Path) -> Path:
    """The model as a bundle."""
    words = tokenizer()
    document = {"name": "served", "version": "1.0", "architecture": "Llama", "parameters": parameters()}
    return write(folder, layout.files_of(document, weights(words), words.to_str()))


_HF = {
    "attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm",
    "attention.query": "self_attn.q_proj", "attention.key": "self_attn.k_proj", "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj", "feed_forward.gate": "mlp.gate_proj", "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}  # fmt: skip
"""Names of a layer's parts in a Hugging Face Llama."""


def checkpoint(folder: Path) -> Path:
    """The model as a directory that Transformers and mlx-lm load."""
    words = tokenizer()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": D, "intermediate_size": F,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "vocab_size": V,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": EPSILON, "rope_theta": THETA, "hidden_act": "silu",
        "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32",
        "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    texts = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[0], "pad_token": SPECIAL[0],
        "clean_up_tokenization_spaces": False, "model_max_length": CONTEXT, "chat_template": TEMPLATE,
    }  # fmt: skip
    tensors = dict(_renamed(name, tensor) for name, tensor in weights(words).items())
    return write(
        folder,
        {
            "config.json": json.dumps(config).encode(),
            "generation_config.json": json.dumps({"eos_token_id": 0, "pad_token_id": 0}).encode(),
            "tokenizer_config.json": json.dumps(texts).encode(),
            "tokenizer.json": words.to_str().encode(),
            "model.safetensors": layout.safetensors_bytes(tensors),
        },
    )


def _renamed(name: str, tensor: Array) -> tuple[str, Array]:
    outer = {"token_embedding": "model.embed_tokens.weight", "final_norm.weight": "model.norm.weight"}
    if name in outer or name == "head.weight":
        return outer.get(name, "lm_head.weight"), tensor
    _, layer, part = name.split(".", 2)
    return f"model.layers.{layer}.{_HF[part.removesuffix('.weight')]}.weight", tensor.T if tensor.ndim == 2 else tensor


def gguf(folder: Path) -> Path:
    """The model as a file of llama.cpp."""
    from llmasos_conformance.adapters import kit
    from llmasos_conformance.adapters.llamacpp import converting

    made = kit.read_bundle(str(bundle(folder)), ("Llama",))
    words = converting.vocabulary(made.config, json.loads((folder / layout.TOKENIZER).read_bytes()))
    out = folder / "model.gguf"
    # Where no beginning is named, the runtime takes id 11 for one, and the server leaves it out of what it states.
    converting.write(made, out, {**words, "tokenizer.ggml.bos_token_id": 0, "tokenizer.chat_template": TEMPLATE})
    return out


# ── servers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a server is started. `model` is its model's name in requests."""

    command: Sequence[str]
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One row of the table.

    Attributes:
        name: what it is called here. package: whose version it has. needs: modules without which it is left out.
        start: puts the model into a directory, and says how to serve it on a port of 127.0.0.1.
        claims: what the address says of it behind the model's name.
        known: cases that it is known to fail, as globs.
    """

    name: str
    package: str
    needs: tuple[str, ...]
    start: Callable[[Path, int], Start]
    claims: str = "dtype=float32"
    known: tuple[str, ...] = ()


def mlx_lm(folder: Path, port: int) -> Start:
    made = checkpoint(folder / "checkpoint")
    command = (sys.executable, "-m", "mlx_lm", "server", "--model", str(made), "--port", str(port))
    return Start(command=command, model="default_model")


def llama_cpp(folder: Path, port: int) -> Start:
    made = gguf(folder / "bundle")
    options = {
        "model": made, "model_alias": "served", "host": "127.0.0.1", "port": port, "n_ctx": CONTEXT, "n_threads": 1,
        "n_threads_batch": 1, "verbose": False,
    }  # fmt: skip
    command = (sys.executable, "-m", "llama_cpp.server", *(f"--{name}={value}" for name, value in options.items()))
    return Start(command=command, model="served")


def transformers_serve(folder: Path, port: int) -> Start:
    # Named as it lies in the child's directory: the server calls a model by its path, and a report by that name.
    made = checkpoint(folder / "served")
    # Without this a temperature is heard by no request.
    sampling = {"eos_token_id": 0, "pad_token_id": 0, "do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    (made / "generation_config.json").write_text(json.dumps(sampling), encoding="utf-8")
    options = ("--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    command = (sys.executable, "-m", "transformers.cli.transformers", "serve", made.name, *options)
    return Start(command=command, model=made.name)


SERVERS = (
    Server(
        name="mlx_lm.server", package="mlx-lm", needs=("mlx_lm", "tokenizers"), start=mlx_lm,
        known=(
            "*.unknown-names", "*.error-form", "*.stop.*", "*.choices*", "hosted.echo.text",
            "hosted.chat.stream.stated", "hosted.chat.logprobs.*", "hosted.chat.drawn.*", "hosted.chat.penalty.*",
        ),
    ),
    Server(
        name="llama_cpp.server", package="llama-cpp-python",
        needs=("llama_cpp", "tokenizers", "fastapi", "uvicorn", "sse_starlette", "starlette_context"), start=llama_cpp,
        claims="dtype=float16",  # of keys and values
        known=(
            "*.nothing", "*.wrong-types", "*.out-of-range", "*.unknown-names", "*.error-form", "*.unknown-model",
            "*.stop.close", "*.stop.absent", "*.stop.two", "*.choices*", "*.stream.usage", "hosted.echo.scores",
            "*.drawn.defaults",
        ),
    ),
    Server(
        name="transformers serve", package="transformers",
        needs=("transformers", "torch", "tokenizers", "fastapi", "uvicorn", "openai", "accelerate"),
        start=transformers_serve,
        known=(
            "*.nothing", "*.wrong-types", "*.out-of-range", "*.error-form", "*.stop.*", "*.choices*", "*.stream.form",
            "*.too-long", "*.logprobs.*", "*.seeds.different", "*.drawn.*", "*.penalty.*", "*.stream.stated",
            "hosted.echo.*",
        ),
    ),
)  # fmt: skip


# ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


@contextmanager
def running(server: Server, folder: Path) -> Iterator[str]:
    """Serve, and give the URL and the model's name as an address has them. The child ends whatever happens.

    Raises:
        SystemExit: it does not listen; with the end of what it printed.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, (folder / "printed.txt").open("wb") as printed:
        start = server.start(Path(place), port)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        child = subprocess.Popen(
            start.command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, env=environment, cwd=place,
            start_new_session=True,
        )  # fmt: skip
        try:
            wait(child, port, folder / "printed.txt")
            yield f"openai:http://127.0.0.1:{port}/v1#model={start.model}"
        finally:
            end(child)


def wait(child: subprocess.Popen[bytes], port: int, printed: Path) -> None:
    """Until the child listens."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{child.args!s:.200} does not listen\n{printed.read_text(errors='replace')[-2000:]}")


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
            child.wait(END_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue


def lacking(server: Server) -> list[str]:
    return [name for name in server.needs if importlib.util.find_spec(name) is None]


def surprising(server: Server, said: Mapping[str, Any]) -> list[str]:
    """Cases that fail and are not known to."""
    failed = {each["id"] for each in said["notRight"] if each["outcome"] != "not_declared"}
    return sorted(id_ for id_ in failed if not any(fnmatch(id_, known) for known in server.known))


def run(server: Server, url: str, profile: str, given: argparse.Namespace, folder: Path) -> list[str]:
    """Certify a running server, print the line, and say what is not known."""
    version = importlib.metadata.version(server.package)
    address = f"{url}&api={PROFILES[profile]}&{server.claims}&version={server.package}/{version}"
    out = folder / re.sub("[:/]", "-", profile)
    start = time.perf_counter()
    said = certified(address, profile, out, given.key)
    spent, counts = time.perf_counter() - start, said["summary"]
    failed = [each["id"] for each in said["notRight"] if each["outcome"] != "not_declared"]
    line = f"{server.name:18} {version:12.12} {profile:20} {said['verdict']:25}"
    print(f"{line} {counts['pass']:4} of {sum(counts.values()):4} {spent:6.1f} s", *failed, flush=True)
    if given.publish:
        print(f"    {published(server.name, out, given.publish, given.trust)}", flush=True)
    odd = surprising(server, said)
    if odd:
        print(f"    not known: {', '.join(odd)}", flush=True)
    return odd


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [server.name for server in SERVERS]
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=", ".join(names))
    parser.add_argument("--only", nargs="+", default=["*"], metavar="GLOB", help="names of profiles")
    parser.add_argument("--out", type=Path, help="where the reports go; default nowhere")
    parser.add_argument("--key", type=Path, help="signs the reports")
    parser.add_argument("--trust", type=Path, help="names the key")
    parser.add_argument("--publish", type=Path, help="where signed reports are published")
    parser.add_argument("--stay", action="store_true", help="serve until the input ends, and certify nothing")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whoever ends this ends the servers too
    if given.publish and not (given.key and given.trust):
        parser.error("--publish needs --key and --trust")
    if unknown := set(given.servers) - set(names):
        parser.error(f"no server {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    odd = list[str]()
    with tempfile.TemporaryDirectory() as scratch:
        for server in SERVERS:
            if given.servers and server.name not in given.servers:
                continue
            if missing := lacking(server):
                print(f"{server.name:18} left out: {', '.join(missing)} not installed", flush=True)
                continue
            folder = (given.out or Path(scratch)) / server.name
            with running(server, folder) as url:
                if given.stay:
                    print(*(f"{url}&api={api}&{server.claims}" for api in PROFILES.values()), sep="\n", flush=True)
                    sys.stdin.read()
                    continue
                for profile in PROFILES:
                    if any(fnmatch(profile, name) for name in given.only):
                        odd += run(server, url, profile, given, folder)
    return int(bool(odd))


if __name__ == "__main__":
    raise SystemExit(main())
