"""The probe models: small bundles that the suite writes itself, each built so that one kind of fault becomes loud.

GPT-3

    numbers     plain full unheard uneven uneven-keys far bare tied small-embedding hot-attention hot-ffn near-constant
                asymmetric long very-long deep many-ids wide overflow loud-units calling sunk ids-only tiny
    ties        uniform uniform-bytes twins
    automata    script script-eos bos textless context-8
    bands       banded banded-one banded-hot banded-asymmetric banded-long banded-narrow
    text        trained compass two-gelus

Llama, each name after "llama-"

    numbers     plain full unheard uneven uneven-keys far bare gqa one-group tied small-embedding near-zero
                hot-attention hot-ffn asymmetric long very-long deep many-ids wide theta overflow loud-units calling
                ids-only tiny
    windows     window window-one window-long
    ties        uniform twins
    automata    circle ends
    text        compass

BERT, each bert-…

    numbers     plain full unheard uneven far bare untied types small-variance hot-attention hot-ffn head pooler
                asymmetric long deep many-ids wide overflow calling
    ties        uniform twins
    automata    script maskless

Transformer, each trf-…

    numbers     plain full unheard uneven far untied learned positions unscaled cross deep-encoder deep-decoder
                hot-attention hot-ffn small-variance asymmetric long deep many-ids wide overflow calling
    ties        uniform twins
    automata    script echo ends
    text        compass

A bundle that somebody gives for a run stands in the place of given, llama-given, bert-given or trf-given.

A probe depends on its name and the run's seed alone. Weights come from random words that are a function of a key and a
counter, are shaped in exact integer and correctly rounded arithmetic, and have at most 8 significant bits, so that
they are the same on every machine and exact in bfloat16, float32 and float64: a candidate that loads them makes no
error yet. Those of `full` and `compass` have 24 bits, and are asked of no narrower dtype. Those of `trained` lie in a
file, in as few bits as most; the seed draws their order. All probes have a layout that code of Hugging Face can load
too: GPT-2, Llama and Mistral, BertForMaskedLM with a pooler, Marian or BART.

In an automaton the codes are rows of a Hadamard matrix: orthogonal, of mean 0, entries ±1. Layer norm leaves such a row
as it is but for a factor, attention and feed-forward add nothing, and a head row that is the sum of codes answers
exactly those codes. What follows is known without computing, with a margin that no rounding reaches.
"""

from llmasos_conformance.probes import banded, bert, given, gpt, llama, trained, transformer
from llmasos_conformance.probes.given import GIVEN, Given
from llmasos_conformance.probes.library import Disturbed, Library, Probe
from llmasos_conformance.probes.making import MARGIN, PROBES, Parts, opposites, significant, sylvester

NAMES: tuple[str, ...] = tuple(PROBES)
"""All probes, of all architectures."""

__all__ = [
    "GIVEN",
    "MARGIN",
    "NAMES",
    "Disturbed",
    "Given",
    "Library",
    "Parts",
    "Probe",
    "banded",
    "bert",
    "given",
    "gpt",
    "llama",
    "opposites",
    "significant",
    "sylvester",
    "trained",
    "transformer",
]
