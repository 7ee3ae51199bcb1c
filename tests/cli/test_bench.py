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
