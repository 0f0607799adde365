"""Mutants in beam search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmasos_conformance.mutants.beam_search import Beam, BeamRequest, Beams
from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.llama_runtime import LlamaRuntime
from llmasos_conformance.mutants.runtime import Cache, Request, Row
from llmasos_conformance.mutants.transformer_runtime import TargetCache, TransformerRuntime
from llmasos_conformance.protocol import Array


@mutant("beams-ignored", "huggingface/transformers#46612", "BEAM-1")
class BeamsIgnored(Beams):
    """The number of beams is checked and not used."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        checked = super().request(max_length, temperature, options)
        if isinstance(checked, BeamRequest):
            checked.beams = 1
        return checked


@mutant("llama-beams-ignored", "huggingface/transformers#46612", "BEAM-1")
class LlamaBeamsIgnored(BeamsIgnored, LlamaRuntime):
    """The number of beams is checked and not used, in a Llama."""


@mutant("beams-worst-returned", "ageron/handson-mlp#39", "BEAM-1")
class BeamsWorstReturned(Beams):
    """The worst of the continuations that were followed to the end is returned."""

    def beam_winner(self, finished: Sequence[Beam], beams: Sequence[Beam], penalty: float, prompt: int) -> Beam:
        every = [*finished, *beams] or [Beam((), 0.0)]
        return min(every, key=lambda beam: self.beam_score(beam, penalty, prompt))


class CacheNotReordered(Beams):
    """The rows of the cache stay where they are when beams change places."""

    def beam_cache(self, cache: Cache, rows: Sequence[int]) -> Cache:
        return super().beam_cache(cache, [min(i, cache.real.shape[0] - 1) for i in range(len(rows))])


@mutant("beams-cache-not-reordered", "huggingface/transformers#46612", "BEAM-3")
class BeamsCacheNotReordered(CacheNotReordered):
    """The cache is not put in the order of the beams."""


@mutant("llama-beams-cache-not-reordered", "huggingface/transformers#46612", "BEAM-3")
class LlamaBeamsCacheNotReordered(CacheNotReordered, LlamaRuntime):
    """The cache of a Llama is not put in the order of the beams."""


@mutant("llama-window-lost-in-beams", "Blaizzy/mlx-vlm#1715", "LLAMA-15")
class LlamaWindowLostInBeams(Beams, LlamaRuntime):
    """A cache whose rows were put in order forgets its window."""

    reordered = False

    def beam_search(self, row: Row, request: BeamRequest, allowed: Array | None) -> tuple[int, ...]:
        self.reordered = True
        try:
            return super().beam_search(row, request, allowed)
        finally:
            self.reordered = False

    def reach(self, layer: int) -> int | None:
        return None if self.reordered else super().reach(layer)


@mutant("length-penalty-ignored", "jarobyte91/pytorch_beam_search#5", "BEAM-1")
class LengthPenaltyIgnored(Beams):
    """Continuations are compared by their sums, whatever the length penalty."""

    def beam_score(self, beam: Beam, penalty: float, prompt: int) -> float:
        return beam.total


@mutant("length-penalty-on-one-beam", "NVIDIA/TensorRT-LLM#1386", "BEAM-2")
class LengthPenaltyOnOneBeam(Beams):
    """A length penalty above 1 makes one beam two."""

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        checked = super().request(max_length, temperature, options)
        if isinstance(checked, BeamRequest) and checked.beams == 1 and checked.length_penalty > 1:
            checked.beams = 2
        return checked


@mutant("length-counts-prompt", "vllm-project/vllm#2606", "BEAM-3")
class LengthCountsPrompt(Beams):
    """The length by which a sum is divided includes the prompt."""

    def beam_score(self, beam: Beam, penalty: float, prompt: int) -> float:
        return float(beam.total / (len(beam.ids) + prompt) ** penalty)


@mutant("length-without-end", "huggingface/transformers#8722", "BEAM-3")
class LengthWithoutEnd(Beams):
    """The id that ends a sequence is left out of its length."""

    def beam_score(self, beam: Beam, penalty: float, prompt: int) -> float:
        length = len(beam.ids) - bool(beam.ids and self.beam_over(beam))
        return float(beam.total / max(length, 1) ** penalty) if beam.ids else 0.0


