"""A module of torch's own as a layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gatewise.errors import InputError, UnsupportedError
from gatewise.layers.by_call import shape_by_running
from gatewise.layers.layer import Layer


class TorchLayer(Layer):
    """Any `torch.nn.Module` from one tensor to one, as it is; `Sequential` makes one by itself.

    Its result's shape is found by running it. A mask ends here, unless `supports_masking` says
    that the module works on each time step by itself. A file cannot hold such a layer;
    `save_weights` keeps its weights.

    >>> from gatewise.layers import Input
    >>> TorchLayer(nn.Linear(3, 2))(Input((5, 3))).shape
    (None, 5, 2)
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        supports_masking: bool = False,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        if not isinstance(module, nn.Module) or isinstance(module, Layer):
            raise InputError(f"TorchLayer takes a torch.nn.Module but got {module!r}.")
        super().__init__(name=name or type(module).__name__.lower(), trainable=trainable)
        self.auto_named = name is None
        self.module = module
        self.supports_masking = supports_masking
        if not trainable:
            module.requires_grad_(False)

    @property
    def trainable(self) -> bool:
        """Whether training moves the weights."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        self.module.requires_grad_(self._trainable)

    def forward(self, x: Tensor) -> Any:
        return self.module(self.receive(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return shape_by_running(self, input_shape)

    def get_config(self) -> dict[str, Any]:
        """Refuse: a module is code."""
        raise UnsupportedError(
            f"'{self.name}' holds torch's {type(self.module).__name__}, which is code, so no "
            "configuration can hold it. save_weights(path) keeps the weights; for files write a "
            "registered Layer of your own."
        )

    def _weight(self) -> Tensor | None:
        return next((p for p in self.module.parameters() if p.is_floating_point()), None)
