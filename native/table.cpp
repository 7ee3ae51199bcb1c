// The kernels of one instruction set, as the dispatcher finds them.

#include "compiled_once.h"
#include "finite.h"
#include "passes.h"
#include "random_mask.h"
#include "rmsprop.h"
#include "segments.h"
#include "trace_chunk.h"

namespace gatewise::GATEWISE_ISA {

namespace {

template <class S>
void trace_step(const Passes<S>& passes, const TraceStep<S>& step) {
    TraceLoop(step, passes.forward, passes.backward_scan).run();
}

template <class S>
void trace_chunk(const Passes<S>& passes, const TraceChunk<S>& chunk) {
    const TraceFactors factors(chunk, passes.backward_scan);
    TraceChunkLoop(chunk, factors).run();
}

template <class S>
void run_segments(const Passes<S>& passes, const SegmentsForward<S>& call) {
    forward_in_segments(call, passes.forward);
}

template <class S>
void segments_backward(const Passes<S>& passes, const SegmentsBackward<S>& call) {
    SegmentsBack(call, passes.forward, passes.backward_scan, passes.weight_gradient,
                 passes.input_gradient)
        .run();
}

template <class S>
constexpr Kernels<S> table = {
    .passes = passes<S>,
    .rmsprop = rmsprop,
    .random_mask = random_mask,
    .finite = finite,
    .activations = activations_of<S>,
    .trace_step = trace_step<S>,
    .trace_gradient = trace_gradient,
    .trace_chunk = trace_chunk<S>,
    .run_segments = run_segments<S>,
    .segments_backward = segments_backward<S>,
};

}  // namespace

extern const Kernels<float> kernels_float;
extern const Kernels<double> kernels_double;
const Kernels<float> kernels_float = table<float>;
const Kernels<double> kernels_double = table<double>;

}  // namespace gatewise::GATEWISE_ISA
