// Memory for one call, aligned to a cache line (and so to the widest vector), and what becomes of
// it when it is freed.
//
// Fresh memory costs a page fault for every 4 KiB, which a short call would pay in full, so each
// thread keeps what it released last, up to 16 MiB.

#pragma once

#include <cstddef>

namespace gatewise {

// Returns `bytes` bytes, uninitialized; throws std::bad_alloc.
void* allocate(std::size_t bytes);
// Of `bytes`, the number that it was allocated with.
void release(void* memory, std::size_t bytes) noexcept;

// Asks the C library to keep what is freed, for the whole process and from now on, and returns
// whether it does. glibc hands large blocks back to the system when they are freed, and a training
// step that takes them anew pays a page fault for every 4 KiB. Other libraries are left as they
// are.
bool keep_freed_memory() noexcept;

}  // namespace gatewise
