"""CTranslate2 hands back prompts as text, where one prompt of a batch has a single token.

Seen with ctranslate2 4.8.5, numpy 2.4.6. Cases llama.batch.generate.ragged and llama.batch.generate.ends-apart.
`generate_batch` with include_prompt_in_result=False and prompts of different lengths: what the longer prompts hold
beyond the first token comes back as if it had been generated, and counts against max_length. Each prompt alone, and any
batch without a prompt of one token, is answered rightly: the runtime is its own second witness.
Cause: run_generation in src/models/language_model.cc (OpenNMT/CTranslate2) tells the decoding loop to leave the prompt
out only where it has something to feed at once, which is the shortest prompt but its last token: nothing, if that has
one. CTranslate2 is wrong.

python ctranslate2-batch-with-a-prompt-of-one.py      needs ctranslate2, numpy
"""

import tempfile
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

V, D, F, LENGTH = 32, 16, 32, 24
random = np.random.default_rng(0)


def drawn(*sizes: int) -> Any:
    return random.normal(size=sizes).astype(np.float32)


spec = transformer_spec.TransformerDecoderModelSpec.from_config(
    1, 2, pre_norm=True, activation=common_spec.Activation.GELUTanh
)
decoder, layer = spec.decoder, spec.decoder.layer[0]
decoder.scale_embeddings = False
decoder.embeddings.weight, decoder.position_encodings.encodings = drawn(V, D), drawn(LENGTH, D)
for norm in (decoder.layer_norm, layer.self_attention.layer_norm, layer.ffn.layer_norm):
    norm.gamma, norm.beta = np.ones(D, np.float32), np.zeros(D, np.float32)
for linear, out, into in (
    (decoder.projection, V, D), (layer.self_attention.linear[0], 3 * D, D), (layer.self_attention.linear[1], D, D),
    (layer.ffn.linear_0, F, D), (layer.ffn.linear_1, D, F),
):  # fmt: skip
    linear.weight, linear.bias = drawn(out, into) / np.float32(into**0.5), np.zeros(out, np.float32)
words = [f"t{i}" for i in range(V)]
spec.register_vocabulary(words)
spec.config.unk_token = spec.config.bos_token = spec.config.eos_token = words[0]
spec.validate()
spec.optimize()
with tempfile.TemporaryDirectory() as folder:
    spec.save(folder)
    runtime = ctranslate2.Generator(folder, compute_type="float32", intra_threads=1)


def generated(prompts: list[list[int]]) -> list[list[int]]:
    settings: Any = {"max_length": 4, "beam_size": 1, "sampling_topk": 1, "end_token": [V]}
    made = runtime.generate_batch(
        [[words[i] for i in prompt] for prompt in prompts], include_prompt_in_result=False, **settings
    )
    return [each.sequences_ids[0] for each in made]


print("ctranslate2", ctranslate2.__version__)
long, short = [9, 11, 12, 13, 14, 15], [8]
print("alone             ", generated([long]), generated([short]))
print("with two tokens   ", generated([long, [8, 7]]))
print("with one token    ", generated([long, short]), "of prompts", long, short)
