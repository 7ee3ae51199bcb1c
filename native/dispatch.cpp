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
#define GATEWISE_DECLARE_PAIRS(isa)          \
    namespace isa {                          \
    extern const Passes<float> passes_pairs; \
    }
#define GATEWISE_DECLARE_INT8(isa)         \
    namespace isa {                        \
    extern const Int8Kernels kernels_int8; \
    }

GATEWISE_DECLARE(portable)
GATEWISE_DECLARE_PAIRS(portable)
GATEWISE_DECLARE_INT8(portable)
#ifdef GATEWISE_X86
GATEWISE_DECLARE(avx2)
GATEWISE_DECLARE_PAIRS(avx2)
GATEWISE_DECLARE_INT8(avx2)
GATEWISE_DECLARE(avx512)
GATEWISE_DECLARE_PAIRS(avx512_bf16)
GATEWISE_DECLARE_INT8(avx512_vnni)
#endif

namespace {

#define GATEWISE_FLOAT(isa) &isa::kernels_float, &isa::kernels_double
#define GATEWISE_PAIRS(isa) &isa::passes_pairs
#define GATEWISE_INT8(isa) &isa::kernels_int8

#ifdef GATEWISE_X86
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
}
bool has_vnni() {
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}
bool has_bf16() {
    return has_vnni() && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16");
}
#endif

// Each names where its parts come from: products of numbers, of pairs of bfloat16 and of bytes.
const InstructionSet compiled[] = {
    {"portable", [] { return true; }, GATEWISE_FLOAT(portable), GATEWISE_PAIRS(portable),
     GATEWISE_INT8(portable)},
#ifdef GATEWISE_X86
    {"avx2", has_avx2, GATEWISE_FLOAT(avx2), GATEWISE_PAIRS(avx2), GATEWISE_INT8(avx2)},
    // AVX-512 alone has no products of pairs or bytes. Those of AVX2 give the same bits as any made
    // of it; of bytes they are faster too.
    {"avx512", has_avx512, GATEWISE_FLOAT(avx512), GATEWISE_PAIRS(avx2), GATEWISE_INT8(avx2)},
    {"avx512_vnni", has_vnni, GATEWISE_FLOAT(avx512), GATEWISE_PAIRS(avx2),
     GATEWISE_INT8(avx512_vnni)},
    // Every processor that has this has the one above.
    {"avx512_bf16", has_bf16, GATEWISE_FLOAT(avx512), GATEWISE_PAIRS(avx512_bf16),
     GATEWISE_INT8(avx512_vnni)},
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
