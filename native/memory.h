// Memory for one call, aligned to a cache line (and so to the widest vector).

#pragma once

#include <cstddef>

namespace gatewise {

// Returns `bytes` bytes, uninitialized; throws std::bad_alloc.
void* allocate(std::size_t bytes);
void release(void* memory) noexcept;

}  // namespace gatewise
