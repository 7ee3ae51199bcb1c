"""From settings and fitted preprocessing to a compiled model."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.cli.defaults import DataShape, Settings, category_width
from gatewise.errors import InputError

if TYPE_CHECKING:
    from gatewise.data import SeriesData, SeriesPreprocessor
    from gatewise.layers import Layer
    from gatewise.models import Sequential

_NUMBERS = ("regression", "forecasting")


def data_shape(preprocessing: SeriesPreprocessor, train: SeriesData) -> DataShape:
    """Return what the defaults may know of the training part."""
    vocabulary = preprocessing.vocabulary
    lengths = train.lengths
    if vocabulary is not None:
        lengths = np.array([len(vocabulary.split(text)) for text in train.x])
    return DataShape(
        task=preprocessing.task,
        samples=len(train),
        features=preprocessing.channels,
        outputs=preprocessing.outputs,
        tokens=0 if vocabulary is None else len(vocabulary),
        categories=preprocessing.embedded_sizes,
        steps=int(np.median(lengths)),
    )


def build_model(shape: DataShape, settings: Settings) -> Sequential:
    """Return the stack of recurrent layers that the settings describe, compiled.

    >>> from gatewise.cli.defaults import defaults
    >>> shape = DataShape("classification", samples=216, features=12, outputs=9)
    >>> build_model(shape, defaults(shape)).output_shape
    (None, 9)
    """
    from gatewise.layers import Dense, Dropout, EmbedColumns, Embedding, Input, MaxAndLast
    from gatewise.layers.initializers import RandomUniform
    from gatewise.models import Sequential

    model = Sequential()
    if shape.tokens:
        scale = settings.embedding_scale
        drawn = RandomUniform(-scale, scale)
        model.add(Embedding(shape.tokens, settings.embedding, drawn, mask_zero=True))
        if settings.embedding_dropout:
            model.add(Dropout(settings.embedding_dropout))
    else:
        model.add(Input(shape=(None, shape.features)))
    if shape.categories:
        model.add(EmbedColumns(shape.categories, [category_width(n) for n in shape.categories]))
    for place in range(settings.layers):
        last = place == settings.layers - 1
        every = shape.task == "tagging" or settings.pooled or not last
        model.add(_recurrent(settings, return_sequences=every))
        if last and settings.pooled:
            model.add(MaxAndLast(2 if settings.bidirectional else 1))
        if settings.dropout:
            model.add(Dropout(settings.dropout))
    model.add(Dense(shape.outputs, activation=None if shape.task in _NUMBERS else "softmax"))
    compile_model(model, shape.task, settings)
    return model


def compile_model(model: Sequential, task: str, settings: Settings) -> None:
    """Choose the loss of the task, and Adam with the settings' rate and bound."""
    from gatewise.optimizers import Adam

    numbers = task in _NUMBERS
    _check_gradient(settings)
    model.compile(
        optimizer=Adam(settings.learning_rate, clipnorm=settings.clipnorm),
        loss="mse" if numbers else "sparse_categorical_crossentropy",
        metrics=["mae"] if numbers else ["accuracy"],
        gradient=settings.gradient,
    )


def _check_gradient(settings: Settings) -> None:
    """Raise `InputError`, with the option to give, where the settings contradict each other."""
    from gatewise.gradients import RTRL, get

    algorithm = get(settings.gradient)
    if algorithm.online and settings.bidirectional:
        raise InputError(
            f"--gradient {settings.gradient} goes forward through time, and this model reads the "
            "series backwards, too. Add --one-direction, or take --gradient bptt:sqrt or artbp:20."
        )
    if isinstance(algorithm, RTRL) and (settings.recurrent_dropout or settings.embedding_dropout):
        raise InputError(
            f"--gradient {settings.gradient} takes no dropout in front of the states. Add "
            "--recurrent-dropout 0, or take --gradient snap1."
        )


def model_of_function(reference: str, shape: DataShape, settings: Settings) -> Sequential:
    """Return the model that `function(features, outputs)` of `file.py:function` makes.

    `features` is the number of ids for text. A model that comes uncompiled gets the task's loss.
    Raises `InputError` if the file, the function or what it returns is not as asked for.
    """
    from gatewise.models import Sequential

    path, separator, name = reference.rpartition(":")
    form = "Give file.py:function, whose function(features, outputs) returns a Sequential."
    if not separator or not name.isidentifier():
        raise InputError(f"--model {reference} names no function. {form}")
    function = getattr(_module(Path(path)), name, None)
    if not callable(function):
        raise InputError(f"--model: {path} has no function {name}. {form}")
    takes = len(inspect.signature(function).parameters)
    if takes != 2:
        raise InputError(f"--model: {name} takes {takes} arguments, but it is given two. {form}")
    model: Any = function(shape.tokens or shape.features, shape.outputs)
    if not isinstance(model, Sequential):
        raise InputError(f"--model: {name} returned a {type(model).__name__}. {form}")
    if model.compiled is not None and settings.gradient != "bptt":
        raise InputError(
            f"--gradient {settings.gradient}: {name} compiles its model itself. Give compile "
            f"gradient={settings.gradient!r} there, or leave the compiling to this command."
        )
    if model.compiled is None:
        compile_model(model, shape.task, settings)
    if not model.built:
        model.build((None, None) if shape.tokens else (None, None, shape.features))
    wanted = (None, None, shape.outputs) if shape.task == "tagging" else (None, shape.outputs)
    if model.output_shape != wanted:
        raise InputError(
            f"--model: {name} returns {model.output_shape}, but this task needs {wanted}. "
            f"End the model with Dense({shape.outputs})."
        )
    return model


def _module(path: Path) -> Any:
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"--model: {path} is no Python file. Give file.py:function.")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _recurrent(settings: Settings, *, return_sequences: bool) -> Layer:
    from gatewise.layers import GRU, LSTM, Bidirectional, SimpleRNN

    cell = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}[settings.cell]
    layer = cell(
        settings.units,
        return_sequences=return_sequences,
        recurrent_dropout=settings.recurrent_dropout,
    )
    return Bidirectional(layer) if settings.bidirectional else layer
