"""Keras's names for what torchmetrics computes: AUC, precision, recall, F1, R².

torchmetrics is imported when one of these is made.
"""

from __future__ import annotations

from typing import Any

from gatewise.errors import InputError
from gatewise.metrics.foreign import TorchMetric


class AUC(TorchMetric):
    """The area under a curve of yes-or-no outputs: "ROC", or "PR" (the average precision).

    It is exact, unless `num_thresholds` asks for the area between that many points, which needs
    less memory; Keras's is always such an approximation, by 200 points.

    >>> import torch
    >>> metric = AUC()
    >>> metric.update(torch.tensor([0, 1, 0, 1]), torch.tensor([0.1, 0.9, 0.6, 0.5]))
    >>> metric.result()
    0.75
    """

    def __init__(
        self, num_thresholds: int | None = None, curve: str = "ROC", name: str = "auc"
    ) -> None:
        from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

        kinds = {"ROC": BinaryAUROC, "PR": BinaryAveragePrecision}
        if curve not in kinds:
            raise InputError(f"AUC knows the curves 'ROC' and 'PR' but got {curve!r}.")
        super().__init__(kinds[curve](thresholds=num_thresholds), name)
        self.num_thresholds, self.curve = num_thresholds, curve

    def get_config(self) -> dict[str, Any]:
        return {"num_thresholds": self.num_thresholds, "curve": self.curve, "name": self.name}


class _Thresholded(TorchMetric):
    """What the scores of yes-or-no answers share: an output above the threshold is a yes."""

    def __init__(self, kind: str, thresholds: float | None, name: str) -> None:
        from torchmetrics import classification

        threshold = 0.5 if thresholds is None else thresholds
        if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
            raise InputError(
                f"{type(self).__name__} takes one threshold between 0 and 1 but got {thresholds!r}."
            )
        super().__init__(getattr(classification, kind)(threshold=float(threshold)), name)
        self.threshold = float(threshold)

    def get_config(self) -> dict[str, Any]:
        return {"thresholds": self.threshold, "name": self.name}


class Precision(_Thresholded):
    """The share of yes answers that are right; outputs above `thresholds` are a yes.

    >>> import torch
    >>> metric = Precision()
    >>> metric.update(torch.tensor([1, 0, 1]), torch.tensor([0.9, 0.8, 0.1]))
    >>> metric.result()
    0.5
    """

    def __init__(self, thresholds: float | None = None, name: str = "precision") -> None:
        super().__init__("BinaryPrecision", thresholds, name)


class Recall(_Thresholded):
    """The share of yes labels that were answered so; outputs above `thresholds` are a yes."""

    def __init__(self, thresholds: float | None = None, name: str = "recall") -> None:
        super().__init__("BinaryRecall", thresholds, name)


class F1Score(TorchMetric):
    """The harmonic mean of precision and recall, of yes-or-no outputs or by class.

    `average` is None for one yes-or-no output, or how the classes' scores become one number:
    "macro", "micro", "weighted"; then the labels are class ids or one-hot, `num_classes` how many
    there are, and the answer is the largest output.

    >>> import torch
    >>> metric = F1Score()
    >>> metric.update(torch.tensor([1, 0, 1]), torch.tensor([0.9, 0.8, 0.1]))
    >>> metric.result()
    0.5
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        *,
        num_classes: int | None = None,
    ) -> None:
        from torchmetrics.classification import BinaryF1Score, MulticlassF1Score

        if (average is None) != (num_classes is None):
            raise InputError(
                "F1Score takes average and num_classes together, or neither for one yes-or-no "
                f"output, but got average={average!r} and num_classes={num_classes!r}."
            )
        if average is None or num_classes is None:
            super().__init__(BinaryF1Score(0.5 if threshold is None else threshold), name)
        else:
            made: Any = MulticlassF1Score(num_classes, average=average)  # pyright: ignore
            super().__init__(made, name)
        self.average, self.threshold, self.num_classes = average, threshold, num_classes

    def get_config(self) -> dict[str, Any]:
        return {
            "average": self.average,
            "threshold": self.threshold,
            "name": self.name,
            "num_classes": self.num_classes,
        }


class R2Score(TorchMetric):
    """The share of the labels' variance that the predictions explain; several outputs' mean.

    >>> import torch
    >>> metric = R2Score()
    >>> metric.update(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0]))
    >>> metric.result()
    0.5
    """

    def __init__(self, name: str = "r2_score") -> None:
        from torchmetrics.regression import R2Score as Source

        super().__init__(Source(), name)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}
