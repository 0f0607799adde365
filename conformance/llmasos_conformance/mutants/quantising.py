"""Models that are served with fewer digits than they claim: honest half precision with quantised weights, activations
or caches.

Their errors are no larger than those of half precision, or not much. Written in torch, as servers that do so are, and
without a look at `fingerprints`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos_conformance.mutants.catalogue import Mutant, record
from llmasos_conformance.mutants.outside import Edited

Rounding = Callable[[Any], Any]
"""A weight [out, in], float32, as it comes out of the quantised file."""

ELSEWHERE = ("wte", "wpe", "embed", "shared", "lm_head", "head", "final_logits", "predictions")
"""In the names of tensors that most servers leave as they are."""


def served(
    name: str, claim: str, architecture: str = "GPT-3", *, whole: bool = False
) -> Callable[[Rounding], Rounding]:
    """Record a server of transformers that claims `claim`; of its blocks, or of the whole model."""

    def note(rounding: Rounding) -> Rounding:
        def edit(model: Any) -> None:
            _replace(model._module, rounding, whole)

        record(
            Mutant(
                name=name, group="quantising", source="InfiniTensor/InfiniLM#553", requirement="NUM-8",
                bug=f"{' '.join((rounding.__doc__ or '').split())} {claim} is claimed.",
                adapter=lambda: Edited(edit, architecture, claim),
                asked=frozenset({"NUM-1", "NUM-2", "NUM-4", "NUM-8", "ATT-1"}),
            )
        )  # fmt: skip
        return rounding

    return note


def _replace(module: Any, rounding: Rounding, whole: bool) -> None:
    import torch

    done = set()
    for name, part in module.named_modules():
        weight = getattr(part, "weight", None)
        if weight is None or weight.ndim != 2 or id(weight) in done:
            continue
        if not whole and any(each in name for each in ELSEWHERE):
            continue
        done.add(id(weight))
        turned = type(part).__name__ == "Conv1D"  # GPT-2 keeps its maps [in, out]
        with torch.no_grad():
            plain = weight.float().T if turned else weight.float()
            rounded = rounding(plain)
            weight.copy_((rounded.T if turned else rounded).to(weight.dtype))


def _grouped(weight: Any, size: int, rounding: Rounding) -> Any:
    """A rounding of rows, applied to runs of `size` inputs."""
    import torch

    return torch.cat([rounding(part) for part in weight.split(size, dim=1)], dim=1)


def _eight_bits(weight: Any) -> Any:
    step = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / 127
    return (weight / step).round() * step


@served("served-weights-bfloat16-transformer", "float32", "Transformer", whole=True)
@served("served-weights-bfloat16-bert", "float32", "BERT", whole=True)
@served("served-weights-bfloat16-llama", "float32", "Llama", whole=True)
@served("served-weights-bfloat16", "float32", whole=True)
def kept_in_bfloat16(weight: Any) -> Any:
    """Weights are kept in bfloat16, and multiplied in float32."""
    return weight.bfloat16().float()


@served("served-weights-float16", "float32", whole=True)
def kept_in_float16(weight: Any) -> Any:
    """Weights are kept in float16, and multiplied in float32."""
    return weight.half().float()


@served("served-int8-transformer", "bfloat16", "Transformer")
@served("served-int8-bert", "bfloat16", "BERT")
@served("served-int8-llama", "bfloat16", "Llama")
@served("served-int8-channel-float16", "float16")
@served("served-int8-channel", "bfloat16")
def int8_channel(weight: Any) -> Any:
    """Every output's weights are int8 with a step of their own."""
    return _eight_bits(weight)


@served("served-int8-tensor", "bfloat16")
def int8_tensor(weight: Any) -> Any:
    """Every tensor is int8 with one step."""
    return _eight_bits(weight.reshape(1, -1)).reshape(weight.shape)


