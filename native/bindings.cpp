// The Python module gatewise._native: addresses and sizes in, checked names, the GIL released.
//
// Tensors travel as addresses: converting twelve of them through DLPack costs more than a short
// sequence takes. gatewise/kernels/cpu.py owns every check of shape, type and contiguity; an
// address of 0 stands for an absent array. kernels.h says what each array holds.

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "dispatch.h"
#include "memory.h"

namespace nb = nanobind;

namespace gatewise {
namespace {

using Address = std::uintptr_t;
using MatrixArgument = std::tuple<Address, Index, Index>;    // address, row stride, column stride
using SequenceArgument = std::tuple<Address, Index, Index>;  // address, batch stride, time stride
using StateArgument = std::tuple<Address, Address>;          // h, and an LSTM's c or 0

template <class Value, std::size_t size>
Value named(const char* what, std::string_view name,
            const std::pair<std::string_view, Value> (&table)[size]) {
    for (const auto& [known, value] : table) {
        if (known == name) return value;
    }
    throw std::invalid_argument("The native kernels know no " + std::string(what) + " '" +
                                std::string(name) + "'.");
}

constexpr std::pair<std::string_view, Cell> cells[] = {
    {"lstm", Cell::lstm},
    {"cifg", Cell::cifg},
    {"gru_reset_after", Cell::gru_reset_after},
    {"gru_reset_before", Cell::gru_reset_before},
    {"simple_rnn", Cell::simple_rnn},
};
constexpr std::pair<std::string_view, Activation> activations[] = {
    {"linear", Activation::linear},
    {"tanh", Activation::tanh},
    {"sigmoid", Activation::sigmoid},
    {"relu", Activation::relu},
    {"hard_sigmoid", Activation::hard_sigmoid},
    {"softsign", Activation::softsign},
};
constexpr std::pair<std::string_view, Path> paths[] = {
    {"full", Path::full},
    {"diagonal", Path::diagonal},
    {"cell", Path::cell},
};
constexpr std::pair<std::string_view, Reduce> reductions[] = {
    {"all", Reduce::all},
    {"sample", Reduce::sample},
    {"step", Reduce::step},
};

constexpr std::pair<std::string_view, Precision> precisions[] = {
    {"float32", Precision::scalar},
    {"bfloat16", Precision::bfloat16},
};

// batch, time, inputs, units, outputs, threads
using Sizes = std::tuple<Index, Index, Index, Index, Index, int>;
using Flags = std::tuple<bool, bool>;  // projected, layer_norm

Layer layer_of(std::string_view cell, std::string_view activation,
               std::string_view recurrent_activation, bool reverse, const Flags& flags,
               const Sizes& sizes, std::string_view precision) {
    const auto [projected, layer_norm] = flags;
    const auto [batch, time, inputs, units, outputs, threads] = sizes;
    const Precision of = named("precision", precision, precisions);
    if (batch < 1 || time < 1 || inputs < 1 || units < 1 || outputs < 1 || threads < 1) {
        throw std::invalid_argument(
            "The native kernels need at least one row, step, input, unit, output and thread.");
    }
    return {named("cell", cell, cells),
            named("activation", activation, activations),
            named("activation", recurrent_activation, activations),
            reverse,
            projected,
            layer_norm,
            batch,
            time,
            inputs,
            units,
            outputs,
            threads,
            of};
}

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

template <class S>
Matrix<S> matrix(const MatrixArgument& argument) {
    return {at<const S>(std::get<0>(argument)), std::get<1>(argument), std::get<2>(argument)};
}

template <class S>
Sequence<S> sequence(const SequenceArgument& argument) {
    return {at<const S>(std::get<0>(argument)), std::get<1>(argument), std::get<2>(argument)};
}

// The weights of layer_norm, or the places of their gradients, in the order of LayerNorm; 0
// without.
using NormArgument = std::tuple<Address, Address, Address, Address>;

// What a cell does beside its equation, as gatewise.kernels.cpu gives it: the addresses of the
// further weights and of what zoneout keeps, 0 for none.
struct LayerOptions {
    Address peephole;
    double cell_clip;
    SequenceArgument zoneout_h, zoneout_c;
    MatrixArgument projection;
    NormArgument norm;

