"""The progress of a run: a live bar in a terminal or notebook, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from gatewise.errors import InputError
from gatewise.training.callbacks.callback import Callback, Logs

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# The bar is redrawn at most this often; more would cost time that belongs to training.
_SECONDS_BETWEEN_DRAWINGS = 0.1


class ProgressBar(Callback):
    """Shows how far training has come, with the loss and the metrics so far.

    `verbose=1`: a live bar where standard output is a terminal or a notebook, otherwise a line an
    epoch. `verbose=2`: a line an epoch everywhere.

    >>> line(2, 4, 7.2, {"loss": 0.5212, "accuracy": 0.75})
    'Epoch 2/4 - 7.2 s - loss: 0.5212 - accuracy: 0.7500'
    """

    def __init__(self, verbose: int = 1) -> None:
        super().__init__()
        self.verbose = verbose
        self._live: tuple[Progress, TaskID] | None = None
        self._epoch = 0
        self._began = 0.0
        self._drawn = 0.0
        self._training = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Note that validations from here on belong to an epoch."""
        self._training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Forget the run."""
        self._training = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start a bar."""
        self._epoch = epoch
        self._start(f"Epoch {epoch + 1}/{self.params.get('epochs', '?')}")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar, but not at every step."""
        self._move(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Put the epoch's line where the bar was."""
        self._stop()
        seconds = time.monotonic() - self._began
        print(line(epoch + 1, self.params.get("epochs"), seconds, logs or {}), flush=True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Start a bar for `evaluate`; a validation belongs to its epoch's bar."""
        if not self._training:
            self._start("Evaluate")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar of `evaluate`."""
        if not self._training:
            self._move(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Put the line of `evaluate` where its bar was."""
        if not self._training:
            self._stop()
            print(f"Evaluate - {_values(logs or {})}", flush=True)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Start a bar for `predict`."""
        self._start("Predict")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar of `predict`."""
        self._move(batch, None)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Take the bar of `predict` away."""
        self._stop()

    def close(self) -> None:
        """Give the terminal back after an error or Ctrl-C."""
        self._training = False
        self._stop()

    def _start(self, title: str) -> None:
        self._began = time.monotonic()
        self._drawn = 0.0
        if self.verbose == 1 and _is_live():
            progress = _progress()
            progress.start()
            self._live = (
                progress,
                progress.add_task(title, total=self.params.get("steps"), values=""),
            )

    def _move(self, batch: int, logs: Logs | None) -> None:
        now = time.monotonic()
        if self._live is None or now - self._drawn < _SECONDS_BETWEEN_DRAWINGS:
            return
        self._drawn = now
        progress, task = self._live
        progress.update(task, completed=batch + 1, values=_values(logs or {}), refresh=True)

    def _stop(self) -> None:
        """Take the bar away, if there is one."""
        if self._live is not None:
            self._live[0].stop()
            self._live = None


def progress_for(verbose: int | str) -> list[Callback]:
    """Return the callback that `verbose` asks for, if any."""
    if verbose == "auto":
        verbose = 1
    if verbose not in (0, 1, 2):
        raise InputError(f"verbose={verbose!r} is not known. Use 0, 1, 2 or 'auto'.")
    return [ProgressBar(int(verbose))] if verbose else []


def line(epoch: int, epochs: int | None, seconds: float, logs: Logs) -> str:
    """Return an epoch's line."""
    return f"Epoch {epoch}/{epochs} - {seconds:.1f} s - {_values(logs)}"


def _values(logs: Logs) -> str:
    """Return the values, small ones in scientific notation."""
    return " - ".join(
        f"{name}: {value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{name}: {value:.4e}"
        for name, value in logs.items()
    )


def _is_live() -> bool:
    """Return whether standard output can show a bar that moves."""
    if sys.stdout.isatty():
        return True
    return "ipykernel" in sys.modules


def _progress() -> Progress:
    """Return Rich's bar; it is imported here because it costs a tenth of a second."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[values]}"),
        auto_refresh=False,
        transient=True,
    )