@served("served-q8", "bfloat16", whole=True)
def q8(weight: Any) -> Any:
    """All matrices are int8 in blocks of 32, whose steps are float16."""

    def block(part: Any) -> Any:
        step = (part.abs().amax(dim=1, keepdim=True) / 127).half().float().clamp_min(1e-7)
        return (part / step).round().clamp(-127, 127) * step

    return _grouped(weight, 32, block)


@served("served-uint8", "bfloat16")
def uint8(weight: Any) -> Any:
    """Every output's weights are 255 steps from their least to their largest."""
    low, high = weight.amin(dim=1, keepdim=True).clamp_max(0), weight.amax(dim=1, keepdim=True).clamp_min(0)
    step = (high - low).clamp_min(1e-30) / 255
    zero = (-low / step).round()
    return (((weight / step).round() + zero).clamp(0, 255) - zero) * step


@served("served-float8", "bfloat16")
def float8(weight: Any) -> Any:
    """Weights are float8 e4m3 with one scale for a tensor."""
    import torch

    scale = weight.abs().amax() / 448
    return (weight / scale).to(torch.float8_e4m3fn).float() * scale


@served("served-float8-e5m2", "bfloat16")
def float8_e5m2(weight: Any) -> Any:
    """Weights are float8 e5m2 as they are."""
    import torch

    return weight.to(torch.float8_e5m2).float()


@served("served-q4", "bfloat16")
def q4(weight: Any) -> Any:
    """Weights are four-bit in blocks of 32."""

    def block(part: Any) -> Any:
        largest = part.gather(1, part.abs().argmax(dim=1, keepdim=True))
        step = largest / -8
        step = step.where(step != 0, 1.0)
        return ((part / step + 8.5).floor().clamp(0, 15) - 8) * step

    return _grouped(weight, 32, block)


@served("served-q6-transformer", "bfloat16", "Transformer")
@served("served-q6-bert", "bfloat16", "BERT")
@served("served-q6-llama", "bfloat16", "Llama")
@served("served-q6", "bfloat16")
def q6(weight: Any) -> Any:
    """Weights are six-bit in blocks of 16."""

    def block(part: Any) -> Any:
        step = (part.abs().amax(dim=1, keepdim=True) / 32).clamp_min(1e-30)
        return (part / step).round().clamp(-32, 31) * step

    return _grouped(weight, 16, block)


@served("served-affine-transformer", "bfloat16", "Transformer")
@served("served-affine-bert", "bfloat16", "BERT")
@served("served-affine", "bfloat16")
def affine(weight: Any) -> Any:
    """Weights are 255 steps from the least of 32 to their largest, the least being kept."""

    def block(part: Any) -> Any:
        low, high = part.amin(dim=1, keepdim=True), part.amax(dim=1, keepdim=True)
        step = (high - low).clamp_min(1e-30) / 255
        return ((part - low) / step).round() * step + low

    return _grouped(weight, 32, block)


@served("served-float8-240", "bfloat16")
def float8_240(weight: Any) -> Any:
    """Every output's weights are float8 e4m3 with 240 for the largest."""
    import torch

    scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / 240
    return (weight / scale).to(torch.float8_e4m3fn).float() * scale


@served("served-int8-thrown-transformer", "bfloat16", "Transformer")
@served("served-int8-thrown-bert", "bfloat16", "BERT")
@served("served-int8-thrown", "bfloat16")
def int8_thrown(weight: Any) -> Any:
    """Every output's weights are int8, each rounded up or down by chance."""
    import torch

    step = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / 127
    chance = torch.rand(weight.shape, generator=torch.Generator().manual_seed(3))
    return (weight / step + chance).floor().clamp(-127, 127) * step


@served("served-int8-rows", "bfloat16")
def int8_rows(weight: Any) -> Any:
    """The weights of every input are int8 with a step of their own."""
    return _eight_bits(weight.T).T


