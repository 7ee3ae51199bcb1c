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

constexpr std::size_t line = 64, huge_page = 2 << 20;

// What a block of so many bytes really takes: one of four sizes between two powers of two, so that
// a freed block serves other calls of about its size.
std::size_t size_class(std::size_t bytes) {
    std::size_t step = line;
    while (bytes > 8 * step) step *= 2;
    return (bytes / step + 1) * step;
}

void* take_from_system(std::size_t size) {
    // A large matrix is walked from end to end in every time step: with small pages, the processor
    // would look up more of them than it remembers.
    const bool large = size >= 2 * huge_page;
    const std::size_t unit = large ? huge_page : line;
    const std::size_t whole = (size + unit - 1) / unit * unit;
    void* const memory = std::aligned_alloc(unit, whole);
    if (memory == nullptr) throw std::bad_alloc();
#ifdef __linux__
    // A wish: where it is not granted, the pages are small.
    if (large) madvise(memory, whole, MADV_HUGEPAGE);
#endif
    return memory;
}

// The blocks that one thread released last, oldest first.
class Kept {
public:
    // A block of this size, or null.
    void* take(std::size_t size) {
        for (int at = count_ - 1; at >= 0; --at) {
            if (block_[at].size == size) return remove(at);
        }
        return nullptr;
    }

    // Returns whether the block is kept. The oldest make room for it.
    bool keep(void* memory, std::size_t size) {
        if (closed_ || size > most_bytes) return false;
        while (count_ == most_blocks || bytes_ + size > most_bytes) std::free(remove(0));
        block_[count_++] = {memory, size};
        bytes_ += size;
        return true;
    }

    // What is released after the thread's end is no longer kept.
    void close() {
        while (count_ > 0) std::free(remove(0));
        closed_ = true;
    }

private:
#ifdef __SANITIZE_ADDRESS__
    static constexpr std::size_t most_bytes = 0;  // so that each use of a freed block is found
#else
    static constexpr std::size_t most_bytes = 16 << 20;
#endif
    static constexpr int most_blocks = 64;
    struct Block {
        void* memory;
        std::size_t size;
    };

    void* remove(int at) {
        const Block removed = block_[at];
        for (int next = at + 1; next < count_; ++next) block_[next - 1] = block_[next];
        --count_;
        bytes_ -= removed.size;
        return removed.memory;
    }

    Block block_[most_blocks] = {};
    int count_ = 0;
    std::size_t bytes_ = 0;
    bool closed_ = false;
};

// Without a destructor, so that it outlives whatever a thread destroys at its end.
thread_local constinit Kept kept;

struct CloseAtEnd {
    ~CloseAtEnd() { kept.close(); }
};

}  // namespace

void* allocate(std::size_t bytes) {
    const std::size_t size = size_class(bytes);
    void* const memory = kept.take(size);
    return memory ? memory : take_from_system(size);
}

void release(void* memory, std::size_t bytes) noexcept {
    thread_local const CloseAtEnd close_at_end;
    (void)close_at_end;
    if (!kept.keep(memory, size_class(bytes))) std::free(memory);
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
