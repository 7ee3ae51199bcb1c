#include "memory.h"

#include <cstdlib>
#include <new>

#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace gatewise {

namespace {

std::size_t rounded_up(std::size_t bytes, std::size_t unit) {
    return (bytes / unit + 1) * unit;
}

}  // namespace

void* allocate(std::size_t bytes) {
    constexpr std::size_t line = 64, huge_page = 2 << 20;
    // A large matrix is walked from end to end in every time step: with small pages, the processor
    // would look up more of them than it remembers.
    const std::size_t unit = bytes < 2 * huge_page ? line : huge_page;
    void* memory = std::aligned_alloc(unit, rounded_up(bytes, unit));
    if (memory == nullptr) throw std::bad_alloc();
#ifdef __linux__
    // A wish: where it is not granted, the pages are small.
    if (unit == huge_page) madvise(memory, rounded_up(bytes, unit), MADV_HUGEPAGE);
#endif
    return memory;
}

void release(void* memory) noexcept {
    std::free(memory);
}

bool keep_freed_memory() noexcept {
#ifdef __GLIBC__
    constexpr int most = 1 << 30;          // smaller blocks come from the heap, which keeps as much
    constexpr int most_of_old = 32 << 20;  // the limit of an older glibc
    const bool heap = mallopt(M_MMAP_THRESHOLD, most) || mallopt(M_MMAP_THRESHOLD, most_of_old);
    return heap && mallopt(M_TRIM_THRESHOLD, most);
#else
    return false;
#endif
}

}  // namespace gatewise
