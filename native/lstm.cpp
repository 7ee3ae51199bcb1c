#include "lstm.h"

#include "cells.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
void lstm_forward(const Forward<S>& call) {
    with_activations(call.layer, [&](auto activations) {
        with_options(call.layer, call.options, [&]<class Options>() {
            const LstmForward<S, decltype(activations), Options> cell(call, activations);
            ForwardLoop(call, cell).run();
        });
    });
}

template <class S>
void lstm_backward_scan(const BackwardScan<S>& call) {
    with_activations(call.layer, [&](auto activations) {
        with_options(call.layer, call.options, [&]<class Options>() {
            const LstmBackward<S, decltype(activations), Options> cell(call, activations);
            BackwardLoop(call, cell).run();
        });
    });
}

template <class S>
OpenStream<S>* lstm_stream(const Forward<S>& call) {
    return with_activations(call.layer, [&](auto activations) {
        return with_options(call.layer, call.options, [&]<class Options>() -> OpenStream<S>* {
            using Cell = LstmForward<S, decltype(activations), Options>;
            return new CellStream<S, Cell>(call, activations);
        });
    });
}

template void lstm_forward(const Forward<float>&);
template void lstm_forward(const Forward<double>&);
template void lstm_backward_scan(const BackwardScan<float>&);
template void lstm_backward_scan(const BackwardScan<double>&);
template OpenStream<float>* lstm_stream(const Forward<float>&);
template OpenStream<double>* lstm_stream(const Forward<double>&);

}  // namespace gatewise::GATEWISE_ISA
