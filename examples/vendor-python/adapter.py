"""Hugging Face GPT-2 as a candidate: the logits are the runtime's, the rest is the adapter kit's and declared."""

import numpy as np
import torch
import transformers

from llmasos_conformance.adapters import kit

PARTS = {"ln_1": "attention_norm", "ln_2": "feed_forward_norm", "attn.c_proj": "attention.output",
         "mlp.c_fc": "feed_forward.up", "mlp.c_proj": "feed_forward.down"}  # fmt: skip


class Model(kit.KitModel):
    def __init__(self, bundle):
        super().__init__(bundle)
        c, w = bundle.config, bundle.weights
        self.gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(
            vocab_size=c["vocab_size"], n_positions=c["context_length"], n_embd=c["embedding_dim"],
            n_layer=c["num_layers"], n_head=c["num_heads"], n_inner=c["feed_forward_dim"],
            layer_norm_epsilon=float(c["layer_norm_epsilon"]), tie_word_embeddings=c["tie_embeddings"],
            bos_token_id=None, eos_token_id=None)).eval()  # fmt: skip
        state = {"wte.weight": w["token_embedding"], "wpe.weight": w["position_embedding"]}
        for kind in ("weight", "bias"):
            state[f"ln_f.{kind}"] = w[f"final_norm.{kind}"]
            for i in range(c["num_layers"]):
                state |= {f"h.{i}.{theirs}.{kind}": w[f"layers.{i}.{ours}.{kind}"] for theirs, ours in PARTS.items()}
                qkv = [w[f"layers.{i}.attention.{part}.{kind}"] for part in ("query", "key", "value")]
                state[f"h.{i}.attn.c_attn.{kind}"] = np.concatenate(qkv, axis=-1)
        head = {"lm_head.weight": w.get("head.weight", w["token_embedding"])}
        state = head | {f"transformer.{name}": array for name, array in state.items()}
        self.gpt2.load_state_dict({name: torch.tensor(array) for name, array in state.items()})

    @torch.inference_mode()
    def forward(self, batch):
        rows = [kit.check_ids(self.config, row) for row in batch]
        return [self.gpt2(torch.tensor([row])).logits[0].numpy() for row in rows]


class Mine:
    def describe(self):
        capabilities = ["load_model", "tokenize", "forward", "generate_ids"]
        return {"name": "mine", "version": "1.0", "capabilities": capabilities, "emulated": kit.emulated(),
                "claims": {"dtype": "float32", "determinism": "D1"}}  # fmt: skip

    def load_model(self, path):
        return Model(kit.read_bundle(path))
