"""`llmasos …`: the commands, each a few lines around the room that does the work.

Importing this module costs little more than click; every command imports its room when it runs. With `--json`, standard
output holds JSON and nothing else, and what is meant for people goes to standard error. Errors say what, where, and
what to try. `certify` starts itself again in an isolated interpreter (see `isolation`).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from llmasos_conformance import __version__
from llmasos_conformance.cli import beginning, certifying, explaining, reference, releasing, showing
from llmasos_conformance.cli.terminal import next_step, say
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.verdict import EXIT_OURS, EXIT_USAGE

EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="llmasos")
def cli() -> None:
    """The LLMasOS standard: test implementations, certify them, check reports.

    \b
    See it   llmasos demo
    Begin    llmasos init --lang python
    Test     pytest --adapter=./mine.py:Mine
    Certify  llmasos certify --adapter ./mine.py:Mine --profile quick --out report
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point: run a command and turn whatever happens into an exit code."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; errors are printed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        result = cli.main(args=arguments, standalone_mode=False, prog_name="llmasos", obj=list(arguments))
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        say("interrupted", err=True)
        return EXIT_INTERRUPTED
    except HarnessError as error:
        _show(error)
        return error.exit_code
    except BrokenPipeError:
        sys.stdout = None  # whoever read our output has gone, and closing would complain
        return 0
    except Exception:
        traceback.print_exc()
        say("\nerror: this is a bug of llmasos, not of your candidate", err=True, fg="red")
        say("  try: llmasos doctor --json, and report its output with the lines above", err=True)
        return EXIT_OURS


def _show(error: HarnessError) -> None:
    say(f"error: {error.what}", err=True, fg="red")
    code = getattr(error, "code", "")
    for label, text in (
        ("where", error.where),
        ("try", error.hint),
        ("more", f"llmasos explain {code}" if code else ""),
    ):
        if text:
            say(f"  {label}: {text}", err=True)


@cli.command(
    short_help="Try every mutant against every case.",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def selftest(arguments: tuple[str, ...]) -> int:
    """Try every mutant, null candidate and honest variant against every case."""
    from llmasos_conformance.mutants import table

    return table.main(list(arguments))


for _command in (
    beginning.init,
    beginning.smoke,
    beginning.try_,
    certifying.certify,
    certifying.verify,
    certifying.keygen,
    certifying.demo,
    showing.show,
    showing.board,
    releasing.diff,
    releasing.gate,
    releasing.publish,
    explaining.list_,
    explaining.explain,
    explaining.docs,
    explaining.standard,
    explaining.coverage,
    explaining.doctor,
    reference.generate,
    reference.new,
    reference.evaluate,
    reference.inspect_,
    reference.export,
    reference.import_,
    reference.agreement,
):
    cli.add_command(_command)

__all__ = ["cli", "main", "next_step", "run", "say"]
