// The Python module gatewise._native: tensors and sizes in, checked names, the GIL released.

#include "bindings.h"
#include "handover.h"
#include "memory.h"

namespace gatewise {
namespace {

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
constexpr std::pair<std::string_view, Reduce> reductions[] = {
    {"all", Reduce::all},
    {"sample", Reduce::sample},
    {"step", Reduce::step},
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

void forward(bool is_double, const Layer& layer, const StridedArgument& x, const StridedArgument& W,
             const StridedArgument& U, Address bias, const StateArgument& state, Address mask,
             Address dropout, Address outputs, const StateArgument& final_state, Address gates,
             Address saved, const LayerOptions& options) {
    with_scalar(is_double, [&]<class S>(S) {
        passes<S>(layer).forward({layer,
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
                                  options.of<S>()});
    });
}

void backward_scan(bool is_double, const Layer& layer, const StridedArgument& grad_outputs,
                   const StateArgument& grad_final, Address outputs, Address gates, Address saved,
                   const StridedArgument& U, const StateArgument& state, Address mask,
                   Address dropout, Address scale, std::string_view path, Address grad_product,
                   const StateArgument& grad_state, bool state_unwanted, Address norms,
                   const LayerOptions& options) {
    const Path way = named("path", path, paths);
    with_scalar(is_double, [&]<class S>(S) {
        passes<S>(layer).backward_scan({layer,
                                        sequence<S>(grad_outputs),
                                        {at<const S>(grad_final.h), at<const S>(grad_final.c)},
                                        at<const S>(outputs),
                                        at<const S>(gates),
                                        at<const S>(saved),
                                        matrix<S>(U),
                                        {at<const S>(state.h), at<const S>(state.c)},
                                        at<const bool>(mask),
                                        at<const S>(dropout),
                                        at<const S>(scale),
                                        way,
                                        at<S>(grad_product),
                                        {at<S>(grad_state.h), at<S>(grad_state.c)},
                                        state_unwanted,
                                        at<S>(norms),
                                        options.of<S>()});
    });
}

void weight_gradient(bool is_double, const Layer& layer, std::string_view reduce,
                     const StridedArgument& x, Address outputs, Address gates, Address saved,
                     Address grad_product, const StateArgument& state, Address mask,
                     Address dropout, const StridedArgument& grad_W, const StridedArgument& grad_U,
                     Address grad_bias, Address grad_peephole, Address grad_projection,
                     const NormArgument& grad_norm, const LayerOptions& options) {
    const Reduce reduction = named("reduction", reduce, reductions);
    const auto turned = [&](const StridedArgument& matrix) {
        return reduction == Reduce::all && matrix.first_stride == 1 && matrix.second_stride != 1;
    };
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
             at<const S>(state.h),
             at<const bool>(mask),
             at<const S>(dropout),
             at<S>(grad_W.address),
             at<S>(grad_U.address),
             at<S>(grad_bias),
             at<const S>(state.c),
             at<S>(grad_peephole),
             at<S>(grad_projection),
             {at<S>(input_gain), at<S>(recurrent_gain), at<S>(cell_gain), at<S>(cell_bias)},
             options.of<S>(),
             turned(grad_W),
             turned(grad_U)});
    });
}

void input_gradient(bool is_double, const Layer& layer, Address grad_product,
                    const StridedArgument& W, Address mask, Address grad_x) {
    with_scalar(is_double, [&]<class S>(S) {
        passes<S>(layer).input_gradient(
            {layer, at<const S>(grad_product), matrix<S>(W), at<const bool>(mask), at<S>(grad_x)});
    });
}

// An open stream, closed with the object that Python holds.
class StreamOwner {
public:
    StreamOwner(bool is_double, const Layer& layer, const StridedArgument& W,
                const StridedArgument& U, Address bias, const StateArgument& state,
                const LayerOptions& options)
        : is_double_(is_double), layer_(layer) {
        with_scalar(is_double, [&]<class S>(S) {
            Forward<S> call = {};
            call.layer = layer;
            call.W = matrix<S>(W);
            call.U = matrix<S>(U);
            call.bias = at<const S>(bias);
            call.state[0] = call.final_state[0] = at<S>(state.h);
            call.state[1] = call.final_state[1] = at<S>(state.c);
            call.options = options.of<S>();
            stream_ = passes<S>(layer_).open_stream(call);
        });
    }
    ~StreamOwner() {
        with_scalar(is_double_, [&]<class S>(S) {
            passes<S>(layer_).close_stream(static_cast<Stream<S>*>(stream_));
        });
    }
    StreamOwner(const StreamOwner&) = delete;
    StreamOwner& operator=(const StreamOwner&) = delete;

