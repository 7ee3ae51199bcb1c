// Tensors as arguments from Python: where they begin and their strides.
//
// torch.Tensor brings a table of C functions that read a tensor (DLPack's exchange API, since torch
// 2.10). Asking it in Python for twelve addresses and their strides costs more than a short
// sequence takes. What is read is borrowed for the call; gatewise/kernels/ checks shapes, types and
// contiguity before.

#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace gatewise {

// Looks torch's table up; called once, when the module is imported. Throws what Python shall raise.
void find_tensor_functions();

// Whether this is a tensor of this shape, on the CPU, of double or float; if `dense`, in contiguous
// memory.
bool fits(nanobind::handle tensor, nanobind::tuple shape, bool is_double, bool dense);

// Where a contiguous tensor begins; 0 for None.
struct Address {
    std::uintptr_t value = 0;
};

// A matrix, or a sequence whose last axis is dense: its address and its first two strides. All are
// 0 for None.
struct StridedArgument {
    Address address;
    std::ptrdiff_t first_stride = 0, second_stride = 0;
};

// Of one state or two: h, and an LSTM's c.
struct StateArgument {
    Address h, c;
};

// Read what Python gave into an empty argument, or return false where it cannot be that.
bool read(nanobind::handle given, Address& to);
bool read(nanobind::handle given, StridedArgument& to);
bool read(nanobind::handle given, StateArgument& to);

}  // namespace gatewise

namespace nanobind::detail {

template <class Argument>
struct tensor_caster {
    NB_TYPE_CASTER(Argument, const_name("torch.Tensor | None"))

    bool from_python(handle given, std::uint32_t, cleanup_list*) noexcept {
        value = {};
        return gatewise::read(given, value);
    }
};

template <>
struct type_caster<gatewise::Address> : tensor_caster<gatewise::Address> {};
template <>
struct type_caster<gatewise::StridedArgument> : tensor_caster<gatewise::StridedArgument> {};
template <>
struct type_caster<gatewise::StateArgument> : tensor_caster<gatewise::StateArgument> {};

// As for std::optional: None is taken without a word at each argument.
template <>
struct has_arg_defaults<gatewise::Address> : std::true_type {};
template <>
struct has_arg_defaults<gatewise::StridedArgument> : std::true_type {};

}  // namespace nanobind::detail
