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

// One or more panels of equal width, one after the other in memory.
template <class S>
struct Panels {
    const S* data;
    Index depth;
};

// sums[P][R][C] (vectors) = R rows times P panels of C vectors a step.
template <class S, int R, int C, int P>
[[gnu::noinline]] void product(const S* const* rows, Index stride, Panels<S> panels, S* sums) {
    Vector<S> sum[R][P * C] = {};
    const S* row[R];
    const S* panel[P];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) row[r] = rows[r];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) panel[p] = panels.data + p * panels.depth * C * lanes<S>;
    for (Index k = 0; k < panels.depth; ++k) {
        Vector<S> right[P * C];
#pragma GCC unroll 8
        for (int c = 0; c < P * C; ++c) {
            right[c] = load(panel[c / C] + (k * C + c % C) * lanes<S>);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Vector<S> left = broadcast(row[r][k * stride]);
#pragma GCC unroll 8
            for (int c = 0; c < P * C; ++c) sum[r][c] = fma(left, right[c], sum[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < P * C; ++c) {
            store(sums + ((c / C * R + r) * C + c % C) * lanes<S>, sum[r][c]);
        }
    }
}

// The same for a number of rows, 1 to R, known only now.
template <class S, int R, int C, int P>
GATEWISE_INLINE void product_of(int rows, const S* const* pointers, Index stride, Panels<S> panels,
                                S* sums) {
    if constexpr (R > 1) {
        if (rows < R) return product_of<S, R - 1, C, P>(rows, pointers, stride, panels, sums);
    }
    product<S, R, C, P>(pointers, stride, panels, sums);
}

// The same for a number of vectors of units, 1 to V, known only now; several panels are full.
template <class S, int R, int G, int V, int P>
GATEWISE_INLINE void product_of_width(int vectors, int rows, const S* const* pointers, Index stride,
                                      Panels<S> panels, S* sums) {
    if constexpr (V > 1 && P == 1) {
        if (vectors < V) {
            return product_of_width<S, R, G, V - 1, P>(vectors, rows, pointers, stride, panels,
                                                       sums);
        }
    }
    product_of<S, R, G * V, P>(rows, pointers, stride, panels, sums);
}

// P tiles of the packed matrix, from `tile` on; several must be full.
//
// `take(row, unit, count, sums)` is called for every row and vector of units: `unit` is the first
// of `count` units, and gate g's sums are the vector at sums + g * lanes.
template <int P, class S, int G, int V, class Take>
void multiply_tiles(const Packed<S, G, V>& right, Index tile, const Rows<S>& left,
                    const Take& take) {
    constexpr int group = most_rows<G * V * P>;
    alignas(64) S sums[P * group * G * V * lanes<S>];
    const int vectors = right.vectors(tile);
    const Index groups = (left.count + group - 1) / group;
    for (Index g = 0; g < groups; ++g) {
        const Index begin = left.count * g / groups;
        const int rows = int(left.count * (g + 1) / groups - begin);
        product_of_width<S, group, G, V, P>(vectors, rows, left.pointers + begin, left.stride,
                                            Panels<S>{right.panel(tile), right.depth}, sums);
        const S* sum = sums;
        for (int panel = 0; panel < P; ++panel) {
            for (int row = 0; row < rows; ++row) {
                for (int vector = 0; vector < vectors; ++vector, sum += G * lanes<S>) {
                    const Index unit = right.first_unit(tile + panel) + vector * lanes<S>;
                    take(begin + row, unit, lanes_before<S>(unit, right.units), sum);
                }
            }
        }
    }
}

// All tiles: each panel stays in the nearest cache while all rows pass. One or two rows have too
// few sums to keep the multipliers busy, so they take two tiles at a time.
template <class S, int G, int V, class Take>
void multiply(const Packed<S, G, V>& right, const Rows<S>& left, const Take& take) {
    Index tile = 0;
    if (left.count <= 2) {
        const Index full = right.units / right.tile_units;
        for (; tile + 2 <= full; tile += 2) multiply_tiles<2>(right, tile, left, take);
    }
    for (; tile < right.tiles(); ++tile) multiply_tiles<1>(right, tile, left, take);
}

}  // namespace gatewise::GATEWISE_ISA