    void advance(Index time, Address x, Address mask, Address outputs) {
        with_scalar(is_double_, [&]<class S>(S) {
            passes<S>(layer_).advance_stream(*static_cast<Stream<S>*>(stream_),
                                             steps_of<S>(layer_, time, x, mask, outputs));
        });
    }

private:
    const bool is_double_;
    const Layer layer_;
    void* stream_ = nullptr;
};

// The arrays of RmspropTensor and the count; the rates in the order of Rmsprop.
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

// Whether all numbers of these arrays are finite: each with its count.
bool all_finite(bool is_double, const std::vector<std::pair<Address, Index>>& arguments,
                int threads) {
    bool finite = true;
    with_scalar(is_double, [&]<class S>(S) {
        std::vector<Array<S>> arrays;
        for (const auto& [address, count] : arguments)
            arrays.push_back({at<const S>(address), count});
        finite = kernels<S>().finite({arrays.data(), Index(arrays.size()), threads});
    });
    return finite;
}

void random_mask(bool is_double, Address values, Index count, unsigned key,
                 unsigned long long below, std::pair<double, double> chosen, int threads) {
    with_scalar(is_double, [&]<class S>(S) {
        kernels<S>().random_mask(
            {at<S>(values), count, key, below, S(chosen.first), S(chosen.second), threads});
    });
}

double multiply_adds(bool is_double, std::string_view precision, int threads, Index rounds) {
    const Precision of = named("precision", precision, precisions);
    double done = 0;
    with_scalar(is_double,
                [&]<class S>(S) { done = passes<S>(of).multiply_adds(threads, rounds); });
    return done;
}

double activate(bool is_double, int threads, Index rounds) {
    double done = 0;
    with_scalar(is_double, [&]<class S>(S) { done = kernels<S>().activations(threads, rounds); });
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
    module.doc() = "The native CPU kernels; gatewise.kernels is their only caller.";
    find_tensor_functions();
    module.def("fits", &fits, "Whether a tensor has this shape and type and is on the CPU.");
    nb::class_<Layer>(module, "Layer", "A layer's equation and sizes, and the threads to use.")
        .def("__init__", [](Layer* self, std::string_view cell, std::string_view activation,
                            std::string_view recurrent_activation, bool reverse, const Flags& flags,
                            const Sizes& sizes, std::string_view precision) {
            new (self) Layer(
                layer_of(cell, activation, recurrent_activation, reverse, flags, sizes, precision));
        });
    nb::class_<LayerOptions>(module, "Options", "What a cell does beside its equation.")
        .def("__init__", [](LayerOptions* self, Address peephole, double cell_clip,
                            const StridedArgument& zoneout_h, const StridedArgument& zoneout_c,
                            const StridedArgument& projection, const NormArgument& norm) {
            new (self) LayerOptions{peephole, cell_clip, zoneout_h, zoneout_c, projection, norm};
        });
    module.def("forward", &forward);
    module.def("backward_scan", &backward_scan);
    module.def("weight_gradient", &weight_gradient);
    module.def("input_gradient", &input_gradient);
    nb::class_<StreamOwner>(module, "Stream", "A layer that is fed some time steps at a time.")
        .def(nb::init<bool, const Layer&, const StridedArgument&, const StridedArgument&, Address,
                      const StateArgument&, const LayerOptions&>())
        .def("advance", &StreamOwner::advance)
        .def("advance_arrays", &advance_arrays<StreamOwner>);
    bind_int8(module);
    module.def("rmsprop", &rmsprop);
    module.def("all_finite", &all_finite);
    module.def("random_mask", &random_mask);
    bind_gradients(module);
    module.def("multiply_adds", &multiply_adds);
    module.def("activations", &activate);
    module.def("handover_seconds", &handover_seconds, nb::call_guard<nb::gil_scoped_release>());
    module.def("keep_freed_memory", &keep_freed_memory,
               "Have the C library keep freed memory; return whether it does.");
    module.def("isa", [] { return std::string(chosen().name); }, "The instruction set in use.");
    module.def("available_isas", &available_names,
               "What was compiled and this processor can run, slowest first.");
}
