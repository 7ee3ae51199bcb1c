#include "simple_rnn.h"

#include "cells.h"

namespace gatewise::GATEWISE_ISA {

template <class F>
void simple_rnn_forward(const Forward<Sum<F>>& call) {
    with_activations(call.layer, [&](auto activations) {
        const SimpleRnnForward<F, decltype(activations)> cell(call, activations);
        ForwardLoop(call, cell).run();
    });
}

template <class F>
void simple_rnn_backward_scan(const BackwardScan<Sum<F>>& call) {
    with_activations(call.layer, [&](auto activations) {
        const SimpleRnnBackward<F, decltype(activations)> cell(call, activations);
        BackwardLoop(call, cell).run();
    });
}

template <class F>
OpenStream<Sum<F>>* simple_rnn_stream(const Forward<Sum<F>>& call) {
    return with_activations(call.layer, [&](auto activations) -> OpenStream<Sum<F>>* {
        return new CellStream<Sum<F>, SimpleRnnForward<F, decltype(activations)>>(call,
                                                                                  activations);
    });
}

template void simple_rnn_forward<float>(const Forward<float>&);
template void simple_rnn_forward<double>(const Forward<double>&);
template void simple_rnn_forward<Pair>(const Forward<float>&);
template void simple_rnn_backward_scan<float>(const BackwardScan<float>&);
template void simple_rnn_backward_scan<double>(const BackwardScan<double>&);
template void simple_rnn_backward_scan<Pair>(const BackwardScan<float>&);
template OpenStream<float>* simple_rnn_stream<float>(const Forward<float>&);
template OpenStream<double>* simple_rnn_stream<double>(const Forward<double>&);
template OpenStream<float>* simple_rnn_stream<Pair>(const Forward<float>&);

}  // namespace gatewise::GATEWISE_ISA
