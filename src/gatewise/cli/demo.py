"""`gatewise demo`: two real data sets; each is trained on, measured, saved, loaded and asked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewise.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from gatewise.data import Preprocessor
    from gatewise.data.datasets import Dataset
    from gatewise.models import Sequential

_TEXT_FILE = "verse-or-scripture.safetensors"
_SERIES_FILE = "japanese-vowels.safetensors"
_MEASURED = 32  # samples in the batch that answers the two questions
_QUICK = 96  # samples that --quick trains on
_VALIDATION = 0.1  # the share of the training part that validates


@dataclass(frozen=True)
class _Task:
    """One half of the demo: the data, what turns them into input, and the model for that input."""

    question: str
    data: Dataset[Any]
    preprocessing: Preprocessor
    model: Sequential
    epochs: int
    file_name: str


def demo(
    text: Annotated[
        str, typer.Option(help="A sentence of your own: verse or scripture?")
    ] = "thou shalt not",
    out: Annotated[Path, typer.Option(help="The folder that the two models are saved in.")] = Path(
        "gatewise-demo"
    ),
    seed: Annotated[int, typer.Option(help="Where the random numbers start.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train a few steps only, to see that it runs.")
    ] = False,
) -> None:
    """Train an LSTM on text and another on series; show which parameters train and are shared.

    Text: is a fragment Shakespeare's, or the King James Bible's? Series: which of nine speakers
    said the two Japanese vowels? Both data sets are real and come with gatewise.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file. Name a folder; it is made if it is missing.")
    from gatewise import utils

    began = time.monotonic()
    utils.set_random_seed(seed)
    fragments = _verse_or_scripture()
    fragments.preprocessing([text])  # refuses a sentence without a word before it costs anything
    out.mkdir(parents=True, exist_ok=True)
    _run(fragments, out, seed, quick)
    _ask(out / _TEXT_FILE, {f'"{text}"': text})
    vowels = _japanese_vowels()
    _run(vowels, out, seed, quick)
    _ask(out / _SERIES_FILE, _first_of_each(vowels.data))
    typer.echo(f"\nDone in {time.monotonic() - began:.0f} seconds. The models are in {out}.")


def _verse_or_scripture() -> _Task:
    from gatewise.data import Vocabulary
    from gatewise.data.datasets import load_verse_or_scripture
    from gatewise.layers import LSTM, Dense, Dropout, Embedding
    from gatewise.models import Sequential

    data = load_verse_or_scripture()
    model = Sequential(name="verse_or_scripture")
    model.add(Embedding(10_000, 100, mask_zero=True))
    model.add(LSTM(128))
    model.add(Dropout(0.5))
    model.add(Dense(1, activation="sigmoid"))
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    model.build((None, None))
    return _Task(
        question="Verse or scripture?",
        data=data,
        preprocessing=Vocabulary.fit(data.train.x, max_size=10_000),
        model=model,
        epochs=2,
        file_name=_TEXT_FILE,
    )


def _japanese_vowels() -> _Task:
    from gatewise.data import StandardScaler
    from gatewise.data.datasets import load_japanese_vowels
    from gatewise.layers import LSTM, Dense, Dropout
    from gatewise.models import Sequential

    data = load_japanese_vowels()
    model = Sequential(name="japanese_vowels")
    model.add(LSTM(128, input_shape=(None, 12)))
    model.add(Dropout(0.5))
    model.add(Dense(9, activation="softmax"))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    return _Task(
        question="Who speaks?",
        data=data,
        preprocessing=StandardScaler.fit(data.train.x),
        model=model,
        epochs=20,
        file_name=_SERIES_FILE,
    )


def _run(task: _Task, out: Path, seed: int, quick: bool) -> None:
    """Describe, train, test, measure and save one task's model."""
    _describe(task)
    x, y = _training_samples(task, seed, quick)
    task.model.labels = list(task.data.label_names)
    task.model.preprocessing = task.preprocessing
    path = out / task.file_name
    try:
        task.model.fit(x, y, epochs=1 if quick else task.epochs, validation_split=_VALIDATION)
    except KeyboardInterrupt:
        task.model.save(path)
        raise KeyboardInterrupt(
            f"\nInterrupted. The model as trained so far is in {path}: "
            f"gatewise.models.load_model({str(path)!r})."
        ) from None
    _test(task)
    _answer_the_two_questions(task, x[:_MEASURED], y[:_MEASURED])
    task.model.save(path)


def _describe(task: _Task) -> None:
    data = task.data
    typer.secho(f"\n{task.question}\n{'=' * len(task.question)}", bold=True)
    typer.echo(
        f"{data.description[0].upper()}{data.description[1:]}.\n"
        f"{len(data.train):,} for training, {len(data.test):,} for the test; {data.licence}.\n"
    )
    task.model.summary(gates=True)


def _training_samples(task: _Task, seed: int, quick: bool) -> tuple[list[Any], np.ndarray]:
    """Return the training part as model input, shuffled: its last part validates."""
    import numpy as np

    train = task.data.train
    order = np.random.default_rng(seed).permutation(len(train))[: _QUICK if quick else None]
    return task.preprocessing([train.x[i] for i in order]), train.y[order]


def _test(task: _Task) -> None:
    import numpy as np

    test = task.data.test
    results = task.model.evaluate(task.preprocessing(test.x), test.y, verbose=0, return_dict=True)
    assert isinstance(results, dict)
    majority = task.data.label_names[np.bincount(task.data.train.y).argmax()]
    typer.echo(
        f"\nTest accuracy {results['accuracy']:.3f}; "
        f"always saying {majority!r} gives {task.data.majority_accuracy():.3f}."
    )


def _answer_the_two_questions(task: _Task, x: list[Any], y: np.ndarray) -> None:
    from gatewise.data import pad
    from gatewise.inspect import measure_sharing, measure_training
    from gatewise.inspect.text import render_sharing, render_training

    padded, mask = pad(x)
    typer.echo(f"\n{render_training(measure_training(task.model, padded, y, mask=mask))}")
    typer.echo(f"\n{render_sharing(measure_sharing(task.model, padded, y, mask=mask))}")


def _first_of_each(data: Any) -> dict[str, Any]:
    """Return the first test series of each label, by what it is."""
    found: dict[str, Any] = {}
    for x, y in zip(data.test.x, data.test.y, strict=True):
        found.setdefault(f"a test series of {data.label_names[y]}", x)
    return found


def _ask(path: Path, samples: dict[str, Any]) -> None:
    """Load a model from its file alone and ask it about raw samples, each of a name."""
    import numpy as np

    from gatewise.models import load_model

    model = load_model(path)
    assert model.labels is not None
    rows = model.predict(model.preprocessing(list(samples.values())), verbose=0)
    if rows.shape[1] == 1:  # a sigmoid gives the probability of the second label alone
        rows = np.concatenate([1 - rows, rows], axis=1)
    typer.echo(
        f"\nSaved in {path},\n{path.stat().st_size / 1e6:.1f} MB; loaded from there and asked:"
    )
    for name, probabilities in zip(samples, rows, strict=True):
        likeliest = int(probabilities.argmax())
        typer.echo(
            f"  {name}: {model.labels[likeliest]}, probability {probabilities[likeliest]:.3f}"
        )