@mutant("one-beam-too-few", "facebookresearch/fairseq#4911", "BEAM-3")
class OneBeamTooFew(Beams):
    """One of more than two beams is not followed."""

    def beam_search(self, row: Row, request: BeamRequest, allowed: Array | None) -> tuple[int, ...]:
        if request.beams > 2:
            request.beams -= 1
        return super().beam_search(row, request, allowed)


@mutant("one-beam-too-many", "kingoflolz/mesh-transformer-jax#164", "BEAM-3")
class OneBeamTooMany(Beams):
    """One beam more is followed than was asked for."""

    def beam_search(self, row: Row, request: BeamRequest, allowed: Array | None) -> tuple[int, ...]:
        request.beams += 1
        return super().beam_search(row, request, allowed)


@mutant("every-end-kept", "ServiceNow/duorat#16", "BEAM-4")
class EveryEndKept(Beams):
    """Whatever ends is finished, however many extensions of its step are likelier."""

    def beam_ending(self, best: Sequence[Beam], n: int) -> list[Beam]:
        return [beam for beam in best if self.beam_over(beam)]


@mutant("ended-beams-go-on", "facebookresearch/ParlAI#2058", "BEAM-4")
class EndedBeamsGoOn(Beams):
    """What has ended is extended like everything else."""

    def beam_over(self, beam: Beam) -> bool:
        return False


@mutant("search-ends-with-first", "joeynmt/joeynmt#149", "BEAM-5")
class SearchEndsWithFirst(Beams):
    """The search ends as soon as one continuation has ended."""

    def beam_settled(self, beams: Sequence[Beam], finished: Sequence[Beam], request: BeamRequest, row: Row) -> bool:
        return bool(finished)


@mutant("search-ends-when-full", "OpenNMT/OpenNMT-py#1320", "BEAM-5")
class SearchEndsWhenFull(Beams):
    """The search ends as soon as as many continuations have ended as there are beams."""

    def beam_settled(self, beams: Sequence[Beam], finished: Sequence[Beam], request: BeamRequest, row: Row) -> bool:
        return len(finished) >= request.beams


@mutant("search-bound-of-today", "huggingface/transformers#20901", "BEAM-5")
class SearchBoundOfToday(Beams):
    """What can still be reached is judged by today's length instead of the limit."""

    def beam_settled(self, beams: Sequence[Beam], finished: Sequence[Beam], request: BeamRequest, row: Row) -> bool:
        if len(finished) < request.beams:
            return False
        reach = max(self.beam_score(beam, request.length_penalty, len(row.prompt)) for beam in beams)
        return self.beam_score(finished[-1], request.length_penalty, len(row.prompt)) >= reach


@mutant("cut-beams-dropped", "espnet/espnet#4174", "BEAM-6")
class CutBeamsDropped(Beams):
    """What the limit cuts off is no answer as long as the search found anything before."""

    def beam_winner(self, finished: Sequence[Beam], beams: Sequence[Beam], penalty: float, prompt: int) -> Beam:
        shorter = [Beam(beam.ids[:-1], beam.total) for beam in beams if len(beam.ids) > 1]
        return super().beam_winner(finished, shorter or beams, penalty, prompt)


@mutant("textless-mass-kept", "Blaizzy/mlx-vlm#1917", "BEAM-7")
class TextlessMassKept(Beams):
    """Ids without text are left out, and their probability stays missing."""

    def beam_laws(self, logits: Array, allowed: Array | None) -> Array:
        law = self.log_law(logits)
        return law if allowed is None else np.where(allowed, law, -math.inf)


@mutant("beams-of-any-kind", "apple/ml-recurrent-drafter#6", "BEAM-8")
class BeamsOfAnyKind(Beams):
    """Temperature and stop strings beside beams are dropped."""

    def beam_company(self, request: Request) -> None:
        return


@mutant("beams-rounded", "NVIDIA/TensorRT-LLM#1173", "BEAM-8")
class BeamsRounded(Beams):
    """Any number does for a number of beams."""

    def beam_count(self, value: Any) -> int:
        try:
            return max(1, min(int(value), 1024))
        except (TypeError, ValueError):
            return super().beam_count(value)


# The Transformer, whose beams share a source.


@mutant("trf-beams-ignored", "huggingface/transformers#46612", "BEAM-1")
class TransformerBeamsIgnored(BeamsIgnored, TransformerRuntime):
    """The number of beams is checked and not used, in a Transformer."""


