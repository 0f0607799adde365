"""Commands that use the reference as a tool: new, inspect, generate, evaluate, import, export, agreement."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmasos_conformance.cli.terminal import next_step, print_json, say, watched
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.verdict import EXIT_CODES, Verdict

if TYPE_CHECKING:
    pass


@click.command(short_help="Continue a prompt with the reference.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("prompt")
@click.option("--max-length", default=100, show_default=True, help="most new tokens")
@click.option("--temperature", default=1.0, show_default=True)
@click.option("--seed", type=int, help="same seed, same text")
@click.option("--top-k", type=int)
@click.option("--top-p", type=float)
@click.option("--min-p", type=float)
@click.option("--stop", multiple=True, help="text that ends the continuation")
@click.option("--json", "as_json", is_flag=True, help="print the generation as JSON")
def generate(model: Path, prompt: str, as_json: bool, **options: Any) -> None:
    """Continue PROMPT with the model in the bundle or model.json MODEL, by the reference."""
    wanted = {
        name: list(value) if name == "stop" else value for name, value in options.items() if value not in (None, ())
    }
    with _reference(model) as (call, handle):
        answer = call("generate_text", {"model": handle, "prompt": prompt, **wanted})
    if as_json:
        return print_json(answer)
    return say(answer["text"], wrap=False)


@click.command(short_help="Make a bundle from a few numbers and a seed.")
@click.argument("out", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--architecture", required=True, help="Transformer, GPT-3, BERT or Llama")
@click.option("--vocab-size", required=True, type=int)
@click.option("--width", required=True, type=int, help="embedding_dim")
@click.option("--layers", required=True, type=int, help="num_layers")
@click.option("--set", "more", multiple=True, metavar="KEY=VALUE", help="any other parameter, its value as in JSON")
@click.option("--seed", default=0, show_default=True, help="of the weights")
@click.option("--name", default="new", show_default=True, help="of the model")
@click.option("--tokenizer", type=click.Path(path_type=Path), help="tokenizer.json to take over; default: bytes")
@click.option("--no-weights", is_flag=True, help="write the document alone; its seed stands for the weights")
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def new(
    out: Path, architecture: str, vocab_size: int, width: int, layers: int, more: tuple[str, ...], seed: int, name: str,
    tokenizer: Path | None, no_weights: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make a new BUNDLE: a model with random weights that follow from the seed. Nothing is ever overwritten."""
    from llmasos_conformance.adapters.reference import new_bundle
    from llmasos_conformance.protocol import Refusal

    parameters = {"vocab_size": vocab_size, "embedding_dim": width, "num_layers": layers, **_settings(more)}
    try:
        raw = None if tokenizer is None else tokenizer.read_bytes()
        new_bundle(out, architecture, parameters, seed=seed, name=name, with_weights=not no_weights, tokenizer_json=raw)
    except OSError as error:
        raise HarnessError(f"cannot be read: {error.strerror}", where=str(tokenizer)) from error
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=out) from refusal
    if as_json:
        return print_json({"schemaVersion": "1.0", "bundle": str(out), "parameters": parameters, "seed": seed})
    say(f"{out}: {architecture}, {'document alone' if no_weights else 'with weights'} from seed {seed}")
    return next_step(f"llmasos inspect {shlex.quote(str(out))}")


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs; a value that is no JSON is a text."""
    made: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise HarnessError(f"{pair!r:.80} is no setting", where="--set", hint="--set num_heads=4")
        try:
            made[key] = json.loads(value)
        except ValueError:
            made[key] = value
    return made


@click.command(short_help="Score a file: BLEU, ROUGE, perplexity.")
@click.argument("data", metavar="DATA.jsonl", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", multiple=True, required=True, type=click.Choice(["bleu", "rouge", "perplexity"]))
@click.option("--model", metavar="BUNDLE", type=click.Path(path_type=Path), help="whose perplexity it is")
@click.option("--stride", type=int, help="of perplexity's windows; default half the context")
@click.option("--tokenize", type=click.Choice(["none", "word", "char", "zh"]), help="of BLEU; default none")
@click.option("--max-order", type=int, help="longest n-grams of BLEU; default 4")
@click.option("--smoothing", type=click.Choice(["none", "floor", "add-k", "exp"]), help="of BLEU; default none")
@click.option("--smoothing-value", type=float, help="of floor (default 0.1) and add-k (default 1)")
@click.option("--effective-order", is_flag=True, help="BLEU leaves out orders that are too long for all texts")
@click.option("--fold-case", is_flag=True, help="BLEU does not count case")
@click.option("--out", type=click.Path(path_type=Path), help="write the result, with each line's scores, to this file")
@click.option("--no-progress", is_flag=True, help="no progress display")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def evaluate(
    data: Path, metrics: tuple[str, ...], model: Path | None, stride: int | None, out: Path | None, no_progress: bool,
    as_json: bool, **bleu: Any,
) -> None:  # fmt: skip
    """Score the lines of DATA.jsonl by the reference.

    For bleu and rouge a line holds "hypothesis", a text, and "references", a list of texts; for perplexity it holds
    "text", or "ids".
    """
    from llmasos_conformance import evaluate as rooms

    chosen = {name: value for name, value in bleu.items() if value not in (None, False)}
    _fitting(metrics, {"bleu": chosen, "perplexity": {"model": model, "stride": stride}})
    order = rooms.Order(
        data=data, metrics=tuple(dict.fromkeys(metrics)), model=model, bleu=chosen, stride=stride, out=out
    )
    with watched(silent=as_json or no_progress) as progress:
        result = rooms.evaluate(order, progress)
    if as_json:
        return print_json(result)
    say(f"{data}: {result['data']['segments']} lines")
    for line in _score_lines(result["metrics"]):
        say(line, wrap=False)
    sentence = {"bleu": "BLEU-1", "rouge": "ROUGE-1", "perplexity": "PPL-1"}[metrics[0]]
    kept = [] if out else [f"llmasos evaluate {shlex.quote(str(data))} … --out scores.json    keeps each line's scores"]
    if out:
        say(f"written: {out}")
    return next_step(*kept, f"llmasos explain {sentence}")


def _fitting(metrics: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Complain about an option of a metric that is not asked for: it would be ignored."""
    for metric, given in options.items():
        for name, value in given.items():
            if value is not None and metric not in metrics:
                option = "--" + name.replace("_", "-")
                raise HarnessError(f"{option} is an option of {metric}", hint=f"--metric {metric}, or leave it out")


