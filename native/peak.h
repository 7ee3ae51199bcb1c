// The machine's own limit, to hold the kernels against: multiply-adds and activations that wait for
// nothing.

#pragma once

#include "activations.h"
#include "pairs.h"
#include "threads.h"

namespace gatewise::GATEWISE_ISA {

inline constexpr int chains = 12;  // enough to fill every unit while each waits for its last sum

// A function of its own, so that the chains stay in registers wherever it is called.
template <class F>
[[gnu::noinline]] Vector<Sum<F>> run_chains(Index rounds) {
    using S = Sum<F>;
    Vector<S> chain[chains];  // of different values, or the compiler sees that one is enough
    for (int c = 0; c < chains; ++c) chain[c] = broadcast(S(c));
    const Vector<F> factor = Vector<F>(broadcast(S(0.5)));
    for (Index round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (int c = 0; c < chains; ++c) chain[c] = fma(factor, factor, chain[c]);
    }
    Vector<S> total = {};
    for (int c = 0; c < chains; ++c) total += chain[c];
    return total;
}

// Keeps `threads` threads busy for some rounds; returns the multiply-adds of single numbers done.
template <class F>
double multiply_adds_of(int threads, Index rounds) {
    using S = Sum<F>;
    const PerThread<S> sums(threads, lanes<S>);
    int team = 1;
    parallel(threads, [&](Member member) {
        // Stored, so that the compiler leaves the work in.
        store(sums[member.index], run_chains<F>(rounds));
        if (member.index == 0) team = member.team;
    });
    return double(rounds) * chains * lanes<S> * numbers<F> * team;
}

// The same with an activation after the other, of a few vectors in the nearest cache; returns their
// number.
template <class S>
double activations_of(int threads, Index rounds) {
    constexpr Index pairs = 32;
    const PerThread<S> values(threads, 2 * pairs * lanes<S>);
    int team = 1;
    parallel(threads, [&](Member member) {
        S* const mine = values[member.index];
        for (Index at = 0; at < 2 * pairs; ++at) store(mine + at * lanes<S>, broadcast(S(at)));
        for (Index round = 0; round < rounds; ++round) {
            for (Index at = 0; at < 2 * pairs; at += 2) {
                S* const first = mine + at * lanes<S>;
                S* const second = first + lanes<S>;
                store(first, activate<S>(Activation::tanh, load(first)));
                store(second, activate<S>(Activation::sigmoid, load(second)));
            }
        }
        if (member.index == 0) team = member.team;
    });
    return double(rounds) * 2 * pairs * lanes<S> * team;
}

}  // namespace gatewise::GATEWISE_ISA
