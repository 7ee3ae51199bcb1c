// The LSTM that a call asks for.
//
// What most calls are is compiled for itself; of the rest a cell asks, vector by vector, when it
// runs.

#pragma once

#include <type_traits>
#include <utility>

#include "layer_norm.h"
#include "lstm.h"
#include "projection.h"

namespace gatewise::GATEWISE_ISA {

// Calls `run` with the activations of a call and the type of its options, and returns what it
// returns. The usual activations are known when the plain cell is compiled, and with `each_usual`
// when one with options is.
template <class S, bool each_usual, class Run>
GATEWISE_INLINE auto with_parts(const Layer& layer, const Options<S>& options, const Run& run) {
    return with_activations(layer, [&]<class Activations>(Activations activations) {
        return with_options(layer, options, [&]<class Chosen>() {
            constexpr bool plain = std::is_same_v<Chosen, PlainLstm<S>>;
            constexpr bool usual = std::is_same_v<Activations, UsualActivations>;
            if constexpr (usual && (plain || each_usual)) {
                return run.template operator()<Chosen>(activations);
            } else {
                return run.template operator()<ChosenLstm<S, Chosen::gates>>(
                    ChosenActivations{layer.activation, layer.recurrent_activation});
            }
        });
    });
}

template <class F>
ForwardCell<F> unprojected_forward(const ForwardOf<F>& call) {
    using S = Sum<F>;
    if (call.layer.layer_norm) {
        return with_parts<S, false>(
            call.layer, call.options,
            [&]<class Chosen, class Activations>(Activations activations) -> ForwardCell<F> {
                using Cell = NormalizedForward<F, Activations, Chosen>;
                return std::make_unique<Cell>(call, activations);
            });
    }
    return with_parts<S, std::is_same_v<F, S>>(
        call.layer, call.options,
        [&]<class Chosen, class Activations>(Activations activations) -> ForwardCell<F> {
            using Cell = LstmForward<F, Activations, Chosen>;
            return std::make_unique<Cell>(call, activations);
        });
}

template <class F>
BackwardCell<F> unprojected_backward(const BackwardScan<Sum<F>>& call) {
    using S = Sum<F>;
    if (call.layer.layer_norm) {
        return with_parts<S, false>(
            call.layer, call.options,
            [&]<class Chosen, class Activations>(Activations activations) -> BackwardCell<F> {
                using Cell = NormalizedBackward<F, Activations, Chosen>;
                return std::make_unique<Cell>(call, activations);
            });
    }
    return with_parts<S, std::is_same_v<F, S>>(
        call.layer, call.options,
        [&]<class Chosen, class Activations>(Activations activations) -> BackwardCell<F> {
            using Cell = LstmBackward<F, Activations, Chosen>;
            return std::make_unique<Cell>(call, activations);
        });
}

template <class F>
ForwardCell<F> lstm_forward(const ForwardOf<F>& call) {
    ForwardCell<F> cell = unprojected_forward<F>(call);
    if (!call.layer.projected) return cell;
    return std::make_unique<ProjectedForward<F>>(call, std::move(cell));
}

template <class F>
BackwardCell<F> lstm_backward(const BackwardScan<Sum<F>>& call) {
    BackwardCell<F> cell = unprojected_backward<F>(call);
    if (!call.layer.projected) return cell;
    return std::make_unique<ProjectedBackward<F>>(call, std::move(cell));
}

}  // namespace gatewise::GATEWISE_ISA
