"""`fit` on streams: chunk by chunk it learns what it learns from the whole series at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import gatewise
from gatewise.data import Stream
from gatewise.errors import InputError, NonFiniteError, TruncationWarning, UnsupportedError
from gatewise.gradients import ARTBP, BPTT, RTRL, TBPTT, EProp, SnAp1, lag
from gatewise.layers import LSTM, Dense
from gatewise.models import Sequential

ONLINE = [TBPTT(3), TBPTT(2, 5), TBPTT(3, 7), RTRL(3), SnAp1(1), SnAp1(3), EProp(3)]
STEPS, RATE = 24, 0.4


def arrays(series: int = 2, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    x = random.normal(size=(series, steps, 2))
    return x, x.cumsum(1)[..., :1] / 3


def weights_after(
    tools: Any, gradient: Any, data: Any, rate: float, cell: str, depth: int
) -> list[np.ndarray]:
    torch.manual_seed(5)
    model = tools.build(cell, depth)
    model.compile(optimizer=gatewise.optimizers.SGD(rate), loss="mse", gradient=gradient)
    model.fit(*data, batch_size=None if len(data) == 1 else 64, shuffle=False, verbose=0)
    return model.get_weights()


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def served(gradient: Any, cell: str) -> bool:
    return not (isinstance(gradient, EProp) and cell == "simple_rnn")


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("gradient", ONLINE, ids=repr)
def test_chunks_give_the_weights_of_the_whole_series(
    tools: Any, gradient: Any, cell: str, depth: int
) -> None:
    """A chunk's objective is the mean over its own steps, so the rate shrinks with the chunk."""
    if not served(gradient, cell):
        pytest.skip("a SimpleRNN has no memory beside U")
    x, y = arrays()
    whole = weights_after(tools, gradient, (x, y), RATE, cell, depth)
    chunk = gradient.stride * 2
    stream = Stream(list(zip(x, y, strict=True)), lanes=2, chunk=chunk)
    found = weights_after(tools, gradient, (stream,), RATE * chunk / STEPS, cell, depth)
    assert_equal(found, whole)


@pytest.mark.parametrize("gradient", ONLINE, ids=repr)
def test_lanes_begin_anew_where_a_series_ends(tools: Any, gradient: Any) -> None:
    """The weights are held (no rate), so that the gradient of each chunk can be compared."""
    x, y = arrays(3, 12)
    chunk = 6
    model = tools.build("lstm", 2)
    expected = []
    for row in (0, 1, 2):
        for start in (0, chunk):
            # The chunk's share of the gradient of its own series, begun from zero.
            weight = np.zeros((1, 12))
            weight[:, start : start + chunk] = 2.0  # the chunk's mean, of a mean over 12 steps
            expected.append(
                tools.gradients_of(
                    model,
                    gradient,
                    torch.tensor(x[row : row + 1]),
                    torch.tensor(y[row : row + 1]),
                    sample_weight=torch.tensor(weight),
                )
            )
    found = stream_gradients(model, gradient, Stream(list(zip(x, y, strict=True)), chunk=chunk))
    assert len(found) == len(expected) == 6
    for one, other in zip(found, expected, strict=True):
        one.pop("the loss", None)
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-12)


def stream_gradients(model: Any, gradient: Any, stream: Stream) -> list[dict[str, torch.Tensor]]:
    """The gradient of each chunk, with the weights held."""
    from gatewise import losses
    from gatewise.gradients import Task

    trail, found = gradient.open(), []
    for chunk in stream:
        model.zero_grad()
        mask = None if chunk.mask is None else torch.from_numpy(chunk.mask)
        task = Task(
            model, losses.get("mse"), torch.from_numpy(chunk.x), torch.from_numpy(chunk.y), mask
        )
        trail.forget(torch.from_numpy(chunk.begins))
        for _ in gradient.gradients(task, trail):
            pass
        found.append(
            {
                name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
                for name, weight in model.named_parameters()
            }
        )
    return found


