"""The command line: help, version, and what failures look like from a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gatewise.cli import demo as demo_command
from gatewise.cli.main import app
from gatewise.errors import InputError

COMMAND = [sys.executable, "-W", "error", "-c", "from gatewise.cli.main import main; main()"]


@pytest.fixture
def run_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run `gatewise demo` with the work replaced by raising an error."""

    def run(error: BaseException, *options: str) -> Result:
        def fail(*arguments: object, **options: object) -> None:
            raise error

        monkeypatch.setattr(demo_command, "_run", fail)
        return CliRunner().invoke(app, [*options, "demo", "--out", str(tmp_path / "out")])

    return run


def test_help_has_an_example():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "Example: gatewise train japanese-vowels" in result.output


def test_help_of_everything_without_a_command():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    assert "demo" in result.output


def test_version():
    import gatewise

    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"gatewise {gatewise.__version__}\n")


def test_bad_input_is_one_line_and_exit_2(run_demo):
    result = run_demo(InputError("Wrong. Mend it."))
    assert (result.exit_code, result.stderr) == (2, "Error: Wrong. Mend it.\n")


def test_debug_shows_the_traceback(run_demo):
    error = InputError("Wrong. Mend it.")
    assert run_demo(error, "--debug").exception is error


def test_a_full_disk_is_one_line_and_exit_1(run_demo):
    result = run_demo(OSError(28, "No space left on device"))
    assert result.exit_code == 1
    assert result.stderr == "Error: [Errno 28] No space left on device\n"


def test_an_error_of_our_own_making_is_not_hidden(run_demo):
    error = ZeroDivisionError()
    result = run_demo(error)
    assert result.exit_code == 1
    assert result.exception is error


def test_interruption_has_a_word_and_exit_130(run_demo):
    result = run_demo(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["demo", "--text", " "],
            "Error: Text 0 (' ') has no word in it. Give at least one word.",
        ),
        (["demo", "--seed", "x"], "Invalid value for '--seed'"),
        (
            ["train", "japanese-vowels", "--precision", "float16"],
            "Error: Invalid value for '--precision': 'float16' is not one of 'float32', 'float64', "
            "'bfloat16'.",
        ),
        (["data", "japanese-vowels", "--task", "x"], "Invalid value for '--task': 'x' is not one"),
        (["bench", "--precision", "x"], "Invalid value for '--precision': 'x' is not one"),
        (["dmo"], "No such command 'dmo'"),
    ],
)
def test_wrong_usage_exits_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_installed_command_is_this_one():
    done = subprocess.run([*COMMAND, "dmo"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "No such command" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shell_completes_commands_and_options():
    def completions(words: str) -> str:
        return subprocess.run(
            [*COMMAND],
            capture_output=True,
            text=True,
            check=True,
            env={
                **os.environ,
                "_GATEWISE_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            },
        ).stdout

    assert "train" in completions("gatewise tr").split()
    assert "--horizon" in completions("gatewise train --ho").split()
    assert completions("gatewise train --precision f").split() == ["float32", "float64"]
