"""Ending a run whose numbers are no longer finite."""

from __future__ import annotations

from gatewise.errors import NonFiniteError
from gatewise.training.callbacks.callback import Callback


class TerminateOnNaN(Callback):
    """Ends `fit` without an error when the loss or a gradient becomes NaN or infinite.

    Without it `fit` raises `NonFiniteError`. Either way the weights are those from before the bad
    step, which Keras's callback does not see to.

    >>> TerminateOnNaN().on_non_finite(NonFiniteError("The loss became nan at step 3."))
    Training ends here. The loss became nan at step 3.
    True
    """

    def on_non_finite(self, error: NonFiniteError) -> bool:
        """End the training, and say why."""
        print(f"Training ends here. {error}")
        return True
