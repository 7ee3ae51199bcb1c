#include "processor.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace gatewise {

namespace {

// The family of a processor of AMD's; 0 for any other.
unsigned amd_family() {
#if defined(__x86_64__) || defined(__i386__)
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx) || ebx != signature_AMD_ebx) return 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return 0;
    const unsigned family = eax >> 8 & 0xf;
    return family == 0xf ? family + (eax >> 20 & 0xff) : family;
#else
    return 0;
#endif
}

}  // namespace

bool second_cache_is_narrow() {
    static const unsigned family = amd_family();
    return family == 0x17 || family == 0x19;
}

}  // namespace gatewise
