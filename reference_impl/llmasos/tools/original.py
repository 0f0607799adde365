"""A bundle against the checkpoint that it was made from, as transformers loads that.

An import that is wrong anywhere shows in the first digits; two right computations in float64 differ in the last ones.
TOLERANCE lies between. Float32 steps of theirs are replaced, as in `witness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from llmasos.bundle import Bundle
from llmasos.errors import InvalidFormat, Unsupported
from llmasos.model import Model
from llmasos.ops import Array
from llmasos.tokenizer import FileTokenizer
from llmasos.tools import drawn
from llmasos.tools.drawn import Input
from llmasos.tools.figures import distance
from llmasos.tools.witness import Witness, replace_positions, without_float32

TOLERANCE = 2.0**-24
"""Of the spread of a block: one rounding to float32. Deep models with a few large channels lose more of float64 than
small ones, and none loses so much; a wrong epsilon or activation costs a thousand times more."""

ROWS, LENGTH = 3, 32
TEXTS = ("The quick brown fox.", "你好，世界！", "naïve Straße  42\n", "def f(x):\n\treturn x")

_MODELS = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "bart": "BartForConditionalGeneration",
    "marian": "MarianMTModel",
}


def compare(bundle: Bundle, source: Path, absent: Sequence[str]) -> Mapping[str, Any]:
    """Hold logits and token ids of a bundle against the checkpoint in `source`.

    Args:
        bundle: as the importer wrote it.
        absent: parts that the checkpoint lacks, which are not compared.

    Returns:
        Figures: against, compared (what), error (the largest, relative to the spread), tolerance, texts (how many).

    Raises:
        InvalidFormat: they differ.
        Unsupported: transformers does not load the checkpoint.
    """
    model = Model(bundle)
    rows = [_input(bundle, str(i)) for i in range(ROWS)]
    with quiet():
        found = (
            _of_encoder(model, source, rows, absent) if model.kind == "encoder" else _of_decoder(model, source, rows)
        )
        texts = _texts(bundle, source)
    what, error = max(found, key=lambda item: item[1])
    if not error <= TOLERANCE:
        raise InvalidFormat(
            f"{what} of the bundle differ from those of transformers by {error:.2g} of their spread, and nothing was "
            "written",
            str(source),
            "report this as a bug of llmasos",
        )
    return {
        "against": f"transformers {transformers.__version__}",
        "compared": sorted({what for what, _ in found}),
        "error": error,
        "tolerance": TOLERANCE,
        "texts": texts,
    }


def _input(bundle: Bundle, key: str) -> Input:
    """A row longer than a small window, so that the window shows."""
    config = bundle.config
    window = config.sliding_window or 0
    longest = LENGTH if window > 4 * LENGTH else max(LENGTH, window + LENGTH)
    return drawn.inputs(config, f"import {key}", min(config.context_length, longest))


def _of_decoder(model: Model, source: Path, rows: Sequence[Input]) -> list[tuple[str, float]]:
    """What was compared and how far apart it is, of a model that generates."""
    model_type = model.bundle.document["metadata"]["imported"]["model_type"]
    module = _load(_MODELS[model_type], source)
    if model_type in ("llama", "mistral"):
        without_float32(module, model.config)
    if model_type == "marian":
        replace_positions(module, model.config)
    witness = Witness(module, model.config)
    found = []
    for row in rows:
        due = model.forward([row.ids], sources=None if row.source is None else [row.source])[0]
        found.append(("logits", distance(witness.logits(row.ids, source=row.source), due)))
    return found


def _of_encoder(model: Model, source: Path, rows: Sequence[Input], absent: Sequence[str]) -> list[tuple[str, float]]:
    """The same of BERT: hidden states, and the pooled output and logits if the checkpoint has them."""
    encoder = _load("BertModel", source)
    headed = None if "cls.predictions." in absent else Witness(_load("BertForMaskedLM", source), model.config)
    found = []
    for row in rows:
        types = row.types or [0] * len(row.ids)
        due = model.encode([row.ids], types=[types])[0]
        with torch.inference_mode():
            answer = encoder(input_ids=torch.tensor([row.ids]), token_type_ids=torch.tensor([types]))
        found.append(("hidden states", distance(answer.last_hidden_state[0].numpy(), due.hidden)))
        if "pooler." not in absent:
            found.append(("pooled outputs", distance(answer.pooler_output[0].numpy(), due.pooled)))
        if headed is not None:
            found.append(
                ("logits", distance(headed.logits(row.ids, types=types), model.forward([row.ids], types=[types])[0]))
            )
    return found


def trained_encoder(
    source: Path,
) -> tuple[Callable[[str], list[int]], Callable[[list[int]], str], Callable[..., tuple[Array, Array]]]:
    """Their tokenizer and encoder of a checkpoint of BERT: text -> ids, ids -> text, (ids, types) -> hidden, pooled."""
    with quiet():
        module = _load("BertModel", source)
        theirs = transformers.AutoTokenizer.from_pretrained(str(source), local_files_only=True)

    def encoded(ids: Sequence[int], types: Sequence[int]) -> tuple[Array, Array]:
        with torch.inference_mode():
            answer = module(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        return answer.last_hidden_state[0].numpy(), answer.pooler_output[0].numpy()

    return (
        lambda text: list(theirs(text, add_special_tokens=False)["input_ids"]),
        lambda ids: str(theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)),
        encoded,
    )


def _load(name: str, source: Path) -> Any:
    """One of their models from the checkpoint, in float64; nothing is fetched and no code of the checkpoint is run."""
    try:
        return (
            getattr(transformers, name)
            .from_pretrained(
                str(source),
                dtype=torch.float64,
                attn_implementation="sdpa",
                local_files_only=True,
                use_safetensors=True,
            )
            .eval()
        )
    except Exception as error:  # whatever a checkpoint can make them raise
        raise Unsupported(
            f"transformers does not load it: {type(error).__name__}: {error!s:.200}",
            str(source),
            "import without a check if you trust the checkpoint",
        ) from None


def _texts(bundle: Bundle, source: Path) -> int:
    """Compare token ids of a few texts; how many, 0 where there is nothing to compare with.

    Raises:
        InvalidFormat: they differ.
    """
    ours = bundle.tokenizer
    if not isinstance(ours, FileTokenizer):
        return 0
    try:
        theirs = transformers.AutoTokenizer.from_pretrained(str(source), local_files_only=True, trust_remote_code=False)
    except Exception:  # a checkpoint with tokenizer.json alone has no class
        return 0
    for text in TEXTS:
        due, found = list(theirs(text, add_special_tokens=False)["input_ids"]), ours.encode(text)
        if due != found:
            raise InvalidFormat(
                f"{text!r} is {found} by tokenizer.json and {due} by {type(theirs).__name__}",
                str(source),
                "save the tokenizer again with transformers, or import without it",
            )
    return len(TEXTS)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice of theirs."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
