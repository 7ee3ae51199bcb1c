// Tensors as arguments from Python: where they begin and their strides.
//
// torch.Tensor brings a table of C functions that read a tensor (DLPack's exchange API, since torch
// 2.10). Asking it in Python for twelve addresses and their strides costs more than a short
// sequence takes. What is read is borrowed for the call; gatewise/kernels/ checks shapes, types and
// contiguity before.

#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace gatewise {

// Looks torch's table up; called once, when the module is imported. Throws what Python shall raise.
void find_tensor_functions();

// Reads a tensor, or returns false for anything else.
bool read_tensor(nanobind::handle argument, nanobind::dlpack::dltensor& to);

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

}  // namespace gatewise

namespace nanobind::detail {

// As for std::optional: None is taken without a word at each argument.
template <>
struct has_arg_defaults<gatewise::Address> : std::true_type {};
template <>
struct has_arg_defaults<gatewise::StridedArgument> : std::true_type {};

template <>
struct type_caster<gatewise::Address> {
    NB_TYPE_CASTER(gatewise::Address, const_name("torch.Tensor | None"))

    bool from_python(handle argument, std::uint32_t, cleanup_list*) noexcept {
        value = {};
        if (argument.is_none()) return true;
        dlpack::dltensor tensor;
        if (!gatewise::read_tensor(argument, tensor)) return false;
        value.value = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
        return true;
    }
};

template <>
struct type_caster<gatewise::StridedArgument> {
    NB_TYPE_CASTER(gatewise::StridedArgument, const_name("torch.Tensor | None"))

    bool from_python(handle argument, std::uint32_t, cleanup_list*) noexcept {
        value = {};
        if (argument.is_none()) return true;
        dlpack::dltensor tensor;
        if (!gatewise::read_tensor(argument, tensor) || tensor.ndim < 2) return false;
        value = {{reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset},
                 tensor.strides[0],
                 tensor.strides[1]};
        return true;
    }
};

template <>
struct type_caster<gatewise::StateArgument> {
    NB_TYPE_CASTER(gatewise::StateArgument, const_name("Sequence[torch.Tensor | None]"))

    bool from_python(handle argument, std::uint32_t flags, cleanup_list* cleanup) noexcept {
        value = {};
        if (!PyList_Check(argument.ptr()) && !PyTuple_Check(argument.ptr())) return false;
        const Py_ssize_t count = PySequence_Fast_GET_SIZE(argument.ptr());
        if (count > 2) return false;
        gatewise::Address* const to[] = {&value.h, &value.c};
        for (Py_ssize_t state = 0; state < count; ++state) {
            make_caster<gatewise::Address> one;
            const handle tensor = PySequence_Fast_GET_ITEM(argument.ptr(), state);
            if (!one.from_python(tensor, flags, cleanup)) return false;
            *to[state] = one.value;
        }
        return true;
    }
};

}  // namespace nanobind::detail
