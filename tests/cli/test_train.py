"""`gatewise train`: what it says, what it leaves behind, and that a run can be repeated."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from gatewise.cli.defaults import DataShape, defaults
from gatewise.models import load_model

COMMAND = [sys.executable, "-W", "error", "-c", "from gatewise.cli.main import main; main()"]


def test_says_what_it_inferred_and_how_good_it_is(train_sensors, gatewise, tmp_path):
    result = gatewise(*train_sensors, "--epochs", 2, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    for words in (
        "classification",
        "40 series of 4 to 8 steps",
        "2: heat, noise",
        "broken 50%",
        "missing   none",
        "split     ",
        "LSTM(8), both directions, 738 weights",
        "Epoch 2/2 - ",
        "val_accuracy",
        "On the validation part (8):",
        "macro-F1",
        "majority",
        f"Saved in {tmp_path / 'run'}.",
    ):
        assert words in result.output
    assert "\x1b" not in result.output
    assert not [
        line for line in result.output.splitlines() if len(line) > 100 and str(tmp_path) not in line
    ]


def test_the_folder_holds_model_history_and_run(trained):
    assert sorted(path.name for path in trained.iterdir()) == [
        "history.csv",
        "model.safetensors",
        "report.html",
        "run.toml",
    ]
    with (trained / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 31)]
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]


def test_the_model_is_that_of_the_best_epoch(trained, files):
    from gatewise.data import read_like, split

    model = load_model(trained / "model.safetensors")
    data = read_like(files / "sensors.csv", model.preprocessing)
    held_out = split(data, validation=0.2, seed=3).validation
    loss = model.evaluate(
        model.preprocessing(held_out),
        model.preprocessing.targets(held_out),
        verbose=0,
        return_dict=True,
    )
    with (trained / "history.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert isinstance(loss, dict)
    assert loss["loss"] == pytest.approx(min(losses), rel=1e-5)


def test_a_model_of_the_command_line_predicts_in_python(trained):
    model = load_model(trained / "model.safetensors")
    assert model.labels is not None and sorted(model.labels) == ["broken", "whole"]
    swinging = np.array([[1.0, 0.0], [-1.0, 0.0]] * 3)
    still = np.zeros((5, 2))
    found = model.predict(model.preprocessing([swinging, still]), verbose=0)
    assert [model.labels[place] for place in found.argmax(axis=-1)] == ["broken", "whole"]


def test_repeating_a_run_gives_the_same_bits(trained, files, gatewise, tmp_path):
    again = gatewise("train", "--repeat", trained / "run.toml", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    for name in ("model.safetensors", "history.csv", "run.toml"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes()


def test_products_in_bfloat16(train_sensors, gatewise, tmp_path):
    options = ("--epochs", 2, "--precision", "bfloat16", "--out", tmp_path / "run")
    result = gatewise(*train_sensors, *options)
    assert result.exit_code == 0, result.output
    assert 'precision = "bfloat16"' in (tmp_path / "run" / "run.toml").read_text()
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.compiled.precision == "bfloat16" and str(model.dtype) == "torch.float32"
    again = gatewise("train", "--repeat", tmp_path / "run" / "run.toml", "--out", tmp_path / "b")
    assert again.exit_code == 0, again.output
    name = "model.safetensors"
    assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_another_seed_gives_other_bits(trained, files, gatewise, tmp_path):
    text = (trained / "run.toml").read_text()
    (tmp_path / "run.toml").write_text(text.replace("seed = 3", "seed = 4"))
    again = gatewise("train", "--repeat", tmp_path / "run.toml", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    model = "model.safetensors"
    assert (tmp_path / "again" / model).read_bytes() != (trained / model).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "task", "figure", "baseline"),
    [
        (["tagged.csv", "--series", "walk", "--time", "step", "--target", "above"],
         "tagging", "accuracy", "majority"),
        (["numbers.csv", "--series", "tank", "--time", "hour", "--target", "total"],
         "regression", "mae", "mean"),
        (["wave.csv", "--time", "month", "--target", "sales", "--horizon", "3"],
         "forecasting", "rmse_3", "last value"),
        (["texts.csv", "--text", "remark", "--target", "mood"],
         "classification", "macro_f1", "majority"),
    ],
)  # fmt: skip
def test_every_task_trains_and_reports(
    arguments, task, figure, baseline, files, gatewise, tmp_path
):
    name, *rest = arguments
    result = gatewise(
        *("train", files / name, *rest, "--units", 6, "--epochs", 2),
        *("--out", tmp_path / "run", "--json"),
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert figure in report["figures"]["this model"]
    assert figure in report["figures"][baseline]
    assert load_model(report["model"]).preprocessing.task == task


def test_learns_each_kind_of_task(files, gatewise, tmp_path):
    """Not only does it run: with enough epochs the model beats every baseline."""
    runs = {
        "tagged.csv": ["--series", "walk", "--time", "step", "--target", "above"],
        "numbers.csv": ["--series", "tank", "--time", "hour", "--target", "total"],
        "texts.csv": ["--text", "remark", "--target", "mood"],
    }
    for name, columns in runs.items():
        result = gatewise(
            *("train", files / name, *columns, "--units", 16, "--epochs", 40),
            *("--learning-rate", 0.02, "--out", tmp_path / name, "--json"),
        )
        own, *others = json.loads(result.stdout)["figures"].values()
        sign = -1 if "mae" in own else 1
        figure = next(iter(own))
        assert all(sign * own[figure] > sign * other[figure] for other in others), (name, own)


def test_options_reach_the_model(train_sensors, gatewise, tmp_path):
    options = ["--cell", "gru", "--layers", 2, "--one-direction", "--recurrent-dropout", 0.1]
    options += ["--dropout", 0, "--precision", "float64", "--epochs", 1, "--batch-size", 4]
    result = gatewise(*train_sensors, *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "2 layers of GRU(8)," in result.output
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert [type(layer).__name__ for layer in model.layers] == ["GRU", "GRU", "Dense"]
    assert str(model.dtype) == "torch.float64"


def test_a_model_of_your_own(train_sensors, gatewise, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from gatewise import Sequential\n"
        "from gatewise.layers import Dense, SimpleRNN\n\n"
        "def small(features, outputs):\n"
        "    return Sequential([SimpleRNN(3, input_shape=(None, features)),\n"
        "                       Dense(outputs, activation='softmax')])\n"
    )
    model = f"{tmp_path / 'mine.py'}:small"
    result = gatewise(*train_sensors, "--epochs", 1, "--model", model, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert load_model(tmp_path / "run" / "model.safetensors").count_params() == 18 + 8


def test_without_out_the_folder_has_a_free_name(train_sensors, gatewise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("sensors-run", "sensors-run-2"):
        result = gatewise(*train_sensors, "--epochs", 1)
        assert f"Saved in {folder}." in result.output


def test_ctrl_c_leaves_the_best_model_and_says_where(train_sensors, tmp_path):
    arguments = [*map(str, train_sensors), "--epochs", "100000", "--patience", "100000"]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--out", "kept"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Epoch 3/"):
            break
    try:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    path = "kept/model.safetensors"
    assert errors.strip() == (
        f"Interrupted. The best model so far is in {path}: gatewise predict {path} FILE. "
        "To go on: gatewise train --resume kept."
    )
    assert load_model(tmp_path / path).preprocessing.labels
    assert (tmp_path / "kept/history.csv").read_text().count("\n") >= 4
    assert (tmp_path / "kept/run.toml").exists()


def test_a_run_that_was_killed_goes_on_to_the_same_bits(train_sensors, gatewise, tmp_path):
    arguments = [*train_sensors, "--epochs", 60, "--patience", 50]
    whole = gatewise(*arguments, "--out", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--out", str(killed)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Epoch 4/"):
            break
    process.kill()
    process.communicate(timeout=60)
    assert not (killed / "model.safetensors").exists()
    result = gatewise("train", "--resume", killed)
    assert result.exit_code == 0, result.output
    assert "Epoch 2/60" not in result.output and "Epoch 60/60" in result.output
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in killed.iterdir()) == names
    for name in names:
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_training_from_a_shell(train_sensors, tmp_path):
    done = subprocess.run(
        [*COMMAND, *map(str, train_sensors), "--epochs", "2", "--json", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["model"] == "run/model.safetensors"


def test_a_loss_that_explodes_keeps_the_last_good_weights(files, gatewise, tmp_path):
    result = gatewise(
        *("train", files / "numbers.csv", "--series", "tank", "--time", "hour"),
        *("--target", "total", "--learning-rate", 1e30, "--out", tmp_path / "run"),
    )
    assert result.exit_code == 1
    assert "no longer finite" in result.stderr or "became" in result.stderr
    assert f"The best model so far is in {tmp_path / 'run'}" in result.stderr
    assert load_model(tmp_path / "run/model.safetensors").built


def test_defaults_do_not_know_the_data_by_name():
    shape = DataShape("classification", samples=216, features=12, outputs=9)
    sizes = {"samples", "features", "outputs", "tokens", "categories", "steps"}
    assert set(vars(shape)) == {"task", *sizes}
    assert defaults(shape) == defaults(DataShape("classification", 216, 12, 9, 0))


@pytest.mark.parametrize("task", ["classification", "tagging", "regression", "forecasting"])
@pytest.mark.parametrize("samples", [1, 7, 100, 5_000, 10**7])
def test_defaults_exist_for_every_size(task, samples):
    settings = defaults(DataShape(task, samples, features=1, outputs=1))
    assert settings.epochs > settings.patience >= 3
    assert 8 <= settings.batch_size <= 64
