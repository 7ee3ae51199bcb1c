// The kernels of one instruction set, as the dispatcher finds them.

#include "cells.h"
#include "gradients.h"
#include "peak.h"
#include "random_mask.h"
#include "rmsprop.h"
#include "segments.h"
#include "trace_chunk.h"

namespace gatewise::GATEWISE_ISA {

namespace {

// Calls `run` with what the layer's products multiply: numbers of the scalar type, or pairs.
template <class S, class Run>
auto with_factor(Precision precision, const Run& run) {
    if constexpr (sizeof(S) == sizeof(float)) {
        if (precision == Precision::bfloat16) return run.template operator()<Pair>();
    }
    return run.template operator()<S>();
}

template <class S>
void forward(const Forward<S>& call) {
    with_factor<S>(call.layer.precision, [&]<class F>() {
        switch (call.layer.cell) {
            case Cell::lstm:
            case Cell::cifg: return lstm_forward<F>(call);
            case Cell::gru_reset_after:
            case Cell::gru_reset_before: return gru_forward<F>(call);
            case Cell::simple_rnn: return simple_rnn_forward<F>(call);
        }
    });
}

template <class S>
void backward_scan(const BackwardScan<S>& call) {
    with_factor<S>(call.layer.precision, [&]<class F>() {
        switch (call.layer.cell) {
            case Cell::lstm:
            case Cell::cifg: return lstm_backward_scan<F>(call);
            case Cell::gru_reset_after:
            case Cell::gru_reset_before: return gru_backward_scan<F>(call);
            case Cell::simple_rnn: return simple_rnn_backward_scan<F>(call);
        }
    });
}

template <class S>
void weight_gradient(const WeightGradient<S>& call) {
    with_factor<S>(call.layer.precision, [&]<class F>() { WeightGradientSums<F>(call).run(); });
    if (call.grad_peephole != nullptr) PeepholeGradient<S>(call).run();
}

template <class S>
void input_gradient(const InputGradient<S>& call) {
    with_factor<S>(call.layer.precision, [&]<class F>() { input_gradient_of<F>(call); });
}

template <class S>
Stream<S>* open_stream(const Forward<S>& call) {
    const auto open = [&]<class F>() {
        switch (call.layer.cell) {
            case Cell::lstm:
            case Cell::cifg: return lstm_stream<F>(call);
            case Cell::gru_reset_after:
            case Cell::gru_reset_before: return gru_stream<F>(call);
            case Cell::simple_rnn: return simple_rnn_stream<F>(call);
        }
        __builtin_unreachable();
    };
    return reinterpret_cast<Stream<S>*>(with_factor<S>(call.layer.precision, open));
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
void trace_chunk(const TraceChunk<S>& chunk) {
    const TraceFactors factors(chunk, backward_scan<S>);
    TraceChunkLoop(chunk, factors).run();
}

template <class S>
void run_segments(const SegmentsForward<S>& call) {
    forward_in_segments(call, forward<S>);
}

template <class S>
void segments_backward(const SegmentsBackward<S>& call) {
    SegmentsBack(call, forward<S>, backward_scan<S>, weight_gradient<S>, input_gradient<S>).run();
}

template <class S>
double multiply_adds(Precision precision, int threads, Index rounds) {
    return with_factor<S>(precision,
                          [&]<class F>() { return multiply_adds_of<F>(threads, rounds); });
}

template <class S>
constexpr Kernels<S> table = {
    .forward = forward,
    .backward_scan = backward_scan,
    .weight_gradient = weight_gradient,
    .input_gradient = input_gradient,
    .rmsprop = rmsprop,
    .open_stream = open_stream,
    .step_stream = step_stream,
    .close_stream = close_stream,
    .random_mask = random_mask,
    .trace_step = trace_step<S>,
    .trace_gradient = trace_gradient,
    .trace_chunk = trace_chunk<S>,
    .run_segments = run_segments,
    .segments_backward = segments_backward,
    .multiply_adds = multiply_adds<S>,
};

}  // namespace

extern const Kernels<float> kernels_float;
extern const Kernels<double> kernels_double;
const Kernels<float> kernels_float = table<float>;
const Kernels<double> kernels_double = table<double>;

}  // namespace gatewise::GATEWISE_ISA
