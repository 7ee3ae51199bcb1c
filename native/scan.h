// What both loops over time share: who does which rows, in which order, and which steps are real.
//
// A slice of the batch goes through all time steps in one thread, with no barrier between steps.

#pragma once

#include "product.h"

namespace gatewise::GATEWISE_ISA {

// A matrix with this many columns is packed plainly; this many vectors of it fill the registers
// best.
inline constexpr int plain_vectors = 4;

template <class S>
using PlainBuffer = PackedBuffer<S, 1, plain_vectors>;

GATEWISE_INLINE Index gates_of(Cell cell) {
    return cell == Cell::lstm ? 4 : cell == Cell::simple_rnn ? 1 : 3;
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

// Calls `each(unit, count)` for the vectors of a row of `units`.
template <class S, class Each>
GATEWISE_INLINE void for_vectors(Index units, const Each& each) {
    for (Index unit = 0; unit < units; unit += lanes<S>) each(unit, lanes_before<S>(unit, units));
}

// Fixed slices of the batch: a smaller team than expected takes several each.
struct Slices {
    Index batch;
    int count;

    Index most_rows() const { return (batch + count - 1) / count; }
    Range rows(int slice) const { return share(Member{slice, count}, batch); }

    template <class Run>
    void run(Member member, const Run& run_slice) const {
        for (int slice = member.index; slice < count; slice += member.team)
            run_slice(slice, rows(slice));
    }
};

GATEWISE_INLINE Slices slices_of(const Layer& layer) {
    const double gates = double(gates_of(layer.cell) * layer.units);
    const double work =
        double(layer.batch) * double(layer.time) * gates * double(layer.inputs + layer.units);
    return {layer.batch, useful_threads(layer.threads, layer.batch, work)};
}

}  // namespace gatewise::GATEWISE_ISA
