// Random masks, counted: number n is a function of the key and of n, so that any thread may draw
// it.
//
// The same integer hash as gatewise/layers/noise.py, whose masks these are to the bit; the
// constants are those of Chris Wellons's hash prospector.

#pragma once

#include "threads.h"

namespace gatewise::GATEWISE_ISA {

GATEWISE_INLINE unsigned mixed(unsigned word) {
    word ^= word >> 16;
    word *= 0x21F0AAADu;
    word ^= word >> 15;
    word *= 0x735A2D97u;
    return word ^ (word >> 15);
}

// The last word of those below stands for `below`, which is at least 1. The loop is left to the
// compiler's vectorizer: whole numbers have one exact result.
template <class S>
void random_mask(const RandomMask<S>& call) {
    const double work = double(call.count) / 4;
    parallel(useful_threads(call.threads, call.count, work), [&](Member member) {
        const Range mine = share(member, call.count);
        S* const __restrict values = call.values;
        const unsigned key = call.key;
        const unsigned last = unsigned(call.below - 1);
        const S if_below = call.if_below, otherwise = call.otherwise;
        for (Index at = mine.begin; at < mine.end; ++at) {
            const unsigned drawn = mixed(mixed(unsigned(at) + key) ^ key);
            values[at] = drawn <= last ? if_below : otherwise;
        }
    });
}

}  // namespace gatewise::GATEWISE_ISA
