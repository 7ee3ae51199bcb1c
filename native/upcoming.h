// Memory that will be touched soon, brought nearer while the products compute.
//
// A time step reads and writes each row's part of arrays that are far larger than a cache, and the
// jumps from row to row hide the order from the processor. The products leave the way to memory
// free, so each step of their inner loop asks for one line of what comes next.

#pragma once

#include "threads.h"

namespace gatewise::GATEWISE_ISA {

// A list of cache lines, asked for in order. What nobody came to ask for is forgotten.
class Upcoming {
public:
    // The lines that so many ranges of so many bytes each take at most.
    static Index most_lines(Index ranges, Index bytes) { return ranges * (bytes / line_bytes + 2); }

    // The list lives in the caller's memory.
    explicit Upcoming(const char** lines) : line_(lines) {}

    void clear() { next_ = count_ = 0; }

    template <class S>
    void add(const S* values, Index count) {
        const char* const begin = reinterpret_cast<const char*>(values);
        const Index lines = (count * Index(sizeof(S)) + line_bytes - 1) / line_bytes;
        const char** const to = line_ + count_;
        for (Index line = 0; line < lines; ++line) to[line] = begin + line * line_bytes;
        count_ += lines;
    }

    // The next `lines` lines, or null where fewer are left.
    const char* const* take(Index lines) {
        if (count_ - next_ < lines) return nullptr;
        const char* const* const taken = line_ + next_;
        next_ += lines;
        return taken;
    }

private:
    static constexpr Index line_bytes = 64;
    const char** const line_;
    Index next_ = 0, count_ = 0;
};

}  // namespace gatewise::GATEWISE_ISA
