// The part of the Python module for gradient algorithms: passes in segments, and traces.

#include "bindings.h"

namespace gatewise {
namespace {

// A layer's pass over a sequence, as both ways over segments take it.
using PassArgument = std::tuple<StridedArgument, StridedArgument, StridedArgument, Address,
                                StateArgument, Address, Address>;
using SegmentsArgument = std::vector<std::pair<Index, Index>>;

template <class S>
Forward<S> whole_pass(const Layer& layer, const PassArgument& argument) {
    const auto& [x, W, U, bias, state, mask, dropout] = argument;
    Forward<S> pass = {};
    pass.layer = layer;
    pass.x = sequence<S>(x);
    pass.W = matrix<S>(W);
    pass.U = matrix<S>(U);
    pass.bias = at<const S>(bias);
    pass.state[0] = at<const S>(state.h);
    pass.state[1] = at<const S>(state.c);
    pass.mask = at<const bool>(mask);
    pass.dropout = at<const S>(dropout);
    return pass;
}

std::vector<Segment> segments_of(const SegmentsArgument& argument) {
    std::vector<Segment> segments;
    for (const auto& [start, stop] : argument) segments.push_back({start, stop});
    return segments;
}

void run_segments(bool is_double, const Layer& layer, const PassArgument& pass,
                  const SegmentsArgument& argument, Address outputs,
                  const StateArgument& final_state, Address kept) {
    const std::vector<Segment> segments = segments_of(argument);
    with_scalar(is_double, [&]<class S>(S) {
        Forward<S> whole = whole_pass<S>(layer, pass);
        whole.outputs = at<S>(outputs);
        whole.final_state[0] = at<S>(final_state.h);
        whole.final_state[1] = at<S>(final_state.c);
        kernels<S>().run_segments(passes<S>(layer),
                                  {whole, segments.data(), Index(segments.size()), at<S>(kept)});
    });
}

void segments_backward(bool is_double, const Layer& layer, const PassArgument& pass,
                       const SegmentsArgument& argument, Address kept, Address grad_outputs,
                       const StateArgument& grad_state, Address grad_W, Address grad_U,
                       Address grad_bias, Address grad_x) {
    const std::vector<Segment> segments = segments_of(argument);
    with_scalar(is_double, [&]<class S>(S) {
        kernels<S>().segments_backward(passes<S>(layer),
                                       {whole_pass<S>(layer, pass),
                                        segments.data(),
                                        Index(segments.size()),
                                        at<const S>(kept),
                                        at<const S>(grad_outputs),
                                        {at<S>(grad_state.h), at<S>(grad_state.c)},
                                        {at<S>(grad_W), at<S>(grad_U), at<S>(grad_bias)},
                                        at<S>(grad_x)});
    });
}

// W, U and the bias of h, and of an LSTM's c.
using TraceArgument = std::tuple<Address, Address, Address, Address, Address, Address>;

template <class To, class From>
void spread(const TraceArgument& argument, To& trace) {
    const auto [W, U, bias, cell_W, cell_U, cell_bias] = argument;
    const Address addresses[2][3] = {{W, U, bias}, {cell_W, cell_U, cell_bias}};
    for (int state = 0; state < 2; ++state)
        for (int weight = 0; weight < 3; ++weight)
            trace[state][weight] = at<From>(addresses[state][weight]);
}

void trace_step(bool is_double, const Layer& layer, std::string_view path, const StridedArgument& x,
                const StridedArgument& W, const StridedArgument& U, Address bias,
                const StateArgument& state, Address mask, Address dropout, Address outputs,
                const StateArgument& final_state, Address gates, Address saved,
                const TraceArgument& trace) {
    const Path way = named("path", path, paths);
    if (layer.time != 1 || way == Path::full) {
        throw std::invalid_argument("A trace takes single steps on a path that mixes no units.");
    }
    with_scalar(is_double, [&]<class S>(S) {
        TraceStep<S> step = {{layer,
                              sequence<S>(x),
                              matrix<S>(W),
                              matrix<S>(U),
                              at<const S>(bias),
                              {at<const S>(state.h), at<const S>(state.c)},
                              at<const bool>(mask),
                              at<const S>(dropout),
                              at<S>(outputs),
                              {at<S>(final_state.h), at<S>(final_state.c)},
                              at<S>(gates),
                              at<S>(saved),
                              {}},
                             way,
                             {}};
        spread<decltype(step.trace), S>(trace, step.trace);
        kernels<S>().trace_step(passes<S>(layer), step);
    });
}

void trace_gradient(bool is_double, const Layer& layer, const StateArgument& grad_state,
                    const TraceArgument& trace, Address grad_W, Address grad_U, Address grad_bias) {
    with_scalar(is_double, [&]<class S>(S) {
        TraceGradient<S> call = {layer,
                                 {at<const S>(grad_state.h), at<const S>(grad_state.c)},
                                 {},
                                 {at<S>(grad_W), at<S>(grad_U), at<S>(grad_bias)}};
        spread<decltype(call.trace), const S>(trace, call.trace);
        kernels<S>().trace_gradient(call);
    });
}

void trace_chunk(bool is_double, const Layer& layer, std::string_view path,
                 const StridedArgument& x, Address outputs, Address gates, Address saved,
                 const StridedArgument& U, const StateArgument& state, Address mask,
                 Address dropout, const StateArgument& grad_state, const TraceArgument& trace,
                 Address grad_W, Address grad_U, Address grad_bias) {
    const Path way = named("path", path, paths);
    if (layer.reverse || way == Path::full) {
        throw std::invalid_argument(
            "Traces go forward through time on a path that mixes no units.");
    }
    with_scalar(is_double, [&]<class S>(S) {
        TraceChunk<S> chunk = {layer,
                               way,
                               sequence<S>(x),
                               at<const S>(outputs),
                               at<const S>(gates),
                               at<const S>(saved),
                               matrix<S>(U),
                               {at<const S>(state.h), at<const S>(state.c)},
                               at<const bool>(mask),
                               at<const S>(dropout),
                               {at<const S>(grad_state.h), at<const S>(grad_state.c)},
                               {},
                               {at<S>(grad_W), at<S>(grad_U), at<S>(grad_bias)}};
        spread<decltype(chunk.trace), S>(trace, chunk.trace);
        kernels<S>().trace_chunk(passes<S>(layer), chunk);
    });
}

}  // namespace

void bind_gradients(nb::module_& module) {
    module.def("trace_step", &trace_step);
    module.def("trace_gradient", &trace_gradient);
    module.def("trace_chunk", &trace_chunk);
    module.def("run_segments", &run_segments);
    module.def("segments_backward", &segments_backward);
}

}  // namespace gatewise
