"""The same recurrent layer, counted as Keras, PyTorch, cuDNN and ONNX store it.

W and U are the same everywhere; the biases are not. Keras keeps one for each gate (two in a GRU
that resets after the product), PyTorch, cuDNN by default and ONNX one for x W and one for h U.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewise.cells import GATES
from gatewise.inspect.showing import Shown


@dataclass(frozen=True)
class Convention(Shown):
    """One library's count of a weight set: ``count`` is None where it has no such layer."""

    library: str
    count: int | None
    formula: str
    remark: str


@dataclass(frozen=True)
class Sizes(Shown):
    """What a recurrent weight set is made of; ``output_size`` is that of the h that recurs."""

    cell: str
    input_size: int
    units: int
    output_size: int
    reset_after: bool
    peepholes: int = 0  # how many gates see the memory
    norm_rows: int = 0  # the weights (H,) of layer normalization

    @property
    def gates(self) -> int:
        """How many gates the cell has."""
        return len(GATES[self.cell])

    @property
    def projected(self) -> bool:
        """Whether h is smaller than c."""
        return self.output_size != self.units

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds of the matrix products of one step of one sample.

        >>> Sizes("lstm", 100, 128, 128, True).multiply_adds
        116736
        """
        projection = self.output_size * self.units if self.projected else 0
        return self.gates * self.units * (self.input_size + self.output_size) + projection

    def count(self, bias_rows: int) -> int:
        """Return the number of weights with so many biases a gate.

        >>> Sizes("lstm", 100, 128, 128, True).count(1)
        117248
        """
        rows = bias_rows * self.gates + self.peepholes + self.norm_rows
        return self.multiply_adds + rows * self.units

    def formula(self, bias_rows: int) -> str:
        """Return the count as a sum, with the numbers put in.

        >>> Sizes("gru", 100, 128, 128, True).formula(2)
        '3·(128·100 + 128·128) + 2·3·128'
        """
        units, size = self.units, self.output_size
        products = f"{units}·{self.input_size} + {units}·{size}"
        terms = [products if self.gates == 1 else f"{self.gates}·({products})"]
        if bias_rows:
            terms.append(product(bias_rows, self.gates, units))
        if self.projected:
            terms.append(f"{size}·{units}")  # the projection of h
        if self.peepholes:
            terms.append(f"{self.peepholes}·{units}")
        if self.norm_rows:
            terms.append(f"{self.norm_rows}·{units}")
        return " + ".join(terms)


_NO_COUPLED_GATES = {
    **dict.fromkeys(("Keras", "PyTorch", "cuDNN"), "has no coupled gates"),
    "ONNX": "stores an input gate, which input_forget=1 does not use",
}


def conventions(sizes: Sizes, biased: bool) -> tuple[Convention, ...]:
    """Return the counts of one layer in each library, with or without biases.

    >>> [(one.library, one.count) for one in conventions(Sizes("lstm", 100, 128, 128, True), True)]
    [('Keras', 117248), ('PyTorch', 117760), ('cuDNN', 117760), ('ONNX', 117760)]
    """
    after = "its GRU resets after the recurrent product"
    resets_before = sizes.cell == "gru" and not sizes.reset_after
    keras_rows = 2 if sizes.cell == "gru" and sizes.reset_after else 1
    remarks = {
        "Keras": "one bias a gate" if keras_rows == 1 else "two biases a gate (reset_after=True)",
        "PyTorch": "two biases a gate (bias_ih, bias_hh)",
        "cuDNN": "two biases a gate (CUDNN_RNN_DOUBLE_BIAS, its default)",
        "ONNX": "two biases a gate (B holds Wb and Rb)",
    }
    if sizes.cell == "gru":
        remarks["ONNX"] += f", linear_before_reset={int(sizes.reset_after)}"
    found = []
    for library, remark in remarks.items():
        rows = (keras_rows if library == "Keras" else 2) if biased else 0
        if sizes.projected and library in ("Keras", "ONNX"):
            found.append(Convention(library, None, "", "has no LSTM with a projected h"))
            continue
        if sizes.cell == "cifg":
            found.append(Convention(library, None, "", _NO_COUPLED_GATES[library]))
            continue
        if sizes.peepholes and library != "ONNX":
            found.append(Convention(library, None, "", "has no peepholes"))
            continue
        if sizes.norm_rows:
            found.append(Convention(library, None, "", "has no layer normalization"))
            continue
        words = [remark if biased else "no bias"]
        if resets_before and library in ("PyTorch", "cuDNN"):
            words.append(after)
        found.append(Convention(library, sizes.count(rows), sizes.formula(rows), "; ".join(words)))
    return tuple(found)


def product(*factors: int) -> str:
    """Return a product as written, without the factor 1 of a cell with one gate.

    >>> product(1, 4, 128)
    '4·128'
    """
    kept = [factor for factor in factors[:-1] if factor != 1]
    return "·".join(str(factor) for factor in [*kept, factors[-1]])
