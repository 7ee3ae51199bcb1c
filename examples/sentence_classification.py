"""Is a fragment Shakespeare's or the King James Bible's? A bidirectional LSTM over its words.

    python examples/sentence_classification.py

The texts differ in length; what is behind the end of one is hidden by `mask_zero`. It prints:

    Test accuracy 0.916; the majority alone gives 0.500.
"""

from __future__ import annotations

import argparse

import numpy as np

from gatewise.data import Vocabulary
from gatewise.data.datasets import load_verse_or_scripture
from gatewise.layers import LSTM, Bidirectional, Dense, Dropout, Embedding
from gatewise.models import Sequential
from gatewise.utils import pad_sequences, set_random_seed

parser = argparse.ArgumentParser()
parser.add_argument("--samples", type=int, default=18_000)
parser.add_argument("--epochs", type=int, default=3)
arguments = parser.parse_args()

set_random_seed(0)
data = load_verse_or_scripture()
texts, labels = data.train.x[: arguments.samples], data.train.y[: arguments.samples]
vocabulary = Vocabulary.fit(texts, max_size=10_000)


def padded(texts: list[str]) -> np.ndarray:
    """Return the ids of the words (N, T); what is behind the end of a text is 0."""
    return pad_sequences(vocabulary.encode(texts), padding="post")


model = Sequential(
    [
        Embedding(len(vocabulary), 64, mask_zero=True),
        Bidirectional(LSTM(48)),
        Dropout(0.5),
        Dense(1, activation="sigmoid"),
    ]
)
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(padded(texts), labels, epochs=arguments.epochs, validation_split=0.1, verbose=2)

_, accuracy = model.evaluate(padded(data.test.x), data.test.y, verbose=0)
for text in ("thou shalt not kill", "my horse a kingdom for my horse good my lord"):
    (share,) = model.predict(padded([text]), verbose=0)[0]
    print(f"{text!r}: {share:.2f} {data.label_names[1]}")
print(f"Test accuracy {accuracy:.3f}; the majority alone gives {data.majority_accuracy():.3f}.")
