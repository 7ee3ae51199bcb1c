"""`train --gradient` and `compare-gradients`, through the runner."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gatewise.gradients import TBPTT
from gatewise.models import load_model


def test_train_with_an_algorithm(train_sensors: Any, gatewise: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    chosen = ("--gradient", "tbptt:2,4", "--one-direction", "--epochs", 2, "--out", out)
    result = gatewise(*train_sensors, *chosen)
    assert result.exit_code == 0, result.output
    assert load_model(out / "model.safetensors").compiled.gradient == TBPTT(2, 4)
    assert tomllib.loads((out / "run.toml").read_text())["settings"]["gradient"] == "tbptt:2,4"
    again = gatewise("train", "--repeat", out / "run.toml", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    history = [(folder / "history.csv").read_text() for folder in (out, tmp_path / "again")]
    assert history[0] == history[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gradient", "tbptt:40,20"), "k2"),
        (("--gradient", "tbtt"), "Did you mean 'tbptt'"),
        (("--gradient", "artbp"), "artbp:MEAN_LENGTH"),
        (("--gradient", "snap1"), "--one-direction"),
        (("--gradient", "rtrl", "--one-direction"), "--recurrent-dropout 0"),
    ],
)
def test_a_wrong_algorithm_is_one_line(
    train_sensors: Any, gatewise: Any, options: Any, message: str, tmp_path: Path
) -> None:
    result = gatewise(*train_sensors, *options, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_model_that_compiles_itself_keeps_its_own(
    train_sensors: Any, gatewise: Any, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from gatewise.layers import LSTM, Dense\nfrom gatewise.models import Sequential\n"
        "def make(features, outputs):\n"
        "    model = Sequential([LSTM(2, input_shape=(None, features)), Dense(outputs)])\n"
        "    model.compile(loss='mse')\n    return model\n"
    )
    result = gatewise(*train_sensors, "--model", f"{file}:make", "--gradient", "snap1")
    assert result.exit_code == 2
    assert "compiles its model itself" in result.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, train_sensors: Any, gatewise: Any) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sensors"
    result = gatewise(*train_sensors, "--one-direction", "--epochs", 1, "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_compare_gradients(run: Path, files: Path, gatewise: Any) -> None:
    data = files / "sensors.csv"
    result = gatewise("compare-gradients", run, data, "--series", 8)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("The gradient of sequential on 8 series of up to 8 steps; loss")
    assert lines[2].split() == [
        "gradient",
        "cosine",
        "norm",
        "ratio",
        "time,",
        "ms",
        "peak,",
        "MiB",
    ]
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:10]}
    assert list(rows) == [
        *("bptt", "bptt:sqrt", "tbptt:2", "tbptt:2,4", "artbp:2", "snap1:2", "eprop:2")
    ]
    assert rows["bptt"][:2] == rows["bptt:sqrt"][:2] == ["1.0000", "1.000"]
    assert float(rows["tbptt:2"][0]) < 0.9999
    assert lines[-1].startswith("  rtrl:2: RTRL computes each series's influence on its own")


def test_compare_chosen_gradients_as_json(run: Path, files: Path, gatewise: Any) -> None:
    chosen = ("--gradient", "snap1", "--gradient", "rtrl", "--json")
    result = gatewise("compare-gradients", run, files / "sensors.csv", *chosen)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    bptt, snap, rtrl = found["measures"]
    assert (bptt["gradient"], snap["gradient"], rtrl["gradient"]) == ("bptt", "snap1", "rtrl")
    assert bptt["cosine"] == pytest.approx(1)
    assert snap["seconds"] > 0 and snap["refused"] is None
    assert rtrl["cosine"] is None and "dropout" in rtrl["refused"]


def test_compare_says_what_it_lacks(run: Path, files: Path, gatewise: Any, tmp_path: Path) -> None:
    unlabelled = gatewise("compare-gradients", run, files / "unlabelled.csv")
    assert unlabelled.exit_code == 2
    nowhere = gatewise("compare-gradients", tmp_path / "none", files / "sensors.csv")
    assert nowhere.exit_code == 2 and "does not exist" in nowhere.stderr
    wrong = gatewise("compare-gradients", run, files / "sensors.csv", "--gradient", "bppt")
    assert wrong.exit_code == 2 and "Did you mean 'bptt'" in wrong.stderr
