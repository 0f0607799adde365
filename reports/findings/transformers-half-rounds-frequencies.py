"""`model.half()` rounds the rotary frequencies of a Llama; loading a checkpoint in float16 does not.

Seen with transformers 5.24.0, torch 2.13.0. The frequencies are a buffer of the module, inv_freq, and `half`,
`bfloat16` and `to(dtype)` convert buffers with the weights (transformers/models/llama/modeling_llama.py,
LlamaRotaryEmbedding: `register_buffer("inv_freq", …)`). Angles are position times frequency, so that far positions
are turned by others than the weights were trained for. `from_pretrained(…, dtype=torch.float16)` leaves the buffer
in float32. Second witness: NumPy in float64. Whoever converts a module that is loaded has to keep or restore its
buffers.

python transformers-half-rounds-frequencies.py      needs transformers, torch, numpy
"""

import tempfile

import numpy as np
import torch
import transformers

transformers.logging.set_verbosity_error()
torch.manual_seed(0)
T = 1000
config = transformers.LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=80, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, max_position_embeddings=1056, initializer_range=0.5, tie_word_embeddings=False,
)  # fmt: skip
whole = transformers.LlamaForCausalLM(config).eval()
ids = torch.randint(64, (1, T))
with tempfile.TemporaryDirectory() as place:
    whole.save_pretrained(place)
    loaded = transformers.LlamaForCausalLM.from_pretrained(place, dtype=torch.float16).eval()
    converted = transformers.LlamaForCausalLM.from_pretrained(place).eval().half()
    exact = transformers.LlamaForCausalLM.from_pretrained(place, dtype=torch.float64).eval()
K = 16
due = T * 10000.0 ** (-np.arange(0, K, 2) / K)
exact.model.rotary_emb.inv_freq = torch.from_numpy(10000.0 ** (-np.arange(0, K, 2) / K))
with torch.no_grad():
    truth = exact(ids).logits[0, -100:].double()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {T} positions")
    for name, model in (("loaded in float16", loaded), ("half()", converted)):
        frequencies = model.model.rotary_emb.inv_freq
        angle = np.abs(T * frequencies.double().numpy() - due).max()
        error = (model(ids).logits[0, -100:].double() - truth).abs().max() / truth.std()
        print(f"{name:20} frequencies {frequencies.dtype!s:14} angle off by {angle:.1e}   logits off by {error:.1e}")
