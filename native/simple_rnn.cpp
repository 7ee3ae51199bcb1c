#include "simple_rnn.h"

#include "cells.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
void simple_rnn_forward(const Forward<S>& call) {
    with_activations(call.layer, [&](auto activations) {
        const SimpleRnnForward<S, decltype(activations)> cell(call, activations);
        ForwardLoop(call, cell).run();
    });
}

template <class S>
void simple_rnn_backward_scan(const BackwardScan<S>& call) {
    with_activations(call.layer, [&](auto activations) {
        const SimpleRnnBackward<S, decltype(activations)> cell(call, activations);
        BackwardLoop(call, cell).run();
    });
}

template <class S>
OpenStream<S>* simple_rnn_stream(const Forward<S>& call) {
    return with_activations(call.layer, [&](auto activations) -> OpenStream<S>* {
        return new CellStream<S, SimpleRnnForward<S, decltype(activations)>>(call, activations);
    });
}

template void simple_rnn_forward(const Forward<float>&);
template void simple_rnn_forward(const Forward<double>&);
template void simple_rnn_backward_scan(const BackwardScan<float>&);
template void simple_rnn_backward_scan(const BackwardScan<double>&);
template OpenStream<float>* simple_rnn_stream(const Forward<float>&);
template OpenStream<double>* simple_rnn_stream(const Forward<double>&);

}  // namespace gatewise::GATEWISE_ISA
