#include "memory.h"

#include <cstdlib>
#include <new>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace gatewise {

void* allocate(std::size_t bytes) {
    constexpr std::size_t line = 64;
    void* memory = std::aligned_alloc(line, (bytes / line + 1) * line);
    if (memory == nullptr) throw std::bad_alloc();
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
