"""The settings that `gatewise train` uses where the user gives none.

They follow from the task and the shape of the training data, never from its name, and every rule
states its reason. An option of the command line replaces one of them and leaves the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Training is measured in optimizer steps: an epoch of small data has few of them.
_STEPS_WITHOUT_GAIN = 1000  # that may pass without a better validation loss
_MOST_STEPS = 5000
# In epochs, for data of which a handful of batches make one. Of a text nothing is read before its
# tokens' vectors have grown apart, which takes small data longer.
_MOST_PATIENCE, _MOST_PATIENCE_WITH_TEXT = 30, 100
_MOST_EPOCHS, _MOST_EPOCHS_WITH_TEXT = 200, 500
MOST_ONE_HOT = 10  # names of a category that get a channel each; more share vectors
_LONG = 50  # steps, over which a state that is trained on few series loses what it saw
_WORDS = 1000  # a vocabulary of more is one of words, most of them rare; of fewer, of characters


@dataclass(frozen=True)
class DataShape:
    """What the defaults may know of the training part: the task and sizes, no name, no values.

    `samples` counts series (or windows), `outputs` classes or numbers to predict, `tokens` the ids
    of the vocabulary, 0 where the features are numbers. `categories` holds the number of ids of
    each column that becomes an embedding, `steps` is the median length.
    """

    task: str
    samples: int
    features: int
    outputs: int
    tokens: int = 0
    categories: tuple[int, ...] = ()
    steps: int = 1


@dataclass(frozen=True)
class Settings:
    """How the model is built and trained; `units` is H, the size of one direction's state."""

    cell: str
    units: int
    layers: int
    bidirectional: bool
    pooled: bool
    embedding: int
    embedding_scale: float
    embedding_dropout: float
    dropout: float
    recurrent_dropout: float
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    clipnorm: float
    gradient: str


def defaults(shape: DataShape) -> Settings:
    """Return the settings for data of this shape.

    >>> small = defaults(DataShape("classification", samples=216, features=12, outputs=9))
    >>> small.bidirectional, small.units, small.batch_size, small.patience
    (True, 128, 16, 30)
    >>> large = defaults(DataShape("classification", 16_200, 0, outputs=2, tokens=10_000))
    >>> large.batch_size, large.patience, large.embedding
    (64, 4, 100)
    """
    batch_size = _batch_size(shape.samples)
    steps = math.ceil(shape.samples / batch_size)  # an epoch
    most_patience = _MOST_PATIENCE_WITH_TEXT if shape.tokens else _MOST_PATIENCE
    most_epochs = _MOST_EPOCHS_WITH_TEXT if shape.tokens else _MOST_EPOCHS
    patience = min(max(math.ceil(_STEPS_WITHOUT_GAIN / steps), 3), most_patience)
    numbers = shape.task in ("regression", "forecasting")
    words = shape.tokens > _WORDS
    return Settings(
        cell="lstm",
        # Enough for tens of classes; early stopping, not a small state, keeps small data safe. Of
        # words the embedding holds the most, and half the state reads them as well.
        units=64 if words else 128,
        # One layer: a second helps only data that are large or long, and doubles the time.
        layers=1,
        # A label may depend on both ends of a series, or on both sides of a step. A forecast
        # depends on the end most, which reading backwards puts farthest away; and a whole text is
        # written to be read forwards: a second direction would learn the same words once more.
        bidirectional=shape.task == "tagging" or (shape.task != "forecasting" and not shape.tokens),
        # What tells classes apart in the middle of a long series need not be carried to its end.
        pooled=shape.steps >= _LONG and shape.task in ("classification", "regression"),
        # As wide as common word vectors, but no wider than a small alphabet can use.
        embedding=min(100, shape.tokens) if shape.tokens else 0,
        # Small vectors keep rare words, which are seen too seldom to be learnt, from adding noise.
        # Common tokens must be told apart from the start: a small state hardly reads small vectors.
        embedding_scale=0.05 if words else 0.5,
        # Most words are rare: without noise on them the table learns the training texts by heart.
        embedding_dropout=0.6 if words else 0.0,
        # Dropout makes a classifier's evidence redundant. A number is a sum, which noise biases.
        dropout=0.1 if numbers else 0.5,
        # The state carries a short series' evidence many times over; noise on it keeps the little
        # that there is of small data from being learnt by heart.
        recurrent_dropout=0.0 if numbers or shape.tokens else 0.25,
        # A bound, not a plan: the validation part decides when training stops.
        epochs=min(max(math.ceil(_MOST_STEPS / steps), 30), most_epochs),
        patience=patience,
        batch_size=batch_size,
        # Adam's usual rate; forecasts, many numbers a window, bear and gain by a higher one.
        learning_rate=0.003 if shape.task == "forecasting" else 0.001,
        # Recurrent gradients burst now and then.
        clipnorm=1.0,
        gradient="bptt",
    )


def validation_share(task: str, samples: int) -> float:
    """Return the share of the training part that validates.

    A fifth; of more than 10,000 series, 2,000, which tell accuracies 0.01 apart, but no less than a
    twentieth. A forecast always gives a fifth of the time: its windows overlap.

    >>> validation_share("classification", 300), validation_share("classification", 20_000)
    (0.2, 0.1)
    """
    if task == "forecasting":
        return 0.2
    return min(0.2, max(2000 / max(samples, 1), 0.05))


def category_width(ids: int) -> int:
    """Return the width of the vectors of a category: about twice the root, as names share traits.

    >>> category_width(12), category_width(200)
    (7, 29)
    """
    return math.ceil(2 * math.sqrt(ids))


def _batch_size(samples: int) -> int:
    """Return the power of two near √samples, from 8 to 64.

    Small data need the many noisy steps of small batches; beyond 64 a step costs more than its
    gradient gains.
    """
    return min(max(2 ** round(math.log2(max(samples, 1)) / 2), 8), 64)
