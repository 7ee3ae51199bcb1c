"""The epochs for TensorBoard; its package is an extra."""

from __future__ import annotations

import os
from typing import Any

from gatewise.errors import InputError
from gatewise.training.callbacks.callback import Callback, Logs


class TensorBoard(Callback):
    """Writes losses, metrics and the learning rate where TensorBoard reads them.

    As in Keras: `log_dir/train` and `log_dir/validation`, values called `epoch_loss` and so on;
    with `update_freq="batch"` (or a number of batches) also `batch_loss`. With `histogram_freq` the
    weights' histograms are written every so many epochs. Needs the extra `gatewise[tensorboard]`.

    >>> TensorBoard("logs").log_dir
    'logs'
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        update_freq: str | int = "epoch",
    ) -> None:
        super().__init__()
        if update_freq not in ("epoch", "batch") and not (
            isinstance(update_freq, int) and update_freq > 0
        ):
            raise InputError(f"update_freq is 'epoch', 'batch' or a number, not {update_freq!r}.")
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._writers: dict[str, Any] = {}
        self._batches = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Look for the package."""
        writer_class()
        self._batches = 0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write the running values."""
        self._batches += 1
        if isinstance(self.update_freq, int) and self._batches % self.update_freq == 0:
            for name, value in (logs or {}).items():
                self._writer("train").add_scalar(f"batch_{name}", value, self._batches)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's values."""
        from gatewise.training.callbacks.learning_rate import rate_of

        for name, value in (logs or {}).items():
            run = "validation" if name.startswith("val_") else "train"
            tag = f"epoch_{name.removeprefix('val_')}"
            self._writer(run).add_scalar(tag, value, epoch)
        self._writer("train").add_scalar(
            "epoch_learning_rate", rate_of(self.model.optimizer), epoch
        )
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for name, weight in self.model.named_parameters():
                self._writer("train").add_histogram(name, weight.detach(), epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            self._writers[run] = writer_class()(os.path.join(self.log_dir, run))
        return self._writers[run]


def writer_class() -> Any:
    """Return torch's `SummaryWriter`, or raise `InputError` where its package is missing."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard needs the package tensorboard: pip install 'gatewise[tensorboard]'. "
            "CSVLogger needs nothing."
        ) from error
    return SummaryWriter
