"""The `gatewise` command: its subcommands, and what the shell sees when one of them fails."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gatewise.cli.bench import bench
from gatewise.cli.compare_gradients import compare_gradients
from gatewise.cli.data import data
from gatewise.cli.demo import demo
from gatewise.cli.evaluate import evaluate
from gatewise.cli.explain import explain
from gatewise.cli.predict import predict
from gatewise.cli.report import report
from gatewise.cli.summary import summary
from gatewise.cli.train import train
from gatewise.errors import GatewiseError, NonFiniteError

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
            raise typer.Exit(_exit_code(error)) from None


def _exit_code(error: Exception) -> int:
    """Return 2 for what the user can mend in the input, 1 for what went wrong on the way."""
    mendable = isinstance(error, GatewiseError) and not isinstance(error, NonFiniteError)
    return BAD_INPUT if mendable else FAILED


def _say(line: str) -> None:
    typer.echo(line, err=True)


app = typer.Typer(
    cls=_Commands,
    name="gatewise",
    help="Fast, explainable LSTMs for PyTorch and Keras.",
    epilog="Example: gatewise train japanese-vowels",
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


_EXAMPLES = {
    train: "gatewise train sensors.csv --series device --time second --target state",
    predict: "gatewise predict sensors-run new.csv -o predictions.csv",
    evaluate: "gatewise evaluate japanese-vowels-run japanese-vowels --json",
    summary: "gatewise summary sensors-run --gates",
    explain: "gatewise explain japanese-vowels-run japanese-vowels",
    report: "gatewise report japanese-vowels-run -o report.html",
    compare_gradients: "gatewise compare-gradients sensors-run sensors.csv",
    data: "gatewise data japanese-vowels",
    bench: "gatewise bench --cell gru --shape 32,100,100,128",
    demo: "gatewise demo --text 'and he said unto them'",
}

for _command, _example in _EXAMPLES.items():
    app.command(epilog=f"Example: {_example}")(_command)


def main() -> None:
    """Run the command line: exit 0, 1 (it failed), 2 (bad input) or 130 (Ctrl-C)."""
    app(prog_name="gatewise")
