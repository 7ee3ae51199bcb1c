#include "memory.h"

#include <cstdlib>
#include <new>

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

}  // namespace gatewise
