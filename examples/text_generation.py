"""A model of characters that goes on with a text, on the stream path.

    python examples/text_generation.py tinyshakespeare.txt

The text is any file; without one, lines of the bundled data set "verse or scripture" serve. With
tiny Shakespeare (repository karpathy/char-rnn) it prints at its end:

    Validation loss 1.911 nats a character; their frequencies alone give 3.347.

That is a small model after four epochs; `--units 512 --epochs 10` takes longer and writes better.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from gatewise.data import Vocabulary
from gatewise.data.datasets import load_verse_or_scripture
from gatewise.layers import LSTM, Dense, Embedding
from gatewise.models import Sequential
from gatewise.optimizers import Adam
from gatewise.optimizers.schedules import CosineDecay
from gatewise.seq2seq import Sampling, generate
from gatewise.utils import set_random_seed

parser = argparse.ArgumentParser()
parser.add_argument("file", type=Path, nargs="?")
parser.add_argument("--characters", type=int, help="only so many of the text")
parser.add_argument("--units", type=int, default=128)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--length", type=int, default=300)
arguments = parser.parse_args()

set_random_seed(0)
if arguments.file is not None:
    text = arguments.file.read_text()
else:
    text = "\n".join(load_verse_or_scripture().train.x)
text = text[: arguments.characters]
at = len(text) * 9 // 10  # the end of the text is held out
vocabulary = Vocabulary.fit([text[:at]], unit="character")


def windows(part: str, steps: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Return stretches of the text (N, steps), and the same ones a character later."""
    ids = np.array(vocabulary.encode([part])[0])
    count = (len(ids) - 1) // steps
    return ids[: count * steps].reshape(-1, steps), ids[1 : count * steps + 1].reshape(-1, steps)


x, y = windows(text[:at])
model = Sequential(
    [
        Embedding(len(vocabulary), 64),
        LSTM(arguments.units, return_sequences=True),
        Dense(len(vocabulary), activation="softmax"),
    ]
)
rate = CosineDecay(0.004, decay_steps=arguments.epochs * -(-len(x) // 32))
model.compile(Adam(rate, global_clipnorm=1.0), "sparse_categorical_crossentropy")
model.fit(x, y, epochs=arguments.epochs, validation_data=windows(text[at:]), verbose=2)
loss = model.evaluate(*windows(text[at:]), verbose=0)

prompt = text[at : at + 20]
for temperature in (0.5, 1.0):
    search = Sampling(temperature=temperature, seed=1)
    written = generate(model, vocabulary.encode([prompt])[0], arguments.length, search=search)
    print(f"--- temperature {temperature}\n{prompt}{''.join(vocabulary.decode(written))}")
counts = np.bincount(y.ravel(), minlength=len(vocabulary)) + 1
alone = -np.log(counts / counts.sum())[windows(text[at:])[1]].mean()
print(f"Validation loss {loss:.3f} nats a character; their frequencies alone give {alone:.3f}.")
