"""Mutants of an implementation that is not ours: Hugging Face transformers behind its adapter, edited after loading.

A fault planted in our own runtime may be one that we know how to look for. These sit in another code base, with other
kernels, another cache and another batching.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmasos_conformance.mutants.catalogue import Mutant, record
from llmasos_conformance.protocol import Description

Edit = Callable[[Any], None]
"""Breaks what it is given in place: a GPT2LMHeadModel, or the adapter's model of BERT."""


class Edited:
    """The transformers adapter, of one architecture alone, whose models are edited after loading."""

    def __init__(self, edit: Edit, architecture: str, dtype: str = "float32") -> None:
        from llmasos_conformance.adapters.transformers import TransformersAdapter  # loads torch

        self.edit, self.adapter = edit, TransformersAdapter(f"{dtype}/eager")
        self.adapter.architectures = (architecture,)

    def describe(self) -> Description:
        described: Description = self.adapter.describe()
        return described

    def load_model(self, path: str) -> Any:
        model = self.adapter.load_model(path)
        self.edit(model)
        return model


def reread(name: str, source: str, requirement: str) -> Callable[[Edit], Edit]:
    """Record an edit of the adapter's model of BERT, asked that requirement alone; its docstring is the bug."""

    def note(edit: Edit) -> Edit:
        _record(name, source, requirement, edit, lambda: Edited(edit, "BERT"), frozenset({requirement}))
        return edit

    return note


def edited(name: str, source: str, requirement: str) -> Callable[[Edit], Edit]:
    """Record an edit of a GPT2LMHeadModel; its docstring is the bug."""

    def note(edit: Edit) -> Edit:
        _record(name, source, requirement, edit, lambda: Edited(lambda model: edit(model._module), "GPT-3"))
        return edit

    return note


def _record(
    name: str, source: str, requirement: str, edit: Edit, adapter: Callable[[], Edited],
    asked: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    bug = " ".join((edit.__doc__ or "").split())
    record(
        Mutant(
            name=name, group="outside", source=source, requirement=requirement, bug=bug, adapter=adapter, asked=asked
        )
    )


def before(module: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the named arguments of a module's calls."""

    def hook(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        changed = dict(kwargs)
        change(changed)
        return args, changed

    module.register_forward_pre_hook(hook, with_kwargs=True)


@edited("hf-gelu-erf", "huggingface/transformers#29402", "ACT-1")
def gelu_erf(module: Any) -> None:
    """activation_function is "gelu" where the model has "gelu_new"."""
    import torch

    for block in module.transformer.h:
        block.mlp.act = torch.nn.GELU()


@edited("hf-scores-unscaled", "microsoft/onnxruntime#14363", "ATT-1")
def scores_unscaled(module: Any) -> None:
    """scale_attn_weights is off: scores are not divided by the root of the head width."""
    for block in module.transformer.h:
        block.attn.scaling = 1.0


@edited("hf-scores-by-layer", "Lightning-AI/litgpt#1031", "ATT-1")
def scores_by_layer(module: Any) -> None:
    """scale_attn_by_inverse_layer_idx is on: scores of layer i are divided by i + 1 as well."""
    for index, block in enumerate(module.transformer.h):
        block.attn.scaling /= index + 1


@edited("hf-epsilon", "huggingface/candle#271", "NRM-1")
def epsilon(module: Any) -> None:
    """The layer norms have epsilon 1e-6 where the model says 1e-5."""
    for block in module.transformer.h:
        block.ln_1.eps /= 10
        block.ln_2.eps /= 10


@edited("hf-positions-from-pad", "huggingface/transformers#21080", "BAT-2")
def positions_from_pad(module: Any) -> None:
    """Position ids are not built from the mask, so that they count pads."""

    def change(kwargs: dict[str, Any]) -> None:
        kwargs.pop("position_ids", None)

    before(module.transformer, change)


@edited("hf-positions-shifted", "huggingface/transformers#17426", "POS-1")
def positions_shifted(module: Any) -> None:
    """Positions begin at one."""
    table = module.transformer.wpe.weight
    table.data[:-1] = table.data[1:].clone()


@edited("hf-mask-dropped", "deepspeedai/DeepSpeed#1797", "BAT-2")
def mask_dropped(module: Any) -> None:
    """The padding mask does not reach the attention."""

    def change(kwargs: dict[str, Any]) -> None:
        if kwargs.get("attention_mask") is not None:
            kwargs["attention_mask"] = kwargs["attention_mask"].new_ones(kwargs["attention_mask"].shape)

    before(module.transformer, change)


@edited("hf-bfloat16", "google/gemma_pytorch#67", "NUM-1")
def bfloat16(module: Any) -> None:
    """Arithmetic is bfloat16 behind a claim of float32."""
    _in_dtype(module, "bfloat16")


@edited("hf-float16", "vllm-project/vllm#3653", "NUM-1")
def float16(module: Any) -> None:
    """Arithmetic is float16 behind a claim of float32."""
    _in_dtype(module, "float16")


def _in_dtype(module: Any, name: str) -> None:
    import torch

    module.to(getattr(torch, name))
    # Logits leave as float32, so that nothing but their values tells.
    module.lm_head.register_forward_hook(lambda _, args, logits: logits.float())


@edited("hf-tf32", "huggingface/transformers#29402", "NUM-1")
def tf32(module: Any) -> None:
    """Products round their inputs to the ten explicit bits of TensorFloat-32."""
    import torch

    def hook(_: Any, args: Any) -> Any:
        bits = args[0].contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

    for block in module.transformer.h:
        for part in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            part.register_forward_pre_hook(hook)


@edited("hf-int8-weights", "InfiniTensor/InfiniLM#553", "NUM-1")
def int8_weights(module: Any) -> None:
    """Weights are rounded to 8-bit integers per channel behind a claim of float32."""
    for block in module.transformer.h:
        for part in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            step = part.weight.data.abs().amax(0, keepdim=True).clamp(min=1e-30) / 127
            part.weight.data = (part.weight.data / step).round() * step


@edited("hf-dropout", "unslothai/unsloth#4078", "STATE-2")
def dropout(module: Any) -> None:
    """The model was left in training mode."""
    module.train()
    for block in module.transformer.h:
        block.attn.resid_dropout.p = block.mlp.dropout.p = 0.001


# ── BERT, whose texts no other mutant reads ─────────────────────────────────────────────────────────────────────────


@reread("bert-line-ends-deleted", "dotnet/machinelearning#7724", "TOK-46")
def line_ends_deleted(model: Any) -> None:
    """Ends of lines and tabs are deleted from a text, so that the words beside them become one."""
    whole = model.tokenize
    model.tokenize = lambda text, **options: whole(text.translate({10: None, 13: None, 9: None}), **options)


@reread("bert-text-from-single-tokens", "antonellof/ferrox#124", "TOK-46")
def text_from_single_tokens(model: Any) -> None:
    """Text is joined from tokens that were decoded alone."""
    whole = model.detokenize
    model.detokenize = lambda ids: "".join(whole([token]) for token in ids)
