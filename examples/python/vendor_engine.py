"""The engine under test: a GPT-2-style decoder in NumPy, float32. Put your own in its place, call by call.

    Engine(config, weights)      your loader
    engine.logits(ids, cache)    your forward pass, with your cache

Nothing here knows of LLMasOS; `adapter.py` does.
"""

import numpy as np


class Engine:
    """A loaded model.

    Args:
        config: parameters of model.json, defaults filled in. weights: name -> array as in model.safetensors.
    """

    def __init__(self, config, weights):
        if (asked := config.get("architecture", "GPT-3")) != "GPT-3":
            raise ValueError(f"this example computes GPT-3 and not {asked}: put your own engine in its place")
        self.config = config
        self.weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}

    def logits(self, ids, cache=()):
        """Logits [T, V] behind each of T ids, and the cache with these ids in it.

        Args:
            cache: per layer the keys and values [H, S, K] of the S ids before; empty at the start. It is not changed.
        """
        w, N, H = self.weights, self.config["num_layers"], self.config["num_heads"]
        start = cache[0][0].shape[1] if cache else 0
        x = w["token_embedding"][ids] + w["position_embedding"][start : start + len(ids)]  # [T, D]
        grown = []
        for i in range(N):
            normed = self.norm(x, f"layers.{i}.attention_norm")
            q, k, v = (
                self.linear(normed, f"layers.{i}.attention.{part}").reshape(len(ids), H, -1).swapaxes(0, 1)
                for part in ("query", "key", "value")
            )  # [H, T, K]
            if cache:
                k, v = np.concatenate([cache[i][0], k], 1), np.concatenate([cache[i][1], v], 1)  # [H, S + T, K]
            grown.append((k, v))
            mixed = attend(q, k, v).swapaxes(0, 1).reshape(x.shape)
            x = x + self.linear(mixed, f"layers.{i}.attention.output")
            hidden = gelu(self.linear(self.norm(x, f"layers.{i}.feed_forward_norm"), f"layers.{i}.feed_forward.up"))
            x = x + self.linear(hidden, f"layers.{i}.feed_forward.down")
        head = w["token_embedding"] if self.config["tie_embeddings"] else w["head.weight"]
        return self.norm(x, "final_norm") @ head.T, grown

    def linear(self, x, name):
        """[T, I] -> [T, O]; weights stand right of activations."""
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def norm(self, x, name):
        """Layer norm over the last axis."""
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        scaled = centred / np.sqrt(variance + np.float32(self.config["layer_norm_epsilon"]))
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def attend(q, k, v):
    """Causal attention of the last T of S positions; [H, T, K] and twice [H, S, K] -> [H, T, K]."""
    T, S = q.shape[1], k.shape[1]
    scores = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[2]))
    scores = np.where(np.tri(T, S, S - T, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def gelu(x):
    """GELU by tanh, as GPT-2 has it."""
    with np.errstate(over="ignore"):  # the cube of a large x may be infinite, and its tanh is 1
        return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + 0.044715 * x * x * x)))
