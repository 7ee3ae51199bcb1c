// The cells, as one instruction set's translation units offer them to each other: the one that a
// call asks for. F is what the products multiply: float, double or Pair.

#pragma once

#include "any_cell.h"

namespace gatewise::GATEWISE_ISA {

template <class F>
ForwardCell<F> lstm_forward(const ForwardOf<F>&);
template <class F>
BackwardCell<F> lstm_backward(const BackwardScan<Sum<F>>&);
template <class F>
ForwardCell<F> gru_forward(const ForwardOf<F>&);
template <class F>
BackwardCell<F> gru_backward(const BackwardScan<Sum<F>>&);
template <class F>
ForwardCell<F> simple_rnn_forward(const ForwardOf<F>&);
template <class F>
BackwardCell<F> simple_rnn_backward(const BackwardScan<Sum<F>>&);

}  // namespace gatewise::GATEWISE_ISA
