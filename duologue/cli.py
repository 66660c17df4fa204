"""The command line: `duologue talk · serve · info · codec · train · eval · synthesize`.

`main` is the console script. What a user can cause ends as one line on standard error and exit code 1, Ctrl-C as one
line and 130; `--verbose`, anywhere on the line, shows the trace as well. Heavy imports wait for the command that needs
them, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from duologue.commands import codec, evaluate, info, serve, synthesize, talk, train
from duologue.errors import DuologueError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Talk with speech-to-speech language models, and build them.",
)
app.command("talk")(talk.talk)
app.command("serve")(serve.serve)
app.command("info")(info.info)
app.add_typer(codec.app, name="codec")
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("synthesize")(synthesize.synthesize)


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the trace of an error.")] = False,
) -> None:
    """Holds the help of `--verbose`; `main` takes it off the line wherever it stands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `arguments` defaults to those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbose = "--verbose" in given
    try:
        code = _run([argument for argument in given if argument != "--verbose"])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output has left
        _drop_output()
        return 1
    except KeyboardInterrupt as error:
        return _report("stopped", 130, error if verbose else None)
    except DuologueError as error:
        return _report(f"error: {error}", 1, error if verbose else None)
    except ModuleNotFoundError as error:  # of an extra: the core's packages are always there
        extras = "duologue[serve,train,synth,eval]"
        line = f"error: the package {error.name} is not installed; pip install '{extras}' brings it"
        return _report(line, 1, error if verbose else None)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _report(f"error: {where}{error.strerror or error}", 1, error if verbose else None)


def _report(line: str, code: int, trace_of: BaseException | None) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    if trace_of is not None:
        traceback.print_exception(trace_of)
    print(" ".join(line.split()), file=sys.stderr)
    return code


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not fail on it again on its way out."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _run(arguments: list[str]) -> int:
    try:
        app(arguments, prog_name="duologue")
    except SystemExit as end:  # how typer ends, usage errors (2) and Ctrl-C (130) too
        if end.code == 130:
            raise KeyboardInterrupt from end
        return end.code if isinstance(end.code, int) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