def _score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """A metric per line, or four for ROUGE."""
    if "bleu" in scores:
        bleu = scores["bleu"]
        lengths = f"{bleu['hypothesisLength']} tokens against {bleu['referenceLength']}"
        precisions = " ".join(f"{p:.4f}" for p in bleu["precisions"])
        declared = ", ".join(f"{key} {value}" for key, value in bleu["options"].items() if value is not None)
        yield f"bleu        {bleu['score']:.4f}   brevity {bleu['brevityPenalty']:.4f} ({lengths}), {precisions}"
        yield f"            {declared}"
    for name, parts in scores.get("rouge", {}).items():
        yield f"{name:<12}{parts['f1']:.4f}   precision {parts['precision']:.4f}, recall {parts['recall']:.4f}"
    if "perplexity" in scores:
        found = scores["perplexity"]
        value, bits = (("infinite" if x is None else f"{x:.4f}") for x in (found["perplexity"], found["bitsPerToken"]))
        yield f"perplexity  {value}   {bits} bits per token, {found['tokens']} tokens"
        yield f"            context {found['context']}, stride {found['stride']} where a text is longer"


@click.command("inspect", short_help="Show what is in a bundle, and all that is wrong with it.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--tensors", is_flag=True, help="show every tensor with its figures")
@click.option("--json", "as_json", is_flag=True, help="print as JSON, tensors included")
def inspect_(bundle: Path, tensors: bool, as_json: bool) -> int:
    """Show what is in BUNDLE, and everything that is wrong with it. Exit code 0 if it is sound, 1 if not.

    A model.onnx is looked into where the package onnx is installed: operator set, inputs, outputs, and whether it was
    made of this document and these weights.
    """
    from llmasos_conformance.adapters.reference import inspect_bundle
    from llmasos_conformance.protocol import Refusal

    try:
        found = inspect_bundle(bundle)
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=bundle) from refusal
    if as_json:
        print_json({"schemaVersion": "1.0", "sound": found.sound, **found.as_json()})
        return 0 if found.sound else 1
    for line in found.lines(tensors=tensors):
        say(line, wrap=not tensors)
    for fault in found.faults:
        place = f"{fault.where}: " if fault.where else ""
        say(f"wrong: {place}{fault.what}{f' ({fault.hint})' if fault.hint else ''}", fg="red")
    if found.sound and found.config is not None and found.config.architecture == "BERT":
        next_step("llmasos explain BERT")  # it continues no text
    elif found.sound:
        next_step(f"llmasos generate {shlex.quote(str(bundle))} 'a prompt' --max-length 20")
    else:
        count = len(found.faults)
        say(f"not sound: {count} {'thing is' if count == 1 else 'things are'} wrong", fg="red", bold=True)
        next_step(f"mend the first, then: llmasos inspect {shlex.quote(str(bundle))}")
    return 0 if found.sound else 1


