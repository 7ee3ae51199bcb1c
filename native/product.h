// The one matrix product: rows times a packed matrix, its sums handed to the caller while they are
// hot.
//
// Each sum is one chain of multiply-adds over the depth, in order, from where the caller lets it
// start, whatever rows it is computed beside and however the depth is cut: the bits of a row depend
// on its start, the depth, the factors' type and the instruction set only.

#pragma once

#include <type_traits>

#include "shadow.h"
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
    Shadow<F>* shadow = nullptr;  // what else is multiplied while a single row is
};

// The rows whose sums over C vectors fit the registers.
template <int C>
inline constexpr int most_rows = accumulators / C > 8 ? 8 : accumulators / C;

// The rows of a product in groups whose sums over C vectors fit the registers.
//
// Where these hold few rows, the last group takes the rows that are left over with its own, and
// takes them by halves of the vectors: a group of one row or two would leave most of the registers
// empty, and wait for the panel instead. A panel from far that no other group takes before comes
// faster in order.
template <int C>
class RowGroups {
public:
    static constexpr int most = most_rows<C>;
    static constexpr bool may_take_halves =
        C % 2 == 0 && most > 1 && most_rows<(C + 1) / 2> >= 2 * most - 1;
    static constexpr int longest = may_take_halves ? 2 * most - 1 : most;

    RowGroups(Index rows, bool far)
        : rows_(rows),
          halves_(may_take_halves && rows > most && !(far && rows <= longest)),
          count_(halves_ ? rows / most : (rows + most - 1) / most) {}

    Index count() const { return count_; }
    Range operator[](Index group) const {
        if (halves_) return {group * most, group + 1 < count_ ? (group + 1) * most : rows_};
        return {rows_ * group / count_, rows_ * (group + 1) / count_};
    }

private:
    const Index rows_;
    const bool halves_;
    const Index count_;
};

// A part of a product: rows times a panel, added to sums.
template <class F>
struct Part {
    const F* const* rows;
    Index first, stride;  // of the rows' elements
    Index depth;          // at least 1
    const F* panel;
    const Sum<F>* const* from;      // where each row's sums begin, which may be where they go
    Index from_first, from_stride;  // the first vector of them, and from one to the next
    Sum<F>* sums;
    Index sums_stride;            // from one row's to the next's
    const char* const* upcoming;  // (depth) lines of memory to ask for; null: none
    const char* ahead;            // the first of as many more, ahead_stride bytes apart; null: none
    Index ahead_stride;
};

// Whether R rows' elements stay in AVX2's registers beside their sums, while the vectors of a panel
// come one after the other. Such loops take several steps at a time: so few sums fit the registers
// that what a loop does beside its multiply-adds is a large part of the work.
template <class F, int R, int C>
#if defined(__AVX2__) && !defined(__AVX512F__)
inline constexpr bool rows_stay = std::is_same_v<F, Sum<F>> && R * C + R + 1 <= 16;
#else
inline constexpr bool rows_stay = false;
#endif

// sums += R rows' elements at `at` times the C vectors of a step.
template <class F, int R, int C>
GATEWISE_INLINE void add_step(const F* const (&row)[R], Index at, const F* step,
                              Vector<Sum<F>> (&sum)[R][C]) {
    if constexpr (rows_stay<F, R, C>) {
        Vector<F> left[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) left[r] = broadcast(row[r][at]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const Vector<F> right = load(step + c * lanes<F>);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) sum[r][c] = fma(left[r], right, sum[r][c]);
        }
    } else {
        Vector<F> right[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) right[c] = load(step + c * lanes<F>);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Vector<F> left = broadcast(row[r][at]);
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) sum[r][c] = fma(left, right[c], sum[r][c]);
        }
    }
}

template <int count>
using Steps = std::integral_constant<int, count>;

