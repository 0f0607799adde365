"""CTranslate2 as a candidate: its decoders, encoders and encoder-decoders, converted from a bundle in `converting`.

    ctranslate2         float32
    ctranslate2:int8    weights of eight bits and products of integers, held to bfloat16, because the standard has no
                        claim for them; it is not expected to be conformant

The runtime's own: logits of a batch of rows, greedy decoding of one prompt or a batch, log-probabilities of a row of a
decoder, hidden states and pooled output of BERT. Logits of a Transformer come from its decoding loop, which is made to
write the given ids, and so from its cache. The adapter's, and declared: the head of BERT, because the runtime has none,
and sessions, because its cache cannot be reached. The adapter kit's: everything else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import erf

from llmasos_conformance.adapters import kit
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import ARCHITECTURES, Array, Claims, Description, Encoding, Generation

try:
    import ctranslate2
except ImportError as error:
    raise AddressError(
        f"{error.name} is not installed", where="ctranslate2", hint="pip install 'llmasos[ctranslate2]'"
    ) from None

from llmasos_conformance.adapters.ctranslate2 import converting  # it needs ctranslate2

CLAIMS: Mapping[str, str] = {"float32": "float32", "int8": "bfloat16"}
"""Type of the runtime's computation -> the dtype that it is held to."""
_OFFERED = (
    "load_model", "tokenize", "forward", "session", "generate_ids", "batch", "score", "stream", "stop", "seed",
    "top_k", "top_p", "min_p", "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty", "logprobs",
    "beams", "encode", "fill_mask", "perplexity",
)  # fmt: skip

Rows = Sequence[Sequence[int]]


class Ctranslate2Adapter:
    """CTranslate2 on the CPU, with one thread.

    Args:
        argument: the type of its computation; "" is "float32".

    Raises:
        AddressError: no such type, or the processor does not have it.
    """

    def __init__(self, argument: str = "") -> None:
        self.type = argument or "float32"
        known = ctranslate2.get_supported_compute_types("cpu") & CLAIMS.keys()
        if self.type not in known:
            hint = f"ctranslate2:TYPE with {', '.join(sorted(known))}"
            raise AddressError(f"no such variant: {argument!r:.60}", where=f"ctranslate2:{argument}", hint=hint)

    def describe(self) -> Description:
        return Description(
            name="CTranslate2",
            version=ctranslate2.__version__,
            capabilities=frozenset(_OFFERED),
            claims=Claims(dtype=CLAIMS[self.type], determinism="D1"),
            emulated={
                **kit.emulated("generate_ids", "batch", "score"),
                "generate_ids beyond greedy": "sampling, shaped logits and log-probabilities loop in the kit",
                "score of a Transformer": "the adapter kit computes log-probabilities from logits",
                "head of BERT": "the adapter computes logits from the runtime's hidden states, in float32",
                "conversion": "the adapter writes a bundle as a model directory of the runtime",
            },
            runtime={"ctranslate2": ctranslate2.__version__, "numpy": np.__version__},
            architectures=ARCHITECTURES,
        )

    def load_model(self, path: str) -> Any:
        bundle = kit.read_bundle(path, ARCHITECTURES)
        maker, made = MODELS[bundle.config["architecture"]]
        with tempfile.TemporaryDirectory() as directory:
            converting.write(bundle, directory)
            runtime = maker(directory, compute_type=self.type, inter_threads=1, intra_threads=1)
        return made(bundle, runtime)


def spelled(ids: Sequence[int]) -> list[str]:
    return [converting.spelled(token) for token in ids]


