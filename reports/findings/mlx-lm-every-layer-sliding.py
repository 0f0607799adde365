"""mlx-lm's Llama does not start where every layer has a sliding window.

Seen with mlx-lm 0.32.2, mlx 0.32.4, transformers 5.24.0. The adapter `mlx` therefore declares no window.
Cause: LlamaModel of mlx_lm/models/llama.py looks up the first "full_attention" among layer_types, and there is none.
Second witness: transformers' MistralForCausalLM, which has such a window in every layer, runs. mlx-lm is wrong.

python mlx-lm-every-layer-sliding.py      needs mlx[cpu], mlx-lm, torch, transformers
"""

import mlx_lm
import torch
import transformers
from mlx_lm.models import llama

sizes = {"hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 8}
own = {"model_type": "llama", "rms_norm_eps": 1e-6, "sliding_window": 4}
for kinds in (["full_attention", "sliding_attention"], ["sliding_attention"] * 2):
    try:
        llama.Model(llama.ModelArgs.from_dict({**sizes, **own, "layer_types": kinds}))
        print(f"mlx-lm {mlx_lm.__version__} {kinds}: starts")
    except ValueError as error:
        print(f"mlx-lm {mlx_lm.__version__} {kinds}: ValueError: {error}")
made = transformers.MistralForCausalLM(transformers.MistralConfig(**sizes, num_key_value_heads=2, sliding_window=4))
print(f"transformers {transformers.__version__}: logits {tuple(made(torch.tensor([[1, 2, 3, 4, 5, 6]])).logits.shape)}")