// sums[R][C] (vectors) = from[R][C] + R rows times C vectors of each step of a panel, which has W.
template <class F, int R, int C, int W, bool with_upcoming, bool with_ahead>
[[gnu::noinline]] void product(const Part<F>& part) {
    using S = Sum<F>;
    Vector<S> sum[R][C];
    const F* row[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        row[r] = part.rows[r] + part.first * part.stride;
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c)
            sum[r][c] = load(part.from[r] + part.from_first + c * part.from_stride);
    }
    const F* panel = part.panel;
    const char* const* line = part.upcoming;
    const char* ahead = part.ahead;
    Index at = 0;
    const auto add = [&]<int steps>(Steps<steps>) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int step = 0; step < steps; ++step) {
            if constexpr (with_upcoming) __builtin_prefetch(*line++, 0, 2);
            if constexpr (with_ahead) {
                __builtin_prefetch(ahead, 0, 2);
                ahead += part.ahead_stride;
            }
            add_step<F, R, C>(row, at + step * part.stride, panel, sum);
            panel += W * lanes<F>;
        }
        if constexpr (steps == 1) {
            at += part.stride;
        } else {
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) row[r] += steps * part.stride;
        }
    };
    // Tested at its end: a loop that might not run would have the compiler keep the sums in memory.
    const auto add_until = [&](const F* end, auto steps) __attribute__((always_inline)) {
        do add(steps);
        while (panel != end);
    };
    const F* const end = panel + part.depth * W * lanes<F>;
    constexpr int at_once = rows_stay<F, R, C> ? 4 : 1;
    if constexpr (at_once > 1) {
        const Index rest = part.depth % at_once;
        if (rest < part.depth) add_until(end - rest * W * lanes<F>, Steps<at_once>{});
        if (rest > 0) add_until(end, Steps<1>{});
    } else {
        add_until(end, Steps<1>{});
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c)
            store(part.sums + r * part.sums_stride + c * lanes<S>, sum[r][c]);
    }
}

// The same for a number of rows, `fewest` to R, known only now.
template <class F, int fewest, int R, int C, int W>
GATEWISE_INLINE void product_of(int rows, const Part<F>& part) {
    if constexpr (R > fewest) {
        if (rows < R) return product_of<F, fewest, R - 1, C, W>(rows, part);
    }
    if (part.ahead) {
        part.upcoming ? product<F, R, C, W, true, true>(part)
                      : product<F, R, C, W, false, true>(part);
    } else {
        part.upcoming ? product<F, R, C, W, true, false>(part)
                      : product<F, R, C, W, false, false>(part);
    }
}

// The same for more rows than whole rows of sums fit the registers, in two halves.
template <class F, int C>
GATEWISE_INLINE void product_in_halves(int rows, Part<F> part) {
    using Groups = RowGroups<C>;
    product_of<F, Groups::most + 1, Groups::longest, C / 2, C>(rows, part);
    part.panel += C / 2 * lanes<F>;
    part.from_first = C / 2 * part.from_stride;
    part.sums += C / 2 * lanes<Sum<F>>;
    part.upcoming = nullptr;
    part.ahead = nullptr;
    product_of<F, Groups::most + 1, Groups::longest, C / 2, C>(rows, part);
}

// The product of a single row, and beside it a part of its shadow: as many multiply-adds of each in
// turn.
template <class S, int C>
[[gnu::noinline]] void product_with_shadow(const Part<S>& part, const ShadowPart<S>& beside) {
    constexpr int turns = lanes<S> < C ? 1 : lanes<S> / C;
    Vector<S> sum[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
        sum[c] = load(part.from[0] + part.from_first + c * part.from_stride);
    const S* left = part.rows[0] + part.first * part.stride;
    const S* panel = part.panel;
    const auto add = [&]() __attribute__((always_inline)) {
        const Vector<S> value = broadcast(*left);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[c] = fma(value, load(panel + c * lanes<S>), sum[c]);
        left += part.stride;
        panel += C * lanes<S>;
    };
    ShadowSums<S> others(beside);
    const Index both = smaller(part.depth / turns, beside.depth);
    for (Index at = 0; at < both; ++at) {
#pragma GCC unroll 16
        for (int turn = 0; turn < turns; ++turn) add();
        others.add();
    }
    for (Index at = both * turns; at < part.depth; ++at) add();
    for (Index at = both; at < beside.depth; ++at) others.add();
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) store(part.sums + c * lanes<S>, sum[c]);
    others.finish(beside);
}

// Where the sums of some rows start: row r's are the vectors at row[r], so far from each other.
// Null: where they go.
template <class S>
struct Begun {
    const S* const* row = nullptr;
    Index stride = 0;
};

// The next part of a matrix that outgrows the nearer caches, asked for while all rows pass the one
// before it.
struct Ahead {
    const char* first;  // null: nothing is asked for
    Index bytes, stride;

