"""The engine under test: an encoder-decoder in NumPy, float32. Put your own in its place, call by call.

    Engine(config, weights)      your loader
    engine.read(source)          your encoder, and the cache of a target that is still empty
    engine.logits(ids, cache)    your decoder, with your cache

Nothing here knows of LLMasOS; `adapter.py` does.
"""

import numpy as np
from scipy.special import erf, expit


class Engine:
    """A loaded model.

    Args:
        config: parameters of model.json, defaults filled in. weights: name -> array as in model.safetensors.
    """

    def __init__(self, config, weights):
        if (asked := config.get("architecture", "Transformer")) != "Transformer":
            raise ValueError(f"this example computes Transformer and not {asked}: put your own engine in its place")
        self.config = config
        self.weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        self.activate = ACTIVATIONS[config["activation"]]

    def read(self, source):
        """The cache of a source of S ids, before the first id of the target.

        Returns:
            per layer of the decoder the keys and values [H, S, K] of the source; and an empty tuple, where those of the
            target will stand.
        """
        x = self.embed(source, 0, "encoder")
        for layer in (f"encoder.layers.{i}" for i in range(self.config["num_layers"])):
            x = self.attention(x, f"{layer}.attention", self.keys_and_values(x, f"{layer}.attention"))
            x = self.feed_forward(x, layer)
        layers = range(self.config["num_decoder_layers"])
        return [self.keys_and_values(x, f"decoder.layers.{i}.cross_attention") for i in layers], ()

    def logits(self, ids, cache):
        """Logits [T, V] behind each of T ids of the target, and a new cache with these ids in it."""
        source, before = cache
        start = before[0][0].shape[1] if before else 0
        x = self.embed(ids, start, "decoder")  # [T, D]
        visible = np.tri(len(ids), start + len(ids), start, dtype=bool)
        grown = []
        for i in range(self.config["num_decoder_layers"]):
            layer = f"decoder.layers.{i}"
            k, v = self.keys_and_values(x, f"{layer}.attention")
            if before:
                k, v = np.concatenate([before[i][0], k], 1), np.concatenate([before[i][1], v], 1)
            grown.append((k, v))
            x = self.attention(x, f"{layer}.attention", (k, v), visible)
            x = self.attention(x, f"{layer}.cross_attention", source[i])
            x = self.feed_forward(x, layer)
        head = self.weights["token_embedding" if self.config["tie_embeddings"] else "head.weight"]
        return x @ head.T, (source, grown)

    def embed(self, ids, start, side):
        """Ids at positions from `start` on; [T, D]."""
        x, D, end = self.weights["token_embedding"][ids], self.config["embedding_dim"], start + len(ids)
        if self.config["scale_embeddings"]:
            x = x * np.float32(np.sqrt(D))
        if self.config["positions"] == "learned":
            x = x + self.weights[f"{side}.position_embedding"][start:end]
        else:
            x = x + sinusoids(start, end, D)
        return self.norm(x, f"{side}.embedding_norm") if self.config["embedding_norm"] else x

    def attention(self, x, name, seen, visible=True):
        """The block `name` with the norm behind it; [T, D] -> [T, D].

        Args:
            seen: keys and values [H, S, K]. visible: [T, S], or True for all.
        """
        mixed = attend(self.heads(x, f"{name}.query"), *seen, visible).swapaxes(0, 1).reshape(x.shape)
        return self.norm(x + self.linear(mixed, f"{name}.output"), f"{name}_norm")

    def keys_and_values(self, x, name):
        """Keys and values of what the block `name` looks at; [S, D] -> twice [H, S, K]."""
        return self.heads(x, f"{name}.key"), self.heads(x, f"{name}.value")

    def heads(self, x, name):
        """[T, D] -> [H, T, K]."""
        return self.linear(x, name).reshape(len(x), self.config["num_heads"], -1).swapaxes(0, 1)

    def feed_forward(self, x, layer):
        """The block of a layer with the norm behind it; [T, D] -> [T, D]."""
        inner = self.activate(self.linear(x, f"{layer}.feed_forward.up"))
        return self.norm(x + self.linear(inner, f"{layer}.feed_forward.down"), f"{layer}.feed_forward_norm")

    def linear(self, x, name):
        """[T, I] -> [T, O]; weights stand right of activations."""
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def norm(self, x, name):
        """Layer norm over the last axis."""
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        scaled = centred / np.sqrt(variance + np.float32(self.config["layer_norm_epsilon"]))
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def sinusoids(start, end, width):
    """Channels 2i and 2i + 1 are sine and cosine of p / 10000^(2i/D); [T, D]. float64 until they are known."""
    channel = np.arange(width)
    angle = np.arange(start, end)[:, None] / 10000 ** ((channel - channel % 2) / width)
    return np.where(channel % 2, np.cos(angle), np.sin(angle)).astype(np.float32)


def attend(q, k, v, visible):
    """Attention of T positions to S; [H, T, K] and twice [H, S, K] -> [H, T, K]."""
    scores = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[2]))
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def relu(x):
    """The rectifier."""
    return np.maximum(x, 0)


def gelu(x):
    """GELU by the error function."""
    return 0.5 * x * (1 + erf(x / np.float32(np.sqrt(2))))


def gelu_tanh(x):
    """GELU by tanh."""
    with np.errstate(over="ignore"):  # the cube of a large x may be infinite, and its tanh is 1
        return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + 0.044715 * x * x * x)))


def silu(x):
    """The rectifier by a logistic gate."""
    return x * expit(x)


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}
"""By their names in model.json."""
