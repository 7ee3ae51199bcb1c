"""The program, on real data: is a fragment of words Shakespeare's, or the King James Bible's?

Each word is a vector of 100 random numbers that never change: the LSTM alone learns.
"""

from __future__ import annotations

import numpy as np

from gatewise.data import Vocabulary
from gatewise.data.datasets import load_verse_or_scripture
from gatewise.layers import LSTM, Dense, Dropout
from gatewise.models import Sequential
from gatewise.utils import set_random_seed

set_random_seed(0)
data = load_verse_or_scripture()
vocabulary = Vocabulary.fit(data.train.x, max_size=10_000)
vectors = np.random.default_rng(0).normal(size=(len(vocabulary), 100)).astype(np.float32)


def as_series(texts: list[str]) -> list[np.ndarray]:
    """Return each text as (T_i, 100), a row a word."""
    return [vectors[ids] for ids in vocabulary.encode(texts)]


model = Sequential()
model.add(LSTM(128, input_shape=(None, 100)))
model.add(Dropout(0.5))
model.add(Dense(1, activation="sigmoid"))
model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
model.summary()

train_x, train_y = as_series(data.train.x[:6000]), data.train.y[:6000]
model.fit(train_x, train_y, epochs=2, validation_split=0.1)

_, accuracy = model.evaluate(as_series(data.test.x), data.test.y, verbose=0)
print(f"Test accuracy {accuracy:.3f}; the majority alone gives {data.majority_accuracy():.3f}.")
