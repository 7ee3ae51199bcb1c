"""torch.nn's recurrent layers, with its signatures and state_dict keys, on gatewise's kernels.

``accelerate`` swaps them into an existing model and checks that the numbers stay the same.
"""

from gatewise.nn.accelerate import accelerate, acceleration_report, restore
from gatewise.nn.acceleration import Acceleration, Left, Swapped
from gatewise.nn.agreement import Difference, DisagreementError
from gatewise.nn.recurrent import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Acceleration",
    "Difference",
    "DisagreementError",
    "Left",
    "Swapped",
    "accelerate",
    "acceleration_report",
    "restore",
]
