"""transformers serve takes parameters and does something else: stop, n, logprobs, temperature; and streams lack [DONE].

Seen with transformers 5.24.0, torch 2.13.0, fastapi 0.165.0, uvicorn 0.54.0, openai 3.57.0, accelerate 1.15.0. Cases:
hosted.chat.stop.*, hosted.chat.choices, hosted.chat.logprobs.form, hosted.chat.temperature.heard,
hosted.chat.stream.form, hosted.chat.nothing, hosted.chat.wrong-types, hosted.chat.out-of-range, the same of completions
and hosted.echo.text.
Causes (src/transformers/cli/serving/chat_completion.py, completion.py, utils.py): stop becomes stop_strings of
`generate`, which ends behind such a string and leaves it in the text; n, logprobs, presence_penalty and echo are in
UNUSED_…_FIELDS, which are logged and dropped; do_sample is switched off by temperature 0 and never on, so that a
temperature counts only where generation_config.json of the model samples; frequency_penalty becomes repetition_penalty,
which counts the prompt and multiplies; streams end without [DONE]; what a value raises is a 500; a prompt of more ids
than max_position_embeddings is read. With --continuous-batching the options of the first request are everybody's: the
batch is made with its generation_config (CBGenerateManager.init_cb). OpenAI's description says otherwise of each.
Second witness for the temperature: `generate` of the same model, told to sample. transformers serve is wrong.

python transformers-serve.py      needs transformers, torch, fastapi, uvicorn, openai, accelerate, psutil
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import tokenizers
import torch
import transformers

BATCHED = ("--continuous-batching", "--cb-num-blocks", "256", "--cb-max-batch-tokens", "256")
"""Without the numbers it takes most of the machine's memory."""


def model(folder: str) -> transformers.LlamaForCausalLM:
    """A small Llama of random weights over letters as tokens, with a chat template."""
    letters = {letter: i for i, letter in enumerate("!abcdefghijklmnopqrstuvwxyz:ĠĊ")}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(letters, []))
    made.pre_tokenizer, made.decoder = tokenizers.pre_tokenizers.ByteLevel(False), tokenizers.decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, clean_up_tokenization_spaces=False)
    fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=len(letters), initializer_range=0.5, eos_token_id=0, **sizes)
    llama = transformers.LlamaForCausalLM(config)
    llama.save_pretrained(folder)
    return llama


def ask(url: str, name: str, **options: object) -> tuple[int, str]:
    """Status and body of a chat."""
    body = {"model": name, "messages": [{"role": "user", "content": "one two"}], "max_tokens": 12, **options}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def said(answer: tuple[int, str]) -> str:
    choice = json.loads(answer[1])["choices"][0]
    return f"{choice['message']['content']!r}, {choice['finish_reason']}"


@contextlib.contextmanager
def serving(folder: str, *more: str) -> Iterator[str]:
    """The URL of a server that is up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", folder, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", *more]
    command, quiet = [sys.executable, "-m", "transformers.cli.transformers", *words], subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        server.terminate()
        server.wait(30)


with tempfile.TemporaryDirectory() as folder:
    llama = model(folder)
    with serving(folder) as url:
        cold = ask(url, folder, temperature=0)
        text = json.loads(cold[1])["choices"][0]["message"]["content"]
        print(f"temperature 0:                 {said(cold)}")
        print(f"the same, stop {text[3:6]!r}:          {said(ask(url, folder, temperature=0, stop=[text[3:6]]))}")
        hot = {said(ask(url, folder, temperature=2, seed=seed)) for seed in range(20)}
        print(f"temperature 2, twenty seeds:   {len(hot)} different texts")
        ids = transformers.AutoTokenizer.from_pretrained(folder)("user: one two\n", return_tensors="pt").input_ids
        rows = [llama.generate(ids, do_sample=True, temperature=2.0, max_new_tokens=12) for _ in range(20)]
        print(f"generate, told to sample:      {len({tuple(row[0].tolist()) for row in rows})} different texts")
        more = json.loads(ask(url, folder, n=3, logprobs=True, top_logprobs=2)[1])["choices"]
        print(f"n 3 and logprobs:              {len(more)} choices, logprobs {more[0].get('logprobs')}")
        stream = ask(url, folder, stream=True)[1].rstrip()
        print(f"a stream ends with:            {stream[-60:]!r}")
        for options in ({"max_tokens": 0}, {"temperature": "hot"}, {"max_tokens": "many"}, {"messages": "hello"}):
            print(f"{options!s:<30} status {ask(url, folder, **options)[0]}")
    (Path(folder) / "generation_config.json").write_text('{"do_sample": true, "top_k": 0, "eos_token_id": 0}')
    with serving(folder) as url:
        hot = {said(ask(url, folder, temperature=2, seed=seed)) for seed in range(20)}
        print(f"a file that samples:           {len(hot)} different texts")
    with serving(folder, *BATCHED) as url:
        first = said(ask(url, folder, temperature=0))
        stopped = said(ask(url, folder, temperature=0, stop=[text[3:6]]))
        hot = {said(ask(url, folder, temperature=2, seed=seed)) for seed in range(20)}
        print(f"continuous batching, cold:     {first}")
        print(f"the same, stop {text[3:6]!r}:          {stopped}")
        print(f"temperature 2, twenty seeds:   {len(hot)} different texts")
    with serving(folder, *BATCHED) as url:
        ask(url, folder, temperature=2)
        hot = {said(ask(url, folder, temperature=0)) for _ in range(20)}
        print(f"temperature 0 behind 2:        {len(hot)} different texts")
