// Layer normalization of an LSTM: of x W, of h U and of the c that is shown.
//
//     i, f, g, o from LN(x W) gain_x + LN(h U) gain_h + b
//     h' = o squash(LN(c') gain_c + bias_c)
//
// Ba, Kiros and Hinton 2016. LN(x W) is done ahead (forward_scan.h); here is what a step does. It
// is the LSTM's own update (lstm.h), taken apart where a whole row must be known: after the product
// with U, and after c'.

#pragma once

#include "lstm.h"

namespace gatewise::GATEWISE_ISA {

template <class F, class Activations, class Options>
class NormalizedForward final : public AnyForward<F> {
    using S = Sum<F>;

public:
    NormalizedForward(const ForwardOf<F>& call, Activations activations)
        : call_(call),
          update_{activations, Options(call.layer, call.options), call.layer.units},
          U_(call.layer.outputs, columns()),
          gain_(columns()),
          cell_gain_(call.layer.units),
          cell_bias_(call.layer.units) {}

    void pack(Member member) const override {
        pack_recurrent(*U_, call_, member);
        if (member.index != 0) return;
        copy(gain_.data(), call_.options.norm.recurrent_gain, columns());
        copy(cell_gain_.data(), call_.options.norm.cell_gain, call_.layer.units);
        copy(cell_bias_.data(), call_.options.norm.cell_bias, call_.layer.units);
    }

    Index memory(Index rows) const override { return rows * columns() + 2 * call_.layer.units; }

    void step(const Place& place, const ForwardRows<S>& rows) const override {
        S* const recurrent = rows.memory;                 // (rows, GH): h U
        S* const c = recurrent + rows.count * columns();  // (2, H): c' and o of one row
        multiply(
            *U_, Rows<S>{rows.seen, rows.count}, FromZero<S, 1>{},
            [&](Index row, Index column, int count, const S* sums) {
                store(recurrent + row * columns() + column, load(sums), count);
            },
            rows.upcoming, place.crew);
        for (Index row = 0; row < rows.count; ++row) {
            update(rows.row[row], recurrent + row * columns(), c);
            show(rows.row[row], c);
        }
    }

private:
    static constexpr int gates = Options::gates;

    Index columns() const { return gates * call_.layer.units; }

    // Everything up to c', which goes to `c` (H) with o behind it (H).
    void update(const ForwardRow<S>& at, const S* recurrent, S* c) const {
        const Index H = call_.layer.units;
        const SavedRow saved = saved_row(call_.layer);
        const Statistics<S> found = statistics(recurrent, columns());
        if (at.saved) at.saved[saved.statistics] = found.factor;
        for_vectors<S>(H, [&](Index unit, int count) {
            S sums[gates * lanes<S>];
            for (int gate = 0; gate < gates; ++gate) {
                const Index column = gate * H + unit;
                const Vector<S> normal = found.normal(load(recurrent + column, count));
                if (at.saved) store(at.saved + saved.recurrent + column, normal, count);
                store(sums + gate * lanes<S>, fma(normal, load(gain_.data() + column, count),
                                                  load(at.product + column, count)));
            }
            const auto now = update_.remember(at, unit, count, sums);
            store(c + unit, now.c, count);
            store(c + H + unit, now.o, count);
        });
    }

    void show(const ForwardRow<S>& at, const S* c) const {
        const Index H = call_.layer.units;
        const SavedRow saved = saved_row(call_.layer);
        const Statistics<S> found = statistics(c, H);
        for_vectors<S>(H, [&](Index unit, int count) {
            const Vector<S> normal = found.normal(load(c + unit, count));
            if (at.saved) store(at.saved + saved.cell + unit, normal, count);
            const Vector<S> shown = fma(normal, load(cell_gain_.data() + unit, count),
                                        load(cell_bias_.data() + unit, count));
            update_.show(at, unit, count, load(c + H + unit, count), shown);
        });
        if (at.saved == nullptr) return;
        S* const line = at.saved + saved.statistics;
        line[2] = found.factor;
        clear(line + 3, 13);
    }

    const ForwardOf<F>& call_;
    const LstmUpdate<S, Activations, Options> update_;
    const PlainBuffer<F> U_;
    const Buffer<S> gain_;                   // (GH)
    const Buffer<S> cell_gain_, cell_bias_;  // (H) each
};

template <class F, class Activations, class Options>
class NormalizedBackward final : public AnyBackward<F> {
    using S = Sum<F>;

public:
    NormalizedBackward(const BackwardScan<S>& call, Activations activations)
        : call_(call),
          way_back_{activations, Options(call.layer, call.options), call.layer.units},
          U_(path_on(call), call.U, 0, Options::gates, call.layer) {}

    void pack(Member member) const override { U_.pack(member); }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const override {
        const GradientRow to = gradient_row(call_.layer);
        for (Index row = 0; row < rows.count; ++row) {
            const BackwardRow<S>& at = rows.row[row];
            differentiate(at, at.grad_product + to.cell, rows.scale);
            normalize_gates_backward(call_.layer, call_.options.norm, at.saved, at.grad_product,
                                     at.grad_product);
            rows.pointers[row] = at.grad_product + to.recurrent;
        }
        if (!rows.passes_on) return;
        U_.multiply(rows.pointers, rows.count, rows.upcoming, place.crew,
                    [&](Index row, Index unit, int count, Vector<S> sum) {
                        way_back_.pass(rows.row[row], unit, count, sum, rows.scale);
                    });
    }

private:
    // dL/dP, dL/dn of the normalized c', and what goes on through c.
    void differentiate(const BackwardRow<S>& at, S* grad_normal, S scale) const {
        const Index H = call_.layer.units;
        const SavedRow saved = saved_row(call_.layer);
        const S* const normal = at.saved + saved.cell;
        NormalCotangents<S> all;
        for_vectors<S>(H, [&](Index unit, int count) {
            const Vector<S> gain = load(call_.options.norm.cell_gain + unit, count);
            const Vector<S> value = load(normal + unit, count);
            const Vector<S> shown = way_back_.squash(
                fma(value, gain, load(call_.options.norm.cell_bias + unit, count)));
            const Vector<S> grad =
                way_back_.differentiate_shown(at, unit, count, shown, Vector<S>{});
            store(grad_normal + unit, grad, count);
            all.add(grad * gain, value);
        });
        all.finish(H);
        for_vectors<S>(H, [&](Index unit, int count) {
            const Vector<S> grad =
                load(grad_normal + unit, count) * load(call_.options.norm.cell_gain + unit, count);
            const Vector<S> through =
                all.through(grad, load(normal + unit, count), at.saved[saved.statistics + 2]);
            way_back_.differentiate_memory(at, unit, count, way_back_.unclipped(at, unit, count),
                                           way_back_.grad_memory(at, unit, count) + through, scale);
        });
    }

    const BackwardScan<S>& call_;
    const LstmWayBack<S, Activations, Options> way_back_;
    const Through<F> U_;
};

}  // namespace gatewise::GATEWISE_ISA
