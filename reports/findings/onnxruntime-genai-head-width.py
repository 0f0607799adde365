"""The builder of onnxruntime-genai writes graphs of Llama that its runtime cannot run: heads of a width like 8 or 24.

Seen with onnxruntime-genai 0.18.0, onnxruntime 1.32.0, transformers 5.24.0, torch 2.13.0, tokenizers 0.23.3.
Cause: for the CPU the builder lets GroupQueryAttention turn the rotary angles, and that operator takes heads of a
multiple of 16 alone when it does (CheckRotaryCaches in microsoft/onnxruntime,
onnxruntime/contrib_ops/cpu/bert/group_query_attention_helper.h). The builder does not look. Second witness:
transformers runs the same checkpoint. The builder is wrong: it could leave the angles to RotaryEmbedding, or refuse.
The adapter `onnxruntime-genai` gives the runtime another graph.

python onnxruntime-genai-head-width.py      needs onnxruntime-genai, onnx-ir, transformers, torch, tokenizers
"""

import tempfile

import numpy as np
import onnxruntime_genai
import tokenizers
import torch
import transformers
from onnxruntime_genai.models import builder

torch.manual_seed(0)
for width in (16, 24, 8):
    settings = transformers.LlamaConfig(
        vocab_size=32, hidden_size=2 * width, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=16, max_position_embeddings=32, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    checkpoint = transformers.LlamaForCausalLM(settings).eval()
    with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as made:
        checkpoint.save_pretrained(source)
        words = tokenizers.Tokenizer(tokenizers.models.WordLevel({f"t{i}": i for i in range(32)}, unk_token="t0"))
        transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="t0").save_pretrained(source)
        given = (None, source, made, "fp32", "cpu", made + "/cache")
        builder.create_model(*given, **builder.parse_extra_options(*given, []))
        model = onnxruntime_genai.Model(made)
        settings_of_one = onnxruntime_genai.GeneratorParams(model)
        settings_of_one.set_search_options(max_length=32)
        generator = onnxruntime_genai.Generator(model, settings_of_one)
        with torch.inference_mode():
            due = checkpoint(torch.tensor([[1, 2, 3]])).logits.numpy()
        try:
            generator.append_tokens(np.array([[1, 2, 3]], np.int32))
            found = f"within {np.abs(generator.get_output('logits') - due).max():.1e} of transformers"
        except RuntimeError as error:
            found = f"RuntimeError: {error!s:.200}"
    print(f"HEADS OF {width}: {found}")
