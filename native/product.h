// The one matrix product: rows times a packed matrix, its sums handed to the caller while they are
// hot.
//
// Each sum is one chain of multiply-adds over the depth, in order, from where the caller lets it
// start, whatever rows it is computed beside and however the depth is cut: the bits of a row depend
// on its start, the depth, the factors' type and the instruction set only.

#pragma once

#include "pack.h"
#include "upcoming.h"

namespace gatewise::GATEWISE_ISA {

// Element k of row r is before[r][k] in the first `depth_before`, and then pointers[r][k' *
// stride], k' counted from there.
template <class F>
struct Rows {
    const F* const* pointers;
    Index count;
    Index stride = 1;
    const F* const* before = nullptr;
    Index depth_before = 0;
};

// A matrix of more bytes than this does not stay in the second-level cache from step to step.
inline constexpr Index far_bytes = 640 * 1024;

// The rows whose sums over C vectors fit the registers.
template <int C>
inline constexpr int most_rows = accumulators / C > 8 ? 8 : accumulators / C;

// A part of a product: rows times a panel, added to sums.
template <class F>
struct Part {
    const F* const* rows;
    Index first, stride;  // of the rows' elements
    Index depth;          // at least 1
    const F* panel;
    Sum<F>* sums;
    Index sums_stride;            // from one row's to the next's
    const char* const* upcoming;  // (depth) lines of memory to ask for; null: none
};

// sums[R][C] (vectors) += R rows times one panel of C vectors a step.
template <class F, int R, int C, bool fetch>
[[gnu::noinline]] void product(const Part<F>& part) {
    using S = Sum<F>;
    Vector<S> sum[R][C];
    const F* row[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        row[r] = part.rows[r] + part.first * part.stride;
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c)
            sum[r][c] = load(part.sums + r * part.sums_stride + c * lanes<S>);
    }
    const F* panel = part.panel;
    const char* const* line = part.upcoming;
    Index at = 0;
    // Tested at its end: a loop that might not run would have the compiler keep the sums in memory.
    const F* const end = panel + part.depth * C * lanes<F>;
    do {
        Vector<F> right[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) right[c] = load(panel + c * lanes<F>);
        if constexpr (fetch) __builtin_prefetch(*line++, 0, 2);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Vector<F> left = broadcast(row[r][at]);
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) sum[r][c] = fma(left, right[c], sum[r][c]);
        }
        at += part.stride;
        panel += C * lanes<F>;
    } while (panel != end);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c)
            store(part.sums + r * part.sums_stride + c * lanes<S>, sum[r][c]);
    }
}

// The same for a number of rows, 1 to R, known only now.
template <class F, int R, int C>
GATEWISE_INLINE void product_of(int rows, const Part<F>& part) {
    if constexpr (R > 1) {
        if (rows < R) return product_of<F, R - 1, C>(rows, part);
    }
    if (part.upcoming) return product<F, R, C, true>(part);
    product<F, R, C, false>(part);
}

// The same for a number of vectors of units, 1 to V, known only now.
template <class F, int R, int G, int V>
GATEWISE_INLINE void product_of_width(int vectors, int rows, const Part<F>& part) {
    if constexpr (V > 1) {
        if (vectors < V) return product_of_width<F, R, G, V - 1>(vectors, rows, part);
    }
    product_of<F, R, G * V>(rows, part);
}