    // What the next so many steps ask for; they leave the rest to others.
    const char* take(Index steps) {
        if (first == nullptr || bytes <= 0) return nullptr;
        const char* const taken = first;
        first += steps * stride;
        bytes -= steps * stride;
        return taken;
    }
};

// Whether a matrix outgrows the nearer caches.
template <class F, int G, int V>
bool is_far(const Packed<F, G, V>& right) {
    return right.size(right.depth, right.units) * Index(sizeof(F)) > 1 << 20;
}

// What `taken` steps of the tile lead to: the rest of it, or the tile after it, for `groups` of
// rows that take `steps` each. A single group passes everything once, in order, which the processor
// sees for itself.
template <class F, int G, int V>
Ahead ahead_of(const Packed<F, G, V>& right, Index tile, Index taken, Index most, Index groups,
               Index steps) {
    constexpr Index line = 64;
    if (groups == 1 || !is_far(right)) return {nullptr, 0, 0};
    if (taken == right.steps()) {
        tile = tile + 1 < right.tiles() ? tile + 1 : 0;
        taken = 0;
    }
    const Index width = right.step(tile);
    const Index bytes = smaller(most, right.steps() - taken) * width * Index(sizeof(F));
    const Index slots = groups * steps, stride = (bytes + slots * line - 1) / (slots * line) * line;
    return {reinterpret_cast<const char*>(right.panel(tile) + taken * width), bytes, stride};
}

// add_tile for a tile of C vectors and their gates.
template <int apart, int C, class F, int G, int V>
void add_tile_of(const Packed<F, G, V>& right, Index tile, const Rows<F>& left, Sum<F>* sums,
                 Begun<Sum<F>> begun, Upcoming* upcoming) {
    using S = Sum<F>;
    using Groups = RowGroups<C>;
    constexpr Index most = 256 * 1024 / (G * V * vector_bytes);
    constexpr Index width = C * lanes<F>, stride = (C + apart) * lanes<S>;
    const Groups groups(left.count, is_far(right));
    for (Index first = 0, next; first < right.steps(); first = next) {
        const bool before = first < left.depth_before;
        const bool begins = first == 0 && begun.row != nullptr;
        next = smaller(first + most, before ? left.depth_before : right.steps());
        Ahead ahead = ahead_of(right, tile, next, most, groups.count(), next - first);
        for (Index g = 0; g < groups.count(); ++g) {
            const auto [begin, end] = groups[g];
            const int rows = int(end - begin);
            S* const to = sums + begin * stride + (before ? 0 : apart * lanes<S>);
            const S* gone_on[Groups::longest];
            for (int row = 0; row < Groups::longest; ++row) gone_on[row] = to + row * stride;
            const Part<F> part = {.rows = (before ? left.before : left.pointers) + begin,
                                  .first = before ? first : first - left.depth_before,
                                  .stride = before ? 1 : left.stride,
                                  .depth = next - first,
                                  .panel = right.panel(tile) + first * width,
                                  .from = begins ? begun.row + begin : gone_on,
                                  .from_first = 0,
                                  .from_stride = begins ? begun.stride : lanes<S>,
                                  .sums = to,
                                  .sums_stride = stride,
                                  .upcoming = upcoming ? upcoming->take(next - first) : nullptr,
                                  .ahead = ahead.take(next - first),
                                  .ahead_stride = ahead.stride};
            if constexpr (std::is_same_v<F, S> && Shadow<S>::fits) {
                const ShadowPart<S>* const beside = left.shadow ? left.shadow->take() : nullptr;
                if (beside) {
                    product_with_shadow<S, C>(part, *beside);
                    continue;
                }
            }
            if constexpr (Groups::may_take_halves) {
                if (rows > Groups::most) {
                    product_in_halves<F, C>(rows, part);
                    continue;
                }
            }
            product_of<F, 1, Groups::most, C, C>(rows, part);
        }
    }
}

// The same for a number of vectors of units, 1 to `most`, known only now.
template <int apart, int most, class F, int G, int V>
GATEWISE_INLINE void add_tile_of_width(const Packed<F, G, V>& right, Index tile,
                                       const Rows<F>& left, Sum<F>* sums, Begun<Sum<F>> begun,
                                       Upcoming* upcoming) {
    if constexpr (most > 1) {
        if (right.vectors(tile) < most)
            return add_tile_of_width<apart, most - 1>(right, tile, left, sums, begun, upcoming);
    }
    add_tile_of<apart, G * most>(right, tile, left, sums, begun, upcoming);
}

