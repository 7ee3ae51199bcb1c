"""The `gatewise` command: its subcommands, and what the shell sees when one of them fails."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gatewise.cli.demo import demo
from gatewise.errors import GatewiseError

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count


class _Commands(TyperGroup):
    """Subcommands whose errors become one line on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _say(str(error) or "Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except (GatewiseError, OSError) as error:
            # A reader that left (`gatewise demo | head`) is typer's to handle, quietly.
            if ctx.params["debug"] or isinstance(error, BrokenPipeError):
                raise
            _say(f"Error: {error}")
            raise typer.Exit(BAD_INPUT if isinstance(error, GatewiseError) else FAILED) from None


def _say(line: str) -> None:
    typer.echo(line, err=True)


app = typer.Typer(
    cls=_Commands,
    name="gatewise",
    help="Fast, explainable LSTMs for PyTorch and Keras.",
    epilog="Example: gatewise demo --text 'thou shalt not'",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from gatewise.version import __version__

        typer.echo(f"gatewise {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error, not only its line.")
    ] = False,
) -> None:
    """Fast, explainable LSTMs for PyTorch and Keras."""


app.command(epilog="Example: gatewise demo --text 'and he said unto them'")(demo)


def main() -> None:
    """Run the command line: exit 0, 1 (it failed), 2 (bad input) or 130 (Ctrl-C)."""
    app(prog_name="gatewise")
