"""What a model is to be trained with: its `compile`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gatewise.gradients import GradientAlgorithm
from gatewise.models.precision import check_precision, set_precision
from gatewise.training import Compiled, refuse_unsupported

if TYPE_CHECKING:
    from gatewise.models.model import Model


def compile_model(
    model: Model,
    optimizer: Any = "rmsprop",
    loss: Any = None,
    loss_weights: Any = None,
    metrics: Sequence[Any] | str | None = None,
    weighted_metrics: Sequence[Any] | str | None = None,
    run_eagerly: bool = False,
    steps_per_execution: int = 1,
    jit_compile: bool | str = "auto",
    *,
    gradient: str | GradientAlgorithm | None = None,
    precision: str = "float32",
) -> None:
    """Choose what `fit` minimises, how, and what it reports.

    `optimizer`, `loss` and each metric are a name with Keras's defaults (`"rmsprop"`,
    `"binary_crossentropy"`, `"accuracy"`) or an object of `gatewise.optimizers` (or
    `torch.optim`), `gatewise.losses`, `gatewise.metrics`. `metrics` ignore sample weights,
    `weighted_metrics` use them. `gradient` is how the gradient flows through time: `"bptt"`
    (the default) is exact, `"tbptt"` truncated after 20 steps; `gatewise.gradients` has these
    and others as objects, such as `TBPTT(k1=20, k2=40)`, in a word `"tbptt:20,40"`.
    `precision` is that of the matrix products in the recurrent layers: `"bfloat16"` rounds what
    they multiply and sums in float32; state, weights and all else stay as they are. The layers
    keep it, in training, inference and streams, until they are compiled otherwise.
    `run_eagerly` changes nothing: every step runs eagerly. What cannot be honoured
    (`loss_weights`, `steps_per_execution` above 1, `jit_compile=True`) is refused.

    Compiling replaces `nn.Module.compile`; for torch's compiler use `torch.compile(model)`.

    Raises `UnknownNameError` for an unknown name and `UnsupportedError` for what is refused.

    >>> from gatewise.models import Sequential
    >>> from gatewise.layers import Dense
    >>> model = Sequential([Dense(1, input_shape=(3,))])
    >>> model.compile(optimizer="adam", loss="mse")
    >>> model.compiled.loss.name
    'mean_squared_error'
    """
    several = len(model.output_names) > 1
    refuse_unsupported(None if several else loss_weights, steps_per_execution, jit_compile)
    compiled = Compiled(
        optimizer,
        loss,
        metrics,
        weighted_metrics,
        outputs=model.output_names,
        loss_weights=loss_weights,
        gradient=gradient,
        precision=precision,
    )
    check_precision(model, precision)
    if model.built:
        compiled.gradient.supports(model)
        compiled.bind(model)
    set_precision(model, precision)
    model.compiled = compiled