// Adds the products with one tile to `sums` (rows, vectors of the tile, G + apart, lanes), which
// start as `begun`.
//
// With `apart`, the first elements of a row do not go to the same sums as the rest: theirs are the
// first G vectors, the others' the last G, and all of them start where they go.
//
// The panel is taken by parts that stay in the second-level cache while all rows pass. From there
// it comes as fast as four rows or more can take it, and each part costs every row the way of its
// sums to memory and back.
template <int apart = 0, class F, int G, int V>
void add_tile(const Packed<F, G, V>& right, Index tile, const Rows<F>& left, Sum<F>* sums,
              Begun<Sum<F>> begun, Upcoming* upcoming) {
    static_assert(apart == 0 || V == 1, "the sums of one part lie side by side");
    add_tile_of_width<apart, V>(right, tile, left, sums, begun, upcoming);
}

// sums[2][C] (vectors) = from[2][C] + a row times C vectors of each step of two panels.
template <class F, int C>
[[gnu::noinline]] void product_of_pair(const F* row, Index stride, Index depth, const F* panel,
                                       Index panels_apart, const Sum<F>* const* from,
                                       Index from_stride, Sum<F>* sums, Index sums_apart) {
    using S = Sum<F>;
    Vector<S> sum[2][C];
#pragma GCC unroll 2
    for (int tile = 0; tile < 2; ++tile) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[tile][c] = load(from[tile] + c * from_stride);
    }
    const F* const end = panel + depth * C * lanes<F>;
    do {
        const Vector<F> left = broadcast(*row);
#pragma GCC unroll 2
        for (int tile = 0; tile < 2; ++tile) {
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) {
                const Vector<F> right = load(panel + tile * panels_apart + c * lanes<F>);
                sum[tile][c] = fma(left, right, sum[tile][c]);
            }
        }
        row += stride;
        panel += C * lanes<F>;
    } while (panel != end);
#pragma GCC unroll 2
    for (int tile = 0; tile < 2; ++tile) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) store(sums + tile * sums_apart + c * lanes<S>, sum[tile][c]);
    }
}