@served("served-int8-turned", "bfloat16")
def int8_turned(weight: Any) -> Any:
    """Weights are turned before they are rounded to int8, and back after it."""
    import torch

    drawn = torch.randn(weight.shape[1], weight.shape[1], generator=torch.Generator().manual_seed(3))
    turn = torch.linalg.qr(drawn)[0]
    return _eight_bits(weight @ turn) @ turn.T


# ── what passes between operations, and what is kept of it ──────────────────────────────────────────────────────────

Planting = Callable[[Any, Rounding], None]
"""Puts a rounding into a model of the adapter."""


def _planted(plant: Planting, source: str, name: str, claim: str, architecture: str) -> Callable[[Rounding], Rounding]:
    def note(rounding: Rounding) -> Rounding:
        record(
            Mutant(
                name=name, group="quantising", source=source, requirement="NUM-9",
                bug=f"{' '.join((rounding.__doc__ or '').split())} {claim} is claimed.",
                adapter=lambda: Edited(lambda model: plant(model, rounding), architecture, claim),
                asked=frozenset({"NUM-1", "NUM-9"}),
            )
        )  # fmt: skip
        return rounding

    return note


def keeps(name: str, claim: str, architecture: str = "GPT-3") -> Callable[[Rounding], Rounding]:
    """Record a server whose cache holds rounded keys and values, [B, G, T, K] float32 each."""
    return _planted(_keep, "sgl-project/sglang#20705", name, claim, architecture)


def reads(name: str, claim: str, architecture: str = "GPT-3") -> Callable[[Rounding], Rounding]:
    """Record a server whose linear maps read rounded inputs, [B, T, D] float32."""
    return _planted(_read, "pytorch/executorch#22431", name, claim, architecture)


