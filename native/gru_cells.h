// The GRU that a call asks for.

#pragma once

#include "gru.h"
#include "layer_norm_gru.h"

namespace gatewise::GATEWISE_ISA {

template <class F>
ForwardCell<F> gru_forward(const ForwardOf<F>& call) {
    return with_activations(call.layer, [&](auto activations) -> ForwardCell<F> {
        using Activations = decltype(activations);
        if (call.layer.layer_norm)
            return std::make_unique<NormalizedGruForward<F, Activations>>(call, activations);
        if (call.layer.cell == Cell::gru_reset_after)
            return std::make_unique<GruAfterForward<F, Activations>>(call, activations);
        return std::make_unique<GruBeforeForward<F, Activations>>(call, activations);
    });
}

template <class F>
BackwardCell<F> gru_backward(const BackwardScan<Sum<F>>& call) {
    return with_activations(call.layer, [&](auto activations) -> BackwardCell<F> {
        using Activations = decltype(activations);
        if (call.layer.layer_norm)
            return std::make_unique<NormalizedGruBackward<F, Activations>>(call, activations);
        if (call.layer.cell == Cell::gru_reset_after)
            return std::make_unique<GruAfterBackward<F, Activations>>(call, activations);
        return std::make_unique<GruBeforeBackward<F, Activations>>(call, activations);
    });
}

}  // namespace gatewise::GATEWISE_ISA
