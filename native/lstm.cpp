#include "lstm.h"

#include "cells.h"

namespace gatewise::GATEWISE_ISA {

template <class F>
void lstm_forward(const Forward<Sum<F>>& call) {
    with_activations(call.layer, [&](auto activations) {
        with_options(call.layer, call.options, [&]<class Options>() {
            const LstmForward<F, decltype(activations), Options> cell(call, activations);
            ForwardLoop(call, cell).run();
        });
    });
}

template <class F>
void lstm_backward_scan(const BackwardScan<Sum<F>>& call) {
    with_activations(call.layer, [&](auto activations) {
        with_options(call.layer, call.options, [&]<class Options>() {
            const LstmBackward<F, decltype(activations), Options> cell(call, activations);
            BackwardLoop(call, cell).run();
        });
    });
}

template <class F>
OpenStream<Sum<F>>* lstm_stream(const Forward<Sum<F>>& call) {
    return with_activations(call.layer, [&](auto activations) {
        return with_options(call.layer, call.options, [&]<class Options>() -> OpenStream<Sum<F>>* {
            using Cell = LstmForward<F, decltype(activations), Options>;
            return new CellStream<Sum<F>, Cell>(call, activations);
        });
    });
}

template void lstm_forward<float>(const Forward<float>&);
template void lstm_forward<double>(const Forward<double>&);
template void lstm_forward<Pair>(const Forward<float>&);
template void lstm_backward_scan<float>(const BackwardScan<float>&);
template void lstm_backward_scan<double>(const BackwardScan<double>&);
template void lstm_backward_scan<Pair>(const BackwardScan<float>&);
template OpenStream<float>* lstm_stream<float>(const Forward<float>&);
template OpenStream<double>* lstm_stream<double>(const Forward<double>&);
template OpenStream<float>* lstm_stream<Pair>(const Forward<float>&);

}  // namespace gatewise::GATEWISE_ISA
