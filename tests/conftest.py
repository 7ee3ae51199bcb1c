"""Settings that every test shares."""

from __future__ import annotations

import os

# The oracle of many tests is Keras on torch; Keras reads this when it is first imported.
os.environ["KERAS_BACKEND"] = "torch"
