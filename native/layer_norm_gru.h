// Layer normalization of a GRU that resets after the product: of x W and of h U, in both of z and r
// together and of the candidate by itself.
//
//     z, r = gate(LN(x W) gain_x + b + LN((d h) U) gain_h + b')
//     n = squash(LN(x W_h) gain_x + b_h + r q)      q = LN((d h) U_h) gain_h + b'_h
//
// Ba, Kiros and Hinton 2016, appendix. What x W adds is done ahead (forward_scan.h).

#pragma once

#include "gru.h"

namespace gatewise::GATEWISE_ISA {

template <class F, class Activations>
class NormalizedGruForward final : public AnyForward<F> {
    using S = Sum<F>;

public:
    NormalizedGruForward(const ForwardOf<F>& call, Activations activations)
        : activations_(activations),
          call_(call),
          U_(call.layer.units, 3 * call.layer.units),
          gain_(3 * call.layer.units),
          bias_(call.layer.units) {}

    void pack(Member member) const override {
        const Index H = call_.layer.units;
        pack_recurrent(*U_, call_, member);
        if (member.index != 0) return;
        copy(gain_.data(), call_.options.norm.recurrent_gain, 3 * H);
        if (call_.bias) {
            copy(bias_.data(), call_.bias + 5 * H, H);  // b'_h, the last of (2, 3H)
        } else {
            clear(bias_.data(), H);
        }
    }

    Index memory(Index rows) const override { return rows * 3 * call_.layer.units; }

    void step(const Place& place, const ForwardRows<S>& rows) const override {
        const Index columns = 3 * call_.layer.units;
        S* const recurrent = rows.memory;  // (rows, 3H): h U
        multiply(
            *U_, Rows<S>{rows.seen, rows.count}, FromZero<S, 1>{},
            [&](Index row, Index column, int count, const S* sums) {
                store(recurrent + row * columns + column, load(sums), count);
            },
            rows.upcoming, place.crew);
        for (Index row = 0; row < rows.count; ++row)
            update(rows.row[row], recurrent + row * columns);
    }

private:
    void update(const ForwardRow<S>& at, const S* recurrent) const {
        const Index H = call_.layer.units;
        const SavedRow saved = saved_row(call_.layer);
        const Activation gate = activations_.recurrent_activation;
        const Statistics<S> of_gates = statistics(recurrent, 2 * H);
        const Statistics<S> of_candidate = statistics(recurrent + 2 * H, H);
        for_vectors<S>(H, [&](Index unit, int count) {
            // What h U adds at a column: its normalized value times the gain, and `added`.
            const auto past = [&](const Statistics<S>& found, Index column, Vector<S> added) {
                const Vector<S> normal = found.normal(load(recurrent + column, count));
                if (at.saved) store(at.saved + saved.recurrent + column, normal, count);
                return fma(normal, load(gain_.data() + column, count), added);
            };
            const auto product = [&](Index column) { return load(at.product + column, count); };
            const Vector<S> z = activate<S>(gate, past(of_gates, unit, product(unit)));
            const Vector<S> r = activate<S>(gate, past(of_gates, H + unit, product(H + unit)));
            const Vector<S> q = past(of_candidate, 2 * H + unit, load(bias_.data() + unit, count));
            const Vector<S> n =
                activate<S>(activations_.activation, fma(r, q, product(2 * H + unit)));
            finish_gru(at, H, unit, count, z, n);
            if (at.gates == nullptr) return;
            store(at.gates + H + unit, r, count);
            store(at.saved + unit, q, count);
        });
        if (at.saved == nullptr) return;
        at.saved[recurrent_factor(saved, 0)] = of_gates.factor;
        at.saved[recurrent_factor(saved, 1)] = of_candidate.factor;
        clear(at.saved + saved.statistics + 4, 12);
    }

    [[no_unique_address]] const Activations activations_;
    const ForwardOf<F>& call_;
    const PlainBuffer<F> U_;
    const Buffer<S> gain_;  // (3H)
    const Buffer<S> bias_;  // (H): b'_h
};

template <class F, class Activations>
class NormalizedGruBackward final : public AnyBackward<F> {
    using S = Sum<F>;

public:
    NormalizedGruBackward(const BackwardScan<S>& call, Activations activations)
        : activations_(activations), call_(call), U_(path_on(call), call.U, 0, 3, call.layer) {}

    void pack(Member member) const override { U_.pack(member); }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const override {
        const Index H = call_.layer.units, to = gradient_row(call_.layer).recurrent;
        for (Index row = 0; row < rows.count; ++row) {
            const BackwardRow<S>& at = rows.row[row];
            S* const recurrent = at.grad_product + to;
            for_vectors<S>(H, [&](Index unit, int count) {
                differentiate_reset(at, H, unit, count, activations_.activation,
                                    activations_.recurrent_activation, recurrent);
            });
            normalize_gates_backward(call_.layer, call_.options.norm, at.saved, recurrent,
                                     at.grad_product);
            rows.pointers[row] = recurrent;
        }
        pass_on(U_, place, rows);
    }

private:
    [[no_unique_address]] const Activations activations_;
    const BackwardScan<S>& call_;
    const Through<F> U_;
};

}  // namespace gatewise::GATEWISE_ISA