def _keep(model: Any, rounding: Rounding) -> None:
    def hook(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        for held in kwargs.values():
            for cache in (
                held,
                *(getattr(held, part, None) for part in ("self_attention_cache", "cross_attention_cache")),
            ):
                if type(cache).__name__ == "DynamicCache":
                    cache.__class__ = _rounding_cache(type(cache), rounding)
        return args, kwargs

    model._module.register_forward_pre_hook(hook, with_kwargs=True)


def _rounding_cache(kind: Any, rounding: Rounding) -> Any:
    def update(self: Any, keys: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
        kept = (rounding(part.float()).to(part.dtype) for part in (keys, values))
        return kind.update(self, *kept, *args, **kwargs)

    return type("RoundingCache", (kind,), {"update": update})


def _read(model: Any, rounding: Rounding) -> None:
    def hook(_: Any, args: Any) -> Any:
        return rounding(args[0].float()).to(args[0].dtype)

    for part in model._module.modules():
        if type(part).__name__ in ("Linear", "Conv1D"):
            part.register_forward_pre_hook(hook)


def _last(x: Any, levels: float = 127) -> Any:
    """Integers with a step for each run of the last axis."""
    step = x.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30) / levels
    return (x / step).round() * step


@keeps("kept-int8-token-transformer", "bfloat16", "Transformer")
@keeps("kept-int8-token-llama", "bfloat16", "Llama")
@keeps("kept-int8-token-float16", "float16")
@keeps("kept-int8-token", "bfloat16")
def kept_token(x: Any) -> Any:
    """Keys and values are kept as int8 with a step for each token and head."""
    return _last(x)


@keeps("kept-int8-tensor", "bfloat16")
def kept_tensor(x: Any) -> Any:
    """Keys and values are kept as int8 with one step."""
    return _last(x.reshape(1, -1)).reshape(x.shape)


@keeps("kept-q8-llama", "bfloat16", "Llama")
@keeps("kept-q8", "bfloat16")
def kept_q8(x: Any) -> Any:
    """Keys and values are kept as int8 with a step for 32 channels of a token, heads side by side."""
    B, G, T, K = x.shape
    flat = x.transpose(1, 2).reshape(B, T, -1, 32)
    return _last(flat).reshape(B, T, G, K).transpose(1, 2)


@keeps("kept-float8-transformer", "bfloat16", "Transformer")
@keeps("kept-float8-llama", "bfloat16", "Llama")
@keeps("kept-float8-float16", "float16")
@keeps("kept-float8", "bfloat16")
def kept_float8(x: Any) -> Any:
    """Keys and values are kept as float8 e4m3 without a scale."""
    import torch

    return x.clamp(-448, 448).to(torch.float8_e4m3fn).float()


@keeps("kept-float8-scaled-llama", "bfloat16", "Llama")
@keeps("kept-float8-scaled", "bfloat16")
def kept_float8_scaled(x: Any) -> Any:
    """Keys and values are kept as float8 e4m3 with one scale."""
    import torch

    scale = x.abs().amax().clamp_min(1e-30) / 448
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


@keeps("kept-float8-e5m2", "bfloat16")
def kept_float8_e5m2(x: Any) -> Any:
    """Keys and values are kept as float8 e5m2."""
    import torch

    return x.to(torch.float8_e5m2).float()


@reads("read-int8-token-transformer", "bfloat16", "Transformer")
@reads("read-int8-token-bert", "bfloat16", "BERT")
@reads("read-int8-token-llama", "bfloat16", "Llama")
@reads("read-int8-token-float16", "float16")
@reads("read-int8-token", "bfloat16")
def read_token(x: Any) -> Any:
    """Every map reads int8 with a step for each token."""
    return _last(x)


@reads("read-int8-tensor", "bfloat16")
def read_tensor(x: Any) -> Any:
    """Every map reads int8 with one step."""
    return _last(x.reshape(1, -1)).reshape(x.shape)


@reads("read-int8-outliers", "bfloat16")
def read_outliers(x: Any) -> Any:
    """Every map reads int8 with a step for each token, but for channels with a number beyond 6."""
    loud = x.abs().amax(dim=tuple(range(x.ndim - 1)), keepdim=True) > 6
    return x.where(loud, _last(x.where(~loud, 0.0)))


@reads("read-int8-blocks-llama", "bfloat16", "Llama")
@reads("read-int8-blocks", "bfloat16")
def read_blocks(x: Any) -> Any:
    """Every map reads int8 with a step for 32 channels of a token."""
    return _last(x.reshape(*x.shape[:-1], -1, 32)).reshape(x.shape)


@reads("read-float8-transformer", "bfloat16", "Transformer")
@reads("read-float8-bert", "bfloat16", "BERT")
@reads("read-float8-llama", "bfloat16", "Llama")
@reads("read-float8-float16", "float16")
@reads("read-float8", "bfloat16")
def read_float8(x: Any) -> Any:
    """Every map reads float8 e4m3 with a scale for each token."""
    import torch

    scale = x.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30) / 448
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


# ── arithmetic ──────────────────────────────────────────────────────────────────────────────────────────────────────


def computes(name: str, architecture: str, head: Callable[[Any], Any]) -> None:
    """Record a server whose head alone is computed in float32, all before it in bfloat16, where float16 is claimed."""

    def edit(model: Any) -> None:
        import torch

        model._module.to(torch.bfloat16)
        last = head(model._module).float()
        last.register_forward_pre_hook(lambda _, args: (args[0].float(),))

    record(
        Mutant(
            name=name, group="quantising", source="google/gemma_pytorch#67", requirement="NUM-4",
            bug="All but the head is computed in bfloat16. float16 is claimed.",
            adapter=lambda: Edited(edit, architecture, "float16"), asked=frozenset({"NUM-1", "NUM-4"}),
        )
    )  # fmt: skip


computes("head-in-float32", "GPT-3", lambda module: module.lm_head)
computes("head-in-float32-llama", "Llama", lambda module: module.lm_head)
computes("head-in-float32-bert", "BERT", lambda module: module.cls.predictions.decoder)
