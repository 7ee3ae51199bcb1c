#include "tensors.h"

#include <nanobind/ndarray.h>

#include <string>

namespace nb = nanobind;

namespace gatewise {
namespace {

// The beginning of DLPack's DLPackExchangeAPI, as of version 1.3 of it.
struct TensorFunctions {
    struct {
        std::uint32_t major, minor;
    } version;
    void* previous;  // the table of an older version
    void *allocate, *to_managed, *from_managed;
    int (*read)(void* tensor, nb::dlpack::dltensor* to);
};

const TensorFunctions* functions = nullptr;

// Reads a tensor, or returns false for anything else.
bool read_tensor(nb::handle given, nb::dlpack::dltensor& to) {
    if (functions->read(given.ptr(), &to) == 0) return true;
    PyErr_Clear();
    return false;
}

Address address_of(const nb::dlpack::dltensor& tensor) {
    return {reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset};
}

}  // namespace

void find_tensor_functions() {
    const nb::object tensor = nb::module_::import_("torch").attr("Tensor");
    const char* const attribute = "__dlpack_c_exchange_api__";
    if (!nb::hasattr(tensor, attribute)) {
        throw nb::import_error("they need torch 2.10 or newer");
    }
    const nb::object capsule = tensor.attr(attribute);
    void* const found = PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
    if (found == nullptr) throw nb::python_error();
    functions = static_cast<const TensorFunctions*>(found);
    if (functions->version.major != 1 || functions->read == nullptr) {
        const std::string version = std::to_string(functions->version.major);
        throw nb::import_error(
            ("they read tensors by DLPack 1, and this torch has version " + version).c_str());
    }
}

bool fits(nb::handle tensor, nb::tuple shape, bool is_double, bool dense) {
    constexpr std::uint8_t floating = 2;
    nb::dlpack::dltensor found;
    if (!read_tensor(tensor, found)) return false;
    const bool right_type = found.dtype.code == floating && found.dtype.lanes == 1 &&
                            found.dtype.bits == (is_double ? 64 : 32);
    if (!right_type || found.device.device_type != nb::device::cpu::value) return false;
    if (std::size_t(found.ndim) != shape.size()) return false;
    std::int64_t stride = 1;
    for (std::int32_t axis = found.ndim; axis-- > 0;) {
        const std::int64_t size = PyLong_AsLongLong(shape[axis].ptr());
        if (found.shape[axis] != size) return false;
        if (dense && size != 1 && found.strides[axis] != stride) return false;
        stride *= size;
    }
    return true;
}

bool read(nb::handle given, Address& to) {
    if (given.is_none()) return true;
    nb::dlpack::dltensor tensor;
    if (!read_tensor(given, tensor)) return false;
    to = address_of(tensor);
    return true;
}

bool read(nb::handle given, StridedArgument& to) {
    if (given.is_none()) return true;
    nb::dlpack::dltensor tensor;
    if (!read_tensor(given, tensor) || tensor.ndim < 2) return false;
    to = {address_of(tensor), tensor.strides[0], tensor.strides[1]};
    return true;
}

bool read(nb::handle given, StateArgument& to) {
    if (!PyList_Check(given.ptr()) && !PyTuple_Check(given.ptr())) return false;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(given.ptr());
    Address* const states[] = {&to.h, &to.c};
    for (Py_ssize_t state = 0; state < count; ++state) {
        if (state == 2 || !read(PySequence_Fast_GET_ITEM(given.ptr(), state), *states[state]))
            return false;
    }
    return true;
}

}  // namespace gatewise
