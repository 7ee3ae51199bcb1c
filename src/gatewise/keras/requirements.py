"""What the bridge needs, looked at once, at import: Keras 3, on the torch backend."""

from __future__ import annotations

from gatewise.errors import UnsupportedError

_CURE = (
    "Set the environment variable KERAS_BACKEND=torch before Keras is first imported, "
    "for example by os.environ['KERAS_BACKEND'] = 'torch' at the top of the program."
)

try:
    import keras
except ModuleNotFoundError as error:
    if error.name == "keras":
        message = "gatewise.keras needs Keras 3. Install it with: pip install 'gatewise[keras]'."
    else:
        message = (
            f"gatewise.keras needs Keras on the torch backend, but Keras is set to a backend that "
            f"is not installed ({error.name}). {_CURE}"
        )
    raise ModuleNotFoundError(message, name=error.name) from error

if int(keras.__version__.split(".")[0]) < 3:
    raise UnsupportedError(
        f"gatewise.keras needs Keras 3 but found Keras {keras.__version__}. "
        "Install it with: pip install 'gatewise[keras]'."
    )
if keras.config.backend() != "torch":
    raise UnsupportedError(
        f"gatewise.keras needs Keras on the torch backend but it runs on "
        f"{keras.config.backend()!r}. {_CURE}"
    )
