"""The engine under test: a BERT in NumPy, float32. Put your own in its place, call by call.

    Engine(config, weights)      your loader
    engine.hidden(ids, types)    your forward pass
    engine.logits(x)             your head over the vocabulary
    engine.pooled(x)             your pooler

Nothing here knows of LLMasOS; `adapter.py` does.
"""

import numpy as np
from scipy.special import erf


class Engine:
    """A loaded model.

    Args:
        config: parameters of model.json, defaults filled in. weights: name -> array as in model.safetensors.
    """

    def __init__(self, config, weights):
        if (asked := config.get("architecture", "BERT")) != "BERT":
            raise ValueError(f"this example computes BERT and not {asked}: put your own engine in its place")
        self.config = config
        self.weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        self.activate = ACTIVATIONS[config["activation"]]

    def hidden(self, ids, types):
        """What leaves the last block, [T, D], of T ids and the token type of each."""
        w, N, H = self.weights, self.config["num_layers"], self.config["num_heads"]
        x = w["token_embedding"][ids] + w["position_embedding"][: len(ids)] + w["type_embedding"][types]
        x = self.norm(x, "embedding_norm")  # [T, D]
        for i in range(N):
            q, k, v = (
                self.linear(x, f"layers.{i}.attention.{part}").reshape(len(ids), H, -1).swapaxes(0, 1)
                for part in ("query", "key", "value")
            )  # [H, T, K]
            mixed = attend(q, k, v).swapaxes(0, 1).reshape(x.shape)
            x = self.norm(x + self.linear(mixed, f"layers.{i}.attention.output"), f"layers.{i}.attention_norm")
            inner = self.activate(self.linear(x, f"layers.{i}.feed_forward.up"))
            x = self.norm(x + self.linear(inner, f"layers.{i}.feed_forward.down"), f"layers.{i}.feed_forward_norm")
        return x

    def logits(self, x):
        """Logits of what stands at each position, [T, D] -> [T, V]."""
        x = self.norm(self.activate(self.linear(x, "head.transform")), "head.norm")
        head = self.weights["token_embedding" if self.config["tie_embeddings"] else "head.weight"]
        return x @ head.T + self.weights["head.bias"]

    def pooled(self, x):
        """One vector for the row, of its first position; [T, D] -> [D]."""
        return np.tanh(self.linear(x[:1], "pooler"))[0]

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
    """Attention of every position to all; three times [H, T, K] -> [H, T, K]."""
    scores = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[2]))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def gelu(x):
    """GELU by the error function, as BERT has it."""
    return 0.5 * x * (1 + erf(x / np.float32(np.sqrt(2))))


def gelu_tanh(x):
    """GELU by tanh."""
    with np.errstate(over="ignore"):  # the cube of a large x may be infinite, and its tanh is 1
        return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + 0.044715 * x * x * x)))


def relu(x):
    """The rectifier."""
    return np.maximum(x, 0)


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh, "relu": relu}
"""By their names in model.json."""