// add_tile for a single row, this tile and the next one at a time, both of V vectors: the sums of
// one are too few chains of multiply-adds to keep the processor busy. The other's sums, and where
// they start, follow as if they were a second row's.
template <int apart = 0, class F, int G, int V>
void add_pair(const Packed<F, G, V>& right, Index tile, const Rows<F>& left, Sum<F>* sums,
              Begun<Sum<F>> begun) {
    using S = Sum<F>;
    constexpr int C = G * V;
    constexpr Index width = C * lanes<F>, sums_apart = (C + apart) * lanes<S>;
    for (Index first = 0, next; first < right.steps(); first = next) {
        const bool before = first < left.depth_before;
        next = before ? left.depth_before : right.steps();
        S* const to = sums + (before ? 0 : apart * lanes<S>);
        const S* const gone_on[2] = {to, to + sums_apart};
        const bool begins = first == 0 && begun.row != nullptr;
        const F* const row =
            before ? left.before[0] : left.pointers[0] + (first - left.depth_before) * left.stride;
        product_of_pair<F, C>(
            row, before ? 1 : left.stride, next - first, right.panel(tile) + first * width,
            right.panel(tile + 1) - right.panel(tile), begins ? begun.row : gone_on,
            begins ? begun.stride : lanes<S>, to, sums_apart);
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

// The start of sums that stand in memory: those of gate g at where(row) + g * gate_stride.
template <int G, class Where>
struct FromMemory {
    Where where;
    Index gate_stride;

    template <class S>
    void operator()(Index row, Index unit, int count, S* sums) const {
        for (int gate = 0; gate < G; ++gate)
            store(sums + gate * lanes<S>, load(where(row) + gate * gate_stride + unit, count));
    }

    auto at(Index row, Index unit) const { return where(row) + unit; }
    template <class S>
    Index stride() const {
        return G == 1 ? lanes<S> : gate_stride;
    }
};

template <int G, class Where>
FromMemory<G, Where> from_memory(Where where, Index gate_stride) {
    return {where, gate_stride};
}

// The start of sums that nothing comes before.
template <class S, int G>
struct FromZero {
    void operator()(Index, Index, int, S* sums) const {
        for (int gate = 0; gate < G; ++gate) store(sums + gate * lanes<S>, Vector<S>{});
    }

    const S* at(Index, Index) const { return zeros; }
    template <class>
    Index stride() const {
        return 0;
    }

private:
    alignas(64) static constexpr S zeros[lanes<S>] = {};
};

// This member's share of the tiles of a product.
//
// For every row and vector of units, `start(row, unit, count, sums)` says where the sums start and
// `take(row, unit, count, sums)` takes them: `unit` is the first of `count` units, and gate g's
// sums are the vector at sums + g * lanes. For `apart` see add_tile. A start that can also say
// where in memory it is, `start.at(row, unit)`, saves whole tiles the copy.
//
// Of a few rows, several tiles are added before any is taken: what is done with the sums of one is
// a long chain of operations that wait for each other.
template <int apart = 0, class F, int G, int V, class Start, class Take>
void multiply(const Packed<F, G, V>& right, const Rows<F>& left, const Start& start,
              const Take& take, Upcoming* upcoming, Member member) {
    using S = Sum<F>;
    constexpr Index most = 8 * most_rows<G * V>, sums_of_row = (G * V + apart) * lanes<S>;
    constexpr Index worth_taking = 8;  // rows of a tile's sums: they keep the processor busy
    constexpr bool in_memory = apart == 0 && (G == 1 || V == 1) && requires { start.at(0, 0); };
    alignas(64) S sums[most * sums_of_row];
    const S* row_begins[in_memory ? most : 1];
    const Range tiles = share(member, right.tiles());
    const Index at_once = larger(1, worth_taking / larger(1, left.count));
    const bool by_pairs = left.count == 1 && left.shadow == nullptr;
    for (Index first = tiles.begin, last; first < tiles.end; first = last) {
        last = smaller(tiles.end, first + at_once);
        for (Index begin = 0, end; begin < left.count; begin = end) {
            end = smaller(left.count, begin + most);
            Rows<F> rows = left;
            rows.pointers += begin;
            rows.count = end - begin;
            if (rows.before) rows.before += begin;
            const auto sums_of = [&](Index tile) {
                return sums + (tile - first) * rows.count * sums_of_row;
            };
            const auto each_of = [&](Index tile, Index from, Index to, const auto& visit) {
                // A single one is known to the compiler, which then keeps what the rows share in
                // registers.
                const int vectors = V == 1 ? 1 : right.vectors(tile);
                S* at = sums_of(tile);
                for (Index row = from; row < to; ++row) {
                    for (int vector = 0; vector < vectors; ++vector, at += (G + apart) * lanes<S>) {
                        const Index unit = right.first_unit(tile) + vector * lanes<S>;
                        visit(row, unit, lanes_before<S>(unit, right.units), at);
                    }
                }
            };
            for (Index tile = first, next; tile < last; tile = next) {
                const bool pair =
                    by_pairs && tile + 1 < last && right.first_unit(tile + 2) <= right.units;
                next = tile + (pair ? 2 : 1);
                Begun<S> begun;
                if constexpr (in_memory) {
                    const Index vectors = V == 1 ? 1 : right.vectors(tile);
                    if (right.first_unit(tile) + vectors * lanes<S> <= right.units) {
                        const S** row_begin = row_begins;
                        for (Index of = tile; of < next; ++of) {
                            for (Index row = begin; row < end; ++row)
                                *row_begin++ = start.at(row, right.first_unit(of));
                        }
                        begun = {row_begins, start.template stride<S>()};
                    }
                }
                if (begun.row == nullptr) {
                    for (Index of = tile; of < next; ++of) each_of(of, begin, end, start);
                }
                pair ? add_pair<apart>(right, tile, rows, sums_of(tile), begun)
                     : add_tile<apart>(right, tile, rows, sums_of(tile), begun, upcoming);
            }
            const auto each = [&](Index from, Index to, const auto& visit) {
                for (Index tile = first; tile < last; ++tile) each_of(tile, from, to, visit);
            };
            take_in_turn(each, begin, end, take);
        }
    }
}

}  // namespace gatewise::GATEWISE_ISA
