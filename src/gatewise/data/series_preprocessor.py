"""From data to a model's input and back, by what the training part alone taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from gatewise.data.linear_forecast import LinearForecast
from gatewise.data.missing import handle_missing, is_wrong
from gatewise.data.scaling import StandardScaler
from gatewise.data.series_data import Columns, Missing, SeriesData, Task
from gatewise.data.vocabulary import Unit, Vocabulary
from gatewise.data.windows import seen_targets, target_channels
from gatewise.errors import InputError


@dataclass(frozen=True)
class SeriesPreprocessor:
    """A model's input from data as they were read, and the data's own units from its predictions.

    Numbers are scaled to mean 0 and deviation 1. A category becomes one channel for each name of
    the training part (none is 1 for a new name) or, if it is `embedded`, a number from 1 (0: a new
    name or none) in one of the last channels, for a layer `EmbedColumns`. With `missing="mask"` a
    gap becomes 0, the mean, and a channel says where gaps are, for each feature that had some in
    training. Texts become token ids. Forecasts of series with a trend (`relative`) are seen and
    told as differences from the last value of the window; a forecast is `trust` times the model's
    plus `1 - trust` times the `linear` one. Build one with `prepare`; a model file keeps it.

    >>> from gatewise.data import prepare
    >>> train = SeriesData("two", "regression", [np.array([[1.0], [3.0]])] * 2,
    ...                    np.array([10.0, 30.0]), ["a", "b"], ("level",))
    >>> preprocessor = prepare(train)
    >>> preprocessor(train)[0].ravel().tolist(), preprocessor.targets(train).ravel().tolist()
    ([-1.0, 1.0], [-1.0, 1.0])
    >>> preprocessor.restore([[0.5], [0.0]], train).tolist()
    [25.0, 20.0]
    >>> SeriesPreprocessor.from_config(preprocessor.get_config()) == preprocessor
    True
    """

    task: Task
    features: tuple[str, ...]
    labels: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    embedded: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    missing: Missing = "error"
    unit: Unit | None = None
    horizon: int | None = None
    window: int | None = None
    relative: bool = False
    vocabulary: Vocabulary | None = field(default=None, repr=False)
    scaler: StandardScaler | None = field(default=None, repr=False)
    target_scaler: StandardScaler | None = field(default=None, repr=False)
    linear: LinearForecast | None = field(default=None, repr=False)
    trust: float = 1.0

    @property
    def channels(self) -> int:
        """The width of the model's input; 0 for token ids."""
        if self.unit is not None:
            return 0
        hot = sum(
            1 if name in self.embedded else len(names) for name, names in self.categories.items()
        )
        return len(self.numeric) + hot + len(self.gaps)

    @property
    def embedded_sizes(self) -> tuple[int, ...]:
        """The number of ids of each embedded category, in the order of the last channels."""
        return tuple(1 + len(self.categories[name]) for name in self.embedded)

    @property
    def outputs(self) -> int:
        """The width of the model's output: the classes, 1, or the horizon times the targets."""
        if self.task == "forecasting":
            return (self.horizon or 1) * len(self.columns.target or self.features)
        return 1 if self.task == "regression" else len(self.labels)

    @property
    def numeric(self) -> list[int]:
        """The features that are numbers, by index."""
        return [at for at, name in enumerate(self.features) if name not in self.categories]

    def __call__(self, raw: SeriesData | Sequence[Any]) -> list[Any]:
        """Return float32 arrays `(T_i, channels)`, or lists of token ids.

        `raw` is what a reader gave, or a list of arrays `(T_i, I)` or texts. Of a series to
        forecast that is not cut into windows, the last window is taken.
        """
        data = raw if isinstance(raw, SeriesData) else self._as_data(raw)
        self.check(data)
        if self.vocabulary is not None:
            return list(self.vocabulary.encode(data.x))
        return [self._input(window, data) for window in self._windows(data)]

    def check(self, data: SeriesData) -> None:
        """Raise `InputError` for data of another kind, width or columns than in training."""
        if data.is_text != (self.unit is not None):
            kinds = ("texts", "series") if self.unit is not None else ("series", "texts")
            raise InputError(
                f"The model was trained on {kinds[0]}, but {data.name} holds {kinds[1]}."
            )
        if len(data.features) != len(self.features):
            raise InputError(
                f"{data.name} has {len(data.features)} features, but the model was trained on "
                f"{len(self.features)}: {', '.join(self.features)}. Give the same ones."
            )
        if data.features != self.features:
            raise InputError(
                f"{data.name} has the features {', '.join(data.features)}, but the model was "
                f"trained on {', '.join(self.features)}. Give the same ones, in this order."
            )

    def targets(self, data: SeriesData) -> Any:
        """Return the labels in the form that `fit` takes.

        Classes int64 `(N,)`; tags a list of int64 `(T_i,)`; numbers scaled float32 `(N, 1)`;
        forecasts scaled float32 `(N, horizon * K)`. Raises `InputError` for an unknown class.
        """
        if data.y is None:
            raise InputError(f"{data.name} has no labels.")
        if self.target_scaler is None:
            return self.aligned(data).y
        y = data.y.reshape(len(data), -1, len(self.target_scaler.mean))  # (N, horizon, K)
        scaled = self.target_scaler(y - self._level(data))
        return _as_float32(scaled.reshape(len(data), -1), data)

    def restore(self, predictions: Any, data: SeriesData) -> np.ndarray:
        """Return predicted numbers in the data's own units: `(N,)`, or `(N, horizon, K)`.

        `data` are those predicted from: what is told of a trend begins at their last values.
        """
        if self.target_scaler is None:
            raise InputError("Classes have no units. Use class_names on the likeliest indices.")
        values = np.asarray(predictions, dtype=np.float64)
        values = values.reshape(len(data), -1, len(self.target_scaler.mean))
        values = self.target_scaler.inverse(values) + self._level(data)
        if self.task == "regression":
            return values[:, 0, 0]
        if self.linear is None or self.trust == 1.0:
            return values
        return self.trust * values + (1.0 - self.trust) * self._linear_forecast(data)

    def weighed(self, predictions: Any, held_out: SeriesData) -> SeriesPreprocessor:
        """Return the preprocessing whose `trust` suits a model best that predicted these.

        `predictions` are the model's for `held_out`, data that it did not learn from. The share has
        the least squared error on them, between 0 (the linear forecast alone) and 1.
        """
        if self.linear is None or held_out.y is None:
            return self
        alone = replace(self, trust=1.0).restore(predictions, held_out)
        linear = self._linear_forecast(held_out)
        error = np.square(held_out.y - linear).mean(axis=(0, 1))
        error[error == 0] = 1.0  # so that a target of large numbers does not speak for all
        gain = (((alone - linear) * (held_out.y - linear)).mean(axis=(0, 1)) / error).sum()
        most = (np.square(alone - linear).mean(axis=(0, 1)) / error).sum()
        return replace(self, trust=float(np.clip(gain / most, 0.0, 1.0)) if most > 0 else 1.0)

    def class_names(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        """Return the names of classes or tags."""
        return [self.labels[int(index)] for index in indices]

    def aligned(self, data: SeriesData) -> SeriesData:
        """Return data whose class indices are those of training; numbers stay as they are."""
        if data.y is None or data.labels == self.labels or not self.labels:
            return data
        known = {name: index for index, name in enumerate(self.labels)}
        table = np.array([known.get(name, -1) for name in data.labels], dtype=np.int64)
        tagged = isinstance(data.y, list)
        y = [table[one] for one in data.y] if tagged else table[data.y]
        for index, found in enumerate(y):
            wrong = np.atleast_1d(found) < 0
            if wrong.any():
                name = data.labels[np.atleast_1d(data.y[index])[wrong][0]]
                raise InputError(
                    f"{data.name}: series {data.ids[index]!r} has the class {name!r}, which "
                    f"training never saw. It knows: {', '.join(self.labels)}. Remove the series, "
                    "or train with it."
                )
        return replace(data, y=y, labels=self.labels)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs, as JSON knows it."""
        parts = {
            name: None if part is None else part.get_config()
            for name, part in (
                ("vocabulary", self.vocabulary),
                ("scaler", self.scaler),
                ("target_scaler", self.target_scaler),
                ("linear", self.linear),
            )
        }
        return {
            "task": self.task,
            "features": list(self.features),
            "labels": list(self.labels),
            "columns": {**asdict(self.columns), "target": list(self.columns.target)},
            "categories": {name: list(names) for name, names in self.categories.items()},
            "embedded": list(self.embedded),
            "gaps": list(self.gaps),
            "missing": self.missing,
            "unit": self.unit,
            "horizon": self.horizon,
            "window": self.window,
            "relative": self.relative,
            "trust": self.trust,
            **parts,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeriesPreprocessor:
        """Return the preprocessor of a config that `get_config` gave."""
        columns = config["columns"]
        kinds = {
            "vocabulary": Vocabulary,
            "scaler": StandardScaler,
            "target_scaler": StandardScaler,
            "linear": LinearForecast,
        }
        return cls(
            task=config["task"],
            features=tuple(config["features"]),
            labels=tuple(config["labels"]),
            columns=Columns(**{**columns, "target": tuple(columns["target"])}),
            categories={name: tuple(names) for name, names in config["categories"].items()},
            embedded=tuple(config["embedded"]),
            gaps=tuple(config["gaps"]),
            missing=config["missing"],
            unit=config["unit"],
            horizon=config["horizon"],
            window=config["window"],
            relative=config["relative"],
            trust=config["trust"],
            **{
                name: None if config[name] is None else kind.from_config(config[name])
                for name, kind in kinds.items()
            },
        )

    def _as_data(self, raw: Sequence[Any]) -> SeriesData:
        """Return plain arrays or texts as data, their gaps treated as those of training."""
        ids = [str(index) for index in range(len(raw))]
        if self.unit is not None:
            return SeriesData("x", self.task, list(raw), None, ids, (), unit=self.unit)
        x = [np.asarray(one, dtype=np.float64) for one in raw]
        for index, one in enumerate(x):
            if one.ndim != 2 or one.shape[1] != len(self.features) or not len(one):
                raise InputError(
                    f"Series {index} has shape {one.shape}, but the model was trained on series "
                    f"(T, {len(self.features)}): {', '.join(self.features)}."
                )
        filled, report = handle_missing(
            x,
            self.features,
            self.missing,
            lambda series, step, at: f"Series {series}, step {step}, {self.features[at]}",
        )
        categories = self.categories
        return SeriesData(
            "x", self.task, filled, None, ids, self.features, categories=categories, missing=report
        )

    def _windows(self, data: SeriesData) -> list[np.ndarray]:
        if self.task != "forecasting" or self.window is None:
            return data.x
        for index, series in enumerate(data.x):
            if len(series) < self.window:
                raise InputError(
                    f"{data.name}: series {data.ids[index]!r} has {len(series)} steps, but the "
                    f"model sees {self.window} before it forecasts. Give more of its past."
                )
        return [series[-self.window :] for series in data.x]

    def _level(self, data: SeriesData) -> np.ndarray | float:
        """Return what forecasts are relative to: the last values `(N, 1, K)`, or 0."""
        return last_values(data)[:, None] if self.relative else 0.0

    def _linear_forecast(self, data: SeriesData) -> np.ndarray:
        assert self.linear is not None
        return self.linear(seen_targets(self._windows(data), target_channels(data)))

    def _input(self, series: np.ndarray, data: SeriesData) -> np.ndarray:
        numeric = self.numeric
        if self.relative:
            series = relative_to_last(series, target_channels(data))
        blocks: list[np.ndarray] = []
        embedded: list[np.ndarray] = []
        unknown = np.isnan(series)
        if numeric and self.scaler is not None:
            scaled = self.scaler(series[:, numeric])
            blocks.append(np.where(unknown[:, numeric], 0.0, scaled))
        for at, name in enumerate(self.features):
            if name in self.categories:
                codes = self._codes(series[:, at], name, data)
                if name in self.embedded:
                    embedded.append(codes[:, None] + 1.0)
                else:
                    hot = codes[:, None] == np.arange(len(self.categories[name]))
                    blocks.append(hot.astype(np.float64))
            elif unknown[:, at].any() and name not in self.gaps:
                raise InputError(
                    f"{data.name}: {name!r} has a gap, but it had none in training, so the model "
                    "was not told of gaps in it. Fill it, or train with missing='forward-fill'."
                )
        gaps = [at for at, name in enumerate(self.features) if name in self.gaps]
        blocks.append(unknown[:, gaps].astype(np.float64))
        return _as_float32(np.concatenate([*blocks, *embedded], axis=1), data)

    def _codes(self, codes: np.ndarray, name: str, data: SeriesData) -> np.ndarray:
        """Return the places of names among those of the training part; -1: a gap or a new one."""
        known = {one: index for index, one in enumerate(self.categories[name])}
        if name not in data.categories:
            raise InputError(
                f"{data.name}, column {name!r}: numbers, but in training it held categories such "
                f"as {self.categories[name][0]!r}."
            )
        names = data.categories[name]
        table = np.array([*(known.get(one, -1) for one in names), -1], dtype=np.int64)
        return table[np.where(np.isnan(codes), len(names), codes).astype(np.int64)]


def _as_float32(values: np.ndarray, data: SeriesData) -> np.ndarray:
    if is_wrong(values).any():
        raise InputError(
            f"{data.name}: a value is so far from those of the training part that float32 cannot "
            f"hold it: {np.abs(values).max():g} deviations. Correct the value, or train with it."
        )
    return values.astype(np.float32)


def last_values(data: SeriesData) -> np.ndarray:
    """Return the last known value of each target in each window, `(N, K)`."""
    channels = target_channels(data)
    return np.stack([_last(window[:, channels]) for window in data.x])


def _last(values: np.ndarray) -> np.ndarray:
    if not np.isnan(values[-1]).any():
        return values[-1]
    known = ~np.isnan(values)
    at = len(values) - 1 - known[::-1].argmax(axis=0)
    return np.nan_to_num(values[at, np.arange(values.shape[1])])


def relative_to_last(series: np.ndarray, channels: list[int]) -> np.ndarray:
    """Return a window with its last known values taken from these channels."""
    series = series.copy()
    series[:, channels] -= _last(series[:, channels])
    return series
