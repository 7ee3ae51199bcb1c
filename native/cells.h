// The kernels of each cell, as one instruction set's translation units offer them to each other.

#pragma once

#include "stream.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
void lstm_forward(const Forward<S>&);
template <class S>
void lstm_backward_scan(const BackwardScan<S>&);
template <class S>
OpenStream<S>* lstm_stream(const Forward<S>&);
template <class S>
void gru_forward(const Forward<S>&);
template <class S>
void gru_backward_scan(const BackwardScan<S>&);
template <class S>
OpenStream<S>* gru_stream(const Forward<S>&);
template <class S>
void simple_rnn_forward(const Forward<S>&);
template <class S>
void simple_rnn_backward_scan(const BackwardScan<S>&);
template <class S>
OpenStream<S>* simple_rnn_stream(const Forward<S>&);

}  // namespace gatewise::GATEWISE_ISA
