"""onnxruntime-genai ends the text of a model that has no end-of-sequence id, at the id that fills short rows.

Seen with onnxruntime-genai 0.18.0, onnx 1.23.2, transformers 5.24.0, torch 2.13.0. Cases: greedy.ties.all-equal,
greedy.largest-logit.hot-attention, llama.greedy.all-equal, and by chance any that generates without an end.
Cause: where the list eos_token_id of genai_config.json is empty, the constructor of Config puts pad_token_id into it
(microsoft/onnxruntime-genai, src/config.cpp), and neither may lie outside of the vocabulary, so that a model without an
end cannot be said. Second witness: transformers, told of no end and of the same filler, goes on to the last id.
onnxruntime-genai is wrong.

python onnxruntime-genai-no-end.py      needs onnxruntime-genai, onnx, transformers, torch
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_genai
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper

V, LENGTH = 8, 10


def graph(favourite: int) -> onnx.ModelProto:
    """A decoder whose largest logit is always that of one id; it keeps the ids in place of keys and values."""
    past = [helper.make_tensor_value_info(f"past_key_values.0.{x}", 1, ["b", 1, "p", 1]) for x in ("key", "value")]
    kept = [helper.make_tensor_value_info(f"present.0.{x}", 1, ["b", 1, "s", 1]) for x in ("key", "value")]
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", n]) for name, n in
           (("input_ids", "t"), ("attention_mask", "s"))]  # fmt: skip
    logits = helper.make_tensor_value_info("logits", 1, ["b", "t", V])
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["logits"]),
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=1),
        helper.make_node("Unsqueeze", ["numbers", "axes"], ["new"]),
        *(helper.make_node("Concat", [f"past_key_values.0.{x}", "new"], [f"present.0.{x}"], axis=2) for x in
          ("key", "value")),
    ]  # fmt: skip
    table = np.tile(np.eye(V, dtype=np.float32)[favourite], (V, 1))
    held = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1, 3]), "axes")]
    made = helper.make_graph(nodes, "decoder", [*ids, *past], [logits, *kept], held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def generated(favourite: int, pad: int, eos: list[int]) -> list[int]:
    """What the runtime writes behind two ids."""
    decoder = {
        "filename": "model.onnx", "head_size": 1, "hidden_size": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
        "num_hidden_layers": 1,
        "inputs": {
            "input_ids": "input_ids", "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value",
        },
    }  # fmt: skip
    ids = {"bos_token_id": 1, "pad_token_id": pad, "eos_token_id": eos}
    model = {"type": "llama", "vocab_size": V, "context_length": LENGTH, "decoder": decoder, **ids}
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(graph(favourite), f"{folder}/model.onnx")
        (Path(folder) / "genai_config.json").write_text(json.dumps({"model": model, "search": {"max_length": LENGTH}}))
        runtime = onnxruntime_genai.Model(folder)
    parameters = onnxruntime_genai.GeneratorParams(runtime)
    parameters.set_search_options(max_length=LENGTH, do_sample=False)
    generator = onnxruntime_genai.Generator(runtime, parameters)
    generator.append_tokens(np.array([[4, 4]], np.int32))
    made = []
    while not generator.is_done():
        generator.generate_next_token()
        made.append(int(generator.get_next_tokens()[0]))
    return made


for favourite, pad, eos in ((0, 0, []), (0, 5, []), (5, 5, []), (5, 5, [7])):
    print(f"largest logit {favourite}, filler {pad}, end {eos}: {generated(favourite, pad, eos)}")
sizes = transformers.GPT2Config(vocab_size=V, n_positions=LENGTH, n_embd=4, n_layer=1, n_head=1)
witness = transformers.GPT2LMHeadModel(sizes)
for weight in witness.parameters():
    torch.nn.init.zeros_(weight)
told = transformers.GenerationConfig(max_new_tokens=LENGTH - 2, do_sample=False, pad_token_id=0, eos_token_id=None)
text = witness.generate(torch.tensor([[4, 4]]), attention_mask=torch.ones(1, 2), generation_config=told)[0, 2:]
print(f"transformers, largest logit 0, filler 0, no end: {text.tolist()}")
