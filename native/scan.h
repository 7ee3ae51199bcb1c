// What both loops over time share: who does which rows, in which order, and which steps are real.

#pragma once

#include "product_pairs.h"

namespace gatewise::GATEWISE_ISA {

// A matrix with this many columns is packed plainly; this many vectors of it fill the registers
// best.
inline constexpr int plain_vectors = 4;

template <class F>
using PlainBuffer = PackedBuffer<F, 1, plain_vectors>;

GATEWISE_INLINE Index gates_of(Cell cell) {
    return cell == Cell::lstm ? 4 : cell == Cell::simple_rnn ? 1 : 3;
}

// Whether the cell has a memory c beside h.
GATEWISE_INLINE bool has_memory(Cell cell) {
    return cell == Cell::lstm || cell == Cell::cifg;
}

// Where the parts of a row of BackwardScan::grad_product begin, and how many numbers it has.
struct GradientRow {
    Index recurrent, cell, input, hidden, shown, columns;
};

GATEWISE_INLINE GradientRow gradient_row(const Layer& layer) {
    const Index H = layer.units, columns = gates_of(layer.cell) * H;
    GradientRow row = {0, columns, 0, columns, columns, columns};
    if (layer.layer_norm) {
        row.recurrent = columns;
        row.cell = row.recurrent + columns;
        row.input = row.cell + (has_memory(layer.cell) ? H : 0);
        row.columns = row.hidden = row.input + columns;
    }
    if (layer.projected) {
        row.shown = row.hidden + layer.outputs;
        row.columns = row.shown + H;
    }
    return row;
}

// The same of a row of Forward::saved; `statistics` are up to four numbers.
struct SavedRow {
    Index recurrent, input, cell, statistics, columns;
};

GATEWISE_INLINE SavedRow saved_row(const Layer& layer) {
    const Index H = layer.units, columns = gates_of(layer.cell) * H;
    if (!layer.layer_norm) return {H, H, H, H, H};
    const Index cell = H + 2 * columns, statistics = cell + (has_memory(layer.cell) ? H : 0);
    return {H, H + columns, cell, statistics, statistics + 16};
}

// Whether so many numbers outgrow the caches before anybody comes to read them. Fetching each line
// only to overwrite it then costs more than a step has time for.
template <class S>
GATEWISE_INLINE bool outgrow_caches(Index numbers) {
    constexpr Index many_bytes = 2 * 1024 * 1024;
    return numbers * Index(sizeof(S)) > many_bytes;
}

// Whether rows of so many numbers that begin there are whole vectors each, and these whole lines.
template <class S>
GATEWISE_INLINE bool in_whole_lines(const S* data, Index row) {
    constexpr int line_bytes = 64;
    return vector_bytes == line_bytes && row % lanes<S> == 0 &&
           reinterpret_cast<std::uintptr_t>(data) % line_bytes == 0;
}

// The time index of a processing step.
GATEWISE_INLINE Index time_at(const Layer& layer, Index step) {
    return layer.reverse ? layer.time - 1 - step : step;
}

GATEWISE_INLINE bool is_real(const bool* mask, const Layer& layer, Index row, Index t) {
    return mask == nullptr || mask[row * layer.time + t];
}

template <class S>
GATEWISE_INLINE void copy(S* to, const S* from, Index count) {
    __builtin_memcpy(to, from, std::size_t(count) * sizeof(S));
}

template <class S>
GATEWISE_INLINE void clear(S* to, Index count) {
    __builtin_memset(to, 0, std::size_t(count) * sizeof(S));
}

// The same past the caches, for numbers that are whole lines.
template <class S>
GATEWISE_INLINE void clear_past_caches(S* to, Index count) {
    for (Index at = 0; at < count; at += lanes<S>) store_past_caches(to + at, Vector<S>{});
}

// Calls `each(unit, count)` for the vectors of these units, which begin with a whole vector.
template <class S, class Each>
GATEWISE_INLINE void for_vectors(Range units, const Each& each) {
    for (Index unit = units.begin; unit < units.end; unit += lanes<S>)
        each(unit, lanes_before<S>(unit, units.end));
}

template <class S, class Each>
GATEWISE_INLINE void for_vectors(Index units, const Each& each) {
    for_vectors<S>(Range{0, units}, each);
}

// The share (H) of a state that stays as it was before a row's step; null: nothing stays.
template <class S>
GATEWISE_INLINE const S* share_at(const Sequence<S>& zoneout, Index row, Index t) {
    if (zoneout.data == nullptr) return nullptr;
    return zoneout.data + row * zoneout.batch_stride + t * zoneout.time_stride;
}

// A state after a step, some of which stays as it was before (zoneout, Krueger et al. 2016).
template <class S>
GATEWISE_INLINE Vector<S> zoned(const S* share, Vector<S> before, Vector<S> after, Index unit,
                                int count) {
    if (share == nullptr) return after;
    const Vector<S> stays = load(share + unit, count);
    return fma(stays, before, (S(1) - stays) * after);
}

// The part of a state's cotangent that the new state receives, and what the one before receives
// past it.
template <class S>
GATEWISE_INLINE Vector<S> of_new(const S* share, Vector<S> grad, Index unit, int count) {
    return share == nullptr ? grad : (S(1) - load(share + unit, count)) * grad;
}
template <class S>
GATEWISE_INLINE Vector<S> with_old(const S* share, Vector<S> passed, Vector<S> grad, Index unit,
                                   int count) {
    return share == nullptr ? passed : fma(load(share + unit, count), grad, passed);
}

// Some rows of the batch, in order.
struct RowList {
    const Index* row;
    Index count;

