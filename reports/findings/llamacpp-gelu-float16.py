"""llama.cpp reads GELU from a table of float16, so that GPT-2 in float32 has the digits of float16.

Seen with llama-cpp-python 0.3.36 (llama.cpp 0.5.0-dev) on x86-64, gguf 0.19.0, transformers 5.24.0, torch 2.13.0. By
this the adapter `llamacpp`, which claims float32, fails some 65 of 321 cases of core/gpt/logits; `llamacpp:float16` is
conformant. Cause: ggml_vec_gelu_f32 of ggml/src/ggml-cpu/vec.h (ggml-org/llama.cpp) rounds what it is given to float16
and looks up 65536 values of float16, because the same file defines GGML_GELU_FP16 whatever is asked for; issue 29252
there tells it too. Second witness: transformers in float32. That the table is the cause is seen where transformers in
float64 is given it in place of its GELU: llama.cpp agrees with that, but for inputs so near the middle of two numbers
of float16 that float32 rounds them the other way. llama.cpp is wrong, or its label is.

python llamacpp-gelu-float16.py      needs llama-cpp-python, gguf, transformers, torch
"""

import tempfile

import gguf
import llama_cpp
import numpy as np
import torch
import transformers
from torch import nn

V, D, HEADS, LAYERS, LENGTH = 64, 64, 4, 2, 32
IDS = torch.tensor([[1, 5, 2, 60, 33, 7, 7, 12]])


class Table(nn.Module):
    """GELU as llama.cpp has it, whatever it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = nn.functional.gelu(x.half().double(), approximate="tanh").half().to(x.dtype)
        return torch.where(x <= -10, 0, torch.where(x >= 10, x, read))


torch.manual_seed(0)
sizes = {"vocab_size": V, "n_positions": LENGTH, "n_embd": D, "n_layer": LAYERS, "n_head": HEADS}
model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, initializer_range=0.2)).eval()
held = {name: array.numpy() for name, array in model.state_dict().items()}

with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    writer = gguf.GGUFWriter(f"{folder}/m.gguf", "gpt2")
    writer.add_context_length(LENGTH)
    writer.add_embedding_length(D)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(4 * D)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(V)
    writer.add_tokenizer_model("none")
    writer.add_tensor("token_embd.weight", held["transformer.wte.weight"])
    writer.add_tensor("position_embd.weight", held["transformer.wpe.weight"])
    parts = {"attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2",
             "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}  # fmt: skip
    named = {"output_norm": "transformer.ln_f"}
    named |= {f"blk.{i}.{ours}": f"transformer.h.{i}.{part}" for i in range(LAYERS) for ours, part in parts.items()}
    for name, part in named.items():
        writer.add_tensor(f"{name}.weight", np.ascontiguousarray(held[f"{part}.weight"].T))
        writer.add_tensor(f"{name}.bias", held[f"{part}.bias"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    exact = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32, "flash_attn": False}
    threads = {"n_threads": 1, "n_threads_batch": 1}
    runtime = llama_cpp.Llama(
        f"{folder}/m.gguf", n_ctx=LENGTH, logits_all=True, verbose=False, n_threads=1, n_threads_batch=1, **exact
    )
    runtime.eval(IDS[0].tolist())
    got = np.array(runtime.scores[: IDS.shape[1]], np.float64)
    runtime.close()
    single = model(IDS).logits[0].double().numpy()
    due = model.double()(IDS).logits[0].numpy()
    for block in model.transformer.h:
        block.mlp.act = Table()
    read = model(IDS).logits[0].numpy()

print("llama-cpp-python", llama_cpp.__version__, "transformers", transformers.__version__)
print(f"largest logit                                          {np.abs(due).max():8.2f}")
print(f"transformers in float32, from float64                  {np.abs(single - due).max():8.1e}")
print(f"llama.cpp in float32, from float64                     {np.abs(got - due).max():8.1e}")
print(f"transformers in float64 with the table, from float64   {np.abs(read - due).max():8.1e}")
print(f"llama.cpp, from transformers in float64 with the table {np.abs(got - read).max():8.1e}")