class _Greedy(kit.KitModel):
    """A model whose runtime decodes greedily by itself."""

    def __init__(self, bundle: kit.KitBundle, runtime: Any) -> None:
        super().__init__(bundle)
        self._runtime = runtime
        eos, none = self.config["eos_token_ids"], self.config["vocab_size"]
        self._ends = list(eos) or [none]  # an id that never comes: without any the runtime takes its own

    def made(self, prompts: Rows, limit: int) -> list[list[int]]:
        """New ids of every prompt, at most `limit` of each."""
        raise NotImplementedError

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        request = kit.check_request(self.config, max_length, temperature, options)
        if not request.greedy or request.shapes:
            return super().generate_ids(ids, max_length, temperature, **options)
        return self.generate_batch([ids], max_length, temperature, **options)[0]

    def generate_batch(
        self, batch: Rows, max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        """Rows that may grow by as much go together."""
        request = kit.check_request(self.config, max_length, temperature, options)
        if not request.greedy or request.shapes:
            return super().generate_batch(batch, max_length, temperature, **options)
        prompts = [self.prompt(ids) for ids in batch]
        limits = [self.limit(prompt, request) for prompt in prompts]
        made: dict[int, list[int]] = {i: [] for i in range(len(prompts))}
        for limit in set(limits) - {0}:
            places = [i for i, each in enumerate(limits) if each == limit]
            made |= zip(places, self.made([prompts[i] for i in places], limit), strict=True)
        return [self.generation(prompt, made[i]) for i, prompt in enumerate(prompts)]

    def _settings(self) -> dict[str, Any]:
        return {"beam_size": 1, "sampling_topk": 1, "end_token": self._ends, "return_end_token": True}


class Decoder(_Greedy):
    """GPT-3 or Llama in the runtime."""

    def forward(self, batch: Rows, sources: Any = None, types: Any = None) -> list[Array]:
        kit.refuse_beside(sources=sources, types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        if not rows:
            return []
        logits = np.array(self._runtime.forward_batch(rows))
        return [made[: len(row)] for made, row in zip(logits, rows, strict=True)]

    def score(self, ids: Sequence[int], source: Sequence[int] | None = None) -> list[float | None]:
        kit.refuse_beside(source=source)
        row = kit.check_ids(self.config, ids)
        (found,) = self._runtime.score_batch([spelled(row)], max_input_length=0)
        return [None, *found.log_probs]

    def made(self, prompts: Rows, limit: int) -> list[list[int]]:
        given = [spelled(prompt) for prompt in prompts]
        settings = {**self._settings(), "max_length": limit, "include_prompt_in_result": False}
        return [list(each.sequences_ids[0]) for each in self._runtime.generate_batch(given, **settings)]


class EncoderDecoder(_Greedy, kit.KitEncoderDecoder):
    """A Transformer in the runtime."""

    def forward(self, batch: Rows, sources: Rows | None = None, types: Any = None) -> list[Array]:
        """Logits of the loop at every id that it is made to write; behind a short row it goes on, and is cut off."""
        kit.refuse_beside(types=types)
        rows = [kit.check_ids(self.config, row) for row in batch]
        given = kit.beside(rows, sources, "sources")
        if not rows:
            return []
        none = [self.config["vocab_size"]]  # no id of a target ends it
        results = self._translated(given, rows, max(map(len, rows)), end_token=none, return_logits_vocab=True)
        return [
            np.stack([np.array(step).reshape(-1) for step in each.logits[0][: len(row)]])
            for each, row in zip(results, rows, strict=True)
        ]

    def made(self, prompts: Rows, limit: int) -> list[list[int]]:
        first = [[self.config["decoder_start_token_id"]] for _ in prompts]
        results = self._translated(prompts, first, limit, **self._settings())
        return [[int(token[1:]) for token in each.hypotheses[0]] for each in results]

    def _translated(self, sources: Sequence[Any], targets: Rows, limit: int, **settings: Any) -> list[Any]:
        for source in sources:
            kit.require_beside(source=source)
        read = [spelled(kit.check_ids(self.config, source)) for source in sources]
        written = [spelled(target) for target in targets]
        lengths = {"max_input_length": 0, "max_decoding_length": limit, "min_decoding_length": 0}
        made: list[Any] = self._runtime.translate_batch(read, written, **{"beam_size": 1, **settings, **lengths})
        return made


class Encoder(kit.KitEncoder):
    """BERT in the runtime, with a head of the adapter."""

    def __init__(self, bundle: kit.KitBundle, runtime: Any) -> None:
        super().__init__(bundle)
        self._runtime = runtime
        self._weights = {
            name: array.astype(np.float32)
            for name, array in bundle.weights.items()
            if name.startswith("head.") or name == "token_embedding"
        }

    def encode(self, batch: Rows, types: Rows | None = None) -> list[Encoding]:
        rows = [kit.check_ids(self.config, row) for row in batch]
        given = kit.beside(rows, types, "types")
        kinds = [kit.check_types(self.config, kind, len(row)) for kind, row in zip(given, rows, strict=True)]
        if not rows:
            return []
        T = max(map(len, rows))
        made = self._runtime.forward_batch(rows, token_type_ids=[[*kind, *[0] * (T - len(kind))] for kind in kinds])
        both = zip(np.array(made.last_hidden_state), np.array(made.pooler_output), rows, strict=True)
        return [Encoding(hidden=hidden[: len(row)], pooled=pooled) for hidden, pooled, row in both]

    def forward(self, batch: Rows, types: Rows | None = None, sources: Any = None) -> list[Array]:
        kit.refuse_beside(sources=sources)
        return [self._head(each.hidden) for each in self.encode(batch, types)]

    def _head(self, hidden: Array) -> Array:
        """Logits [T, V] of hidden states [T, D], all in float32."""
        weights = self._weights
        x = _ACTIVATIONS[self.config["activation"]](
            hidden @ weights["head.transform.weight"] + weights["head.transform.bias"]
        )
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.config["layer_norm_epsilon"]))
        x = x * weights["head.norm.weight"] + weights["head.norm.bias"]
        table = weights["token_embedding" if self.config["tie_embeddings"] else "head.weight"]
        logits: Array = x @ table.T + weights["head.bias"]
        return logits


def _gelu_tanh(x: Array) -> Array:
    made: Array = x / 2 * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))
    return made


_ACTIVATIONS: Mapping[str, Any] = {
    "gelu": lambda x: x / 2 * (1 + erf(x * np.float32(np.sqrt(0.5)))),
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
}

MODELS: Mapping[str, tuple[Any, Any]] = {
    "GPT-3": (ctranslate2.Generator, Decoder),
    "Llama": (ctranslate2.Generator, Decoder),
    "BERT": (ctranslate2.Encoder, Encoder),
    "Transformer": (ctranslate2.Translator, EncoderDecoder),
}
"""Class of the runtime and of the adapter, by architecture."""
