// Threads of one call, and what each of them must have: its part of the work and flushed denormals.

#pragma once

#include <sched.h>

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

// Where the threads of one call wait for each other, a time step after the other.
//
// A step's share of a few rows is done in a microsecond, so who waits looks again and again; only
// where the others are kept from running for long does it leave them its processor.
class Meeting {
public:
    void wait(int team) {
        const Index arrival = __atomic_add_fetch(&arrivals_, 1, __ATOMIC_ACQ_REL);
        const Index all = (arrival + team - 1) / team * team;
        for (int looks = 0; __atomic_load_n(&arrivals_, __ATOMIC_ACQUIRE) < all; ++looks) {
            looks < patience ? pause() : yield();
        }
    }

private:
    static constexpr int patience = 1 << 12;

    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        _mm_pause();
#endif
    }
    static void yield() { sched_yield(); }

    alignas(64) Index arrivals_ = 0;  // in all meetings so far
};

// One thread of a team.
struct Member {
    int index, team;
    Meeting* meeting = nullptr;  // of a team of several that meets

    void barrier() const {
        if (team > 1) meeting->wait(team);
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
        Meeting meeting;
#pragma omp parallel num_threads(threads)
        {
            const FlushDenormals flush;
            body(Member{omp_get_thread_num(), omp_get_num_threads(), &meeting});
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
        : bytes_(std::size_t(count) * sizeof(T)), data_(static_cast<T*>(allocate(bytes_))) {}
    ~Buffer() { release(data_, bytes_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    T* data() const { return data_; }

private:
    const std::size_t bytes_;
    T* const data_;
};

// A count rounded up to whole cache lines, so that neighbouring parts share none.
template <class T>
GATEWISE_INLINE Index padded(Index count) {
    constexpr Index even = sizeof(T) & -sizeof(T);  // the power of two in the size
    constexpr Index line = even < 64 ? 64 / even : 1;
    return (count + line - 1) / line * line;
}

}  // namespace gatewise::GATEWISE_ISA
