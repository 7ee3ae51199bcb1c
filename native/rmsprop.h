// RMSprop in one pass over its arrays.
//
//     v = rho v + (1 - rho) g g      a = rho a + (1 - rho) g      root = sqrt(v + epsilon - a a)
//     m = momentum m + learning_rate g / root                     w = w - m
//
// Hinton, lecture 6e of "Neural Networks for Machine Learning", 2012. Every operation is rounded by
// itself, in the order of gatewise/optimizers/rmsprop.py, so all instruction sets give the same
// bits. The loop is left to the compiler's vectorizer: a division and a root have one exact result.

#pragma once

#include "threads.h"

namespace gatewise::GATEWISE_ISA {

GATEWISE_INLINE float square_root(float x) {
    return __builtin_sqrtf(x);
}
GATEWISE_INLINE double square_root(double x) {
    return __builtin_sqrt(x);
}

template <class S>
struct RmspropRates {
    S learning_rate, rho, rest, momentum, epsilon;  // rest: 1 - rho
};

template <bool with_momentum, bool centered, class S>
void rmsprop_range(const RmspropTensor<S>& tensor, Range range, const RmspropRates<S>& rates) {
    S* const __restrict weight = tensor.weight;
    const S* const __restrict gradient = tensor.gradient;
    S* const __restrict velocity = tensor.velocity;
    S* const __restrict momentum = tensor.momentum;
    S* const __restrict average = tensor.average;
    for (Index at = range.begin; at < range.end; ++at) {
        const S g = gradient[at];
        const S v = velocity[at] * rates.rho + rates.rest * g * g;
        velocity[at] = v;
        S square = v + rates.epsilon;
        if constexpr (centered) {
            const S a = average[at] * rates.rho + rates.rest * g;
            average[at] = a;
            square -= a * a;
        }
        const S root = square_root(square);
        if constexpr (with_momentum) {
            const S m = momentum[at] * rates.momentum + rates.learning_rate * g / root;
            momentum[at] = m;
            weight[at] -= m;
        } else {
            weight[at] -= rates.learning_rate * g / root;
        }
    }
}

template <class S>
void rmsprop_tensor(const RmspropTensor<S>& tensor, Range range, const RmspropRates<S>& rates) {
    if (tensor.momentum) {
        tensor.average ? rmsprop_range<true, true>(tensor, range, rates)
                       : rmsprop_range<true, false>(tensor, range, rates);
    } else {
        tensor.average ? rmsprop_range<false, true>(tensor, range, rates)
                       : rmsprop_range<false, false>(tensor, range, rates);
    }
}

template <class S>
void rmsprop(const Rmsprop<S>& call) {
    const RmspropRates<S> rates = {S(call.learning_rate), S(call.rho), S(1 - call.rho),
                                   S(call.momentum), S(call.epsilon)};
    constexpr double cost = 32;  // of one number, in multiply-adds
    const Index total = numbers_of(call.tensor, call.tensors);
    parallel(useful_threads(call.threads, total, cost * double(total)), [&](Member member) {
        share(member, call.tensor, call.tensors, [&](const RmspropTensor<S>& tensor, Range range) {
            rmsprop_tensor(tensor, range, rates);
        });
    });
}

}  // namespace gatewise::GATEWISE_ISA
