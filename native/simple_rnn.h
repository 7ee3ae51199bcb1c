// The simple recurrent network: h' = squash(x W + (d h) U + b). Elman 1990.

#pragma once

#include "activations.h"
#include "cells.h"

namespace gatewise::GATEWISE_ISA {

template <class F, class Activations>
class SimpleRnnForward final : public AnyForward<F> {
    using S = Sum<F>;

public:
    SimpleRnnForward(const ForwardOf<F>& call, Activations activations)
        : activations_(activations),
          call_(call),
          U_(depth_of_step<SimpleRnnForward>(call), call.layer.units) {}

    void pack(Member member) const override { pack_step(*U_, call_, member); }

    void step(const Place& place, const ForwardRows<S>& rows) const override {
        multiply(
            *U_, rows.left(call_.layer),
            from_memory<1>([&](Index row) { return rows.row[row].product; }, 0),
            [&](Index row, Index unit, int count, const S* sums) {
                const ForwardRow<S>& at = rows.row[row];
                const Vector<S> h = activate<S>(activations_.activation, load(sums));
                const Vector<S> before = load(at.h + unit, count);
                store(at.outputs + unit, zoned(at.share_h, before, h, unit, count), count);
                if (at.gates) at.keep(at.gates + unit, h, count);
            },
            rows.upcoming, place.crew);
    }

private:
    [[no_unique_address]] const Activations activations_;
    const ForwardOf<F>& call_;
    const PlainBuffer<F> U_;
};

template <class F, class Activations>
class SimpleRnnBackward final : public AnyBackward<F> {
    using S = Sum<F>;

public:
    SimpleRnnBackward(const BackwardScan<S>& call, Activations activations)
        : activations_(activations), call_(call), U_(path_on(call), call.U, 0, 1, call.layer) {}

    void pack(Member member) const override { U_.pack(member); }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const override {
        const Range own = place.units<S>(call_.layer.units);
        for (Index row = 0; row < rows.count; ++row) {
            const BackwardRow<S>& at = rows.row[row];
            for_vectors<S>(own, [&](Index unit, int count) {
                const Vector<S> h = load(at.gates + unit, count);
                const Vector<S> grad_h =
                    of_new(at.share_h, load(at.grad_h + unit, count), unit, count);
                store(at.grad_product + unit, grad_h * slope<S>(activations_.activation, h), count);
            });
            rows.pointers[row] = at.grad_product;
        }
        place.crew.barrier();
        if (!rows.passes_on) return;
        U_.multiply(rows.pointers, rows.count, rows.upcoming, place.crew,
                    [&](Index row, Index unit, int count, Vector<S> sum) {
                        const BackwardRow<S>& at = rows.row[row];
                        const Vector<S> passed =
                            with_old(at.share_h, sum * dropout_at(at, unit, count),
                                     load(at.grad_h + unit, count), unit, count);
                        store(at.grad_h + unit, passed * rows.scale, count);
                    });
    }

private:
    [[no_unique_address]] const Activations activations_;
    const BackwardScan<S>& call_;
    const Through<F> U_;
};

template <class F>
ForwardCell<F> simple_rnn_forward(const ForwardOf<F>& call) {
    return with_activations(call.layer, [&](auto activations) -> ForwardCell<F> {
        return std::make_unique<SimpleRnnForward<F, decltype(activations)>>(call, activations);
    });
}

template <class F>
BackwardCell<F> simple_rnn_backward(const BackwardScan<Sum<F>>& call) {
    return with_activations(call.layer, [&](auto activations) -> BackwardCell<F> {
        return std::make_unique<SimpleRnnBackward<F, decltype(activations)>>(call, activations);
    });
}

}  // namespace gatewise::GATEWISE_ISA
