#include "tensors.h"

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

bool read_tensor(nb::handle argument, nb::dlpack::dltensor& to) {
    if (functions->read(argument.ptr(), &to) == 0) return true;
    PyErr_Clear();
    return false;
}

bool fits(nb::handle tensor, nb::tuple shape, bool is_double, bool dense) {
    constexpr std::uint8_t floating = 2;
    nb::dlpack::dltensor read;
    if (!read_tensor(tensor, read)) return false;
    const bool right_type = read.dtype.code == floating && read.dtype.lanes == 1 &&
                            read.dtype.bits == (is_double ? 64 : 32);
    if (!right_type || read.device.device_type != nb::device::cpu::value) return false;
    if (std::size_t(read.ndim) != shape.size()) return false;
    std::int64_t stride = 1;
    for (std::int32_t axis = read.ndim; axis-- > 0;) {
        const std::int64_t size = PyLong_AsLongLong(shape[axis].ptr());
        if (read.shape[axis] != size) return false;
        if (dense && size != 1 && read.strides[axis] != stride) return false;
        stride *= size;
    }
    return true;
}

}  // namespace gatewise