@mutant("trf-beams-worst-returned", "ageron/handson-mlp#39", "BEAM-1")
class TransformerBeamsWorstReturned(BeamsWorstReturned, TransformerRuntime):
    """The worst of the targets that were followed to the end is returned."""


@mutant("trf-beams-cache-not-reordered", "huggingface/transformers#46612", "BEAM-3")
class TransformerBeamsCacheNotReordered(Beams, TransformerRuntime):
    """Keys and values of the targets are not put in the order of the beams, those of the source are."""

    def beam_cache(self, cache: Cache, rows: Sequence[int]) -> Cache:
        made, held = super().beam_cache(cache, rows), cache.real.shape[0]
        stay = [min(i, held - 1) for i in range(len(rows))]
        made.keys, made.values = cache.keys[:, stay], cache.values[:, stay]
        return made


@mutant("trf-beams-cache-shared", "NVIDIA/TensorRT-LLM#15444", "BEAM-3")
class TransformerBeamsCacheShared(Beams, TransformerRuntime):
    """All beams go on from the cache of the best one."""

    def beam_cache(self, cache: Cache, rows: Sequence[int]) -> Cache:
        return super().beam_cache(cache, [rows[0]] * len(rows))


@mutant("trf-beams-source-of-first", "vllm-project/vllm#8545", "TRF-30")
class TransformerBeamsSourceOfFirst(Beams, TransformerRuntime):
    """There is one copy of what is needed of the source, and beams behind the first read an empty one."""

    def beam_cache(self, cache: Cache, rows: Sequence[int]) -> Cache:
        made = super().beam_cache(cache, rows)
        assert isinstance(made, TargetCache)
        made.cross_keys[:, 1:], made.cross_values[:, 1:] = 0, 0
        return made


@mutant("trf-beams-source-fades", "facebookresearch/fairseq2#307", "TRF-30")
class TransformerBeamsSourceFades(Beams, TransformerRuntime):
    """What is needed of the source is put in order layer by layer, and only the first layer is done."""

    def beam_cache(self, cache: Cache, rows: Sequence[int]) -> Cache:
        made = super().beam_cache(cache, rows)
        assert isinstance(made, TargetCache)
        made.cross_keys[1:, 1:], made.cross_values[1:, 1:] = 0, 0
        return made


@mutant("trf-length-counts-source", "vllm-project/vllm#2606", "TRF-30")
class TransformerLengthCountsSource(LengthCountsPrompt, TransformerRuntime):
    """The length by which a sum is divided includes the source."""


@mutant("trf-length-counts-start", "awslabs/sockeye#483", "TRF-30")
class TransformerLengthCountsStart(Beams, TransformerRuntime):
    """The length by which a sum is divided begins at one, for the start."""

    def beam_score(self, beam: Beam, penalty: float, prompt: int) -> float:
        return float(beam.total / (len(beam.ids) + 1) ** penalty) if beam.ids else 0.0


@mutant("trf-length-penalty-on-one-beam", "NVIDIA/TensorRT-LLM#1386", "BEAM-2")
class TransformerLengthPenaltyOnOneBeam(LengthPenaltyOnOneBeam, TransformerRuntime):
    """A length penalty above 1 makes one beam two, in a Transformer."""


@mutant("trf-ended-beams-go-on", "facebookresearch/ParlAI#2058", "BEAM-4")
class TransformerEndedBeamsGoOn(EndedBeamsGoOn, TransformerRuntime):
    """A target that has ended is extended like every other."""


@mutant("trf-search-ends-with-first", "joeynmt/joeynmt#149", "BEAM-5")
class TransformerSearchEndsWithFirst(SearchEndsWithFirst, TransformerRuntime):
    """The search ends as soon as one target has ended."""


@mutant("trf-beams-share-room", "OpenNMT/CTranslate2#605", "BEAM-6")
class TransformerBeamsShareRoom(Beams, TransformerRuntime):
    """With beams, source and target together have the room of one context."""

    def beam_search(self, row: Row, request: BeamRequest, allowed: Array | None) -> tuple[int, ...]:
        row.limit = min(row.limit, self.config.C - len(row.prompt))
        return super().beam_search(row, request, allowed)
