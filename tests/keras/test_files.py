"""Files, copies and weights are Keras's: they go both ways, with and without gatewise."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from gatewise import keras as bridge

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IDS = np.random.default_rng(0).integers(0, 20, (5, 7))
STOCK_READER = """
import sys
import keras, numpy
ids, path = numpy.load(sys.argv[1]), sys.argv[2]
model = keras.saving.load_model(path)
assert all(type(layer).__module__.startswith("keras.src.") for layer in model._flatten_layers())
numpy.save(sys.argv[3], model.predict(ids, verbose=0))
model.fit(ids, ids[:, 0], verbose=0)
model.save(path)
assert not any(name.startswith("gatewise") for name in sys.modules)
"""


def _model(lstm: type, gru: type, simple_rnn: type, bidirectional: type) -> keras.Model:
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            keras.Input((None,)),
            keras.layers.Embedding(20, 3, mask_zero=True),
            bidirectional(lstm(4, return_sequences=True, dropout=0.1)),
            gru(3, return_sequences=True, reset_after=False),
            simple_rnn(3),
            keras.layers.Dense(1),
        ]
    )
    model.compile(loss="mse", optimizer="adam")
    model.fit(IDS, IDS[:, 0], verbose=0)
    return model


def _ours() -> keras.Model:
    return _model(bridge.LSTM, bridge.GRU, bridge.SimpleRNN, bridge.Bidirectional)


def _stock() -> keras.Model:
    layers = keras.layers
    return _model(layers.LSTM, layers.GRU, layers.SimpleRNN, layers.Bidirectional)


def test_names_weights_and_configs_are_those_of_keras() -> None:
    ours, stock = _ours(), _stock()
    for our, their in zip(ours.layers, stock.layers, strict=True):
        assert our.name.rstrip("_0123456789") == their.name.rstrip("_0123456789")
        assert [w.name for w in our.weights] == [w.name for w in their.weights]
    for our, their in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-4, atol=1e-5)
    config = bridge.LSTM(3, name="a", dropout=0.2).get_config()
    assert config == keras.layers.LSTM(3, name="a", dropout=0.2).get_config()


def test_a_file_is_read_and_written_by_keras_alone_and_comes_back(tmp_path: Path) -> None:
    model, file = _ours(), tmp_path / "model.keras"
    wanted = model.predict(IDS, verbose=0)
    model.save(file)
    np.save(tmp_path / "ids.npy", IDS)
    arguments = [str(tmp_path / "ids.npy"), str(file), str(tmp_path / "out.npy")]
    done = subprocess.run(
        [sys.executable, "-c", STOCK_READER, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, atol=1e-5)
    # Now a file that stock Keras wrote, after training on.
    again = keras.saving.load_model(file)
    assert again.optimizer.iterations.numpy() == 2
    trained = again.predict(IDS, verbose=0)
    assert np.abs(trained - wanted).max() > 1e-4
    bridge.enable()
    try:
        np.testing.assert_allclose(again.predict(IDS, verbose=0), trained, atol=1e-5)
    finally:
        bridge.disable()
    assert {path.kernel for path in bridge.report(again).values()} == {"cpu"}


def test_a_file_of_these_layers_is_read_as_these_where_asked_to(tmp_path: Path) -> None:
    model = _ours()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", custom_objects=bridge.CUSTOM_OBJECTS)
    wanted = model.predict(IDS, verbose=0)
    np.testing.assert_allclose(again.predict(IDS, verbose=0), wanted, atol=1e-5)
    assert {path.kernel for path in bridge.report(again).values()} == {"cpu"}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_both_formats(suffix: str, tmp_path: Path) -> None:
    model = _ours()
    model.save(tmp_path / f"model{suffix}")
    again = keras.saving.load_model(tmp_path / f"model{suffix}", compile=False)
    assert type(again.layers[-2]) is keras.layers.SimpleRNN
    np.testing.assert_allclose(
        again.predict(IDS, verbose=0), model.predict(IDS, verbose=0), atol=1e-5
    )


def test_a_clone_stays_ours_and_a_deep_copy_is_keras_s() -> None:
    model = _ours()
    clone = keras.models.clone_model(model)
    clone.predict(IDS, verbose=0)
    assert {path.kernel for path in bridge.report(clone).values()} == {"cpu"}
    copied = copy.deepcopy(model)
    assert type(copied.layers[-2]) is keras.layers.SimpleRNN
    np.testing.assert_allclose(
        copied.predict(IDS, verbose=0), model.predict(IDS, verbose=0), atol=1e-5
    )
