"""The architectures by the name that model.json gives them, a page of code each.

decoder          forward(weights, config, ids, cache) -> logits, cache
encoder          forward(weights, config, ids, types) -> logits
encoder-decoder  read(weights, config, source) -> cache, then forward as a decoder
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from llmasos.architectures import bert, gpt3, llama, transformer

MODULES: Mapping[str, ModuleType] = {"Transformer": transformer, "GPT-3": gpt3, "BERT": bert, "Llama": llama}

DECODER, ENCODER, ENCODER_DECODER = "decoder", "encoder", "encoder-decoder"
KIND: Mapping[str, str] = {"Transformer": ENCODER_DECODER, "GPT-3": DECODER, "BERT": ENCODER, "Llama": DECODER}
