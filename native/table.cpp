// The kernels of one instruction set, as the dispatcher finds them.

#include "cells.h"
#include "gradients.h"

namespace gatewise::GATEWISE_ISA {

namespace {

template <class S>
void forward(const Forward<S>& call) {
    switch (call.layer.cell) {
        case Cell::lstm: return lstm_forward(call);
        case Cell::gru_reset_after:
        case Cell::gru_reset_before: return gru_forward(call);
        case Cell::simple_rnn: return simple_rnn_forward(call);
    }
}

template <class S>
void backward_scan(const BackwardScan<S>& call) {
    switch (call.layer.cell) {
        case Cell::lstm: return lstm_backward_scan(call);
        case Cell::gru_reset_after:
        case Cell::gru_reset_before: return gru_backward_scan(call);
        case Cell::simple_rnn: return simple_rnn_backward_scan(call);
    }
}

}  // namespace

extern const Kernels<float> kernels_float;
extern const Kernels<double> kernels_double;
const Kernels<float> kernels_float = {forward, backward_scan, weight_gradient, input_gradient};
const Kernels<double> kernels_double = {forward, backward_scan, weight_gradient, input_gradient};

}  // namespace gatewise::GATEWISE_ISA
