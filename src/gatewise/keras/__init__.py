"""The bridge into the real Keras 3: its own layers, running on gatewise's kernels.

One call makes an existing Keras program fast, and one call takes it back; models, weights,
configs and saved files stay Keras's own:

>>> import keras
>>> enable()
>>> model = keras.Sequential([keras.Input((7, 3)), keras.layers.LSTM(4, name="memory")])
>>> model(keras.ops.ones((2, 7, 3))).shape
torch.Size([2, 4])
>>> report(model)["memory"].kernel in ("cpu", "cuda", "cudnn", "reference")
True
>>> disable()

`LSTM`, `GRU`, `SimpleRNN` and `Bidirectional` are subclasses of Keras's for those who would rather
choose layer by layer; a file saved with them holds plain Keras layers.

Needs Keras 3 on the torch backend: ``pip install 'gatewise[keras]'`` and ``KERAS_BACKEND=torch``.
"""

from __future__ import annotations

from gatewise.keras import requirements as requirements  # first: it says what is missing
from gatewise.keras.layers import CUSTOM_OBJECTS, GRU, LSTM, Bidirectional, SimpleRNN
from gatewise.keras.paths import Path, Report, report
from gatewise.keras.switch import disable, enable, is_enabled

__all__ = [
    "CUSTOM_OBJECTS",
    "GRU",
    "LSTM",
    "Bidirectional",
    "Path",
    "Report",
    "SimpleRNN",
    "disable",
    "enable",
    "is_enabled",
    "report",
]
