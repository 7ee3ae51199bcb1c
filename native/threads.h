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

// How long the threads of a call wait for each other.
struct Patience {
    // A look takes as long as this many multiply-adds.
    static constexpr double multiply_adds_of_look = 256;
    static constexpr double fewest_looks = 1 << 12;  // some 50 microseconds
    static constexpr double looks_for_each = 1 << 21;

    Index looks = Index(fewest_looks);  // a wait of more is long
    Index long_waits = 0;               // more of them are too many

    // For steps that take a thread so many multiply-adds, in all and one of them: a long wait takes
    // longer than the step, and one in some hundredth of a second is bearable.
    static Patience of(double all, double step) {
        const double looks = step / multiply_adds_of_look;
        return {Index(looks < fewest_looks ? fewest_looks : looks),
                Index(all / multiply_adds_of_look / looks_for_each)};
    }
};

// Where the threads of one call wait for each other, a time step after the other.
//
// A step's share of a few rows is done in microseconds, so who waits looks again and again. Where
// another is kept from running, by programs that want its processor, a wait may last thousands of
// steps. After too many of those the team is held up, and who meets so often is to end it and go on
// alone: all of a team hear of it at the same meeting.
class Meeting {
public:
    explicit Meeting(Patience patience) : patience_(patience) {}

    void wait(int team) {
        const Index number = __atomic_load_n(&held_, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) == team) {
            __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
            held_up_ = __atomic_load_n(&long_waits_, __ATOMIC_RELAXED) > patience_.long_waits;
            __atomic_store_n(&held_, number + 1, __ATOMIC_RELEASE);
            return;
        }
        for (Index looks = 0; __atomic_load_n(&held_, __ATOMIC_ACQUIRE) == number; ++looks) {
            if (looks == patience_.looks) __atomic_add_fetch(&long_waits_, 1, __ATOMIC_RELAXED);
            looks < patience_.looks ? pause() : yield();
        }
    }

    // As of the last meeting.
    bool held_up() const { return held_up_; }

private:
    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        _mm_pause();
#endif
    }
    static void yield() { sched_yield(); }

    const Patience patience_;
    alignas(64) Index held_ = 0;  // the meetings so far
    int arrived_ = 0;             // at the next one
    Index long_waits_ = 0;
    bool held_up_ = false;
};

// One thread of a team.
struct Member {
    int index, team;
    Meeting* meeting = nullptr;  // of a team of several that meets

    void barrier() const {
        if (team > 1) meeting->wait(team);
    }
    bool held_up() const { return team > 1 && meeting->held_up(); }
};

struct Range {
    Index begin, end;
};

// How many numbers some arrays have in all.
template <class Array>
GATEWISE_INLINE Index numbers_of(const Array* array, Index arrays) {
    Index total = 0;
    for (Index index = 0; index < arrays; ++index) total += array[index].count;
    return total;
}

// This member's even share of `count` things.
GATEWISE_INLINE Range share(Member member, Index count) {
    return {count * member.index / member.team, count * (member.index + 1) / member.team};
}

// Calls `look(array, range)` for this member's even share of the numbers of some arrays, `count` in
// each, one array after the other.
template <class Array, class Look>
GATEWISE_INLINE void share(Member member, const Array* array, Index arrays, const Look& look) {
    const Range mine = share(member, numbers_of(array, arrays));
    Index first = 0;
    for (Index index = 0; index < arrays; ++index) {
        const Range range = {larger(mine.begin - first, 0),
                             smaller(mine.end - first, array[index].count)};
        if (range.begin < range.end) look(array[index], range);
        first += array[index].count;
    }
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
void parallel([[maybe_unused]] int threads, const Body& body,
              [[maybe_unused]] Patience patience = {}) {
#ifdef _OPENMP
    if (threads > 1) {
        Meeting meeting(patience);
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

// An uninitialized array for each of some threads, for one call.
//
// They lie a page apart. Lines of their own are not enough where threads write again and again: a
// processor that walks through one array fetches what follows it too, as far as the page goes, and
// takes it from the thread that is at work there.
template <class T>
class PerThread {
public:
    PerThread(Index threads, Index count)
        : stride_(count > 0 ? padded<T>(count + page) : 0), memory_(threads * stride_) {}

    T* operator[](int thread) const { return memory_.data() + thread * stride_; }

private:
    static constexpr Index page = (4096 + sizeof(T) - 1) / sizeof(T);
    const Index stride_;
    const Buffer<T> memory_;
};

}  // namespace gatewise::GATEWISE_ISA