    Index operator[](Index place) const { return row[place]; }
};

// A member's share of so many units, whole vectors of them.
template <class S>
GATEWISE_INLINE Range units_of(Member member, Index count) {
    const Range vectors = share(member, (count + lanes<S> - 1) / lanes<S>);
    return {vectors.begin * lanes<S>, smaller(count, vectors.end * lanes<S>)};
}

// What one thread works on: some rows, alone or in a crew that takes the units of the same rows
// apart and meets at barriers.
struct Place {
    int own;     // the number of the memory that is this thread's
    int common;  // the number of the memory that is the crew's
    RowList rows;
    Member crew;

    bool first() const { return crew.index == 0; }

    // Calls `visit(at, row)` for each row, which is rows[at], from both ends towards the middle. Of
    // rows at an even distance, a processor fetches those that it expects next, and past the last
    // one it would take from another thread what that is at work on.
    template <class Visit>
    GATEWISE_INLINE void each_row(const Visit& visit) const {
        const Index half = (rows.count + 1) / 2;
        for (Index turn = 0; turn < rows.count; ++turn) {
            const Index at = turn < half ? turn : rows.count - 1 - (turn - half);
            visit(at, rows[at]);
        }
    }

    // Ends a step: waits for the crew. Where that is held up the first goes on alone, with its own
    // memory and the crew's; returns whether this thread goes on.
    bool meet() {
        crew.barrier();
        if (!crew.held_up()) return true;
        const bool goes_on = first();
        crew = Member{0, 1};
        return goes_on;
    }

    // This thread's units.
    template <class S>
    Range units(Index count) const {
        return units_of<S>(crew, count);
    }
};

// How a call is shared out among threads.
//
// Usually a slice of the batch goes through all time steps in one thread, with no barrier between
// steps: as many rows as the others', and with a mask about as many real steps. A batch too small
// for that is taken by all threads together, which meet in every step. A smaller team than expected
// takes several slices each.
class Slices {
public:
    const int count;  // of slices, or of threads that work together
    const bool together;
    const Patience patience;  // of threads that work together

    // Threads that work together.
    Slices(const Layer& layer, int crew, Patience patience)
        : Slices(layer, crew, true, patience, nullptr) {}
    // Slices of a batch with this mask, or null.
    Slices(const Layer& layer, int count, const bool* mask)
        : Slices(layer, count, false, {}, mask) {}

    Index most_rows() const { return together ? batch_ : (batch_ + count - 1) / count; }

    // Whether threads write the rows of a state (B, H) next to each other's.
    bool side_by_side() const { return count > 1 && !together; }

