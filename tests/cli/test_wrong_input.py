"""Wrong files and options: one line that says what and how to mend it, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gatewise import Sequential
from gatewise.layers import LSTM, Dense

COLUMNS = ["--series", "device", "--time", "second", "--target", "state"]


def assert_refused(result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


def _edited(files: Path, tmp_path: Path, old: str, new: str) -> Path:
    """Return the sensors' file with one line changed."""
    text = (files / "sensors.csv").read_text()
    assert old in text
    path = tmp_path / "edited.csv"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (None, ["nothing.csv", "not"]),
        (b"", ["nothing.csv", "empty"]),
        (b"\x00\xff\x13\x00" * 300, ["nothing.csv"]),
        (b"device,second,heat,state\n", ["nothing.csv"]),
        ("device,second,heat,state\na,1,2,größe\n".encode("latin-1"), ["UTF-8"]),
    ],
)
def test_files_that_are_no_tables(contents, words, gatewise, tmp_path):
    path = tmp_path / "nothing.csv"
    if contents is not None:
        path.write_bytes(contents)
    assert_refused(gatewise("train", path, *COLUMNS, "--out", tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


def test_a_missing_column_lists_those_there_are(files, gatewise, tmp_path):
    result = gatewise(
        *("train", files / "sensors.csv", "--series", "devcie", "--target", "state"),
        *("--out", tmp_path / "run"),
    )
    assert_refused(result, "'devcie'", "device, second, heat, noise, state")


def test_no_label_column(files, gatewise, tmp_path):
    result = gatewise("train", files / "unlabelled.csv", "--out", tmp_path / "run")
    assert_refused(result, "--target", "device, second, heat, noise")


@pytest.mark.parametrize("value", ["nan", "inf", ""])
def test_missing_numbers_name_series_and_choices(value, files, gatewise, tmp_path):
    line = (files / "sensors.csv").read_text().splitlines()[3]
    device, second, _, *rest = line.split(",")
    path = _edited(files, tmp_path, line, ",".join([device, second, value, *rest]))
    result = gatewise("train", path, *COLUMNS, "--out", tmp_path / "run")
    assert_refused(result, "d0", "heat", "forward-fill", "mask")


def test_missing_numbers_can_be_filled_or_masked(files, gatewise, tmp_path):
    line = (files / "sensors.csv").read_text().splitlines()[3]
    device, second, _, *rest = line.split(",")
    path = _edited(files, tmp_path, line, ",".join([device, second, "", *rest]))
    for handling in ("forward-fill", "mask"):
        result = gatewise(
            *("train", path, *COLUMNS, "--missing", handling),
            *("--units", 4, "--epochs", 1, "--out", tmp_path / handling),
        )
        assert result.exit_code == 0, result.output
        assert f"missing   1 numbers ({handling})" in result.output


def test_text_in_a_numeric_column_at_prediction(trained, files, gatewise, tmp_path):
    line = (files / "sensors.csv").read_text().splitlines()[3]
    device, second, _, *rest = line.split(",")
    path = _edited(files, tmp_path, line, ",".join([device, second, "warm", *rest]))
    assert_refused(gatewise("predict", trained, path), "heat", "warm")


def test_one_class_only(files, gatewise, tmp_path):
    path = _edited(files, tmp_path, "broken", "whole")
    assert_refused(gatewise("train", path, *COLUMNS, "--out", tmp_path / "run"), "class")


def test_fewer_series_than_a_split_needs(files, gatewise, tmp_path):
    lines = (files / "sensors.csv").read_text().splitlines()
    path = tmp_path / "few.csv"
    path.write_text("\n".join([lines[0], *(line for line in lines if line[:3] in ("d0,", "d1,"))]))
    assert_refused(gatewise("train", path, *COLUMNS, "--out", tmp_path / "run"), "few.csv")


def test_duplicate_rows(files, gatewise, tmp_path):
    line = (files / "sensors.csv").read_text().splitlines()[3]
    path = _edited(files, tmp_path, line, f"{line}\n{line}")
    assert_refused(gatewise("train", path, *COLUMNS, "--out", tmp_path / "run"), "d0")


def test_an_output_folder_that_is_not_empty(files, gatewise, tmp_path):
    (tmp_path / "old.txt").write_text("mine")
    result = gatewise("train", files / "sensors.csv", *COLUMNS, "--out", tmp_path)
    assert_refused(result, "not empty", "old.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]


def test_a_file_in_the_way_of_the_folder(files, gatewise, tmp_path):
    (tmp_path / "taken").write_text("")
    result = gatewise("train", files / "sensors.csv", *COLUMNS, "--out", tmp_path / "taken")
    assert_refused(result, "is a file")


def test_nothing_to_train_on(gatewise):
    assert_refused(gatewise("train"), "gatewise train japanese-vowels")


@pytest.mark.parametrize("command", ["predict", "evaluate", "explain", "summary"])
def test_models_that_are_none(command, files, gatewise, tmp_path):
    arguments = [] if command == "summary" else [files / "sensors.csv"]
    assert_refused(gatewise(command, tmp_path / "none", *arguments), "does not exist")
    assert_refused(gatewise(command, tmp_path, *arguments), "holds no model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    assert_refused(gatewise(command, tmp_path, *arguments), "zip archive")


def test_a_model_that_is_cut_short(trained, files, gatewise, tmp_path):
    whole = (trained / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    result = gatewise("predict", tmp_path / "cut.safetensors", files / "sensors.csv")
    assert_refused(result, "not a whole model file")


def test_a_model_that_cannot_read_files(files, gatewise, tmp_path):
    model = Sequential([LSTM(2, input_shape=(None, 2)), Dense(1)])
    model.save(tmp_path / "python.safetensors")
    result = gatewise("predict", tmp_path / "python.safetensors", files / "sensors.csv")
    assert_refused(result, "not how to read a file", "load_model")


def test_other_columns_at_prediction(trained, files, gatewise, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text((files / "unlabelled.csv").read_text().replace("heat", "cold"))
    assert_refused(gatewise("predict", trained, path), "heat", "cold")


def test_another_width_at_prediction(trained, gatewise, tmp_path):
    np.savez(tmp_path / "wide.npz", x=np.zeros((3, 4, 5)))
    assert_refused(gatewise("predict", trained, tmp_path / "wide.npz"), "5", "2")


def test_a_class_that_training_never_saw(trained, files, gatewise, tmp_path):
    path = _edited(files, tmp_path, "broken", "melted")
    assert_refused(gatewise("evaluate", trained, path), "melted", "broken")


def test_evaluating_without_labels(trained, files, gatewise):
    assert_refused(gatewise("evaluate", trained, files / "unlabelled.csv"), "state")


def test_a_part_that_the_data_do_not_name(trained, files, gatewise):
    result = gatewise("evaluate", trained, files / "sensors.csv", "--part", "test")
    assert_refused(result, "no part 'test'")


def test_an_output_format_that_is_not_written(trained, files, gatewise, tmp_path):
    result = gatewise("predict", trained, files / "sensors.csv", "-o", tmp_path / "out.xlsx")
    assert_refused(result, ".csv or .parquet")


def test_an_output_in_no_folder(trained, files, gatewise, tmp_path):
    out = tmp_path / "none" / "out.csv"
    assert_refused(gatewise("predict", trained, files / "sensors.csv", "-o", out), "no folder")


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (None, ["does not exist"]),
        ("x = ", ["no run.toml"]),
        ("[run]\n[data]\n", ["lacks settings"]),
        ("[run]\n[data]\nsource = 'x'\n[settings]\n", ["lacks 'cell'"]),
    ],
)
def test_repeating_what_is_no_run(contents, words, gatewise, tmp_path):
    path = tmp_path / "run.toml"
    if contents is not None:
        path.write_text(contents)
    assert_refused(gatewise("train", "--repeat", path), *words)


def test_repeating_on_other_data(trained, files, gatewise, tmp_path):
    path = _edited(files, tmp_path, "broken", "melted")
    assert_refused(gatewise("train", path, "--repeat", trained / "run.toml"), "has changed")


def test_repeating_with_other_options(trained, gatewise):
    result = gatewise("train", "--repeat", trained / "run.toml", "--batch-size", 4)
    assert_refused(result, "--batch-size does not go with --repeat")


def test_resuming_what_is_complete_or_no_run(trained, gatewise, tmp_path):
    assert_refused(gatewise("train", "--resume", trained), "is complete", "--repeat")
    assert_refused(gatewise("train", "--resume", tmp_path), "no run.toml")
    result = gatewise("train", "--resume", trained, "--out", tmp_path / "other")
    assert_refused(result, "--out does not go with --resume")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("mine.py", "names no function"),
        ("none.py:small", "no Python file"),
        ("mine.py:large", "no function large"),
        ("mine.py:one", "takes 1 arguments"),
        ("mine.py:nothing", "returned a NoneType"),
        ("mine.py:narrow", r"returns (None, 1), but this task needs (None, 2)"),
    ],
)
def test_models_of_your_own_that_do_not_fit(
    reference, words, files, gatewise, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from gatewise import Sequential\n"
        "from gatewise.layers import LSTM, Dense\n"
        "def one(features): ...\n"
        "def nothing(features, outputs): ...\n"
        "def narrow(features, outputs):\n"
        "    return Sequential([LSTM(2, input_shape=(None, features)), Dense(1)])\n"
    )
    result = gatewise("train", files / "sensors.csv", *COLUMNS, "--model", reference)
    assert_refused(result, words)


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="here is a GPU")
def test_a_gpu_that_is_not_there(files, gatewise, tmp_path):
    result = gatewise("train", files / "sensors.csv", *COLUMNS, "--device", "cuda")
    assert_refused(result, "--device cpu")


@pytest.mark.parametrize(
    "options", [["--units", "0"], ["--dropout", "1.5"], ["--cell", "elman"], ["--validation", "1"]]
)
def test_values_out_of_range(options, files, gatewise):
    result = gatewise("train", files / "sensors.csv", *COLUMNS, *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr


def test_debug_shows_the_traceback(gatewise, tmp_path):
    from gatewise.errors import InputError

    result = gatewise("--debug", "train", tmp_path / "none.csv", "--target", "x")
    assert isinstance(result.exception, InputError)
