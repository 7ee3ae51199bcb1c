"""The losses of Keras's names, each with its settings and the labels it accepts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatewise.errors import InputError
from gatewise.losses import checks, functions
from gatewise.losses.loss import ElementwiseLoss, Loss
from gatewise.losses.shapes import full_precision


@dataclass(frozen=True)
class BinaryCrossentropy(ElementwiseLoss):
    """Crossentropy of yes-or-no labels; see `binary_crossentropy`.

    >>> import torch
    >>> BinaryCrossentropy(from_logits=True)(torch.tensor([1.0]), torch.tensor([[0.0]]))
    tensor(0.6931)
    """

    from_logits: bool = False
    label_smoothing: float = 0.0
    reduction: str = "sum_over_batch_size"
    name: str = "binary_crossentropy"

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return functions.binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if type(self) is not BinaryCrossentropy:  # its `call` may be another
            return super().mean(y_true, y_pred)
        return functions.mean_binary_crossentropy(
            *self.aligned(y_true, y_pred), self.from_logits, self.label_smoothing
        )

    def check(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None = None) -> None:
        super().check(y_true, y_pred)
        checks.unit_values(self.name, y_true, mask)


@dataclass(frozen=True)
class CategoricalCrossentropy(ElementwiseLoss):
    """Crossentropy of one-hot or soft labels; see `categorical_crossentropy`.

    >>> import torch
    >>> labels = torch.tensor([[0.0, 1.0]])
    >>> CategoricalCrossentropy(from_logits=True)(labels, torch.tensor([[0.0, 0.0]]))
    tensor(0.6931)
    """

    from_logits: bool = False
    label_smoothing: float = 0.0
    reduction: str = "sum_over_batch_size"
    name: str = "categorical_crossentropy"

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return functions.categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing
        )

    def check(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None = None) -> None:
        super().check(y_true, y_pred)
        if y_pred.shape[-1] == 1:
            raise InputError(
                f"{self.name} expected predictions with 2 or more columns but got "
                f"{tuple(y_pred.shape)}: of one class the loss is always 0. Use "
                "binary_crossentropy for two classes, or more units."
            )
        checks.unit_values(self.name, y_true, mask)


@dataclass(frozen=True)
class SparseCategoricalCrossentropy(Loss):
    """Crossentropy of class ids; see `sparse_categorical_crossentropy`.

    Labels equal to `ignore_class` count neither in the sum nor in the number of labels.

    >>> import torch
    >>> SparseCategoricalCrossentropy()(torch.tensor([1]), torch.tensor([[0.5, 0.5]]))
    tensor(0.6931)
    """

    from_logits: bool = False
    ignore_class: int | None = None
    reduction: str = "sum_over_batch_size"
    name: str = "sparse_categorical_crossentropy"

    def per_step(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        class_ids = functions.class_ids_for(y_true, y_pred)
        if class_ids.shape != y_pred.shape[:-1]:
            checks.class_shape(self.name, y_true, y_pred)
            checks.refuse_rows(self.name, y_true, y_pred)
        return self.call(class_ids, full_precision(y_pred))

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return functions.sparse_categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.ignore_class
        )

    def check(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None = None) -> None:
        labels = functions.without_column(y_true, y_pred)
        checks.class_shape(self.name, y_true, y_pred)
        checks.class_values(self.name, labels, y_pred.shape[-1], self.ignore_class, mask)

    def kept(self, y_true: Tensor, y_pred: Tensor) -> Tensor | None:
        if self.ignore_class is None:
            return None
        return functions.class_ids_for(y_true, y_pred) != self.ignore_class


@dataclass(frozen=True)
class MeanSquaredError(ElementwiseLoss):
    """Mean of squared errors; see `mean_squared_error`.

    >>> import torch
    >>> MeanSquaredError()(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor(2.5000)
    """

    reduction: str = "sum_over_batch_size"
    name: str = "mean_squared_error"

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return functions.mean_squared_error(y_true, y_pred)


@dataclass(frozen=True)
class MeanAbsoluteError(ElementwiseLoss):
    """Mean of absolute errors; see `mean_absolute_error`.

    >>> import torch
    >>> MeanAbsoluteError()(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor(1.5000)
    """

    reduction: str = "sum_over_batch_size"
    name: str = "mean_absolute_error"

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return functions.mean_absolute_error(y_true, y_pred)


@dataclass(frozen=True)
class Huber(ElementwiseLoss):
    """Squared error near zero and absolute error beyond `delta`; see `huber`.

    >>> import torch
    >>> Huber(delta=1.0)(torch.tensor([[0.0]]), torch.tensor([[3.0]]))
    tensor(2.5000)
    """

    delta: float = 1.0
    reduction: str = "sum_over_batch_size"
    name: str = "huber_loss"

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return functions.huber(y_true, y_pred, self.delta)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.delta > 0:
            raise InputError(f"Huber expected delta > 0 but got {self.delta!r}.")


@dataclass(frozen=True)
class Poisson(ElementwiseLoss):
    """Negative log-likelihood of counts, up to a constant; see `poisson`.

    >>> import torch
    >>> Poisson()(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
    tensor(1.0000)
    """

    reduction: str = "sum_over_batch_size"
    name: str = "poisson"

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return functions.poisson(y_true, y_pred)


@dataclass(frozen=True)
class KLDivergence(ElementwiseLoss):
    """Kullback-Leibler divergence of distributions; see `kl_divergence`.

    >>> import torch
    >>> KLDivergence()(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]]))
    tensor(0.1438)
    """

    reduction: str = "sum_over_batch_size"
    name: str = "kl_divergence"

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return functions.kl_divergence(y_true, y_pred)
