"""A fit that is killed and started again ends with the same bits."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gatewise import Sequential, callbacks, layers
from gatewise.errors import InputError, UnsupportedError
from gatewise.utils import set_random_seed

PROGRAM = """
import sys, time
import numpy as np, torch
from gatewise import Sequential, callbacks, layers
from gatewise.utils import set_random_seed


class Slow(callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("batch", flush=True)
        time.sleep(0.01)


def run(*more):
    set_random_seed(0)
    model = Sequential([
        layers.LSTM(4, input_shape=(None, 3), dropout=0.2, recurrent_dropout=0.3, seed=5,
                    return_sequences=True),
        layers.BatchNormalization(),
        layers.Dropout(0.4),
        layers.LSTM(3, dropout=0.3),
        layers.Dropout(0.2, seed=7),
        layers.Dense(1),
    ])
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(40, 5, 3))
    reduce = callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.5)
    history = model.fit(x, x[:, 0, :1], epochs=6, batch_size=8, verbose=0,
                        callbacks=[*more, reduce])
    optimizer = model.optimizer
    state = [t for p in model.parameters() for t in optimizer.state[p].values()]
    noise = [b for b in model.buffers()]
    return [*model.parameters(), *state, *noise, torch.rand(3),
            torch.tensor(history.history["loss"])], optimizer.param_groups[0]["lr"]


resumed = run(callbacks.BackupAndRestore(sys.argv[1]), Slow())
print("resumed", flush=True)
plain = run()
assert len(resumed[0]) == len(plain[0]) > 20
assert all(torch.equal(a, b) for a, b in zip(resumed[0], plain[0])), "other bits"
assert resumed[1] == plain[1] < 0.001
print("the same bits", flush=True)
"""
BATCHES = 30


def test_killed_twice_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    drawn = random.Random(seed)
    left = BATCHES
    for kill in range(2):
        # In the second or third epoch from where it stands, so that a backup exists.
        after = drawn.randint(6, 14)
        done, lines = _run(tmp_path, kill_after=after)
        assert not done, f"the run ended before it was killed (seed {seed}, kill {kill})"
        assert lines.count("batch") <= left
        assert (tmp_path / "backup.safetensors").exists()
        left -= 5 * (lines.count("batch") // 5)
    done, lines = _run(tmp_path, kill_after=None)
    assert done and lines[-1] == "the same bits", f"seed {seed}: {lines[-1]}"
    resumed = lines[: lines.index("resumed")]
    assert 0 < len(resumed) < BATCHES  # it went on, and did not begin anew
    assert not (tmp_path / "backup.safetensors").exists()


def _run(folder: Path, kill_after: int | None) -> tuple[bool, list[str]]:
    """Run the program, or kill it while a batch is on its way; return whether it ended well."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            if len(lines) == kill_after:
                process.send_signal(signal.SIGKILL)
    return process.returncode == 0, lines


def model_of(units: int) -> Sequential:
    set_random_seed(0)
    model = Sequential([layers.LSTM(units, input_shape=(None, 3)), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


X = np.random.default_rng(0).normal(size=(8, 4, 3))
Y = X[:, 0, :1]


class Cut(callbacks.Callback):
    """Raises in the middle of an epoch."""

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if len(self.model.history.epoch) == 2:
            raise KeyboardInterrupt


def test_other_callbacks_go_on_where_they_were(tmp_path: Path) -> None:
    results = []
    for folder in (tmp_path / "cut", tmp_path / "whole"):
        more = [Cut()] if folder.name == "cut" else []

        def listeners(folder: Path = folder) -> list[callbacks.Callback]:
            stop = callbacks.EarlyStopping(
                "loss", patience=4, min_delta=100.0, restore_best_weights=True
            )
            return [callbacks.BackupAndRestore(folder), stop]

        if more:
            with pytest.raises(KeyboardInterrupt):
                model_of(3).fit(X, Y, epochs=9, verbose=0, callbacks=[*listeners(), *more])
        model = model_of(3)
        history = model.fit(X, Y, epochs=9, verbose=0, callbacks=listeners())
        results.append((history.history, history.epoch, model.get_weights()))
    (one, epochs, weights), (other, whole_epochs, whole_weights) = results
    assert one == other and epochs == whole_epochs == [0, 1, 2, 3, 4]
    assert all(map(np.array_equal, weights, whole_weights))


def test_a_backup_of_another_model_is_refused(tmp_path: Path) -> None:
    keep = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    model_of(3).fit(X, Y, verbose=0, callbacks=keep)
    with pytest.raises(InputError, match="backup of another model"):
        model_of(4).fit(X, Y, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path))


def test_what_cannot_be_repeated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="steps_per_epoch"):
        model_of(3).fit(
            X, Y, steps_per_epoch=1, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path)
        )
    with pytest.raises(UnsupportedError, match="after each epoch"):
        callbacks.BackupAndRestore(tmp_path, save_freq=10)
