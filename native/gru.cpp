#include "gru.h"

#include "cells.h"

namespace gatewise::GATEWISE_ISA {

template <class F>
void gru_forward(const Forward<Sum<F>>& call) {
    with_activations(call.layer, [&](auto activations) {
        if (call.layer.cell == Cell::gru_reset_after) {
            const GruAfterForward<F, decltype(activations)> cell(call, activations);
            ForwardLoop(call, cell).run();
        } else {
            const GruBeforeForward<F, decltype(activations)> cell(call, activations);
            ForwardLoop(call, cell).run();
        }
    });
}

template <class F>
void gru_backward_scan(const BackwardScan<Sum<F>>& call) {
    with_activations(call.layer, [&](auto activations) {
        if (call.layer.cell == Cell::gru_reset_after) {
            const GruAfterBackward<F, decltype(activations)> cell(call, activations);
            BackwardLoop(call, cell).run();
        } else {
            const GruBeforeBackward<F, decltype(activations)> cell(call, activations);
            BackwardLoop(call, cell).run();
        }
    });
}

template <class F>
OpenStream<Sum<F>>* gru_stream(const Forward<Sum<F>>& call) {
    return with_activations(call.layer, [&](auto activations) -> OpenStream<Sum<F>>* {
        using Activations = decltype(activations);
        if (call.layer.cell == Cell::gru_reset_after) {
            return new CellStream<Sum<F>, GruAfterForward<F, Activations>>(call, activations);
        }
        return new CellStream<Sum<F>, GruBeforeForward<F, Activations>>(call, activations);
    });
}

template void gru_forward<float>(const Forward<float>&);
template void gru_forward<double>(const Forward<double>&);
template void gru_forward<Pair>(const Forward<float>&);
template void gru_backward_scan<float>(const BackwardScan<float>&);
template void gru_backward_scan<double>(const BackwardScan<double>&);
template void gru_backward_scan<Pair>(const BackwardScan<float>&);
template OpenStream<float>* gru_stream<float>(const Forward<float>&);
template OpenStream<double>* gru_stream<double>(const Forward<double>&);
template OpenStream<float>* gru_stream<Pair>(const Forward<float>&);

}  // namespace gatewise::GATEWISE_ISA
