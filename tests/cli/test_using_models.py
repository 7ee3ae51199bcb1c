"""`predict`, `evaluate`, `summary`, `explain` and `data` on a model that the command trained."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from pyarrow import parquet

from gatewise.models import load_model


def test_predicts_classes_and_probabilities_of_raw_data(trained, files, gatewise, tmp_path):
    out = tmp_path / "out.csv"
    result = gatewise("predict", trained, files / "unlabelled.csv", "-o", out)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "device",
        "predicted",
        "probability of broken",
        "probability of whole",
    ]
    assert {row["device"] for row in rows} == {f"d{number}" for number in range(40)}
    for row in rows:
        broken, whole = float(row["probability of broken"]), float(row["probability of whole"])
        assert broken + whole == pytest.approx(1, abs=1e-6)
        assert row["predicted"] == ("broken" if broken > whole else "whole")
    truth = {f"d{number}": "broken" if number % 2 else "whole" for number in range(40)}
    assert np.mean([row["predicted"] == truth[row["device"]] for row in rows]) > 0.9


def test_all_forms_of_output_hold_the_same(trained, files, gatewise, tmp_path):
    data = files / "unlabelled.csv"
    printed = gatewise("predict", trained / "model.safetensors", data)
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    gatewise("predict", trained, data, "-o", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert json.loads(gatewise("predict", trained, data, "--json").stdout) == table
    assert [{name: str(value) for name, value in row.items()} for row in table] == [
        row | {name: str(float(row[name])) for name in row if name.startswith("probability")}
        for row in rows
    ]


def test_predictions_are_the_models_own(trained, files, gatewise):
    from gatewise.data import read_like

    model = load_model(trained / "model.safetensors")
    data = read_like(files / "unlabelled.csv", model.preprocessing)
    expected = model.predict(model.preprocessing(data), verbose=0)
    found = json.loads(gatewise("predict", trained, files / "unlabelled.csv", "--json").stdout)
    assert [row["probability of broken"] for row in found] == expected[
        :, model.preprocessing.labels.index("broken")
    ].tolist()


@pytest.mark.parametrize(
    ("name", "options", "columns", "rows"),
    [
        ("tagged.csv", ["--series", "walk", "--time", "step", "--target", "above"],
         ["walk", "step", "predicted", "probability of no", "probability of yes"], 100),
        ("numbers.csv", ["--series", "tank", "--time", "hour", "--target", "total"],
         ["tank", "total"], 30),
        ("wave.csv", ["--time", "month", "--target", "sales", "--horizon", "3"],
         ["series", "step", "sales"], 3),
    ],
)  # fmt: skip
def test_predictions_and_figures_of_every_task(
    name, options, columns, rows, files, gatewise, tmp_path
):
    run = tmp_path / "run"
    trained = gatewise(
        *("train", files / name, *options, "--units", 4, "--epochs", 1, "--out", run)
    )
    assert trained.exit_code == 0, trained.output
    predicted = gatewise("predict", run, files / name, "--json")
    assert predicted.exit_code == 0, predicted.output
    table = json.loads(predicted.stdout)
    assert sorted(table[0]) == sorted(columns)
    assert len(table) == rows
    if "total" in columns or "sales" in columns:  # in the data's own units
        values = np.array([row[columns[-1]] for row in table])
        assert np.all(np.isfinite(values)) and values.mean() > 20
    evaluated = gatewise("evaluate", run, files / name, "--json")
    assert evaluated.exit_code == 0, evaluated.output
    assert json.loads(evaluated.stdout)["figures"]["this model"]
    explained = gatewise("explain", run, files / name)
    assert explained.exit_code == 0, explained.output


def test_evaluates_against_the_labels(trained, files, gatewise):
    result = gatewise("evaluate", trained, files / "sensors.csv", "--json")
    report = json.loads(result.stdout)
    assert (report["part"], report["series"]) == ("all", 40)
    rows = json.loads(gatewise("predict", trained, files / "sensors.csv", "--json").stdout)
    right = [
        row["predicted"] == ("broken" if int(row["device"][1:]) % 2 else "whole") for row in rows
    ]
    assert report["figures"]["this model"]["accuracy"] == pytest.approx(np.mean(right))
    text = gatewise("evaluate", trained, files / "sensors.csv").output
    assert "sensors.csv, all (40):" in text and "macro-F1" in text


def test_summary(trained, gatewise):
    text = gatewise("summary", trained).output
    assert "(None, 16)" in text and "Classes: broken, whole" in text
    assert "4·(8·2 + 8·8) + 4·8" in gatewise("summary", trained, "--gates").output
    about = json.loads(gatewise("summary", trained, "--json").stdout)
    assert about["output_shape"] == [None, 2]
    assert about["weights"] == sum(layer["weights"] for layer in about["layers"]) == 738


def test_explains_ledger_training_and_sharing(trained, files, gatewise):
    before = (trained / "model.safetensors").read_bytes()
    text = gatewise("explain", trained, files / "sensors.csv").output
    assert "4·(8·2 + 8·8) + 4·8" in text
    assert "Trained by backpropagation? Yes" in text
    assert "Shared by the time steps? Yes" in text
    assert "Does the gradient reach back through time?" in text
    assert (trained / "model.safetensors").read_bytes() == before


def test_explains_without_data_what_it_can(trained, gatewise):
    result = gatewise("explain", trained)
    assert result.exit_code == 0
    assert "4·(8·2 + 8·8) + 4·8" in result.output
    assert f"gatewise explain {trained} DATA" in result.output


def test_lists_and_describes_data(files, gatewise):
    listed = gatewise("data").output
    assert "japanese-vowels" in listed and "CC BY 4.0" in listed
    names = {one["name"] for one in json.loads(gatewise("data", "--json").stdout)}
    assert {"japanese-vowels", "verse-or-scripture"} <= names
    text = gatewise("data", "japanese-vowels").output
    assert "640 series of 7 to 29 steps" in text and "270 train, 370 test" in text
    options = ["--series", "device", "--time", "second", "--target", "state"]
    about = json.loads(gatewise("data", files / "sensors.csv", *options, "--json").stdout)
    assert (about["task"], about["series"]) == ("classification", 40)
    assert about["classes"] == {"broken": 20, "whole": 20}


@pytest.mark.parametrize(
    "command", ["train", "predict", "evaluate", "summary", "explain", "data", "demo"]
)
def test_every_help_has_an_example(command, gatewise):
    result = gatewise(command, "--help")
    assert result.exit_code == 0
    assert f"Example: gatewise {command} " in result.output
