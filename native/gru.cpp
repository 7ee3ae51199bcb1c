#include "gru.h"

#include "cells.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
void gru_forward(const Forward<S>& call) {
    with_activations(call.layer, [&](auto activations) {
        if (call.layer.cell == Cell::gru_reset_after) {
            const GruAfterForward<S, decltype(activations)> cell(call, activations);
            ForwardLoop(call, cell).run();
        } else {
            const GruBeforeForward<S, decltype(activations)> cell(call, activations);
            ForwardLoop(call, cell).run();
        }
    });
}

template <class S>
void gru_backward_scan(const BackwardScan<S>& call) {
    with_activations(call.layer, [&](auto activations) {
        if (call.layer.cell == Cell::gru_reset_after) {
            const GruAfterBackward<S, decltype(activations)> cell(call, activations);
            BackwardLoop(call, cell).run();
        } else {
            const GruBeforeBackward<S, decltype(activations)> cell(call, activations);
            BackwardLoop(call, cell).run();
        }
    });
}

template <class S>
OpenStream<S>* gru_stream(const Forward<S>& call) {
    return with_activations(call.layer, [&](auto activations) -> OpenStream<S>* {
        using Activations = decltype(activations);
        if (call.layer.cell == Cell::gru_reset_after) {
            return new CellStream<S, GruAfterForward<S, Activations>>(call, activations);
        }
        return new CellStream<S, GruBeforeForward<S, Activations>>(call, activations);
    });
}

template void gru_forward(const Forward<float>&);
template void gru_forward(const Forward<double>&);
template void gru_backward_scan(const BackwardScan<float>&);
template void gru_backward_scan(const BackwardScan<double>&);
template OpenStream<float>* gru_stream(const Forward<float>&);
template OpenStream<double>* gru_stream(const Forward<double>&);

}  // namespace gatewise::GATEWISE_ISA
