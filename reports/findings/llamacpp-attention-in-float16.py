"""llama.cpp keeps keys and values in float16 and computes attention in it, whatever the weights are, unless told twice.

Seen with llama-cpp-python 0.3.36 (llama.cpp 0.5.0-dev) on x86-64, gguf 0.19.0, transformers 5.24.0, torch 2.13.0. With
the defaults of llama.cpp and a claim of float32 (`llamacpp:defaults`) 50 of 132 cases of core/llama/logits fail.
Causes, in ggml-org/llama.cpp: type_k and type_v are float16 by default (llama_context_default_params in
src/llama-context.cpp). With flash attention, which is on by default where it runs, build_attn_mha in
src/llama-graph.cpp casts keys and values of float32 to float16, so that float32 has to be asked for and flash attention
to be switched off. Behind weights of bfloat16 range is lost as well: a value beyond 65504 becomes infinite, and logits
become NaN (numerics.activations.float8, llama.numbers.activations.float8). Second witness: transformers. No fault as
long as float16 is claimed; the adapter's `llamacpp:bfloat16` keeps keys and values in bfloat16.

python llamacpp-attention-in-float16.py      needs llama-cpp-python, gguf, transformers, torch
"""

import tempfile

import gguf
import llama_cpp
import numpy as np
import torch
import transformers

V, D, HEADS, F, LENGTH = 64, 64, 4, 96, 32
IDS = torch.tensor([[1, 5, 2, 60, 33, 7, 7, 12]])
BF16 = int(gguf.GGMLQuantizationType.BF16)
KINDS = {"float32": llama_cpp.GGML_TYPE_F32, "float16": llama_cpp.GGML_TYPE_F16, "bfloat16": BF16}


def made(loud: float) -> transformers.LlamaForCausalLM:
    """A Llama whose values are louder than another's by a factor, and whose logits are the same."""
    torch.manual_seed(0)
    sizes = {"hidden_size": D, "num_hidden_layers": 2, "intermediate_size": F, "num_attention_heads": HEADS}
    settings = transformers.LlamaConfig(vocab_size=V, max_position_embeddings=LENGTH, initializer_range=0.2, **sizes)
    model = transformers.LlamaForCausalLM(settings).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.v_proj.weight *= loud
            layer.self_attn.o_proj.weight /= loud
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())  # so that a file of bfloat16 holds all of their digits
    return model


def paired(rows: np.ndarray) -> np.ndarray:
    """llama.cpp turns neighbouring channels of a head, transformers the halves."""
    return rows.reshape(HEADS, 2, -1, D).swapaxes(1, 2).reshape(rows.shape)


def written(model: transformers.LlamaForCausalLM, path: str, half: bool) -> None:
    """The model as GGUF, its maps in bfloat16 or in float32."""
    held = {name.removeprefix("model."): array.numpy() for name, array in model.state_dict().items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(LENGTH)
    writer.add_embedding_length(D)
    writer.add_block_count(2)
    writer.add_feed_forward_length(F)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_vocab_size(V)
    writer.add_tokenizer_model("none")
    names = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}  # fmt: skip
    all_names = {f"blk.{i}.{ours}": f"layers.{i}.{theirs}" for i in (0, 1) for ours, theirs in names.items()}
    all_names |= {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}
    for ours, theirs in all_names.items():
        array = held[f"{theirs}.weight"]
        array = np.ascontiguousarray(paired(array) if ours.endswith(("attn_q", "attn_k")) else array)
        if half and array.ndim == 2:
            array = gguf.quantize(array, gguf.GGMLQuantizationType.BF16)
            writer.add_tensor(f"{ours}.weight", array, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(f"{ours}.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def error(path: str, due: np.ndarray, cache: str, flash: bool) -> float:
    """The largest error of a logit."""
    settings = {
        "type_k": KINDS[cache],
        "type_v": KINDS[cache],
        "flash_attn": flash,
        "n_threads": 1,
        "n_threads_batch": 1,
    }
    runtime = llama_cpp.Llama(path, n_ctx=LENGTH, logits_all=True, verbose=False, **settings)
    runtime.eval(IDS[0].tolist())
    got = np.array(runtime.scores[: IDS.shape[1]], np.float64)
    runtime.close()
    return float(np.abs(got - due).max())


print("llama-cpp-python", llama_cpp.__version__, "transformers", transformers.__version__)
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    for weights, loud, caches in (("float32", 1, ("float16", "float32")), ("bfloat16", 2**20, ("float16", "bfloat16"))):
        model, path = made(loud), f"{folder}/{weights}.gguf"
        written(model, path, weights == "bfloat16")
        witness = model.to(getattr(torch, weights))(IDS).logits[0].double().numpy()
        due = model.double()(IDS).logits[0].numpy()
        print(f"weights of {weights}, values {loud} times as loud, logits up to {np.abs(due).max():.1f}: largest error")
        print(f"  transformers in {weights:8}                              {np.abs(witness - due).max():.1e}")
        for cache in caches:
            for flash in (True, False):
                how = f"keys and values in {cache:8}, flash attention {'on' if flash else 'off':3}"
                print(f"  {how}  {error(path, due, cache, flash):.1e}")
