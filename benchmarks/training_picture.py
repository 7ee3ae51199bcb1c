"""Draw one training run of the program on verse or scripture: loss and accuracy by epoch.

    python benchmarks/training_picture.py docs/training.png

The model is that of benchmarks/verse_or_scripture.py, seed 0; a tenth of the training part
validates.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from gatewise.data import Vocabulary
from gatewise.data.datasets import load_verse_or_scripture
from gatewise.layers import LSTM, Dense, Dropout, Embedding
from gatewise.models import Sequential
from gatewise.utils import set_random_seed

LABELS = {"loss": "binary cross-entropy", "accuracy": "accuracy"}


def main() -> None:
    """Train, then write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    history, test_accuracy, majority = train(arguments.epochs)
    draw(arguments.picture, history, test_accuracy, majority)
    print(f"test accuracy {test_accuracy:.3f}, majority {majority:.3f}: {arguments.picture}")


def train(epochs: int) -> tuple[dict[str, list[float]], float, float]:
    """Return the history by epoch, the test accuracy and that of the majority class."""
    set_random_seed(0)
    data = load_verse_or_scripture()
    vocabulary = Vocabulary.fit(data.train.x, max_size=10_000)
    model = Sequential(
        [
            Embedding(10_000, 100, mask_zero=True),
            LSTM(128),
            Dropout(0.5),
            Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    # The file stands in blocks of text, and validation_split takes the last part as it stands.
    order = np.random.default_rng(0).permutation(len(data.train.x))
    x = vocabulary.encode([data.train.x[row] for row in order])
    history = model.fit(x, data.train.y[order], epochs=epochs, validation_split=0.1)
    _, accuracy = model.evaluate(vocabulary.encode(data.test.x), data.test.y, verbose=0)
    return history.history, accuracy, data.majority_accuracy()


def draw(
    path: Path, history: dict[str, list[float]], test_accuracy: float, majority: float
) -> None:
    """Draw both measures side by side, told apart by marker and dash as well as by colour."""
    mpl.use("Agg")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    for axis, (name, label) in zip(axes, LABELS.items(), strict=True):
        axis.plot(epochs, history[name], "o-", color="#0072B2", label="training (with dropout)")
        axis.plot(epochs, history[f"val_{name}"], "s--", color="#D55E00", label="validation")
        axis.set(xlabel="epoch", ylabel=label, xticks=list(epochs))
        axis.grid(alpha=0.3)
    axes[1].axhline(test_accuracy, color="black", lw=1, ls=":", label=f"test, {test_accuracy:.3f}")
    axes[1].axhline(majority, color="grey", lw=1, ls="-.", label=f"majority, {majority:.3f}")
    for axis in axes:
        axis.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
