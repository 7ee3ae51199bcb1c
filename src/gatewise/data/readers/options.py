"""What a reader is asked for, and the places it names when something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from gatewise.data.series_data import Missing, Task
from gatewise.data.vocabulary import Unit
from gatewise.errors import InputError, unknown_name


@dataclass(frozen=True)
class Options:
    """The arguments of `read`. For new data, `labels` may be absent and nothing is guessed."""

    series: str | None = None
    time: str | None = None
    target: tuple[str, ...] = ()
    text: str | None = None
    part: str | None = None
    task: Task | None = None
    missing: Missing = "error"
    horizon: int | None = None
    window: int | None = None
    unit: Unit = "word"
    new: bool = False
    features: tuple[str, ...] | None = None  # those of the training data, when `new`

    @property
    def forecasts(self) -> bool:
        """Whether the data are to be forecast."""
        return self.task == "forecasting" or (self.task is None and self.horizon is not None)

    def check(self) -> None:
        """Raise for a value that no reader knows."""
        if self.task is not None and self.task not in get_args(Task):
            raise unknown_name("task", self.task, get_args(Task))
        if self.missing not in get_args(Missing):
            raise unknown_name("handling of missing values", self.missing, get_args(Missing))
        if self.unit not in get_args(Unit):
            raise InputError(f"unit={self.unit!r} is not known. Use 'word' or 'character'.")
        for name, value in (("horizon", self.horizon), ("window", self.window)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(
                    f"{name}={value!r} is not a number of steps. Use a whole number from 1."
                )
        if self.horizon is not None and self.task not in (None, "forecasting"):
            raise InputError(
                f"horizon={self.horizon} asks for forecasts but task={self.task!r}. "
                "Leave one of the two out."
            )
        if self.text is not None and (self.series or self.time or self.forecasts):
            raise InputError(
                "A table of texts has one text a row: it takes no series, time or horizon. "
                "Leave them out, or leave text out."
            )
