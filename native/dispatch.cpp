#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace gatewise {

#define GATEWISE_DECLARE(isa)                    \
    namespace isa {                              \
    extern const Kernels<float> kernels_float;   \
    extern const Kernels<double> kernels_double; \
    }

GATEWISE_DECLARE(portable)
#ifdef GATEWISE_X86
GATEWISE_DECLARE(avx2)
GATEWISE_DECLARE(avx512)
GATEWISE_DECLARE(avx512_bf16)
#endif

namespace {

const InstructionSet compiled[] = {
    {"portable", [] { return true; }, &portable::kernels_float, &portable::kernels_double},
#ifdef GATEWISE_X86
    {"avx2",
     [] { return bool(__builtin_cpu_supports("avx2")) && bool(__builtin_cpu_supports("fma")); },
     &avx2::kernels_float, &avx2::kernels_double},
    {"avx512",
     [] { return bool(__builtin_cpu_supports("avx512f")) && bool(__builtin_cpu_supports("fma")); },
     &avx512::kernels_float, &avx512::kernels_double},
    {"avx512_bf16",
     [] {
         return bool(__builtin_cpu_supports("avx512bf16")) &&
                bool(__builtin_cpu_supports("avx512bw")) && bool(__builtin_cpu_supports("fma"));
     },
     &avx512_bf16::kernels_float, &avx512_bf16::kernels_double},
#endif
};

InstructionSet choose() {
    const std::vector<InstructionSet> choices = available();
    const char* const forced = std::getenv("GATEWISE_ISA");
    if (forced == nullptr || *forced == '\0') return choices.back();
    std::string names;
    for (const InstructionSet& choice : choices) {
        if (choice.name == forced) return choice;
        names += names.empty() ? "" : ", ";
        names += choice.name;
    }
    throw std::invalid_argument(
        "GATEWISE_ISA is '" + std::string(forced) +
        "', which this build or this processor does not have. Available here: " + names +
        ". Unset GATEWISE_ISA to use the fastest.");
}

}  // namespace

std::vector<InstructionSet> available() {
    std::vector<InstructionSet> found;
    for (const InstructionSet& set : compiled) {
        if (set.supported()) found.push_back(set);
    }
    return found;
}

const InstructionSet& chosen() {
    static const InstructionSet choice = choose();
    return choice;
}

}  // namespace gatewise
