// Threads of one call, and what each of them must have: its part of the work and flushed denormals.

#pragma once

#include "memory.h"
#include "vector.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace gatewise::GATEWISE_ISA {

// Flushes denormals in this thread while it lives, then restores the caller's mode.
class FlushDenormals {
public:
#if defined(__x86_64__) || defined(__i386__)
    FlushDenormals() : mode_(_mm_getcsr()) { _mm_setcsr(mode_ | 0x8040); }  // FTZ and DAZ
    ~FlushDenormals() { _mm_setcsr(mode_); }

private:
    unsigned mode_;
#elif defined(__aarch64__)
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(mode_));
        asm volatile("msr fpcr, %0" : : "r"(mode_ | 1ull << 24));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(mode_)); }

private:
    unsigned long long mode_;
#else
    FlushDenormals() {}
    ~FlushDenormals() {}

private:
#endif
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;
};

// One thread of a team.
struct Member {
    int index, team;

    void barrier() const {
#ifdef _OPENMP
        if (team > 1) {
#pragma omp barrier
        }
#endif
    }
};

struct Range {
    Index begin, end;
};

// This member's even share of `count` things.
GATEWISE_INLINE Range share(Member member, Index count) {
    return {count * member.index / member.team, count * (member.index + 1) / member.team};
}

// How many threads are worth waking for `parts` parts of work of so many multiply-adds in all.
GATEWISE_INLINE int useful_threads(int threads, Index parts, double multiply_adds) {
    constexpr double worth_waking = 1 << 20;
    const double most = multiply_adds / worth_waking;
    const Index useful = smaller(threads, parts);
    return most < double(useful) ? int(larger(1, Index(most))) : int(larger(1, useful));
}

// Runs `body(member)` in at most `threads` threads: it must work for any size of the team.
template <class Body>
void parallel([[maybe_unused]] int threads, const Body& body) {
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        {
            const FlushDenormals flush;
            body(Member{omp_get_thread_num(), omp_get_num_threads()});
        }
        return;
    }
#endif
    const FlushDenormals flush;
    body(Member{0, 1});
}

// An uninitialized array for one call.
template <class T>
class Buffer {
public:
    explicit Buffer(Index count)
        : data_(static_cast<T*>(allocate(std::size_t(count) * sizeof(T)))) {}
    ~Buffer() { release(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    T* data() const { return data_; }

private:
    T* data_;
};

// A count rounded up to whole cache lines, so that neighbouring parts share none.
template <class T>
GATEWISE_INLINE Index padded(Index count) {
    constexpr Index even = sizeof(T) & -sizeof(T);  // the power of two in the size
    constexpr Index line = even < 64 ? 64 / even : 1;
    return (count + line - 1) / line * line;
}

}  // namespace gatewise::GATEWISE_ISA