    template <class Run>
    void run(Member member, const Run& run_place) const {
        if (together) return run_place(Place{member.index, 0, {rows_.data(), batch_}, member});
        for (int slice = member.index; slice < count; slice += member.team) {
            const Index begin = slice > 0 ? ends_.data()[slice - 1] : 0;
            const RowList rows = {rows_.data() + begin, ends_.data()[slice] - begin};
            run_place(Place{slice, slice, rows, Member{0, 1}});
        }
    }

private:
    Slices(const Layer& layer, int slices, bool meet, Patience wait, const bool* mask)
        : count(slices),
          together(meet),
          patience(wait),
          batch_(layer.batch),
          rows_(layer.batch),
          ends_(slices) {
        if (mask && count > 1 && !together) {
            deal_out(mask, layer.time);
            return;
        }
        for (Index row = 0; row < batch_; ++row) rows_.data()[row] = row;
        for (int slice = 0; slice < count; ++slice)
            ends_.data()[slice] = share(Member{slice, count}, batch_).end;
    }

    // Deals the rows out, those with the most real steps first: one to each slice, from the first
    // to the last, then from the last to the first, and so on.
    void deal_out(const bool* mask, Index time) const {
        const Buffer<Index> sorted(batch_);
        sort_by_real_steps(mask, time, sorted.data());
        Index at = 0;
        for (int slice = 0; slice < count; ++slice) {
            for (Index turn = 0; turn * count < batch_; ++turn) {
                const Index place = turn * count + (turn % 2 == 0 ? slice : count - 1 - slice);
                if (place < batch_) rows_.data()[at++] = sorted.data()[place];
            }
            ends_.data()[slice] = at;
        }
    }

    // Writes the rows in the order of their real steps, the most first.
    void sort_by_real_steps(const bool* mask, Index time, Index* sorted) const {
        // A mask that somebody made of other bytes than 0 and 1 must not lead out of `begin`.
        const auto* const bytes = reinterpret_cast<const unsigned char*>(mask);
        const Buffer<Index> masked(batch_), begin(time + 2);
        clear(begin.data(), time + 2);
        for (Index row = 0; row < batch_; ++row) {
            Index steps = time;
            for (Index t = 0; t < time; ++t) steps -= bytes[row * time + t] != 0;
            masked.data()[row] = steps;
            ++begin.data()[steps + 1];
        }
        for (Index steps = 0; steps <= time; ++steps)
            begin.data()[steps + 1] += begin.data()[steps];
        for (Index row = 0; row < batch_; ++row) sorted[begin.data()[masked.data()[row]]++] = row;
    }

    const Index batch_;
    const Buffer<Index> rows_, ends_;  // (B): the slices' rows, one slice after the other; (count)
};

GATEWISE_INLINE Slices slices_of(const Layer& layer, const bool* mask, bool may_meet) {
    constexpr double worth_meeting = 1 << 13;  // multiply-adds of each thread in one step
    constexpr Index fewest_units = 32;         // of each thread
    constexpr Index near_bytes = 1536 * 1024;  // of a U that a few rows keep a thread busy with
    const double gates = double(gates_of(layer.cell) * layer.units);
    const double work =
        double(layer.batch) * double(layer.time) * gates * double(layer.inputs + layer.outputs);
    const int by_rows = useful_threads(layer.threads, layer.batch, work);
    const int crew = useful_threads(layer.threads, layer.units / fewest_units, work);
    const bool near = gates * double(layer.outputs) * sizeof(float) <= double(near_bytes);
    const bool few_rows = layer.batch < crew * (near ? 4 : 12);
    const double step = double(layer.batch) * gates * double(layer.outputs) / crew;
    if (may_meet && crew > 1 && few_rows && step >= worth_meeting)
        return {layer, crew, Patience::of(work / crew, step)};
    return {layer, by_rows, mask};
}

// Rows that are normalized are not taken apart.
template <class S>
GATEWISE_INLINE Slices slices_of(const Forward<S>& call) {
    return slices_of(call.layer, call.mask, !call.layer.layer_norm);
}

// Neither are the norms of whole rows and the ways past U.
template <class S>
GATEWISE_INLINE Slices slices_of(const BackwardScan<S>& call) {
    return slices_of(call.layer, call.mask,
                     !call.layer.layer_norm && call.path == Path::full && call.norms == nullptr);
}

}  // namespace gatewise::GATEWISE_ISA
