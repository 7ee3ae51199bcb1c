#include "lstm.h"

#include <type_traits>

#include "cells.h"
#include "layer_norm.h"
#include "projection.h"

namespace gatewise::GATEWISE_ISA {

namespace {

// The cell of a layer that projects h or normalizes its sums, around the bare one.
template <class S, class Bare, template <class, class> class Normalized,
          template <class, class> class Projected, class Run, class Activations>
GATEWISE_INLINE auto with_wrapped(const Layer& layer, const Run& run, Activations activations) {
    if (!layer.layer_norm) return run.template operator()<Projected<S, Bare>>(activations);
    if (!layer.projected) return run.template operator()<Normalized<S, Bare>>(activations);
    return run.template operator()<Projected<S, Normalized<S, Bare>>>(activations);
}

// Calls `run` with the type of the cell of a call, and with its activations. Products of pairs are
// those of the bare cell alone.
template <class F, template <class, class, class> class Cell,
          template <class, class> class Normalized, template <class, class> class Projected,
          class Run>
GATEWISE_INLINE auto with_cell(const Layer& layer, const Options<Sum<F>>& options, const Run& run) {
    using S = Sum<F>;
    return with_activations(layer, [&]<class Activations>(Activations activations) {
        return with_options(layer, options, [&]<class Chosen>() {
            const auto bare = [&] {
                return run.template operator()<Cell<F, Activations, Chosen>>(activations);
            };
            if constexpr (!std::is_same_v<F, S>) {
                return bare();
            } else {
                if (!layer.layer_norm && !layer.projected) return bare();
                // Few of the many pairs of these with the rest are compiled for themselves.
                if constexpr (std::is_same_v<Chosen, PlainLstm<S>> &&
                              std::is_same_v<Activations, UsualActivations>) {
                    return with_wrapped<S, Cell<S, Activations, Chosen>, Normalized, Projected>(
                        layer, run, activations);
                } else {
                    using Any = Cell<S, ChosenActivations, ChosenLstm<S, Chosen::gates>>;
                    return with_wrapped<S, Any, Normalized, Projected>(
                        layer, run,
                        ChosenActivations{layer.activation, layer.recurrent_activation});
                }
            }
        });
    });
}

}  // namespace

template <class F>
void lstm_forward(const Forward<Sum<F>>& call) {
    with_cell<F, LstmForward, NormalizedForward, ProjectedForward>(
        call.layer, call.options, [&]<class Cell>(auto activations) {
            const Cell cell(call, activations);
            ForwardLoop(call, cell).run();
        });
}

template <class F>
void lstm_backward_scan(const BackwardScan<Sum<F>>& call) {
    with_cell<F, LstmBackward, NormalizedBackward, ProjectedBackward>(
        call.layer, call.options, [&]<class Cell>(auto activations) {
            const Cell cell(call, activations);
            BackwardLoop(call, cell).run();
        });
}

template <class F>
OpenStream<Sum<F>>* lstm_stream(const Forward<Sum<F>>& call) {
    return with_cell<F, LstmForward, NormalizedForward, ProjectedForward>(
        call.layer, call.options, [&]<class Cell>(auto activations) -> OpenStream<Sum<F>>* {
            return new CellStream<Sum<F>, Cell>(call, activations);
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
