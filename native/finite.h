// Whether arrays are finite.

#pragma once

#include "threads.h"

namespace gatewise::GATEWISE_ISA {

// Returns whether none of the numbers is NaN or infinite.
template <class S>
bool finite_range(const S* values, Range range) {
    // A number times 0 is 0, and NaN where it is not finite: no sum of these overflows or hides
    // one. Several sums at a time keep the additions from waiting for each other.
    constexpr int chains = 4;
    constexpr Index block = chains * lanes<S>;
    Vector<S> sums[chains] = {};
    Index at = range.begin;
    for (; at + block <= range.end; at += block) {
        for (int chain = 0; chain < chains; ++chain)
            sums[chain] = fma(load(values + at + chain * lanes<S>), Vector<S>{}, sums[chain]);
    }
    for (; at < range.end; at += lanes<S>)
        sums[0] = fma(load(values + at, lanes_before<S>(at, range.end)), Vector<S>{}, sums[0]);
    return sum<S>((sums[0] + sums[1]) + (sums[2] + sums[3])) == S(0);
}

template <class S>
bool finite(const Finite<S>& call) {
    constexpr double cost = 16;  // of one number, in multiply-adds
    const Index total = numbers_of(call.array, call.arrays);
    bool all = true;
    parallel(useful_threads(call.threads, total, cost * double(total)), [&](Member member) {
        bool mine = true;
        share(member, call.array, call.arrays, [&](const Array<S>& array, Range range) {
            mine = mine && finite_range(array.values, range);
        });
        if (!mine) __atomic_store_n(&all, false, __ATOMIC_RELAXED);
    });
    return all;
}

}  // namespace gatewise::GATEWISE_ISA
