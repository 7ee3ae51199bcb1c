// Whether arrays are finite.

#pragma once

#include "kernels.h"

namespace gatewise {

// Returns whether none of the numbers is NaN or infinite.
template <class S>
bool finite(const S* values, Index count) {
    S sum = 0;
    // A number times 0 is 0, and NaN where the number is not finite: nothing gets lost or overflows.
    constexpr Index lanes = 16;
    S sums[lanes] = {};
    Index at = 0;
    for (; at + lanes <= count; at += lanes) {
        for (Index lane = 0; lane < lanes; ++lane) sums[lane] += values[at + lane] * S(0);
    }
    for (; at < count; ++at) sum += values[at] * S(0);
    for (const S one : sums) sum += one;
    return sum == S(0);
}

}  // namespace gatewise
