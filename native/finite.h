// Whether arrays are finite.

#pragma once

#include "kernels.h"

namespace gatewise {

// Returns whether none of the numbers is NaN or infinite.
template <class S>
bool finite(const S* values, Index count) {
    // A number times 0 is 0, and NaN where it is not finite: no sum of these overflows or hides
    // one. Several sums at a time fill a vector.
    constexpr Index lanes = 16;
    S sums[lanes] = {};
    Index at = 0;
    for (; at + lanes <= count; at += lanes) {
        for (Index lane = 0; lane < lanes; ++lane) sums[lane] += values[at + lane] * S(0);
    }
    for (; at < count; ++at) sums[0] += values[at] * S(0);
    S sum = 0;
    for (const S one : sums) sum += one;
    return sum == S(0);
}

}  // namespace gatewise
