// The kernels that multiply matrices, for one type of factor: a call's cell, and the loop that runs
// it.

#pragma once

#include "cells.h"
#include "gradients.h"
#include "peak.h"
#include "stream.h"

namespace gatewise::GATEWISE_ISA {

template <class F>
ForwardCell<F> forward_cell(const ForwardOf<F>& call) {
    switch (call.layer.cell) {
        case Cell::lstm:
        case Cell::cifg: return lstm_forward<F>(call);
        case Cell::gru_reset_after:
        case Cell::gru_reset_before: return gru_forward<F>(call);
        case Cell::simple_rnn: return simple_rnn_forward<F>(call);
    }
    __builtin_unreachable();
}

template <class F>
BackwardCell<F> backward_cell(const BackwardScan<Sum<F>>& call) {
    switch (call.layer.cell) {
        case Cell::lstm:
        case Cell::cifg: return lstm_backward<F>(call);
        case Cell::gru_reset_after:
        case Cell::gru_reset_before: return gru_backward<F>(call);
        case Cell::simple_rnn: return simple_rnn_backward<F>(call);
    }
    __builtin_unreachable();
}

template <class F>
void run_forward(const ForwardOf<F>& call) {
    const ForwardCell<F> cell = forward_cell<F>(call);
    const Slices slices = slices_of(call);
    const InputWay way = input_way<AnyForward<F>>(call.layer, slices.count);
    const InputProduct<F> input(call, way == InputWay::ahead, way == InputWay::shadow);
    ForwardLoop(call, *cell, slices, input, way).run();
}

template <class F>
void run_backward(const BackwardScan<Sum<F>>& call) {
    const BackwardCell<F> cell = backward_cell<F>(call);
    BackwardLoop(call, *cell).run();
}

template <class F>
void weight_gradient_of(const WeightGradient<Sum<F>>& call) {
    WeightGradientSums<F>(call).run();
    if (call.grad_peephole != nullptr) PeepholeGradient<Sum<F>>(call).run();
}

template <class F>
Stream<Sum<F>>* open_stream(const ForwardOf<F>& call) {
    OpenStream<Sum<F>>* const stream = new CellStream<F>(call, forward_cell<F>);
    return reinterpret_cast<Stream<Sum<F>>*>(stream);
}

template <class S>
void advance_stream(Stream<S>& stream, const StreamSteps<S>& steps) {
    reinterpret_cast<OpenStream<S>&>(stream).advance(steps);
}

template <class S>
void close_stream(Stream<S>* stream) {
    delete reinterpret_cast<OpenStream<S>*>(stream);
}

template <class F>
constexpr Passes<Sum<F>> passes = {
    .forward = run_forward<F>,
    .backward_scan = run_backward<F>,
    .weight_gradient = weight_gradient_of<F>,
    .input_gradient = input_gradient_of<F>,
    .open_stream = open_stream<F>,
    .advance_stream = advance_stream<Sum<F>>,
    .close_stream = close_stream<Sum<F>>,
    .multiply_adds = multiply_adds_of<F>,
};

}  // namespace gatewise::GATEWISE_ISA