    template <class S>
    Options<S> of() const {
        const auto [input_gain, recurrent_gain, cell_gain, cell_bias] = norm;
        return {at<const S>(peephole),
                S(cell_clip),
                {sequence<S>(zoneout_h), sequence<S>(zoneout_c)},
                matrix<S>(projection),
                {at<const S>(input_gain), at<const S>(recurrent_gain), at<const S>(cell_gain),
                 at<const S>(cell_bias)}};
    }
};

template <class S>
const Kernels<S>& kernels();
template <>
const Kernels<float>& kernels<float>() {
    return *chosen().of_float;
}
template <>
const Kernels<double>& kernels<double>() {
    return *chosen().of_double;
}

// Those that multiply, for products of this precision.
template <class S>
const Passes<S>& passes(Precision precision) {
    if constexpr (sizeof(S) == sizeof(float)) {
        if (precision == Precision::bfloat16) return *chosen().of_pairs;
    }
    return kernels<S>().passes;
}
template <class S>
const Passes<S>& passes(const Layer& layer) {
    return passes<S>(layer.precision);
}

// Calls `run` with a value of the scalar type.
template <class Run>
void with_scalar(bool is_double, const Run& run) {
    const nb::gil_scoped_release release;
    is_double ? run(double{}) : run(float{});
}

void forward(bool is_double, const Layer& layer, const SequenceArgument& x, const MatrixArgument& W,
             const MatrixArgument& U, Address bias, const StateArgument& state, Address mask,
             Address dropout, Address outputs, const StateArgument& final_state, Address gates,
             Address saved, const LayerOptions& options) {
    with_scalar(is_double, [&]<class S>(S) {
        passes<S>(layer).forward(
            {layer,
             sequence<S>(x),
             matrix<S>(W),
             matrix<S>(U),
             at<const S>(bias),
             {at<const S>(std::get<0>(state)), at<const S>(std::get<1>(state))},
             at<const bool>(mask),
             at<const S>(dropout),
             at<S>(outputs),
             {at<S>(std::get<0>(final_state)), at<S>(std::get<1>(final_state))},
             at<S>(gates),
             at<S>(saved),
             options.of<S>()});
    });
}

void backward_scan(bool is_double, const Layer& layer, Address grad_outputs,
                   const StateArgument& grad_final, Address outputs, Address gates, Address saved,
                   const MatrixArgument& U, const StateArgument& state, Address mask,
                   Address dropout, Address scale, std::string_view path, Address grad_product,
                   const StateArgument& grad_state, bool state_unwanted, Address norms,
                   const LayerOptions& options) {
    const Path way = named("path", path, paths);
    with_scalar(is_double, [&]<class S>(S) {
        passes<S>(layer).backward_scan(
            {layer,
             at<const S>(grad_outputs),
             {at<const S>(std::get<0>(grad_final)), at<const S>(std::get<1>(grad_final))},
             at<const S>(outputs),
             at<const S>(gates),
             at<const S>(saved),
             matrix<S>(U),
             {at<const S>(std::get<0>(state)), at<const S>(std::get<1>(state))},
             at<const bool>(mask),
             at<const S>(dropout),
             at<const S>(scale),
             way,
             at<S>(grad_product),
             {at<S>(std::get<0>(grad_state)), at<S>(std::get<1>(grad_state))},
             state_unwanted,
             at<S>(norms),
             options.of<S>()});
    });
}

void weight_gradient(bool is_double, const Layer& layer, std::string_view reduce,
                     const SequenceArgument& x, Address outputs, Address gates, Address saved,
                     Address grad_product, Address state, Address mask, Address dropout,
                     Address grad_W, Address grad_U, Address grad_bias, Address memory,
                     Address grad_peephole, Address grad_projection, const NormArgument& grad_norm,
                     const LayerOptions& options) {
    const Reduce reduction = named("reduction", reduce, reductions);
    const auto [input_gain, recurrent_gain, cell_gain, cell_bias] = grad_norm;
    with_scalar(is_double, [&]<class S>(S) {
        passes<S>(layer).weight_gradient(
            {layer,
             reduction,
             sequence<S>(x),
             at<const S>(outputs),
             at<const S>(gates),
             at<const S>(saved),
             at<const S>(grad_product),
             at<const S>(state),
             at<const bool>(mask),
             at<const S>(dropout),
             at<S>(grad_W),
             at<S>(grad_U),
             at<S>(grad_bias),
             at<const S>(memory),
             at<S>(grad_peephole),
             at<S>(grad_projection),
             {at<S>(input_gain), at<S>(recurrent_gain), at<S>(cell_gain), at<S>(cell_bias)},
             options.of<S>()});
    });
}

void input_gradient(bool is_double, const Layer& layer, Address grad_product,
                    const MatrixArgument& W, Address grad_x) {
    with_scalar(is_double, [&]<class S>(S) {
        passes<S>(layer).input_gradient(
            {layer, at<const S>(grad_product), matrix<S>(W), at<S>(grad_x)});
    });
}

// A layer's pass over a sequence, as both ways over segments take it.
using PassArgument = std::tuple<SequenceArgument, MatrixArgument, MatrixArgument, Address,
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
    pass.state[0] = at<const S>(std::get<0>(state));
    pass.state[1] = at<const S>(std::get<1>(state));
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
        whole.final_state[0] = at<S>(std::get<0>(final_state));
        whole.final_state[1] = at<S>(std::get<1>(final_state));
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
        kernels<S>().segments_backward(
            passes<S>(layer), {whole_pass<S>(layer, pass),
                               segments.data(),
                               Index(segments.size()),
                               at<const S>(kept),
                               at<const S>(grad_outputs),
                               {at<S>(std::get<0>(grad_state)), at<S>(std::get<1>(grad_state))},
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

void trace_step(bool is_double, const Layer& layer, std::string_view path,
                const SequenceArgument& x, const MatrixArgument& W, const MatrixArgument& U,
                Address bias, const StateArgument& state, Address mask, Address dropout,
                Address outputs, const StateArgument& final_state, Address gates, Address saved,
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
                              {at<const S>(std::get<0>(state)), at<const S>(std::get<1>(state))},
                              at<const bool>(mask),
                              at<const S>(dropout),
                              at<S>(outputs),
                              {at<S>(std::get<0>(final_state)), at<S>(std::get<1>(final_state))},
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
        TraceGradient<S> call = {
            layer,
            {at<const S>(std::get<0>(grad_state)), at<const S>(std::get<1>(grad_state))},
            {},
            {at<S>(grad_W), at<S>(grad_U), at<S>(grad_bias)}};
        spread<decltype(call.trace), const S>(trace, call.trace);
        kernels<S>().trace_gradient(call);
    });
}

void trace_chunk(bool is_double, const Layer& layer, std::string_view path,
                 const SequenceArgument& x, Address outputs, Address gates, Address saved,
                 const MatrixArgument& U, const StateArgument& state, Address mask, Address dropout,
                 const StateArgument& grad_state, const TraceArgument& trace, Address grad_W,
                 Address grad_U, Address grad_bias) {
    const Path way = named("path", path, paths);
    if (layer.reverse || way == Path::full) {
        throw std::invalid_argument(
            "Traces go forward through time on a path that mixes no units.");
    }
    with_scalar(is_double, [&]<class S>(S) {
        TraceChunk<S> chunk = {
            layer,
            way,
            sequence<S>(x),
            at<const S>(outputs),
            at<const S>(gates),
            at<const S>(saved),
            matrix<S>(U),
            {at<const S>(std::get<0>(state)), at<const S>(std::get<1>(state))},
            at<const bool>(mask),
            at<const S>(dropout),
            {at<const S>(std::get<0>(grad_state)), at<const S>(std::get<1>(grad_state))},
            {},
            {at<S>(grad_W), at<S>(grad_U), at<S>(grad_bias)}};
        spread<decltype(chunk.trace), S>(trace, chunk.trace);
        kernels<S>().trace_chunk(passes<S>(layer), chunk);
    });
}

// An open stream, closed with the object that Python holds.
class StreamOwner {
public:
    StreamOwner(bool is_double, const Layer& layer, const MatrixArgument& W,
                const MatrixArgument& U, Address bias, const StateArgument& state,
                const LayerOptions& options)
        : is_double_(is_double), precision_(layer.precision) {
        with_scalar(is_double, [&]<class S>(S) {
            Forward<S> call = {};
            call.layer = layer;
            call.W = matrix<S>(W);
            call.U = matrix<S>(U);
            call.bias = at<const S>(bias);
            call.state[0] = call.final_state[0] = at<S>(std::get<0>(state));
            call.state[1] = call.final_state[1] = at<S>(std::get<1>(state));
            call.options = options.of<S>();
            stream_ = passes<S>(precision_).open_stream(call);
        });
    }
    ~StreamOwner() {
        with_scalar(is_double_, [&]<class S>(S) {
            passes<S>(precision_).close_stream(static_cast<Stream<S>*>(stream_));
        });
    }
    StreamOwner(const StreamOwner&) = delete;
    StreamOwner& operator=(const StreamOwner&) = delete;

