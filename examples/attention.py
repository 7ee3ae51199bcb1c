"""An encoder and a decoder with attention: "3 march 2021" becomes "2021-03-03".

    python examples/attention.py

The answer is written in another order than the question, so the decoder has to look around in it.
Where it looks can be read off: `alignment`. It prints:

    '5 april 2024' -> 2024-04-05; it looked at '20245iil550'
    Test accuracy 1.000 of whole dates.
"""

from __future__ import annotations

import argparse
import datetime

import numpy as np

from gatewise.data import Vocabulary
from gatewise.layers import GRU, Bidirectional, Dense, Embedding
from gatewise.optimizers import Adam
from gatewise.seq2seq import BeamSearch, Seq2Seq
from gatewise.utils import set_random_seed

parser = argparse.ArgumentParser()
parser.add_argument("--samples", type=int, default=6000)
parser.add_argument("--units", type=int, default=64)
parser.add_argument("--epochs", type=int, default=8)
arguments = parser.parse_args()

set_random_seed(0)
random = np.random.default_rng(0)
first = datetime.date(1950, 1, 1)
days = random.choice(36_525, size=arguments.samples, replace=False)
dates = [first + datetime.timedelta(days=int(day)) for day in days]
STYLES = ("{d.day} {d:%B} {d.year}", "{d:%B} {d.day}, {d.year}", "{d.day}/{d.month}/{d:%y}")
questions = [STYLES[random.integers(len(STYLES))].format(d=date).lower() for date in dates]
answers = [date.isoformat() for date in dates]

reads = Vocabulary.fit(questions, unit="character")
writes = Vocabulary(["<", ">", *"0123456789-"], unit="character")
start, stop = (writes.encode([mark])[0][0] for mark in "<>")
model = Seq2Seq(
    encoder=[Embedding(len(reads), 24, mask_zero=True), Bidirectional(GRU(arguments.units // 2))],
    decoder=[
        Embedding(len(writes), 24, mask_zero=True),
        GRU(arguments.units),
        Dense(len(writes), activation="softmax"),
    ],
    attention="bahdanau",
    start=start,
    stop=stop,
)
model.compile(Adam(0.004, global_clipnorm=1.0), "sparse_categorical_crossentropy")
x, y = model.teacher_forced(reads.encode(questions), writes.encode(answers))
held_out = arguments.samples // 10
train = [one[held_out:] for one in x]
model.fit(train, y[held_out:], batch_size=32, epochs=arguments.epochs, verbose=2)

written = model.generate(x[0][:held_out], max_length=12, search=BeamSearch(width=3))
texts = ["".join(writes.decode(one)) for one in written]
looked = model.alignment(x[0][:1], x[1][:1])[0].argmax(axis=1)
print(
    f"{questions[0]!r} -> {texts[0]}; it looked at", repr("".join(questions[0][i] for i in looked))
)
right = np.mean([text == answer for text, answer in zip(texts, answers, strict=False)])
print(f"Test accuracy {right:.3f} of whole dates.")
