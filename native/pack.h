// A matrix packed for the product: what one step of the inner loop needs lies side by side.
//
// The columns of a matrix are G blocks (gates) of `units` columns each. A tile is V vectors of
// units with all their gates; within a tile the order is [depth][vector][gate][lane], so a
// pointwise update finds a unit's gates together while their sums are hot. G = 1 is a plain matrix.
// The last tile may have fewer vectors; lanes beyond the last unit are zero. Where a factor is a
// pair, a step of the depth is a pair of rows, and the last one's odd half may be zero.

#pragma once

#include "pairs.h"
#include "threads.h"

namespace gatewise::GATEWISE_ISA {

template <class F, int G, int V>
struct Packed {
    static constexpr Index tile_units = V * lanes<F>;

    F* data;  // aligned to a vector, size(depth, units) factors
    Index depth, units;

    static Index size(Index depth, Index units) {
        return factors<F>(depth) * G * ((units + lanes<F> - 1) / lanes<F> * lanes<F>);
    }
    Index steps() const { return factors<F>(depth); }
    Index tiles() const { return (units + tile_units - 1) / tile_units; }
    Index first_unit(Index tile) const { return tile * tile_units; }
    Index tile_of(Index unit) const { return unit / tile_units; }
    int vectors(Index tile) const {
        return int(smaller(V, (units - first_unit(tile) + lanes<F> - 1) / lanes<F>));
    }
    F* panel(Index tile) const { return data + first_unit(tile) * G * steps(); }
    // The factors of a tile's step of the depth, and the first step of a vector of units.
    Index step(Index tile) const { return Index(vectors(tile)) * G * lanes<F>; }
    F* vector(Index unit, int gate) const {
        const Index tile = tile_of(unit);
        return panel(tile) + ((unit - first_unit(tile)) / lanes<F> * G + gate) * lanes<F>;
    }
};

// A packed matrix that owns its memory for one call.
template <class F, int G, int V>
class PackedBuffer {
public:
    PackedBuffer(Index depth, Index units)
        : memory_(Packed<F, G, V>::size(depth, units)), packed_{memory_.data(), depth, units} {}
    const Packed<F, G, V>& operator*() const { return packed_; }

private:
    Buffer<F> memory_;
    Packed<F, G, V> packed_;
};

template <class S>
GATEWISE_INLINE Matrix<S> transposed(Matrix<S> matrix) {
    return {matrix.data, matrix.column_stride, matrix.row_stride};
}

// The same matrix without its first columns.
template <class S>
GATEWISE_INLINE Matrix<S> from_column(Matrix<S> matrix, Index column) {
    return {matrix.data + column * matrix.column_stride, matrix.row_stride, matrix.column_stride};
}

// The same matrix without its first rows.
template <class S>
GATEWISE_INLINE Matrix<S> from_row(Matrix<S> matrix, Index row) {
    return {matrix.data + row * matrix.row_stride, matrix.row_stride, matrix.column_stride};
}

// pack_vector for a matrix whose columns are contiguous: squares of it are turned in registers.
template <class S>
[[gnu::noinline]] void pack_transposed(const S* columns, Index column_stride, int count,
                                       Index depth, S* to, Index to_stride) {
    for (Index k = 0; k < depth; k += lanes<S>) {
        const int rows = lanes_before<S>(k, depth);
        Vector<S> square[lanes<S>];
#pragma GCC unroll 16
        for (int lane = 0; lane < lanes<S>; ++lane) {
            square[lane] =
                lane < count ? load(columns + lane * column_stride + k, rows) : Vector<S>{};
        }
        transpose<S>(square);
#pragma GCC unroll 16
        for (int row = 0; row < lanes<S>; ++row) {
            if (row < rows) store(to + (k + row) * to_stride, square[row]);
        }
    }
}

// Packs one vector of one gate: `depth` rows of the columns from `column` on, `count` of them real.
template <class S>
void pack_vector(Matrix<S> from, Index column, int count, Index depth, S* to, Index to_stride) {
    const S* first = from.data + column * from.column_stride;
    if (from.column_stride == 1) {
        for (Index k = 0; k < depth; ++k) {
            store(to + k * to_stride, load(first + k * from.row_stride, count));
        }
        return;
    }
    if (from.row_stride == 1) {
        return pack_transposed(first, from.column_stride, count, depth, to, to_stride);
    }
    for (int lane = 0; lane < lanes<S>; ++lane) {
        for (Index k = 0; k < depth; ++k) {
            to[k * to_stride + lane] =
                lane < count ? first[lane * from.column_stride + k * from.row_stride] : S(0);
        }
    }
}

inline constexpr Index transposed_rows = 128;

// pack() of a matrix whose rows lie in lines of memory. All vectors of a line are taken at a time,
// of a few rows: their distance may send all of them to the same place of a cache, which then keeps
// no line for its second half.
template <class S, int G, int V>
void pack_lines(const Packed<S, G, V>& to, Index first, Index last, Matrix<S> from,
                Index gate_stride, Member member, int first_gate) {
    constexpr int at_once = vector_bytes < 64 ? 64 / vector_bytes : 1;
    constexpr Index block = 16 / at_once, line = at_once * lanes<S>;
    const Range tiles = share(member, to.tiles());
    const Index end = smaller(to.units, to.first_unit(tiles.end));
    for (Index begin = first; begin < last; begin += block) {
        const Index depth = smaller(block, last - begin);
        for (Index unit = to.first_unit(tiles.begin); unit < end; unit += line) {
            const int vectors = int((smaller(line, end - unit) + lanes<S> - 1) / lanes<S>);
            for (int gate = 0; gate < G; ++gate) {
                const S* row = from.data + (begin - first) * from.row_stride +
                               (gate + first_gate) % G * gate_stride + unit;
                S* at[at_once];
                Index step[at_once];
                for (int v = 0; v < vectors; ++v) {
                    const Index column = unit + v * lanes<S>;
                    step[v] = to.step(to.tile_of(column));
                    at[v] = to.vector(column, gate) + begin * step[v];
                }
                if (unit + line <= end) {
                    for (Index k = 0; k < depth; ++k, row += from.row_stride) {
#pragma GCC unroll 4
                        for (int v = 0; v < at_once; ++v) {
                            store(at[v], load(row + v * lanes<S>));
                            at[v] += step[v];
                        }
                    }
                    continue;
                }
                for (int v = 0; v < vectors; ++v) {
                    const Index column = v * lanes<S>;
                    pack_vector<S>({row, from.row_stride, 1}, column,
                                   lanes_before<S>(unit + column, end), depth, at[v], step[v]);
                }
            }
        }
    }
}

// Packs this member's share of the tiles: rows `first` to `last` of the packed matrix. Gate g of
// unit u is column g * gate_stride + u of `from`; they are packed in turn from `first_gate` on.
//
// Some rows at a time, so that neither side touches more pages than the processor remembers. Where
// columns lie in lines of memory, each of them is followed for a while.
template <class S, int G, int V>
void pack(const Packed<S, G, V>& to, Index first, Index last, Matrix<S> from, Index gate_stride,
          Member member, int first_gate = 0) {
    if (from.column_stride == 1)
        return pack_lines(to, first, last, from, gate_stride, member, first_gate);
    const Range tiles = share(member, to.tiles());
    for (Index begin = first; begin < last; begin += transposed_rows) {
        const Index depth = smaller(transposed_rows, last - begin);
        const Matrix<S> rows = from_row(from, begin - first);
        for (Index tile = tiles.begin; tile < tiles.end; ++tile) {
            S* at = to.panel(tile) + begin * to.step(tile);
            for (int vector = 0; vector < to.vectors(tile); ++vector) {
                const Index unit = to.first_unit(tile) + vector * lanes<S>;
                for (int gate = 0; gate < G; ++gate, at += lanes<S>) {
                    const Index column = (gate + first_gate) % G * gate_stride + unit;
                    pack_vector(rows, column, lanes_before<S>(unit, to.units), depth, at,
                                to.step(tile));
                }
            }
        }
    }
}

// The same for a matrix that is packed whole.
template <class S, int G, int V>
void pack(const Packed<S, G, V>& to, Matrix<S> from, Index gate_stride, Member member) {
    pack(to, 0, to.depth, from, gate_stride, member);
}

}  // namespace gatewise::GATEWISE_ISA