    void step(Address x, Address mask, Address outputs) {
        with_scalar(is_double_, [&]<class S>(S) {
            passes<S>(precision_)
                .step_stream(*static_cast<Stream<S>*>(stream_),
                             {at<const S>(x), at<const bool>(mask), at<S>(outputs)});
        });
    }

private:
    const bool is_double_;
    const Precision precision_;
    void* stream_ = nullptr;
};

// The addresses of the integers and of their scales; those of W, U and the projection or 0.
using Int8Argument = std::tuple<Address, Address>;
using Int8Weights = std::tuple<Int8Argument, Int8Argument, Int8Argument>;

Int8Matrix int8_matrix(const Int8Argument& argument) {
    return {at<const std::int8_t>(std::get<0>(argument)), at<const float>(std::get<1>(argument))};
}

// A pass with these weights, without its arrays.
Int8Forward int8_pass(const Layer& layer, const Int8Weights& weights, Address bias,
                      const LayerOptions& options) {
    const auto& [W, U, projection] = weights;
    Int8Forward call = {};
    call.layer = layer;
    call.int8_W = int8_matrix(W);
    call.int8_U = int8_matrix(U);
    call.int8_projection = int8_matrix(projection);
    call.bias = at<const float>(bias);
    call.options = options.of<float>();
    return call;
}

void int8_forward(const Layer& layer, const SequenceArgument& x, const Int8Weights& weights,
                  Address bias, const StateArgument& state, Address mask, Address dropout,
                  Address outputs, const StateArgument& final_state, const LayerOptions& options) {
    const nb::gil_scoped_release release;
    Int8Forward call = int8_pass(layer, weights, bias, options);
    call.x = sequence<float>(x);
    call.state[0] = at<const float>(std::get<0>(state));
    call.state[1] = at<const float>(std::get<1>(state));
    call.mask = at<const bool>(mask);
    call.dropout = at<const float>(dropout);
    call.outputs = at<float>(outputs);
    call.final_state[0] = at<float>(std::get<0>(final_state));
    call.final_state[1] = at<float>(std::get<1>(final_state));
    chosen().of_int8->forward(call);
}

// As StreamOwner, of weights of 8 bits.
class Int8StreamOwner {
public:
    Int8StreamOwner(const Layer& layer, const Int8Weights& weights, Address bias,
                    const StateArgument& state, const LayerOptions& options) {
        const nb::gil_scoped_release release;
        Int8Forward call = int8_pass(layer, weights, bias, options);
        call.state[0] = call.final_state[0] = at<float>(std::get<0>(state));
        call.state[1] = call.final_state[1] = at<float>(std::get<1>(state));
        stream_ = chosen().of_int8->open_stream(call);
    }
    ~Int8StreamOwner() { chosen().of_int8->close_stream(stream_); }
    Int8StreamOwner(const Int8StreamOwner&) = delete;
    Int8StreamOwner& operator=(const Int8StreamOwner&) = delete;

