"""llama_cpp.server passes max_tokens within a character, and drops or misreads further parameters of the API.

Seen with llama-cpp-python 0.3.36 (llama.cpp 0.5.0-dev), gguf 0.19.0, fastapi 0.165, uvicorn 0.54. By this it fails
HOST-6, 8, 9, 11, 12, 14, 18 and 21 of hosted/completions and hosted/chat, and HOST-31 of the former; HOST-4 with models
that say characters of several tokens. Causes in llama_cpp/llama.py: `_create_completion` goes on with the next token
where the last bytes begin a character, before it has looked at the number of tokens (since pull request 118), so that a
byte that begins a character, said again and again, never ends; stop strings are tried in the order of the list, and the
first that is found decides; where max_tokens is 0 there is no limit; with echo the row behind a token is read for it
(issue 1983). In llama_cpp/server: n is left out of what is passed on (issue 1906), stream_options is no parameter and
no name is refused, RouteErrorHandler makes a 500 of every wrong type, and a model's name is given back as it came.
Second witness: mlx_lm.server refuses wrong types, strange models and a limit of 0, and counts tokens; for the rest
OpenAI's description. llama-cpp-python is wrong.

The model is an automaton. Behind A come a smile of four bytes, " an" and the end; behind C come D, E and the end;
behind Z the byte C3 for ever.

python llama-cpp-python-server.py      needs llama-cpp-python[server], gguf
"""

import itertools
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import gguf
import llama_cpp
import numpy as np

V, D, END, AN = 258, 264, 256, 257
SMILE = list("🙂".encode())
CHAINS = ([ord("A"), *SMILE, AN, END], [*b"CDE", END], [ord("Z"), 0xC3, 0xC3])


def shown(byte: int) -> str:
    """A byte in the spelling of byte-level vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    strange = [other for other in range(256) if other not in plain]
    return chr(byte) if byte in plain else chr(256 + strange.index(byte))


def written(path: str) -> None:
    """A GPT-2 whose attention and feed-forward add nothing."""
    held = np.zeros((V, D), np.float32)
    head = held.copy()
    held[np.arange(V), np.arange(V)] = 1
    for chain in CHAINS:
        for before, behind in itertools.pairwise(chain):
            head[behind, before] = 1
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(256)
    writer.add_embedding_length(D)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(V)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*map(shown, range(256)), "<end>", "Ġan"])
    writer.add_token_types([1] * 256 + [3, 1])
    writer.add_token_merges(["Ġ a"])
    writer.add_bos_token_id(END)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)
    for name, tensor in {"token_embd": held, "output": head, "position_embd": np.zeros((256, D), np.float32)}.items():
        writer.add_tensor(f"{name}.weight", tensor)
    shapes = {"attn_norm": (D,), "attn_qkv": (3 * D, D), "attn_output": (D, D), "ffn_norm": (D,), "ffn_up": (32, D),
              "ffn_down": (D, 32)}  # fmt: skip
    for name, shape in {**{f"blk.0.{part}": shape for part, shape in shapes.items()}, "output_norm": (D,)}.items():
        writer.add_tensor(f"{name}.weight", np.full(shape, float(len(shape) == 1), np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(shape[0], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def asked(prompt: str, **body: object) -> tuple[int, str]:
    """Status and body."""
    whole = {"model": "m", "prompt": prompt, "max_tokens": 8, "temperature": 0, "repeat_penalty": 1, **body}
    data = json.dumps(whole).encode()
    request = urllib.request.Request(f"{url}/completions", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answer(prompt: str, **body: object) -> dict:
    return json.loads(asked(prompt, **body)[1])


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
url = f"http://127.0.0.1:{port}/v1"
with tempfile.TemporaryDirectory() as folder:
    written(f"{folder}/m.gguf")
    options = {"model": f"{folder}/m.gguf", "host": "127.0.0.1", "port": port, "n_ctx": 256, "n_threads": 1,
               "n_threads_batch": 1, "verbose": False}  # fmt: skip
    command = [sys.executable, "-m", "llama_cpp.server", *(f"--{name}={value}" for name, value in options.items())]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        print(f"llama-cpp-python {llama_cpp.__version__}")
        for prompt, limit in (("C", 1), ("C", 2), ("A", 1), ("A", 2), ("C", 0), ("Z", 5)):
            made = answer(prompt, max_tokens=limit)
            came = f"{made['usage']['completion_tokens']} tokens" if "usage" in made else made["error"]["message"]
            print(f"max_tokens {limit} behind {prompt}: {came}, {limit} tokens were due")
        for stop in ([" ", "n"], ["n", " "]):
            print(f"stop {stop}: {answer('A', stop=stop)['choices'][0]['text']!r}, '🙂' was due")
        print(f"n 3: {len(answer('C', n=3)['choices'])} choice")
        print(f"model nobody: answers as {answer('C', model='nobody')['model']!r}, 4xx or 'm' was due")
        for wrong in ({"temperature": "hot"}, {"temperature": -1}, {"top_p": 1.5}, {"temprature": 1}):
            print(f"{wrong}: status {asked('C', **wrong)[0]}, 4xx was due")
        told = asked("C", stream=True, stream_options={"include_usage": True})[1]
        print(f"stream with include_usage: usage {'came' if 'completion_tokens' in told else 'did not come'}")
        stated = answer("CDE", echo=True, logprobs=1)["choices"][0]["logprobs"]
        numbers = [None if number is None else round(number, 3) for number in stated["token_logprobs"]]
        print(f"echo of CDE: tokens {stated['tokens']}, logprobs {numbers}; about 0 behind C and D was due")
    finally:
        child.kill()
        child.wait()
