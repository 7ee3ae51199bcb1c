// What the files of the Python module gatewise._native share: how arguments come in from Python.
//
// Tensors come as tensors, and as None where there is none; see tensors.h. gatewise/kernels/ owns
// every check of shape, type and contiguity. kernels.h says what each array holds.

#pragma once

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
#include "tensors.h"

namespace nb = nanobind;

namespace gatewise {

// The parts of the module, each in a file of its own.
void bind_gradients(nb::module_&);
void bind_int8(nb::module_&);

// An array that Python lends while this lives. Asking it for its address in Python takes as long as
// a small step of a stream.
class Lent {
public:
    Lent(nb::handle array, int flags) {
        if (PyObject_GetBuffer(array.ptr(), &buffer_, flags) != 0) throw nb::python_error();
    }
    ~Lent() { PyBuffer_Release(&buffer_); }
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;

    Address address() const { return {reinterpret_cast<std::uintptr_t>(buffer_.buf)}; }

private:
    Py_buffer buffer_;
};

// The next steps of a stream, whose x and outputs are contiguous arrays of its type and sizes.
template <class Stream>
void advance_arrays(Stream& stream, Index time, nb::handle x, nb::handle outputs) {
    const Lent from(x, PyBUF_SIMPLE), to(outputs, PyBUF_WRITABLE);
    stream.advance(time, from.address(), Address{}, to.address());
}

template <class Value, std::size_t size>
Value named(const char* what, std::string_view name,
            const std::pair<std::string_view, Value> (&table)[size]) {
    for (const auto& [known, value] : table) {
        if (known == name) return value;
    }
    throw std::invalid_argument("The native kernels know no " + std::string(what) + " '" +
                                std::string(name) + "'.");
}

inline constexpr std::pair<std::string_view, Path> paths[] = {
    {"full", Path::full},
    {"diagonal", Path::diagonal},
    {"cell", Path::cell},
};
inline constexpr std::pair<std::string_view, Precision> precisions[] = {
    {"float32", Precision::scalar},
    {"bfloat16", Precision::bfloat16},
};

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address.value);
}

template <class S>
Matrix<S> matrix(const StridedArgument& argument) {
    return {at<const S>(argument.address), argument.first_stride, argument.second_stride};
}

template <class S>
Sequence<S> sequence(const StridedArgument& argument) {
    return {at<const S>(argument.address), argument.first_stride, argument.second_stride};
}

// Steps of a stream, with an x (B, T, I) in contiguous memory.
template <class S>
StreamSteps<S> steps_of(const Layer& layer, Index time, Address x, Address mask, Address outputs) {
    const Index row = layer.inputs;
    return {time, {at<const S>(x), time * row, row}, at<const bool>(mask), at<S>(outputs)};
}

// The weights of layer_norm, or the places of their gradients, in the order of LayerNorm.
using NormArgument = std::tuple<Address, Address, Address, Address>;

// What a cell does beside its equation: further weights, and what zoneout keeps.
struct LayerOptions {
    Address peephole;
    double cell_clip;
    StridedArgument zoneout_h, zoneout_c;
    StridedArgument projection;
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
inline const Kernels<float>& kernels<float>() {
    return *chosen().of_float;
}
template <>
inline const Kernels<double>& kernels<double>() {
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

}  // namespace gatewise
