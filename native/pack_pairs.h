// A matrix rounded to bfloat16 and packed in pairs of rows.

#pragma once

#include "pack.h"

namespace gatewise::GATEWISE_ISA {

// Packs one vector of one gate: `depth` rows of the columns from `column` on, `count` of them real.
// `column_pairs` has room for the pairs of one column and a vector more.
GATEWISE_INLINE void pack_vector_of_pairs(Matrix<float> from, Index column, int count, Index depth,
                                          Pair* to, Index to_stride, Pair* column_pairs) {
    const float* const first = from.data + column * from.column_stride;
    if (from.row_stride == 1) {
        for (int lane = 0; lane < lanes<Pair>; ++lane) {
            if (lane < count) round_row(first + lane * from.column_stride, depth, column_pairs);
            for (Index pair = 0; pair < factors<Pair>(depth); ++pair)
                to[pair * to_stride + lane] = lane < count ? column_pairs[pair] : Pair{0};
        }
        return;
    }
    const auto row = [&](Index k) {
        Vector<float> values = {};
        if (k >= depth) return values;
        const float* const at = first + k * from.row_stride;
        if (from.column_stride == 1) return load(at, count);
        for (int lane = 0; lane < count; ++lane) values[lane] = at[lane * from.column_stride];
        return values;
    };
    for (Index k = 0; k < depth; k += 2) store(to + k / 2 * to_stride, pair_up(row(k), row(k + 1)));
}

// As the pack of other factors. `first` is even; where `last` is odd, its missing neighbour is
// zero.
template <int G, int V>
void pack(const Packed<Pair, G, V>& to, Index first, Index last, Matrix<float> from,
          Index gate_stride, Member member, int first_gate = 0) {
    constexpr Index block = 64;  // rows at a time, as there
    Pair column_pairs[block / 2 + lanes<Pair>];
    const Range tiles = share(member, to.tiles());
    for (Index begin = first; begin < last; begin += block) {
        const Index depth = smaller(block, last - begin);
        const Matrix<float> rows = from_row(from, begin - first);
        for (Index tile = tiles.begin; tile < tiles.end; ++tile) {
            const int vectors = to.vectors(tile);
            const Index stride = Index(vectors) * G * lanes<Pair>;
            Pair* at = to.panel(tile) + begin / 2 * stride;
            for (int vector = 0; vector < vectors; ++vector) {
                const Index unit = to.first_unit(tile) + vector * lanes<Pair>;
                for (int gate = 0; gate < G; ++gate, at += lanes<Pair>) {
                    const Index column = (gate + first_gate) % G * gate_stride + unit;
                    pack_vector_of_pairs(rows, column, lanes_before<Pair>(unit, to.units), depth,
                                         at, stride, column_pairs);
                }
            }
        }
    }
}

template <int G, int V>
void pack(const Packed<Pair, G, V>& to, Matrix<float> from, Index gate_stride, Member member) {
    pack(to, 0, to.depth, from, gate_stride, member);
}

}  // namespace gatewise::GATEWISE_ISA