// Adds the products with one tile to `sums` (rows, vectors of the tile, G + apart, lanes).
//
// With `apart`, the first elements of a row do not go to the same sums as the rest: theirs are the
// first G vectors, the others' the last G.
//
// The panel is taken by parts that stay in the nearest cache while all rows pass.
template <int apart = 0, class F, int G, int V>
void add_tile(const Packed<F, G, V>& right, Index tile, const Rows<F>& left, Sum<F>* sums,
              Upcoming* upcoming) {
    static_assert(apart == 0 || V == 1, "the sums of one part lie side by side");
    using S = Sum<F>;
    constexpr int group = most_rows<G * V>;
    constexpr Index most = 32 * 1024 / (G * V * vector_bytes);
    const int vectors = right.vectors(tile);
    const Index width = Index(vectors) * G * lanes<F>, stride = width + apart * lanes<F>;
    const Index groups = (left.count + group - 1) / group;
    for (Index first = 0, next; first < right.steps(); first = next) {
        const bool before = first < left.depth_before;
        next = smaller(first + most, before ? left.depth_before : right.steps());
        for (Index g = 0; g < groups; ++g) {
            const Index begin = left.count * g / groups;
            const int rows = int(left.count * (g + 1) / groups - begin);
            product_of_width<F, group, G, V>(
                vectors, rows,
                {.rows = (before ? left.before : left.pointers) + begin,
                 .first = before ? first : first - left.depth_before,
                 .stride = before ? 1 : left.stride,
                 .depth = next - first,
                 .panel = right.panel(tile) + first * width,
                 .sums = sums + begin * stride + (before ? 0 : apart * lanes<S>),
                 .sums_stride = stride,
                 .upcoming = upcoming ? upcoming->take(next - first) : nullptr});
        }
    }
}

// Takes the same sums twice; the second finds in them what the first left.
//
// All rows are taken once before the first is taken again: the update of a row is a long chain of
// operations that wait for each other, and its halves leave room for several rows at a time in what
// the processor looks ahead.
template <class First, class Second>
struct Twice {
    First first;
    Second second;

    // Where the rows come one at a time.
    template <class S>
    void operator()(Index row, Index unit, int count, S* sums) const {
        first(row, unit, count, sums);
        second(row, unit, count, sums);
    }
};

template <class Each, class Take>
GATEWISE_INLINE void take_in_turn(const Each& each, Index begin, Index end, const Take& take) {
    each(begin, end, take);
}
template <class Each, class First, class Second>
GATEWISE_INLINE void take_in_turn(const Each& each, Index begin, Index end,
                                  const Twice<First, Second>& take) {
    each(begin, end, take.first);
    each(begin, end, take.second);
}

// This member's share of the tiles of a product.
//
// For every row and vector of units, `start(row, unit, count, sums)` says where the sums start and
// `take(row, unit, count, sums)` takes them: `unit` is the first of `count` units, and gate g's
// sums are the vector at sums + g * lanes. For `apart` see add_tile.
template <int apart = 0, class F, int G, int V, class Start, class Take>
void multiply(const Packed<F, G, V>& right, const Rows<F>& left, const Start& start,
              const Take& take, Upcoming* upcoming, Member member) {
    using S = Sum<F>;
    constexpr Index most = 8 * most_rows<G * V>;
    alignas(64) S sums[most * (G * V + apart) * lanes<S>];
    const Range tiles = share(member, right.tiles());
    for (Index tile = tiles.begin; tile < tiles.end; ++tile) {
        const int vectors = right.vectors(tile);
        const auto each = [&](Index begin, Index end, const auto& visit) {
            S* at = sums;
            for (Index row = begin; row < end; ++row) {
                for (int vector = 0; vector < vectors; ++vector, at += (G + apart) * lanes<S>) {
                    const Index unit = right.first_unit(tile) + vector * lanes<S>;
                    visit(row, unit, lanes_before<S>(unit, right.units), at);
                }
            }
        };
        for (Index begin = 0; begin < left.count; begin += most) {
            const Index end = smaller(left.count, begin + most);
            each(begin, end, start);
            const Rows<F> rows = {left.pointers + begin, end - begin, left.stride,
                                  left.before ? left.before + begin : nullptr, left.depth_before};
            add_tile<apart>(right, tile, rows, sums, upcoming);
            take_in_turn(each, begin, end, take);
        }
    }
}

// The start of sums that nothing comes before.
template <class S, int G>
struct FromZero {
    void operator()(Index, Index, int, S* sums) const {
        for (int gate = 0; gate < G; ++gate) store(sums + gate * lanes<S>, Vector<S>{});
    }
};

}  // namespace gatewise::GATEWISE_ISA
