// A projection of an LSTM's h: what the cell would show, o squash(c'), is multiplied once more, and
// the smaller h that comes out goes on to the next step.
//
//     h' = (o squash(c')) W_p          W_p (H, P)
//
// Sak, Senior and Beaufays 2014. It stands around a cell, which shows into memory of the step's own
// instead of the outputs and knows nothing of it.

#pragma once

#include <utility>

#include "cells.h"

namespace gatewise::GATEWISE_ISA {

template <class F, int V>
void pack_projection(const Packed<F, 1, V>& to, const Forward<Sum<F>>& call, Member member) {
    pack(to, call.options.projection, 0, member);
}

template <class F>
class ProjectedForward final : public AnyForward<F> {
    using S = Sum<F>;

public:
    ProjectedForward(const ForwardOf<F>& call, ForwardCell<F> cell)
        : call_(call),
          cell_(std::move(cell)),
          projection_(call.layer.units, call.layer.outputs),
          showing_(call.layer.threads, call.layer.batch) {}

    void pack(Member member) const override {
        cell_->pack(member);
        pack_projection(*projection_, call_, member);
    }

    Index memory(Index rows) const override {
        return rows * call_.layer.units + cell_->memory(rows);
    }

    void step(const Place& place, const ForwardRows<S>& rows) const override {
        const Index H = call_.layer.units;
        S* const shown = rows.memory;  // (rows, H)
        ForwardRow<S>* const showing = showing_[place.own];
        for (Index row = 0; row < rows.count; ++row) {
            showing[row] = rows.row[row];
            showing[row].outputs = shown + row * H;
            showing[row].share_h = nullptr;  // zoneout keeps of the projected h
        }
        cell_->step(place, {showing, rows.count, rows.seen, rows.x, rows.upcoming, rows.shadow,
                            shown + rows.count * H});
        place.crew.barrier();
        for (Index row = 0; row < rows.count; ++row) rows.seen[row] = shown + row * H;
        multiply(
            *projection_, Rows<S>{rows.seen, rows.count}, FromZero<S, 1>{},
            [&](Index row, Index unit, int count, const S* sums) {
                const ForwardRow<S>& at = rows.row[row];
                const Vector<S> h = at.share_h ? zoned(at.share_h, load(at.h + unit, count),
                                                       load(sums), unit, count)
                                               : load(sums);
                store(at.outputs + unit, h, count);
            },
            rows.upcoming, place.crew);
    }

private:
    const ForwardOf<F>& call_;
    const ForwardCell<F> cell_;
    const PlainBuffer<F> projection_;
    const PerThread<ForwardRow<S>> showing_;  // (rows), for any way of sharing them out
};

template <class F>
class ProjectedBackward final : public AnyBackward<F> {
    using S = Sum<F>;

public:
    ProjectedBackward(const BackwardScan<S>& call, BackwardCell<F> cell)
        : call_(call),
          cell_(std::move(cell)),
          slices_(slices_of(call)),
          rows_(slices_.most_rows()),
          projection_(call.layer.outputs, call.layer.units),
          grad_shown_(slices_.count, rows_ * call.layer.units),
          showing_(slices_.count, rows_) {}

    void pack(Member member) const override {
        cell_->pack(member);
        gatewise::GATEWISE_ISA::pack(*projection_, transposed(call_.options.projection), 0, member);
    }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const override {
        const Index H = call_.layer.units, P = call_.layer.outputs;
        const GradientRow row_of = gradient_row(call_.layer);
        const Range own = place.units<S>(P);
        S* const grad_shown = grad_shown_[place.common];
        BackwardRow<S>* const showing = showing_[place.own];
        for (Index row = 0; row < rows.count; ++row) {
            BackwardRow<S>& at = showing[row] = rows.row[row];
            at.grad_shown = grad_shown + row * H;
            at.shown = at.grad_product + row_of.shown;
            at.share_shown = nullptr;
            // Kept for the projection's own gradient: the step before overwrites grad_h.
            S* const hidden = at.grad_product + row_of.hidden;
            for_vectors<S>(own, [&](Index unit, int count) {
                store(hidden + unit, of_new(at.share_h, load(at.grad_h + unit, count), unit, count),
                      count);
            });
            rows.pointers[row] = hidden;
        }
        place.crew.barrier();
        multiply(
            *projection_, Rows<S>{rows.pointers, rows.count}, FromZero<S, 1>{},
            [&](Index row, Index unit, int count, const S* sums) {
                store(grad_shown + row * H + unit, load(sums), count);
            },
            rows.upcoming, place.crew);
        place.crew.barrier();
        cell_->step_backward(
            place, {showing, rows.count, rows.scale, rows.passes_on, rows.pointers, rows.upcoming});
    }

private:
    const BackwardScan<S>& call_;
    const BackwardCell<F> cell_;
    const Slices slices_;
    const Index rows_;
    const PlainBuffer<F> projection_;          // W_p^T: depth P
    const PerThread<S> grad_shown_;            // (rows, H)
    const PerThread<BackwardRow<S>> showing_;  // (rows)
};

}  // namespace gatewise::GATEWISE_ISA
