"""The epochs as a table in a file."""

from __future__ import annotations

import csv
import os
from typing import IO, Any

from gatewise.training.callbacks.callback import Callback, Logs


class CSVLogger(Callback):
    """Writes each epoch's values as a line of a CSV file, which is whole after every epoch.

    With `append` a file that exists is continued, without a second header. A value that an epoch
    does not have (no validation) is NA.

    >>> CSVLogger("training.csv").separator
    ','
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._names: list[str] | None = None
        self._file: IO[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the file."""
        continued = self.append and os.path.exists(self.filename)
        self._names = None
        if continued:
            with open(self.filename, newline="") as file:
                header = next(csv.reader(file, delimiter=self.separator), None)
            self._names = header[1:] if header else None
        self._file = open(self.filename, "a" if continued else "w", newline="")  # noqa: SIM115
        self._headed = self._names is not None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a line."""
        assert self._file is not None
        logs = logs or {}
        if self._names is None:
            self._names = sorted(logs)
            if self.params.get("validates"):
                # The first epoch may be one without validation.
                plain = [name for name in self._names if not name.startswith("val_")]
                named = {f"val_{name}" for name in plain if name != "learning_rate"}
                self._names = sorted({*self._names, *named})
        writer: Any = csv.writer(self._file, delimiter=self.separator, lineterminator="\n")
        if not self._headed:
            writer.writerow(["epoch", *self._names])
            self._headed = True
        writer.writerow([epoch, *(logs.get(name, "NA") for name in self._names)])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
