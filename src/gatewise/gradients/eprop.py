"""E-prop: an eligibility trace for each weight, times the learning signal of its unit.

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein and Maass, "A solution to the learning dilemma
for recurrent networks of spiking neurons", Nature Communications 11, 2020; for the LSTM: Hoyer,
Eberhard, Zierenberg and others, arXiv 2209.15502.

For an LSTM the trace follows the memory alone, which forgets as the cell does:

    ε_t = f_t ⊙ ε_{t-1} + a_t ⊗ [h_{t-1}, x_t, 1]
    a_i = g ⊙ i(1 - i)      a_f = c_{t-1} ⊙ f(1 - f)      a_g = i ⊙ (1 - g²)
    Δ   = (∂ℓ_t/∂h_t) ⊙ o ⊙ (1 - tanh² c_t) ⊙ ε_t

and the output gate learns from its own step. That is the gradient of a network that takes h_{t-1}
for a constant, so the cotangent goes back through the cell and never through U.

Within a chunk, over which the weights are held, the sum is taken in the other order. With
L_t = (∂ℓ_t/∂h_t) ⊙ o ⊙ (1 - tanh² c_t), in each weight's column,

    Σ_t L_t ε_t = Σ_t b_t a_t ⊗ [h_{t-1}, x_t, 1] + b_0 ε_0      b_t = L_t + f_{t+1} b_{t+1}

H numbers a step and series in place of a trace that moves on at every step; what is left of the
trace is ε_0, of the chunk's beginning. `every=1` has chunks of one step, and moves it on itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewise.errors import UnsupportedError
from gatewise.gradients.layout import recurrent_layers
from gatewise.gradients.snap import refuse_reset_before
from gatewise.gradients.task import Differentiable
from gatewise.gradients.traces import TraceAlgorithm


@dataclass(frozen=True)
class EProp(TraceAlgorithm):
    """Learn online through each cell's memory, with a step after every `every` time steps.

    Biased and deterministic. In a stack each layer learns from the losses of a time step through
    the layers above at that step, and not through their memory.

    >>> EProp().exact
    False
    """

    @property
    def path(self) -> str:
        return "cell"

    def supports(self, model: Differentiable) -> None:
        """Refuse what cannot run in pieces, and cells that have no memory beside U."""
        super().supports(model)
        refuse_reset_before(self.name, model)
        for layer in recurrent_layers(model):
            if layer.specification.cell == "simple_rnn":
                raise UnsupportedError(
                    f"EProp sends credit through a cell's memory, and '{layer.name}' (SimpleRNN) "
                    "has none: nothing would go back at all. Use gradient=SnAp1(), or an LSTM or "
                    "GRU."
                )
