"""`gatewise bench`: what it prints and refuses."""

from __future__ import annotations

import json

import torch

from gatewise.kernels import cpu


def test_a_row_for_every_shape(gatewise) -> None:
    small = ("--shape", "2,3,4,5", "--shape", "1,2,3,4", "--rounds", 2)
    result = gatewise("bench", "--cell", "gru", *small)
    assert result.exit_code == 0, result.output
    assert "gru   2, 3, 4, 5" in result.output
    assert "gru   1, 2, 3, 4" in result.output
    assert "A training step beside torch's layer" in result.output
    if cpu.available():
        assert f"cpu: native, {cpu.isa()}" in result.output


def test_json_and_threads(gatewise) -> None:
    before = torch.get_num_threads()
    result = gatewise(
        "bench", "--shape", "2,3,4,5", "--inference", "--threads", 1, "--rounds", 2, "--json"
    )
    content = json.loads(result.output)
    assert content["threads"] == 1
    (row,) = content["rows"]
    assert row["shape"] == [2, 3, 4, 5] and row["training"] is False and row["peer"] == "nn.LSTM"
    assert torch.get_num_threads() == before


def test_products_in_bfloat16(gatewise) -> None:
    small = ("--shape", "2,3,4,5", "--rounds", 2, "--precision", "bfloat16")
    result = gatewise("bench", *small)
    assert result.exit_code == 0, result.output
    assert "with products in bfloat16, beside torch's layer in bfloat16" in result.output
    if cpu.available():
        assert f"cpu: native, {cpu.isa()}; products in bfloat16" in result.output
    (row,) = json.loads(gatewise("bench", *small, "--json").output)["rows"]
    assert row["precision"] == "bfloat16"


def test_a_shape_that_is_none_is_one_line_and_exit_2(gatewise) -> None:
    for given in ("2,3,4", "a,b,c,d"):
        result = gatewise("bench", "--shape", given)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "such as 32,100,100,128" in line and given in line


def test_int8_beside_float32_on_a_model_and_data(gatewise, trained, files) -> None:
    result = gatewise("bench", "--int8", trained, files / "sensors.csv", "--rounds", 2)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "sensors.csv (40 series), weights of 8 bits beside float32:"
    assert lines[1].split() == ["accuracy", "macro-F1"]
    assert [line.split()[0] for line in lines[2:5]] == ["float32", "int8", "difference"]
    for column in (1, 2):
        before, after, difference = (float(line.split()[column]) for line in lines[2:5])
        assert abs(after - before - difference) < 1e-3
    assert lines[6].split()[:5] == ["largest", "difference", "of", "an", "output"]
    assert 0 < float(lines[6].split()[5]) < 0.05
    assert [line.split()[0] for line in lines[11:]] == ["one", "batch"]


def test_int8_of_a_model_with_options(gatewise, train_sensors, files, tmp_path) -> None:
    program = tmp_path / "mine.py"
    program.write_text(
        "from gatewise import Sequential\n"
        "from gatewise.layers import LSTM, Bidirectional, Dense\n"
        "def made(features, outputs):\n"
        "    layer = LSTM(12, peephole=True, cell_clip=5.0, zoneout=0.05, projection=6,\n"
        "                 layer_norm=True, input_shape=(None, features))\n"
        "    return Sequential([Bidirectional(layer), Dense(outputs)])\n"
    )
    out = tmp_path / "run"
    words = [word for word in train_sensors if word not in ("--units", 8)]
    result = gatewise(*words, "--model", f"{program}:made", "--epochs", 2, "--out", out)
    assert result.exit_code == 0, result.output
    result = gatewise("bench", "--int8", out, files / "sensors.csv", "--rounds", 2, "--json")
    content = json.loads(result.output)
    assert content["int8_bytes"] < 0.8 * content["float32_bytes"]  # its gains weigh much
    assert 0 < content["largest_difference"] < 0.05 * content["largest_output"]
    if cpu.available():
        assert "weights of 8 bits" in content["kernel"] and "native" in content["kernel"]


def test_int8_as_json(gatewise, trained, files) -> None:
    arguments = ("--int8", trained, files / "sensors.csv", "--rounds", 2, "--threads", 1)
    content = json.loads(gatewise("bench", *arguments, "--json").output)
    figures = content["figures"]
    assert figures["difference"]["accuracy"] == (
        figures["int8"]["accuracy"] - figures["float32"]["accuracy"]
    )
    assert content["int8_bytes"] < content["float32_bytes"] and content["series"] == 40
    assert all(row["float32_ms"] > 0 and row["int8_ms"] > 0 for row in content["timings"])


def test_int8_refusals_are_one_line_and_exit_2(gatewise, trained, files, tmp_path) -> None:
    data = files / "sensors.csv"
    for given, said in (
        (("--int8", tmp_path / "none", data), "does not exist"),
        (("--int8", trained, files / "unlabelled.csv"), "has no labels"),
        (("--int8", trained, data, "--shape", "1,2,3,4"), "leave --shape out"),
    ):
        result = gatewise("bench", *given)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert said in line
