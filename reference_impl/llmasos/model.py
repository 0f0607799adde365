"""A loaded bundle: architecture, tokenizer and generation behind one object.

Nothing in a Model changes after it is made, so threads may share it. A row of a batch is computed alone, so no row
sees another and its result does not depend on its company.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos import generation, sampling, training, weights
from llmasos.architectures import DECODER, ENCODER, ENCODER_DECODER, KIND, MODULES
from llmasos.architectures.blocks import Watch
from llmasos.bundle import Bundle, read_bundle
from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, Unsupported
from llmasos.generation import Generation, Prompt
from llmasos.ops import Array
from llmasos.orders import ORDERS
from llmasos.tokenizer import Tokenizer, check_text, text_ids

HALF = ("float16", "bfloat16")
DTYPES = ("float64", "float32", *HALF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What an encoder makes of a row.

    Attributes:
        hidden: [T, D], what leaves its last block. pooled: [D], one vector for the row.
    """

    hidden: Array
    pooled: Array


class Model:
    """A model that runs.

    Generating methods take, after `max_length` and `temperature`, these options by name:

        seed           same request and seed, same result; 0 … 2⁶⁴-1, default fresh
        top_k          keep the k likeliest ids; 0 keeps all
        top_p          keep the likeliest ids until their mass reaches p; 1 keeps all
        min_p          keep ids at least min_p times as likely as the likeliest; 0 keeps all
        logit_bias     id -> number added to its logit
        repetition_penalty  divides positive logits of ids that were given or chosen, and multiplies others
        frequency_penalty   subtracted from an id's logit for each time that it was chosen
        presence_penalty    subtracted once from the logit of each id that was chosen
        stop           text or texts that end the continuation and are not part of it
        logprobs       report this many raw log-probabilities per token beside the chosen one's
        allow_special  literals of special tokens in the prompt are those tokens
        beams          follow so many continuations and return the best; at temperature 0 alone
        length_penalty power of its length by which a continuation's log-probability is divided, with beams

    A Transformer reads what it is given as source and writes the continuation as target. BERT does not generate; it
    has `encode` and `fill_mask` instead.

    Args:
        bundle: as `read_bundle` returns it.
        dtype: of weights, arithmetic, accumulation and cache; "float64" or "float32".
        order: of computation, a name of `orders.ORDERS`.

    Attributes:
        bundle, config, tokenizer: as read; tokenizer is None if ids have no text.
        dtype, order: as given.
        kind: "decoder", "encoder" or "encoder-decoder".

    Raises:
        InvalidArgument: another dtype or order.
        InvalidFormat: a weight is too large for the dtype.
    """

    def __init__(self, bundle: Bundle, *, dtype: str = "float64", order: str = "plain") -> None:
        self._architecture = MODULES[bundle.config.architecture]
        self.kind = KIND[bundle.config.architecture]
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
        if dtype in HALF:
            from llmasos import halves  # needs ml_dtypes, as the other dtypes do not

            self._arithmetic = halves.arithmetic(ORDERS[order])
            self._weights: Mapping[str, Any] = halves.loaded(stored, dtype)
        else:
            self._weights = weights.in_one_block(stored, dtype)

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
        self._only("generate", DECODER, ENCODER_DECODER)
        request = generation.check_request(self.config, max_length, temperature, options)
        ids = self.tokenize(prompt, allow_special=request.allow_special)
        return self._stream(ids, request, self._allowed())

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        """Continue ids. Any id of the vocabulary may be chosen, also one without text."""
        self._only("generate", DECODER, ENCODER_DECODER)
        request = generation.check_request(self.config, max_length, temperature, options)
        return generation.generate(self._stream(ids, request, None))

    def _stream(
        self, ids: Sequence[int], request: generation.Request, allowed: npt.NDArray[np.bool_] | None
    ) -> Iterator[str | Generation]:
        """Generate from ids that a caller gave."""
        given = generation.check_prompt(self.config, ids)
        cache, prompt = None, Prompt(ids=given, given=len(given))
        if self.kind == ENCODER_DECODER:
            cache = self._read(given)
            prompt = Prompt(ids=[self.config.decoder_start_token_id], given=len(given))
        if request.beams > 1:
            made = generation.beam_search(self._advance, cache, self.config, self.tokenizer, prompt, request, allowed)
            return iter([made.text, made] if made.text else [made])
        return generation.stream(self._step(cache), self.config, self.tokenizer, prompt, request, allowed)

    def forward(
        self,
        batch: Sequence[Sequence[int]],
        *,
        sources: Sequence[Sequence[int]] | None = None,
        types: Sequence[Sequence[int]] | None = None,
    ) -> list[Array]:
        """Logits at each position: of the next token, or with BERT of the token that stands there.

        Args:
            batch: rows of ids, of any lengths from 1 to the context. Of a Transformer they are targets, which begin
                with decoder_start_token_id.
            sources: of a Transformer, one source per row.
            types: of BERT, a token type per id; None for all 0.

        Returns:
            One [T, V] array per row, in the model's dtype.

        Raises:
            InvalidArgument: an empty row, an id outside the vocabulary, or sources or types that are missing, that do
                not fit, or that the architecture does not take.
            ContextOverflow: a row longer than the context.
        """
        return [
            self._logits(row, source=source, types=kinds)
            for row, source, kinds in zip(
                batch, self._beside(batch, sources, "sources"), self._beside(batch, types, "types"), strict=True
            )
        ]

    def inside(
        self, ids: Sequence[int], *, source: Sequence[int] | None = None, types: Sequence[int] | None = None
    ) -> Watch:
        """What a forward pass of one row computes on its way; arrays as in `Watch`, with a batch of one.

        Raises:
            As `forward` for one row.
        """
        watch = Watch()
        self._logits(ids, source=source, types=types, watch=watch)
        return watch.map(np.asarray)

    def hidden_states(self, ids: Sequence[int], **beside: Sequence[int]) -> list[Array]:
        """What enters the first block of a row and what leaves each block, [T, D] each; of a Transformer the target's.

        Of decoders the last one has passed the final norm, so that it maps to the logits through the head.

        Args:
            beside: `source` or `types`, as in `inside`.
        """
        return [hidden[0] for hidden in self.inside(ids, **beside).hidden]

    def attention(self, ids: Sequence[int], **beside: Sequence[int]) -> list[Array]:
        """Weights of the self-attention of each layer, [H, T, T]; of a Transformer the target's."""
        return [weight[0] for weight in self.inside(ids, **beside).attention]

    def cross_attention(self, ids: Sequence[int], *, source: Sequence[int]) -> list[Array]:
        """Weights with which each layer of a Transformer's decoder looks at the source, [H, T, S].

        Raises:
            Unsupported: another architecture.
        """
        self._only("cross_attention", ENCODER_DECODER)
        return [weight[0] for weight in self.inside(ids, source=source).cross]

    def gradients(self, batch: Sequence[Sequence[int]], **beside: Any) -> tuple[float, dict[str, Array]]:
        """The loss of rows and its gradient by every weight.

        Args:
            beside: `labels`, `sources`, `types`, as in `training.examples`.

        Raises:
            InvalidArgument, ContextOverflow: as `training.examples`.
        """
        if self.dtype in HALF:
            raise Unsupported(f"gradients are not computed in {self.dtype}", "dtype", "load the model in float32")
        rows = training.examples(self.config, batch, **beside)
        return training.gradients(self._weights, self.config, rows, self._arithmetic)

    def trained(self, batch: Sequence[Sequence[int]], learning_rate: float, **beside: Any) -> tuple[float, Model]:
        """One step of gradient descent: the loss before it, and another model with the weights after it.

        Args:
            learning_rate: finite number from 0. beside: as `gradients`.

        Raises:
            InvalidArgument, ContextOverflow: as `gradients`; the learning rate is none.
            InvalidFormat: a weight after the step is too large for the dtype.
        """
        rate = generation.check_rate(learning_rate)
        loss, gradient = self.gradients(batch, **beside)
        stepped = training.stepped(self._weights, gradient, rate)
        twin = object.__new__(Model)
        twin.__dict__.update(self.__dict__, _weights=weights.in_one_block(stepped, self.dtype))
        return loss, twin

    def encode(self, batch: Sequence[Sequence[int]], *, types: Sequence[Sequence[int]] | None = None) -> list[Encoding]:
        """What BERT makes of rows of ids.

        Raises:
            Unsupported: the architecture is not an encoder.
            InvalidArgument, ContextOverflow: as `forward`.
        """
        self._only("encode", ENCODER)
        made = [
            self.inside(row, types=kinds) for row, kinds in zip(batch, self._beside(batch, types, "types"), strict=True)
        ]
        encodings = []
        for watch in made:
            assert watch.pooled is not None
            encodings.append(Encoding(hidden=watch.hidden[-1][0], pooled=watch.pooled[0]))
        return encodings

    def fill_mask(
        self, ids: Sequence[int], count: int = 5, *, types: Sequence[int] | None = None
    ) -> list[dict[int, float]]:
        """What BERT puts behind each mask, the others staying masked.

        Args:
            ids: a row, with mask_token_id where something is to be filled in.
            count: how many of the likeliest ids to report, ties to the lowest.

        Returns:
            Per mask, in order, id -> natural-log probability, likeliest first.

        Raises:
            Unsupported: the architecture is not an encoder, or its document names no mask_token_id.
            InvalidArgument: no mask among the ids, or a count outside 1 … V; and as `forward`.
        """
        self._only("fill_mask", ENCODER)
        mask = self.config.mask_token_id
        if mask is None:
            raise Unsupported("the model has no mask", "model.json mask_token_id", "name the id in model.json")
        row = generation.check_ids(self.config, ids)
        places = [place for place, token in enumerate(row) if token == mask]
        if not places:
            raise InvalidArgument(f"no mask (id {mask}) among the ids", "ids", "put the mask where a token is wanted")
        many = generation.check_count(count, self.config.vocab_size)
        logits = self._logits(row, types=types)
        return [generation.likeliest(logits[place], many) for place in places]

    def score(self, ids: Sequence[int], *, source: Sequence[int] | None = None) -> list[float | None]:
        """Raw natural-log probability of each id given those before it; None for the first, which has none before.

        Raises:
            Unsupported: BERT, whose law of an id depends on what follows.
            As `forward` for one row.
        """
        self._only("score", DECODER, ENCODER_DECODER)
        logits = self._logits(ids, source=source)
        law = sampling.log_law(logits[:-1])
        return [None, *(float(row[token]) for row, token in zip(law, ids[1:], strict=True))]

    def open_session(self, ids: Sequence[int], *, source: Sequence[int] | None = None) -> Session:
        """Feed ids and keep the cache for more. Of a Transformer the ids are the beginning of the target.

        Raises:
            Unsupported: BERT, which sees both ways.
            As `forward` for one row.
        """
        self._only("open_session", DECODER, ENCODER_DECODER)
        return Session(self, self._start(source), ids)

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

    def _only(self, what: str, *kinds: str) -> None:
        """Refuse what an architecture of this kind does not do."""
        if self.kind not in kinds:
            other = {"encode": "forward", "fill_mask": "generate_text", "cross_attention": "attention"}.get(
                what, "encode or fill_mask"
            )
            raise Unsupported(f"{self.config.architecture} does not {what}", "model", f"use {other}")

    def _beside(self, batch: Sequence[Sequence[int]], given: Sequence[Any] | None, what: str) -> Sequence[Any]:
        """One entry per row of the batch: those given, or None for each."""
        if given is None:
            return [None] * len(batch)
        if len(given) != len(batch):
            raise InvalidArgument(f"{len(given)} for {len(batch)} rows", what, "give one per row")
        return given

    def _logits(
        self,
        ids: Sequence[int],
        *,
        source: Sequence[int] | None = None,
        types: Sequence[int] | None = None,
        watch: Watch | None = None,
    ) -> Array:
        """Logits [T, V] of one row without a past."""
        if self.kind != ENCODER and types is not None:
            raise InvalidArgument(f"{self.config.architecture} has no token types", "types", "leave them out")
        if self.kind == ENCODER:
            if source is not None:
                raise InvalidArgument("BERT has no source", "sources", "leave it out")
            row = self._row(ids)
            kinds = generation.check_types(self.config, types, len(row))
            logits = self._architecture.forward(
                self._weights, self.config, np.array([row]), np.array([kinds]), self._arithmetic, watch
            )
            return np.asarray(logits[0])
        return self._run(ids, self._start(source, watch), watch)[0]

    def _start(self, source: Sequence[int] | None, watch: Watch | None = None) -> Any:
        """The cache in front of a sequence: None, or of a Transformer the source."""
        if self.kind == ENCODER_DECODER:
            if source is None:
                raise InvalidArgument("missing", "sources", "a Transformer reads a source for each row")
            return self._read(self._row(source, "source"), watch)
        if source is not None:
            raise InvalidArgument(f"{self.config.architecture} has no source", "sources", "leave it out")
        return None

    def _read(self, source: Sequence[int], watch: Watch | None = None) -> Any:
        """A Transformer's cache behind a source and in front of the target."""
        return self._architecture.read(self._weights, self.config, np.array([source]), self._arithmetic, watch)

    def _row(self, ids: Sequence[int], where: str = "ids") -> list[int]:
        row = generation.check_ids(self.config, ids, where)
        if not row:
            raise InvalidArgument("empty", where, "give at least one token")
        return row

    def _run(self, ids: Sequence[int], cache: Any, watch: Watch | None = None) -> tuple[Array, Any]:
        """Logits [T, V] of ids behind a cache, and the cache behind them."""
        row = np.array([self._row(ids)])
        logits, cache = self._architecture.forward(self._weights, self.config, row, cache, self._arithmetic, watch)
        return np.asarray(logits[0]), cache  # the batch has one row

    def _advance(self, cache: Any, ids: Sequence[int]) -> tuple[Array, Any]:
        """Logits [V] behind the last of ids, and the cache there."""
        logits, cache = self._run(ids, cache)
        last: Array = logits[-1]
        return last, cache

    def _step(self, cache: Any) -> generation.Step:
        """A sequence behind a cache as the generation loop wants it."""

        def step(ids: Sequence[int]) -> Array:
            nonlocal cache
            last, cache = self._advance(cache, ids)
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


def load_model(path: str | os.PathLike[str], *, dtype: str = "float64", order: str = "plain") -> Model:
    """Load a bundle. Data only: nothing in it is executed, nothing outside its directory is opened.

    Args:
        path: the bundle's directory or its model.json.
        dtype: "float64" defines expected behaviour; "float32" is an honest ordinary computation, "float16" and
            "bfloat16" are honest ones that round after every operation.
        order: of computation, a name of `orders.ORDERS`.

    Raises:
        NotFound, InvalidFormat, UnsupportedVersion, UnsupportedArchitecture: as `read_bundle`.
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
