"""A loaded bundle: architecture, tokenizer and generation behind one object.

Nothing in a Model changes after it is made, so threads may share it. A row of a batch is computed alone, so no row
sees another and its result does not depend on its company.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos import generation, sampling, weights
from llmasos.architectures import architecture
from llmasos.bundle import Bundle, read_bundle
from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, Unsupported
from llmasos.generation import Generation
from llmasos.ops import Array
from llmasos.orders import ORDERS
from llmasos.tokenizer import Tokenizer, check_text, text_ids

DTYPES = ("float64", "float32")


class Model:
    """A model that runs.

    Generating methods take, after `max_length` and `temperature`, these options by name:

        seed           same request and seed, same result; 0 … 2⁶⁴-1, default fresh
        top_k          keep the k likeliest ids; 0 keeps all
        top_p          keep the likeliest ids until their mass reaches p; 1 keeps all
        min_p          keep ids at least min_p times as likely as the likeliest; 0 keeps all
        logit_bias     id -> number added to its logit
        stop           text or texts that end the continuation and are not part of it
        logprobs       report this many raw log-probabilities per token beside the chosen one's
        allow_special  literals of special tokens in the prompt are those tokens

    Args:
        bundle: as `read_bundle` returns it.
        dtype: of weights, arithmetic, accumulation and cache; "float64" or "float32".
        order: of computation, a name of `orders.ORDERS`.

    Attributes:
        bundle, config, tokenizer: as read; tokenizer is None if ids have no text.
        dtype, order: as given.

    Raises:
        InvalidArgument: another dtype or order.
        UnsupportedArchitecture: this version does not run the architecture.
        InvalidFormat: a weight is too large for the dtype.
    """

    def __init__(self, bundle: Bundle, *, dtype: str = "float64", order: str = "plain") -> None:
        self._architecture = architecture(bundle.config.architecture)
        if dtype not in DTYPES:
            raise InvalidArgument(f"dtype {dtype!r:.40} is not offered", "dtype", f"one of {', '.join(DTYPES)}")
        if order not in ORDERS:
            raise InvalidArgument(f"order {order!r:.40} is not offered", "order", f"one of {', '.join(ORDERS)}")
        self.bundle = bundle
        self.config: ModelConfig = bundle.config
        self.tokenizer: Tokenizer | None = bundle.tokenizer
        self.dtype = dtype
        self.order = order
        self._arithmetic = ORDERS[order]
        stored = bundle.weights if bundle.weights is not None else weights.initialise(bundle.config)
        self._weights = {name: _cast(array, dtype, name) for name, array in stored.items()}

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> str:
        """Continue a text.

        Args:
            prompt: Unicode text; literals of special tokens in it are text.
            max_length: most new tokens.
            temperature: 0 takes the likeliest token, ties to the lowest id; above, logits are divided by it.
            options: see the class.

        Returns:
            The continuation alone.

        Raises:
            InvalidArgument, UnknownParameter, ContextOverflow: the request is refused before anything is generated.
            Unsupported: the model has no tokenizer.

        Source:
            LLMasOS document 3.2.
        """
        text = self.generate(prompt, max_length, temperature, **options).text
        assert text is not None
        return text

    def generate(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        """`generate_text` with ids, finish reason and counts beside the text."""
        return generation.generate(self.stream_text(prompt, max_length, temperature, **options))

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        """`generate_text` in pieces that join to its text, followed by the Generation.

        A piece never ends in half a character or in what may become a stop string. Refusals come with the call.
        """
        request = generation.check_request(self.config, max_length, temperature, options)
        ids = generation.check_prompt(self.config, self.tokenize(prompt, allow_special=request.allow_special))
        return generation.stream(self._step(), self.config, self.tokenizer, ids, request, self._allowed())

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        """Continue ids. Any id of the vocabulary may be chosen, also one without text."""
        request = generation.check_request(self.config, max_length, temperature, options)
        prompt = generation.check_prompt(self.config, ids)
        return generation.generate(generation.stream(self._step(), self.config, self.tokenizer, prompt, request))

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        """Logits of the next token after each position.

        Args:
            batch: rows of ids, of any lengths from 1 to the context.

        Returns:
            One [T, V] array per row, in the model's dtype.

        Raises:
            InvalidArgument: an empty row, or an id outside the vocabulary.
            ContextOverflow: a row longer than the context.
        """
        return [self._run(row, None)[0] for row in batch]

    def score(self, ids: Sequence[int]) -> list[float | None]:
        """Raw natural-log probability of each id given those before it; None for the first, which has none before.

        Raises:
            As `forward` for one row.
        """
        logits, _ = self._run(ids, None)
        law = sampling.log_law(logits[:-1])
        return [None, *(float(row[token]) for row, token in zip(law, ids[1:], strict=True))]

    def open_session(self, ids: Sequence[int]) -> Session:
        """Feed ids and keep the cache for more.

        Raises:
            As `forward` for one row.
        """
        return Session(self, None, ids)

    def tokenize(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Ids of a text; no BOS is added.

        Raises:
            InvalidArgument: no valid Unicode text.
            Unsupported: the model has no tokenizer.
        """
        return self._text().encode(check_text(text, "text"), allow_special=allow_special)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of ids; ids without text add nothing, ill-formed bytes become U+FFFD, one per maximal subpart.

        Raises:
            InvalidArgument: an id outside the vocabulary.
            Unsupported: the model has no tokenizer.
        """
        return self._text().decode(generation.check_ids(self.config, ids))

    def _text(self) -> Tokenizer:
        if self.tokenizer is None:
            raise Unsupported("the model has no tokenizer: its vocabulary is too small for bytes", "text", "use ids")
        return self.tokenizer

    def _allowed(self) -> npt.NDArray[np.bool_]:
        """[V] True for ids that a text may continue with: those with text, and those that end it."""
        allowed = np.zeros(self.config.vocab_size, dtype=bool)
        allowed[sorted(text_ids(self.config, self._text()).union(self.config.eos_token_ids))] = True
        if not allowed.any():
            raise Unsupported("no id of the tokenizer has text", "tokenizer.json", "use ids")
        return allowed

    def _run(self, ids: Sequence[int], cache: Any) -> tuple[Array, Any]:
        """Logits [T, V] of ids behind a cache, and the cache behind them."""
        row = generation.check_ids(self.config, ids)
        if not row:
            raise InvalidArgument("empty", "ids", "give at least one token")
        logits, cache = self._architecture.forward(self._weights, self.config, np.array([row]), cache, self._arithmetic)
        only: Array = logits[0]  # the batch has one row
        return only, cache

    def _step(self) -> generation.Step:
        """A fresh sequence as the generation loop wants it."""
        cache: Any = None

        def step(ids: Sequence[int]) -> Array:
            nonlocal cache
            logits, cache = self._run(ids, cache)
            last: Array = logits[-1]
            return last

        return step


class Session:
    """A sequence that grows. The cache is a value, so a fork costs nothing and neither branch sees the other.

    Attributes:
        logits: [t, V] behind the ids last given.
        length: ids given so far.
    """

    def __init__(self, model: Model, cache: Any, ids: Sequence[int]) -> None:
        self._model: Model | None = model
        self.logits, self._cache = model._run(ids, cache)

    @property
    def length(self) -> int:
        return int(self._cache.length)

    def extend(self, ids: Sequence[int]) -> Array:
        """Feed more ids. A refused call leaves the session as it was.

        Returns:
            Logits [t, V] behind them.

        Raises:
            InvalidArgument: the session is closed, no ids, or an id outside the vocabulary.
            ContextOverflow: more than the context holds.
        """
        self.logits, self._cache = self._open()._run(ids, self._cache)
        return self.logits

    def fork(self) -> Session:
        """A second session that continues from here."""
        twin = object.__new__(Session)
        twin._model, twin._cache, twin.logits = self._open(), self._cache, self.logits
        return twin

    def close(self) -> None:
        """Let go of the cache. Closing twice is no error."""
        self._model = self._cache = None

    def _open(self) -> Model:
        if self._model is None:
            raise InvalidArgument("the session is closed", "session", "open another")
        return self._model


def _cast(array: Array, dtype: str, name: str) -> Array:
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(array, dtype=dtype)
    weights.check_finite(cast, f"{name} as {dtype}")
    return cast


def load_model(path: str | os.PathLike[str], *, dtype: str = "float64", order: str = "plain") -> Model:
    """Load a bundle. Data only: nothing in it is executed, nothing outside its directory is opened.

    Args:
        path: the bundle's directory or its model.json.
        dtype: "float64" defines expected behaviour; "float32" is an honest ordinary computation.
        order: of computation, a name of `orders.ORDERS`.

    Raises:
        NotFound, InvalidFormat, UnsupportedVersion, UnsupportedArchitecture: as `read_bundle`, and for architectures
            that this version reads but does not run.
        InvalidArgument: another dtype or order.

    Source:
        LLMasOS document 5.1.
    """
    return Model(read_bundle(path), dtype=dtype, order=order)


def generate_text(model: Model, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> str:
    """Continue a text; `Model.generate_text` as the function of the API.

    Source:
        LLMasOS document 3.2.
    """
    return model.generate_text(prompt, max_length, temperature, **options)
