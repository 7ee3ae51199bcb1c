"""A column of texts with many values becomes an embedding that the model file keeps."""

from __future__ import annotations

import json

import numpy as np

from gatewise.models import load_model

PLACES = [f"place {number}" for number in range(12)]


def write_visits(path, places):
    """Write 60 series whose class is whether their place has an even number."""
    chance = np.random.default_rng(0)
    lines = ["series,place,heat,label"]
    for series in range(60):
        place = places[series % len(places)]
        label = "even" if int(place.split()[1]) % 2 == 0 else "odd"
        for _ in range(3):
            lines.append(f"{series},{place},{chance.normal():.3f},{label}")
    path.write_text("\n".join(lines) + "\n")


def test_many_values_are_embedded_and_learnt(gatewise, tmp_path):
    write_visits(tmp_path / "visits.csv", PLACES)
    result = gatewise(
        *("train", tmp_path / "visits.csv", "--units", 8, "--epochs", 25, "--batch-size", 4),
        *("--learning-rate", 0.01, "--out", tmp_path / "run", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["figures"]["this model"]["accuracy"] == 1.0
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert type(model.layers[0]).__name__ == "EmbedColumns"
    (table,) = model.layers[0].get_weights()
    assert table.shape == (13, 8)
    # A value that training never saw is like none, and no error.
    write_visits(tmp_path / "new.csv", [*PLACES[:3], "place 99"])
    told = gatewise("predict", tmp_path / "run", tmp_path / "new.csv", "--json")
    assert told.exit_code == 0, told.output
    found = [row["predicted"] for row in json.loads(told.output)]
    assert [found[at] for at in (0, 1, 2)] == ["even", "odd", "even"]


def test_few_values_are_channels_of_their_own(gatewise, tmp_path):
    write_visits(tmp_path / "visits.csv", PLACES[:4])
    result = gatewise(
        *("train", tmp_path / "visits.csv", "--units", 4, "--epochs", 1),
        *("--out", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.output
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert type(model.layers[0]).__name__ == "Bidirectional"
    assert model.input_shape == (None, None, 5)
