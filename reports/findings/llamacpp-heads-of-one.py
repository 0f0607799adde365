"""llama.cpp ends the whole process where heads have a width of 1 and flash attention is off.

Seen with llama-cpp-python 0.3.36 (llama.cpp 0.5.0-dev) on x86-64, gguf 0.19.0, transformers 5.24.0, torch 2.13.0. Case
format.parameters.num-heads, whose model of eight heads is 8 wide; the adapter `llamacpp` refuses such a model. Cause:
build_attn_mha in src/llama-graph.cpp (ggml-org/llama.cpp) takes values for turned where the step from head to channel
is smaller than that before it; turned values of heads of width 1 have both steps alike, so that they are turned again,
and the check of sizes in ggml_mul_mat aborts. Second witnesses: transformers, and llama.cpp itself with flash
attention, where values are not turned. llama.cpp is wrong; it could refuse the model too, but not end who loads it.

python llamacpp-heads-of-one.py      needs llama-cpp-python, gguf, transformers, torch
"""

import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers

V, D, LENGTH = 32, 8, 32
IDS = [1, 5, 2, 30]
ASKED = """
import sys, llama_cpp, numpy
threads = {"n_threads": 1, "n_threads_batch": 1}
flash = sys.argv[2] == "on"
runtime = llama_cpp.Llama(sys.argv[1], n_ctx=32, logits_all=True, verbose=False, flash_attn=flash, **threads)
runtime.eval([int(token) for token in sys.argv[3:]])
numpy.savetxt(sys.stdout, runtime.scores[: len(sys.argv) - 3])
"""


def written(model: transformers.GPT2LMHeadModel, heads: int, path: str) -> None:
    """A GPT-2 of one layer as GGUF."""
    held = {name.removeprefix("transformer."): array.numpy() for name, array in model.state_dict().items()}
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(LENGTH)
    writer.add_embedding_length(D)
    writer.add_block_count(1)
    writer.add_feed_forward_length(4 * D)
    writer.add_head_count(heads)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(V)
    writer.add_tokenizer_model("none")
    writer.add_tensor("token_embd.weight", held["wte.weight"])
    writer.add_tensor("position_embd.weight", held["wpe.weight"])
    names = {"blk.0.attn_norm": "h.0.ln_1", "blk.0.attn_qkv": "h.0.attn.c_attn", "blk.0.attn_output": "h.0.attn.c_proj",
             "blk.0.ffn_norm": "h.0.ln_2", "blk.0.ffn_up": "h.0.mlp.c_fc", "blk.0.ffn_down": "h.0.mlp.c_proj",
             "output_norm": "ln_f"}  # fmt: skip
    for ours, theirs in names.items():
        writer.add_tensor(f"{ours}.weight", np.ascontiguousarray(held[f"{theirs}.weight"].T))
        writer.add_tensor(f"{ours}.bias", held[f"{theirs}.bias"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


torch.manual_seed(0)
for heads in (4, 8):
    settings = {"vocab_size": V, "n_positions": LENGTH, "n_embd": D, "n_layer": 1, "n_head": heads}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings, initializer_range=0.2)).eval()
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        written(model, heads, f"{folder}/m.gguf")
        due = model(torch.tensor([IDS])).logits[0].numpy()
        for flash in ("off", "on"):
            command = [sys.executable, "-c", ASKED, f"{folder}/m.gguf", flash, *map(str, IDS)]
            run = subprocess.run(command, capture_output=True, text=True)
            said = [line for line in run.stderr.splitlines() if "ASSERT" in line]
            if run.returncode == 0:
                found = f"within {np.abs(np.loadtxt(run.stdout.splitlines()) - due).max():.0e} of transformers"
            else:
                found = f"process ended with {run.returncode}: {''.join(said)[-80:]}"
            print(f"heads of width {D // heads}, flash attention {flash:3}: {found}")
