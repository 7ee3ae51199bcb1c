#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace gatewise {

#define GATEWISE_DECLARE(isa)                     \
    namespace isa {                               \
    extern const Kernels<float> kernels_float;    \
    extern const Kernels<double> kernels_double;  \
    extern const Kernels<float> kernels_bfloat16; \
    }

GATEWISE_DECLARE(portable)
#ifdef GATEWISE_X86
GATEWISE_DECLARE(avx2)
GATEWISE_DECLARE(avx512)
GATEWISE_DECLARE(avx512_bf16)
#endif

namespace {

#define GATEWISE_TABLES(isa) &isa::kernels_float, &isa::kernels_double, &isa::kernels_bfloat16

const InstructionSet compiled[] = {
    {"portable", [] { return true; }, GATEWISE_TABLES(portable)},
#ifdef GATEWISE_X86
    {"avx2",
     [] { return bool(__builtin_cpu_supports("avx2")) && bool(__builtin_cpu_supports("fma")); },
     GATEWISE_TABLES(avx2)},
    {"avx512",
     [] { return bool(__builtin_cpu_supports("avx512f")) && bool(__builtin_cpu_supports("fma")); },
     GATEWISE_TABLES(avx512)},
    {"avx512_bf16",
     [] {
         return bool(__builtin_cpu_supports("avx512bf16")) &&
                bool(__builtin_cpu_supports("avx512bw")) && bool(__builtin_cpu_supports("fma"));
     },
     GATEWISE_TABLES(avx512_bf16)},
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
