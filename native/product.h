// The one matrix product: rows times a packed matrix, its sums handed to the caller while they are
// hot.
//
// Each sum is one chain of multiply-adds over the depth, from zero and in order, whatever rows it
// is computed beside: the bits of a row depend on the depth, the scalar type and the instruction
// set only.

#pragma once

#include "pack.h"

namespace gatewise::GATEWISE_ISA {

// Element k of row r is pointers[r][k * stride].
template <class S>
struct Rows {
    const S* const* pointers;
    Index count;
    Index stride = 1;
};

// The rows whose sums over C vectors fit the registers.
template <int C>
inline constexpr int most_rows = accumulators / C > 8 ? 8 : accumulators / C;

// sums[R][C] (vectors) = R rows times one panel of C vectors a step.
template <class S, int R, int C>
[[gnu::noinline]] void product(const S* const* rows, Index stride, Index depth, const S* panel,
                               S* sums) {
    Vector<S> sum[R][C] = {};
    const S* row[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) row[r] = rows[r];
    for (Index k = 0; k < depth; ++k, panel += C * lanes<S>) {
        Vector<S> right[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) right[c] = load(panel + c * lanes<S>);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Vector<S> left = broadcast(row[r][k * stride]);
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) sum[r][c] = fma(left, right[c], sum[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) store(sums + (r * C + c) * lanes<S>, sum[r][c]);
    }
}

// The same for a number of rows, 1 to R, known only now.
template <class S, int R, int C>
GATEWISE_INLINE void product_of(int rows, const S* const* pointers, Index stride, Index depth,
                                const S* panel, S* sums) {
    if constexpr (R > 1) {
        if (rows < R) return product_of<S, R - 1, C>(rows, pointers, stride, depth, panel, sums);
    }
    product<S, R, C>(pointers, stride, depth, panel, sums);
}

// The same for a number of vectors of units, 1 to V, known only now.
template <class S, int R, int G, int V>
GATEWISE_INLINE void product_of_width(int vectors, int rows, const S* const* pointers, Index stride,
                                      Index depth, const S* panel, S* sums) {
    if constexpr (V > 1) {
        if (vectors < V)
            return product_of_width<S, R, G, V - 1>(vectors, rows, pointers, stride, depth, panel,
                                                    sums);
    }
    product_of<S, R, G * V>(rows, pointers, stride, depth, panel, sums);
}

// One tile of the packed matrix.
//
// `take(row, unit, count, sums)` is called for every row and vector of units: `unit` is the first
// of `count` units, and gate g's sums are the vector at sums + g * lanes.
template <class S, int G, int V, class Take>
void multiply_tile(const Packed<S, G, V>& right, Index tile, const Rows<S>& left,
                   const Take& take) {
    constexpr int group = most_rows<G * V>;
    alignas(64) S sums[group * G * V * lanes<S>];
    const int vectors = right.vectors(tile);
    const Index groups = (left.count + group - 1) / group;
    for (Index g = 0; g < groups; ++g) {
        const Index begin = left.count * g / groups;
        const int rows = int(left.count * (g + 1) / groups - begin);
        product_of_width<S, group, G, V>(vectors, rows, left.pointers + begin, left.stride,
                                         right.depth, right.panel(tile), sums);
        for (int row = 0; row < rows; ++row) {
            for (int vector = 0; vector < vectors; ++vector) {
                const Index unit = right.first_unit(tile) + vector * lanes<S>;
                take(begin + row, unit, lanes_before<S>(unit, right.units),
                     sums + (row * vectors + vector) * G * lanes<S>);
            }
        }
    }
}

// All tiles: each panel stays in the nearest cache while all rows pass.
template <class S, int G, int V, class Take>
void multiply(const Packed<S, G, V>& right, const Rows<S>& left, const Take& take) {
    for (Index tile = 0; tile < right.tiles(); ++tile) multiply_tile(right, tile, left, take);
}

}  // namespace gatewise::GATEWISE_ISA