@click.command(short_help="Write a bundle as ONNX, checked by onnxruntime.")
@click.argument("model", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="file to write  [default: model.onnx in the bundle]")
@click.option("--dtype", default="float32", show_default=True, metavar="float32|float64")
@click.option(
    "--with-cache/--without-cache",
    "cached",
    default=None,
    help="keys and values go in and out  [default: where the architecture has them]",
)
@click.option("--opset", type=int, default=17, show_default=True, help="operator set, 13 to 21")
@click.option("--external-data", "external", is_flag=True, help="put large tensors into a file beside it")
@click.option("--seeded", is_flag=True, help="export the weights that the seed gives, if the bundle holds none")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def export(model: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Write BUNDLE as ONNX, by the reference.

    The file is put in its place after onnx's checker took it, and after onnxruntime computed with it what the reference
    computes with the bundle, within honest error.
    """
    from llmasos_conformance.adapters.reference import export_bundle
    from llmasos_conformance.protocol import Refusal

    try:
        made = export_bundle(model, out, **options)
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=model) from refusal
    if as_json:
        return print_json(
            {"schemaVersion": "1.0", "files": {str(path): digest for path, digest in made.files.items()},
             "architecture": made.architecture, "dtype": made.dtype, "opset": made.opset, "cached": made.cached,
             "error": made.error}
        )  # fmt: skip
    form = "with cache" if made.cached else "without cache"
    say(f"{made.architecture} as ONNX, {made.dtype}, {form}, operator set {made.opset}", bold=True)
    for path, digest in made.files.items():
        say(f"  {path}  {path.stat().st_size:,} bytes, sha256 {digest[:16]}", wrap=False)
    say(f"  onnxruntime computes the same as the reference: off by {made.error:.2g} honest errors, 6 are allowed")
    name = {"GPT-3": "gpt", "Llama": "llama", "BERT": "bert", "Transformer": "transformer"}[made.architecture]
    return next_step(
        f"llmasos inspect {shlex.quote(str(model))}",
        f"llmasos certify --adapter onnxruntime --profile interchange/{name} --key keys/key.pem --out reports/onnx",
        f"llmasos certify --adapter onnxruntime --bundle {shlex.quote(str(model))} --out reports/bundle",
    )


@contextmanager
def _reference(model: Path) -> Iterator[tuple[Callable[[str, Mapping[str, Any]], Any], str]]:
    """The reference with a model loaded; its refusals become errors that say what to mend."""
    from llmasos_conformance import adapters
    from llmasos_conformance.protocol import Refusal

    connection = adapters.connect("reference")
    try:
        handle = str(connection.call("load_model", {"path": str(model)})["model"])
        yield connection.call, handle
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=model) from refusal
    finally:
        connection.close()


@click.command("import", short_help="Turn a Hugging Face checkpoint into a bundle.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="directory of the bundle, absent or empty")
@click.option("--name", help="of the model; default the name of the checkpoint's directory")
@click.option("--no-tokenizer", is_flag=True, help="leave the tokenizer behind")
@click.option("--no-check", is_flag=True, help="do not compare with transformers")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def import_(source: Path, out: Path, name: str | None, no_tokenizer: bool, no_check: bool, as_json: bool) -> None:
    """Turn the local Hugging Face checkpoint SOURCE (GPT-2, Llama, Mistral, BERT, BART or Marian) into a bundle.

    Needs neither torch nor transformers; where both are installed, the bundle is held against the checkpoint as they
    load it.
    """
    from llmasos_conformance.adapters.reference import import_checkpoint
    from llmasos_conformance.protocol import Refusal

    try:
        made = import_checkpoint(source, out, name=name, tokenizer=not no_tokenizer, check=not no_check)
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=source) from refusal
    if as_json:
        return print_json({"schemaVersion": "1.0", **made})
    document, checked = made["document"], made["checked"]
    say(f"{document['name']}: {document['architecture']}, in {made['path']}", bold=True)
    say(f"  tokenizer: {made['tokenizer']}")
    for note in made["notes"]:
        say(f"  note: {note}")
    if checked is None:
        say(f"  not compared with transformers: {made['unchecked']}", fg="yellow")
    else:
        what = ", ".join((*checked["compared"], *([f"ids of {checked['texts']} texts"] if checked["texts"] else [])))
        figure = f"the largest difference is {checked['error']:.1e} of the spread, allowed {checked['tolerance']:.1e}"
        say(f"  the same as by {checked['against']}: {what}; {figure}", fg="green")
        if not checked["texts"] and made["tokenizer"].startswith("tokenizer.json"):
            say("  ids of texts were not compared: transformers loads no tokenizer from the checkpoint", fg="yellow")
    return next_step(
        f"llmasos inspect {shlex.quote(str(out))}",
        f"llmasos certify --adapter … --bundle {shlex.quote(str(out))} --out report",
    )


@click.command(
    short_help="Hold the reference against its witnesses.",
    epilog="Exit codes: 0 all rows within their bounds, 1 a row is outside, 2 torch or transformers is not installed, "
    "3 a row could not be measured.",
)
@click.option("--json", "as_json", is_flag=True, help="print the table as JSON")
def agreement(as_json: bool) -> int:
    """Hold the reference against the torch twin and against Hugging Face's models on the same drawn weights.

    Errors are relative to the spread of what is compared; the bound is what honest rounding may cost.
    """
    from llmasos_conformance.adapters.reference import agreement_rows
    from llmasos_conformance.protocol import Refusal

    started, rows = time.monotonic(), []
    try:
        for row in agreement_rows():
            rows.append(row)
            if not as_json:
                _print_agreement(row, heading=len(rows) == 1)
    except Refusal as refusal:
        raise HarnessError(refusal.message, hint="pip install 'llmasos[runtimes]'") from refusal
    wrong = [row for row in rows if row["ok"] is False]
    unmeasured = [row for row in rows if row["ok"] is None]
    code = 1 if wrong else EXIT_CODES[Verdict.INCOMPLETE] if unmeasured else 0
    if as_json:
        print_json({"schemaVersion": "1.0", "ok": code == 0, "rows": rows})
        return code
    counts = f"{len(rows) - len(wrong) - len(unmeasured)} of {len(rows)} rows within their bounds"
    missing = f", {len(unmeasured)} not measured" if unmeasured else ""
    say(f"{counts}{missing}, in {time.monotonic() - started:.0f} s", bold=True, fg="red" if wrong else None)
    if unmeasured:
        next_step("pip install 'llmasos[test]', and again")
    else:
        next_step("report this as a bug of llmasos, with --json" if wrong else "llmasos demo")
    return code


_AGREEMENT = "{:<15} {:<24} {:<9} {:<8} {:>5} {:>9} {:>9} {:>9}  "


def _print_agreement(row: Mapping[str, Any], *, heading: bool) -> None:
    if heading:
        columns = ("architecture", "witness", "depth", "dtype", "drawn", "compared", "error", "bound")
        say(_AGREEMENT.format(*columns).rstrip(), wrap=False, bold=True)
    names = [row[key] for key in ("architecture", "witness", "depth", "dtype", "configurations", "compared")]
    numbers = [
        f"{row[key]:.1e}" if row["depth"] in ("logits", "inside", "gradients") else f"{row[key]:.0f}"
        for key in ("error", "bound")
    ]
    mark, colour = {True: ("ok", None), False: ("OUTSIDE", "red"), None: ("not measured", "yellow")}[row["ok"]]
    doubtful = f", {row['doubtful']} too close to call" if row["doubtful"] else ""
    note = f" ({row['note']})" if row["note"] else ""
    say(_AGREEMENT.format(*names, *numbers) + mark + doubtful + note, wrap=False, fg=colour)
