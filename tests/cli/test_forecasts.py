"""Forecasts from the command line: a network and a linear forecast, in one model file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gatewise.data import read
from gatewise.models import load_model


def test_the_file_keeps_how_far_the_network_is_trusted(files, gatewise, tmp_path):
    """With a network that learnt nothing yet, the linear forecast must carry the answer."""
    wave = files / "wave.csv"
    done = gatewise(
        *("train", wave, "--time", "month", "--target", "sales", "--horizon", 3),
        *("--epochs", 1, "--units", 2, "--out", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    assert "A forecast is 0% the network and 100% a linear one" in done.output
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.preprocessing.trust == pytest.approx(0.0, abs=0.005)
    told = gatewise("predict", tmp_path / "run", wave, "--json")
    found = [row["sales"] for row in json.loads(told.output)]
    expected = 50 + 10 * np.sin(np.arange(240, 243) * 2 * np.pi / 12)
    np.testing.assert_allclose(found, expected, atol=0.1)
    last = read(wave, time="month", target="sales", horizon=3)
    assert model.preprocessing.restore(np.zeros((1, 3)), last).shape == (1, 3, 1)
