// The part of the Python module for weights of 8 bits.

#include "bindings.h"

namespace gatewise {
namespace {

// Integers and their scales: those of W, U and the projection.
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

void int8_forward(const Layer& layer, const StridedArgument& x, const Int8Weights& weights,
                  Address bias, const StateArgument& state, Address mask, Address dropout,
                  Address outputs, const StateArgument& final_state, const LayerOptions& options) {
    const nb::gil_scoped_release release;
    Int8Forward call = int8_pass(layer, weights, bias, options);
    call.x = sequence<float>(x);
    call.state[0] = at<const float>(state.h);
    call.state[1] = at<const float>(state.c);
    call.mask = at<const bool>(mask);
    call.dropout = at<const float>(dropout);
    call.outputs = at<float>(outputs);
    call.final_state[0] = at<float>(final_state.h);
    call.final_state[1] = at<float>(final_state.c);
    chosen().of_int8->forward(call);
}

// As StreamOwner, of weights of 8 bits.
class Int8StreamOwner {
public:
    Int8StreamOwner(const Layer& layer, const Int8Weights& weights, Address bias,
                    const StateArgument& state, const LayerOptions& options)
        : layer_(layer) {
        const nb::gil_scoped_release release;
        Int8Forward call = int8_pass(layer, weights, bias, options);
        call.state[0] = call.final_state[0] = at<float>(state.h);
        call.state[1] = call.final_state[1] = at<float>(state.c);
        stream_ = chosen().of_int8->open_stream(call);
    }
    ~Int8StreamOwner() { chosen().of_int8->close_stream(stream_); }
    Int8StreamOwner(const Int8StreamOwner&) = delete;
    Int8StreamOwner& operator=(const Int8StreamOwner&) = delete;

    void advance(Index time, Address x, Address mask, Address outputs) {
        const nb::gil_scoped_release release;
        chosen().of_int8->advance_stream(*stream_, steps_of<float>(layer_, time, x, mask, outputs));
    }

private:
    const Layer layer_;
    Stream<float>* stream_ = nullptr;
};

}  // namespace

void bind_int8(nb::module_& module) {
    module.def("int8_forward", &int8_forward);
    nb::class_<Int8StreamOwner>(module, "Int8Stream", "The same with weights of 8 bits.")
        .def(nb::init<const Layer&, const Int8Weights&, Address, const StateArgument&,
                      const LayerOptions&>())
        .def("advance", &Int8StreamOwner::advance)
        .def("advance_arrays", &advance_arrays<Int8StreamOwner>);
}

}  // namespace gatewise
