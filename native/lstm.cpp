#include "lstm.h"

#include "cells.h"
#include "layer_norm.h"
#include "projection.h"

namespace gatewise::GATEWISE_ISA {

namespace {

// Runs `run` with the cell of the call, as a type.
template <template <class, class> class Cell, template <class, class> class Normalized,
          template <class, class> class Projected, class S, class Run>
GATEWISE_INLINE auto with_cell(const Layer& layer, const Run& run) {
    return with_activations(layer, [&]<class Activations>(Activations activations) {
        const auto maybe_projected = [&]<class Bare>() {
            if (layer.projected) return run.template operator()<Projected<S, Bare>>(activations);
            return run.template operator()<Bare>(activations);
        };
        using Plain = Cell<S, Activations>;
        if (layer.layer_norm) return maybe_projected.template operator()<Normalized<S, Plain>>();
        return maybe_projected.template operator()<Plain>();
    });
}

}  // namespace

template <class S>
void lstm_forward(const Forward<S>& call) {
    with_cell<LstmForward, NormalizedForward, ProjectedForward, S>(
        call.layer, [&]<class Cell>(auto activations) {
            const Cell cell(call, activations);
            ForwardLoop(call, cell).run();
        });
}

template <class S>
void lstm_backward_scan(const BackwardScan<S>& call) {
    with_cell<LstmBackward, NormalizedBackward, ProjectedBackward, S>(
        call.layer, [&]<class Cell>(auto activations) {
            const Cell cell(call, activations);
            BackwardLoop(call, cell).run();
        });
}

template <class S>
OpenStream<S>* lstm_stream(const Forward<S>& call) {
    return with_cell<LstmForward, NormalizedForward, ProjectedForward, S>(
        call.layer, [&]<class Cell>(auto activations) -> OpenStream<S>* {
            return new CellStream<S, Cell>(call, activations);
        });
}

template void lstm_forward(const Forward<float>&);
template void lstm_forward(const Forward<double>&);
template void lstm_backward_scan(const BackwardScan<float>&);
template void lstm_backward_scan(const BackwardScan<double>&);
template OpenStream<float>* lstm_stream(const Forward<float>&);
template OpenStream<double>* lstm_stream(const Forward<double>&);

}  // namespace gatewise::GATEWISE_ISA
