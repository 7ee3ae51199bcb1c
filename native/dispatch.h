// The choice of an instruction set, made once, when it is first asked for.

#pragma once

#include <string_view>
#include <vector>

#include "kernels.h"

namespace gatewise {

struct InstructionSet {
    std::string_view name;
    bool (*supported)();  // by this processor
    const Kernels<float>* of_float;
    const Kernels<double>* of_double;
    const Passes<float>* of_pairs;  // of bfloat16
    const Int8Kernels* of_int8;
};

// What was compiled and this processor can run, slowest first.
std::vector<InstructionSet> available();

// The fastest available one, or the one that the environment variable GATEWISE_ISA names; throws
// std::invalid_argument where that one is unknown or cannot run here.
const InstructionSet& chosen();

}  // namespace gatewise
