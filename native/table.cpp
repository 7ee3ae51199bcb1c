// The kernels of one instruction set, as the dispatcher finds them.

#include "cells.h"
#include "gradients.h"
#include "peak.h"
#include "random_mask.h"
#include "rmsprop.h"
#include "traces.h"

namespace gatewise::GATEWISE_ISA {

namespace {

template <class S>
void forward(const Forward<S>& call) {
    switch (call.layer.cell) {
        case Cell::lstm:
        case Cell::cifg: return lstm_forward(call);
        case Cell::gru_reset_after:
        case Cell::gru_reset_before: return gru_forward(call);
        case Cell::simple_rnn: return simple_rnn_forward(call);
    }
}

template <class S>
void backward_scan(const BackwardScan<S>& call) {
    switch (call.layer.cell) {
        case Cell::lstm:
        case Cell::cifg: return lstm_backward_scan(call);
        case Cell::gru_reset_after:
        case Cell::gru_reset_before: return gru_backward_scan(call);
        case Cell::simple_rnn: return simple_rnn_backward_scan(call);
    }
}

template <class S>
Stream<S>* open_stream(const Forward<S>& call) {
    const auto open = [&] {
        switch (call.layer.cell) {
            case Cell::lstm:
            case Cell::cifg: return lstm_stream(call);
            case Cell::gru_reset_after:
            case Cell::gru_reset_before: return gru_stream(call);
            case Cell::simple_rnn: return simple_rnn_stream(call);
        }
        __builtin_unreachable();
    };
    return reinterpret_cast<Stream<S>*>(open());
}

template <class S>
void step_stream(Stream<S>& stream, const StreamStep<S>& step) {
    reinterpret_cast<OpenStream<S>&>(stream).step(step);
}

template <class S>
void close_stream(Stream<S>* stream) {
    delete reinterpret_cast<OpenStream<S>*>(stream);
}

template <class S>
void trace_step(const TraceStep<S>& step) {
    TraceLoop(step, forward<S>, backward_scan<S>).run();
}

template <class S>
constexpr Kernels<S> table = {forward,     backward_scan, weight_gradient, input_gradient,
                              rmsprop,     open_stream,   step_stream,     close_stream,
                              random_mask, trace_step<S>, trace_gradient,  multiply_adds<S>};

}  // namespace

extern const Kernels<float> kernels_float;
extern const Kernels<double> kernels_double;
const Kernels<float> kernels_float = table<float>;
const Kernels<double> kernels_double = table<double>;

}  // namespace gatewise::GATEWISE_ISA
