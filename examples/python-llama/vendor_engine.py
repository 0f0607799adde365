"""The engine under test: a Llama-style decoder in NumPy, float32. Put your own in its place, call by call.

    Engine(config, weights)      your loader
    engine.logits(ids, cache)    your forward pass, with your cache

Nothing here knows of LLMasOS; `adapter.py` does.
"""

import numpy as np
from scipy.special import expit


class Engine:
    """A loaded model.

    Args:
        config: parameters of model.json, defaults filled in. weights: name -> array as in model.safetensors.
    """

    def __init__(self, config, weights):
        if (asked := config.get("architecture", "Llama")) != "Llama":
            raise ValueError(f"this example computes Llama and not {asked}: put your own engine in its place")
        self.config = config
        self.weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}

    def logits(self, ids, cache=()):
        """Logits [T, V] behind each of T ids, and the cache with these ids in it.

        Args:
            cache: per layer the keys and values [G, S, K] of the S ids before, keys rotated; empty at the start. It is
                not changed.
        """
        w, N = self.weights, self.config["num_layers"]
        H, G = self.config["num_heads"], self.config["num_key_value_heads"]
        start = cache[0][0].shape[1] if cache else 0
        x = w["token_embedding"][ids]  # [T, D]
        turn = angles(start, start + len(ids), x.shape[1] // H, self.config["rope_theta"])
        grown = []
        for i in range(N):
            normed = self.norm(x, f"layers.{i}.attention_norm")
            q, k, v = (
                (normed @ w[f"layers.{i}.attention.{part}.weight"]).reshape(len(ids), count, -1).swapaxes(0, 1)
                for part, count in (("query", H), ("key", G), ("value", G))
            )  # [H or G, T, K]
            q, k = rotate(q, *turn), rotate(k, *turn)
            if cache:
                k, v = np.concatenate([cache[i][0], k], 1), np.concatenate([cache[i][1], v], 1)  # [G, S + T, K]
            grown.append((k, v))
            mixed = attend(q, np.repeat(k, H // G, 0), np.repeat(v, H // G, 0)).swapaxes(0, 1).reshape(x.shape)
            x = x + mixed @ w[f"layers.{i}.attention.output.weight"]
            normed = self.norm(x, f"layers.{i}.feed_forward_norm")
            gate, up = (normed @ w[f"layers.{i}.feed_forward.{part}.weight"] for part in ("gate", "up"))
            x = x + (gate * expit(gate) * up) @ w[f"layers.{i}.feed_forward.down.weight"]
        head = w["token_embedding"] if self.config["tie_embeddings"] else w["head.weight"]
        return self.norm(x, "final_norm") @ head.T, grown

    def norm(self, x, name):
        """RMS norm over the last axis."""
        square = (x * x).mean(-1, keepdims=True)
        return x / np.sqrt(square + np.float32(self.config["rms_norm_epsilon"])) * self.weights[f"{name}.weight"]


def angles(start, end, width, theta):
    """Cosines and sines [T, K/2] of p · θ^(-2i/K), which is large and float64 until they are known."""
    angle = np.arange(start, end)[:, None] / theta ** (np.arange(0, width, 2) / width)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rotate(x, cos, sin):
    """Channel i of a head turns with channel i + K/2; [H, T, K] -> the same."""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attend(q, k, v):
    """Causal attention of the last T of S positions; [H, T, K] and twice [H, S, K] -> [H, T, K]."""
    T, S = q.shape[1], k.shape[1]
    scores = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[2]))
    scores = np.where(np.tri(T, S, S - T, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v
