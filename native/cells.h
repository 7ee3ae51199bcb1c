// The kernels of each cell, as one instruction set's translation units offer them to each other. F
// is what the products multiply: float, double or Pair.

#pragma once

#include "stream.h"

namespace gatewise::GATEWISE_ISA {

template <class F>
void lstm_forward(const Forward<Sum<F>>&);
template <class F>
void lstm_backward_scan(const BackwardScan<Sum<F>>&);
template <class F>
OpenStream<Sum<F>>* lstm_stream(const Forward<Sum<F>>&);
template <class F>
void gru_forward(const Forward<Sum<F>>&);
template <class F>
void gru_backward_scan(const BackwardScan<Sum<F>>&);
template <class F>
OpenStream<Sum<F>>* gru_stream(const Forward<Sum<F>>&);
template <class F>
void simple_rnn_forward(const Forward<Sum<F>>&);
template <class F>
void simple_rnn_backward_scan(const BackwardScan<Sum<F>>&);
template <class F>
OpenStream<Sum<F>>* simple_rnn_stream(const Forward<Sum<F>>&);

}  // namespace gatewise::GATEWISE_ISA