    void step(Address x, Address mask, Address outputs) {
        const nb::gil_scoped_release release;
        chosen().of_int8->step_stream(
            *stream_, {at<const float>(x), at<const bool>(mask), at<float>(outputs)});
    }

private:
    Stream<float>* stream_ = nullptr;
};

// The addresses of RmspropTensor and the count; the rates in the order of Rmsprop.
using RmspropArgument = std::tuple<Address, Address, Address, Address, Address, Index>;
using RmspropRates = std::tuple<double, double, double, double>;

void rmsprop(bool is_double, const std::vector<RmspropArgument>& arguments,
             const RmspropRates& rates, int threads) {
    const auto [learning_rate, rho, momentum, epsilon] = rates;
    with_scalar(is_double, [&]<class S>(S) {
        std::vector<RmspropTensor<S>> tensors;
        for (const auto& [weight, gradient, velocity, momentums, average, count] : arguments) {
            tensors.push_back({at<S>(weight), at<const S>(gradient), at<S>(velocity),
                               at<S>(momentums), at<S>(average), count});
        }
        kernels<S>().rmsprop({tensors.data(), Index(tensors.size()), learning_rate, rho, momentum,
                              epsilon, threads});
    });
}

void random_mask(bool is_double, Address values, Index count, unsigned key,
                 unsigned long long below, int threads) {
    with_scalar(is_double, [&]<class S>(S) {
        kernels<S>().random_mask({at<S>(values), count, key, below, threads});
    });
}

double multiply_adds(bool is_double, std::string_view precision, int threads, Index rounds) {
    const Precision of = named("precision", precision, precisions);
    double done = 0;
    with_scalar(is_double,
                [&]<class S>(S) { done = passes<S>(of).multiply_adds(threads, rounds); });
    return done;
}

std::vector<std::string> available_names() {
    std::vector<std::string> names;
    for (const InstructionSet& set : available()) names.emplace_back(set.name);
    return names;
}

}  // namespace
}  // namespace gatewise

