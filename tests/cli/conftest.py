"""Small files to train on, one a task, and the commands run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gatewise.cli.main import app

Gatewise = Callable[..., Result]


@pytest.fixture(scope="session")
def gatewise() -> Gatewise:
    """Run a command: `gatewise("train", path, "--epochs", 2)`."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for each task."""
    folder = tmp_path_factory.mktemp("files")
    _write_sensors(folder / "sensors.csv", labels=True)
    _write_sensors(folder / "unlabelled.csv", labels=False)
    _write_tagged(folder / "tagged.csv")
    _write_numbers(folder / "numbers.csv")
    _write_wave(folder / "wave.csv")
    _write_texts(folder / "texts.csv")
    return folder


@pytest.fixture(scope="session")
def trained(
    train_sensors: list[object], gatewise: Gatewise, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished run on the sensors."""
    out = tmp_path_factory.mktemp("runs") / "sensors"
    result = gatewise(*train_sensors, "--epochs", 30, "--seed", 3, "--out", out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def train_sensors(files: Path) -> list[object]:
    """The command that trains a small model on the sensors."""
    return [
        *("train", files / "sensors.csv", "--series", "device", "--time", "second"),
        *("--target", "state", "--units", 8),
    ]


def _write_sensors(path: Path, *, labels: bool) -> None:
    """Write 40 series of 4 to 8 steps; those of broken devices swing, the others do not."""
    random = np.random.default_rng(0)
    lines = [f"device,second,heat,noise{',state' if labels else ''}"]
    for device in range(40):
        broken = device % 2
        for second in range(4 + device % 5):
            heat = broken * (-1) ** second + 0.1 * random.standard_normal()
            state = ("," + ("broken" if broken else "whole")) if labels else ""
            lines.append(f"d{device},{second},{heat:.4f},{random.standard_normal():.4f}{state}")
    path.write_text("\n".join(lines) + "\n")


def _write_tagged(path: Path) -> None:
    random = np.random.default_rng(1)
    lines = ["walk,step,level,above"]
    for walk in range(20):
        for step in range(5):
            level = random.standard_normal()
            lines.append(f"w{walk},{step},{level:.4f},{'yes' if level > 0 else 'no'}")
    path.write_text("\n".join(lines) + "\n")


def _write_numbers(path: Path) -> None:
    random = np.random.default_rng(2)
    lines = ["tank,hour,flow,total"]
    for tank in range(30):
        flows = random.uniform(0, 100, 4)
        lines += [f"t{tank},{hour},{flow},{flows.sum()}" for hour, flow in enumerate(flows)]
    path.write_text("\n".join(lines) + "\n")


def _write_wave(path: Path) -> None:
    values = 50 + 10 * np.sin(np.arange(240) * 2 * np.pi / 12)
    lines = ["month,sales", *(f"{month},{value:.4f}" for month, value in enumerate(values))]
    path.write_text("\n".join(lines) + "\n")


def _write_texts(path: Path) -> None:
    good = ["what a good day", "good bread and wine", "all is good here", "a good, long walk"]
    bad = ["what a bad day", "bad bread and wine", "all is bad here", "a bad, long walk"]
    lines = ["remark,mood"]
    for _ in range(6):
        lines += [f'"{text}",good' for text in good] + [f'"{text}",bad' for text in bad]
    path.write_text("\n".join(lines) + "\n")
