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

template <class F>
void forward(const Forward<Sum<F>>& call) {
    switch (call.layer.cell) {
        case Cell::lstm:
        case Cell::cifg: return lstm_forward<F>(call);
        case Cell::gru_reset_after:
        case Cell::gru_reset_before: return gru_forward<F>(call);
        case Cell::simple_rnn: return simple_rnn_forward<F>(call);
    }
}

template <class F>
void backward_scan(const BackwardScan<Sum<F>>& call) {
    switch (call.layer.cell) {
        case Cell::lstm:
        case Cell::cifg: return lstm_backward_scan<F>(call);
        case Cell::gru_reset_after:
        case Cell::gru_reset_before: return gru_backward_scan<F>(call);
        case Cell::simple_rnn: return simple_rnn_backward_scan<F>(call);
    }
}

template <class F>
Stream<Sum<F>>* open_stream(const Forward<Sum<F>>& call) {
    const auto open = [&] {
        switch (call.layer.cell) {
            case Cell::lstm:
            case Cell::cifg: return lstm_stream<F>(call);
            case Cell::gru_reset_after:
            case Cell::gru_reset_before: return gru_stream<F>(call);
            case Cell::simple_rnn: return simple_rnn_stream<F>(call);
        }
        __builtin_unreachable();
    };
    return reinterpret_cast<Stream<Sum<F>>*>(open());
}

template <class S>
void step_stream(Stream<S>& stream, const StreamStep<S>& step) {
    reinterpret_cast<OpenStream<S>&>(stream).step(step);
}

template <class S>
void close_stream(Stream<S>* stream) {
    delete reinterpret_cast<OpenStream<S>*>(stream);
}

template <class F>
void trace_step(const TraceStep<Sum<F>>& step) {
    TraceLoop(step, forward<F>, backward_scan<F>).run();
}

template <class F>
void trace_chunk(const TraceChunk<Sum<F>>& chunk) {
    const TraceFactors factors(chunk, backward_scan<F>);
    TraceChunkLoop(chunk, factors).run();
}

template <class F>
void run_segments(const SegmentsForward<Sum<F>>& call) {
    forward_in_segments(call, forward<F>);
}

template <class F>
void segments_backward(const SegmentsBackward<Sum<F>>& call) {
    SegmentsBack(call, forward<F>, backward_scan<F>, weight_gradient<F>, input_gradient<F>).run();
}

template <class F>
constexpr Kernels<Sum<F>> table = {
    .forward = forward<F>,
    .backward_scan = backward_scan<F>,
    .weight_gradient = weight_gradient<F>,
    .input_gradient = input_gradient<F>,
    .rmsprop = rmsprop,
    .open_stream = open_stream<F>,
    .step_stream = step_stream,
    .close_stream = close_stream,
    .random_mask = random_mask,
    .trace_step = trace_step<F>,
    .trace_gradient = trace_gradient,
    .trace_chunk = trace_chunk<F>,
    .run_segments = run_segments<F>,
    .segments_backward = segments_backward<F>,
    .multiply_adds = multiply_adds<F>,
};

}  // namespace

extern const Kernels<float> kernels_float;
extern const Kernels<double> kernels_double;
extern const Kernels<float> kernels_bfloat16;
const Kernels<float> kernels_float = table<float>;
const Kernels<double> kernels_double = table<double>;
const Kernels<float> kernels_bfloat16 = table<Pair>;

}  // namespace gatewise::GATEWISE_ISA