NB_MODULE(_native, module) {
    using namespace gatewise;
    module.doc() = "The native CPU kernels; gatewise.kernels.cpu is their only caller.";
    nb::class_<Layer>(module, "Layer", "A layer's equation and sizes, and the threads to use.")
        .def("__init__", [](Layer* self, std::string_view cell, std::string_view activation,
                            std::string_view recurrent_activation, bool reverse, const Flags& flags,
                            const Sizes& sizes, std::string_view precision) {
            new (self) Layer(
                layer_of(cell, activation, recurrent_activation, reverse, flags, sizes, precision));
        });
    nb::class_<LayerOptions>(module, "Options", "What a cell does beside its equation.")
        .def("__init__", [](LayerOptions* self, Address peephole, double cell_clip,
                            const SequenceArgument& zoneout_h, const SequenceArgument& zoneout_c,
                            const MatrixArgument& projection, const NormArgument& norm) {
            new (self) LayerOptions{peephole, cell_clip, zoneout_h, zoneout_c, projection, norm};
        });
    module.def("forward", &forward);
    module.def("backward_scan", &backward_scan);
    module.def("weight_gradient", &weight_gradient);
    module.def("input_gradient", &input_gradient);
    nb::class_<StreamOwner>(module, "Stream", "A layer that is fed one time step at a time.")
        .def(nb::init<bool, const Layer&, const MatrixArgument&, const MatrixArgument&, Address,
                      const StateArgument&, const LayerOptions&>())
        .def("step", &StreamOwner::step);
    module.def("int8_forward", &int8_forward);
    nb::class_<Int8StreamOwner>(module, "Int8Stream", "The same with weights of 8 bits.")
        .def(nb::init<const Layer&, const Int8Weights&, Address, const StateArgument&,
                      const LayerOptions&>())
        .def("step", &Int8StreamOwner::step);
    module.def("rmsprop", &rmsprop);
    module.def("random_mask", &random_mask);
    module.def("trace_step", &trace_step);
    module.def("trace_gradient", &trace_gradient);
    module.def("trace_chunk", &trace_chunk);
    module.def("run_segments", &run_segments);
    module.def("segments_backward", &segments_backward);
    module.def("multiply_adds", &multiply_adds);
    module.def("keep_freed_memory", &keep_freed_memory,
               "Have the C library keep freed memory; return whether it does.");
    module.def("isa", [] { return std::string(chosen().name); }, "The instruction set in use.");
    module.def("available_isas", &available_names,
               "What was compiled and this processor can run, slowest first.");
}