@pytest.mark.parametrize("gradient", ONLINE, ids=repr)
def test_a_series_that_ends_within_a_chunk_loses_nothing(tools: Any, gradient: Any) -> None:
    """Two lanes of different lengths: the sum of the gradients is that of each lane alone."""
    x, y = arrays(2, 17)
    # Whole windows: the last, partial window of TBPTT reaches further back than a padded one.
    lengths = (17, 6 + gradient.stride)
    series = [(x[row, :length], y[row, :length]) for row, length in enumerate(lengths)]
    model = tools.build("gru" if gradient != EProp(3) else "lstm", 1)
    chunk = 6
    together = stream_gradients(model, gradient, Stream(series, lanes=2, chunk=chunk))
    alone = [stream_gradients(model, gradient, Stream([one], chunk=chunk)) for one in series]
    assert [len(one) for one in (together, *alone)] == [3, 3, 2]
    for number, chunk_gradient in enumerate(together):
        real = [max(0, min(chunk, length - number * chunk)) for length in lengths]
        for name, value in chunk_gradient.items():
            # Each is the mean over its own steps.
            sums = [
                one[number][name] * steps
                for one, steps in zip(alone, real, strict=True)
                if number < len(one)
            ]
            torch.testing.assert_close(value, sum(sums) / sum(real), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gradient", [TBPTT(2, 5), SnAp1(2), RTRL(2)], ids=repr)
def test_the_state_goes_on_over_the_epochs_of_an_endless_stream(tools: Any, gradient: Any) -> None:
    x, y = arrays(1, 24)

    def endless() -> Any:
        while True:
            yield x[0], y[0]

    def run(epochs: int, steps: int) -> list[np.ndarray]:
        torch.manual_seed(0)
        model = tools.build("lstm", 1)
        model.compile(optimizer=gatewise.optimizers.SGD(0.1), loss="mse", gradient=gradient)
        stream = Stream([endless()], chunk=4)
        history = model.fit(stream, epochs=epochs, steps_per_epoch=steps, verbose=0)
        assert len(history.history["loss"]) == epochs
        return model.get_weights()

    assert_equal(run(3, 5), run(1, 15))


def test_evaluation_carries_the_state_too(tools: Any) -> None:
    model = tools.build("lstm", 2)
    model.compile(loss="mse")  # the gradient does not matter: nothing goes back
    x, y = arrays(2)
    stream = Stream(list(zip(x, y, strict=True)), lanes=2, chunk=5)
    parts = [5, 5, 5, 5, 4]
    found = model.evaluate(stream, verbose=0)
    errors = (model.predict(x, verbose=0) - y) ** 2
    ends = np.cumsum(parts)
    means = [errors[:, end - steps : end].mean() for steps, end in zip(parts, ends, strict=True)]
    assert found == pytest.approx(np.mean(means), rel=1e-10)


def test_a_stream_may_validate(tools: Any) -> None:
    model = tools.build("lstm", 1)
    model.compile(loss="mse", gradient=SnAp1(5))
    x, y = arrays(2)
    stream = Stream(list(zip(x, y, strict=True)), lanes=2, chunk=5)
    history = model.fit(stream, validation_data=stream, epochs=2, verbose=0).history
    assert history["val_loss"][1] == pytest.approx(model.evaluate(stream, verbose=0), rel=1e-10)


def test_an_unbuilt_model_is_built_without_losing_a_chunk() -> None:
    seen: list[float] = []

    def pieces() -> Any:
        for step in range(10):
            seen.append(step)
            x = np.full((1, 2), float(step))
            yield x, x[:, :1]

    model = Sequential([LSTM(3, return_sequences=True), Dense(1)])
    model.compile(loss="mse", gradient=TBPTT(2))
    model.fit(Stream([pieces()], chunk=4), verbose=0)
    assert seen == list(range(10))
    assert model.optimizer.iterations == 5  # 4 + 4 + 2 steps, a gradient every 2


def test_advice_reaches_beyond_the_chunk(tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "EVERY", 4)
    model = tools.build("lstm", 1)
    with torch.no_grad():  # a memory that hardly forgets
        model.layers[0].bias[3:6] = 4.0
    x, y = arrays(1, 40)
    model.compile(optimizer=gatewise.optimizers.SGD(0.0), loss="mse", gradient=TBPTT(5))
    with pytest.warns(TruncationWarning, match=r"TBPTT\(k1=5, k2=5\) loses about \d+%"):
        model.fit(Stream([(x[0], y[0])], chunk=5), verbose=0)
    with torch.no_grad():  # one that forgets at once
        model.layers[0].bias[3:6] = -9.0
        model.layers[0].recurrent_kernel.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(Stream([(x[0], y[0])], chunk=5), verbose=0)


FLAT = """
import json
import numpy as np
import torch
from gatewise.data import Stream
from gatewise.gradients import TBPTT, SnAp1
from gatewise.gradients.peak_memory import peak_memory
from gatewise.layers import LSTM, Dense
from gatewise.models import Sequential

STEPS = 40_000

def series(steps):
    for start in range(0, steps, 500):
        x = np.random.default_rng(start).normal(size=(500, 16)).astype("float32")
        yield x, x[:, :1]

def peak(model, *data):
    found = peak_memory(lambda: model.fit(*data, verbose=0), torch.device("cpu"))
    return None if found is None else found / 2**20

found = {}
for name, gradient in {"TBPTT": TBPTT(250), "SnAp1": SnAp1(250)}.items():
    model = Sequential([LSTM(32, return_sequences=True, input_shape=(None, 16)), Dense(1)])
    model.compile(loss="mse", gradient=gradient)
    model.fit(Stream([series(1_000)], chunk=500), verbose=0)
    found[name] = peak(model, Stream([series(STEPS)], chunk=500))
x, y = (np.concatenate(part)[None] for part in zip(*series(STEPS)))
model.compile(loss="mse")
found["BPTT"] = peak(model, x, y)
print(json.dumps(found))
"""


def test_memory_is_flat_in_the_length_of_the_stream() -> None:
    """Of forty thousand steps the gates alone are 29 MiB; the stream needs none of it."""
    done = subprocess.run(
        [sys.executable, "-c", FLAT],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    taken = json.loads(done.stdout)
    if taken["BPTT"] is None:
        pytest.skip("this system lets no process begin a new peak")
    assert taken["BPTT"] > 24
    assert taken["TBPTT"] < 6
    assert taken["SnAp1"] < 6


def test_what_a_stream_cannot_do_is_refused(tools: Any) -> None:
    x, y = arrays(1)
    stream = Stream([(x[0], y[0])], chunk=6)
    model = tools.build("lstm", 1)
    for gradient in (BPTT(), BPTT("sqrt"), ARTBP(5)):
        model.compile(loss="mse", gradient=gradient)
        with pytest.raises(UnsupportedError, match=r"end of a stream may never come.*TBPTT"):
            model.fit(stream, verbose=0)
    model.compile(loss="mse", gradient=TBPTT(4))
    with pytest.raises(InputError, match=r"every 4 steps.*chunks of 6.*chunk=4"):
        model.fit(stream, verbose=0)
    model.compile(loss="mse", gradient=TBPTT(3))
    for given in ({"y": y}, {"batch_size": 3}, {"mask": np.ones((1, 24), bool)}):
        with pytest.raises(InputError, match=f"Leave {next(iter(given))} out"):
            model.fit(stream, verbose=0, **given)
    with pytest.raises(InputError, match="validation_split"):
        model.fit(stream, validation_split=0.5, verbose=0)
    with pytest.raises(UnsupportedError, match=r"model\.stream"):
        model.predict(stream, verbose=0)
    last = tools.build("lstm", 1, sequences=False)
    last.compile(loss="mse", gradient=TBPTT(3))
    with pytest.raises(UnsupportedError, match="return_sequences=True"):
        last.fit(stream, verbose=0)
    kept = Sequential([LSTM(2, return_sequences=True, stateful=True, input_shape=(None, 2))])
    kept.compile(loss="mse", gradient=TBPTT(3))
    with pytest.raises(InputError, match="stateful=False"):
        kept.fit(stream, shuffle=False, verbose=0)


def test_a_bad_number_is_found_in_its_chunk(tools: Any) -> None:
    x, y = arrays(1)
    x[0, 13, 1] = np.nan
    model = tools.build("lstm", 1)
    model.compile(loss="mse", gradient=TBPTT(6))
    with pytest.raises(NonFiniteError, match="x of batch 2 holds nan at sample 0, step 1"):
        model.fit(Stream([(x[0], y[0])], chunk=6), verbose=0)
