// Layer normalization of an LSTM: of x W, of h U and of the c that is shown.
//
//     i, f, g, o from LN(x W) gain_x + LN(h U) gain_h + b
//     h' = o squash(LN(c') gain_c + bias_c)
//
// Ba, Kiros and Hinton 2016. LN(x W) is done ahead (forward_scan.h); here is what a step does. It
// stands around a cell, whose own update it takes apart where a whole row must be known: after the
// product with U, and after c'.

#pragma once

#include "backward_scan.h"
#include "forward_scan.h"

namespace gatewise::GATEWISE_ISA {

template <class S, class CellType>
class NormalizedForward {
public:
    using Factor = typename CellType::Factor;
    static constexpr bool may_take_input = false;  // x W is normalized before h U joins it

    template <class Activations>
    NormalizedForward(const ForwardOf<Factor>& call, Activations activations)
        : call_(call),
          cell_(call, activations),
          slices_(slices_of(call)),
          rows_(slices_.most_rows()),
          recurrent_(slices_.count * padded<S>(rows_ * columns())),
          remembered_(slices_.count * padded<S>(2 * call.layer.units)),
          gain_(columns()),
          cell_gain_(call.layer.units),
          cell_bias_(call.layer.units) {}

    void pack(Member member) const {
        cell_.pack(member);
        if (member.index != 0) return;
        copy(gain_.data(), call_.options.norm.recurrent_gain, columns());
        copy(cell_gain_.data(), call_.options.norm.cell_gain, call_.layer.units);
        copy(cell_bias_.data(), call_.options.norm.cell_bias, call_.layer.units);
    }

    void step(const Place& place, const ForwardRows<S>& rows) const {
        S* const recurrent = recurrent_.data() + place.own * padded<S>(rows_ * columns());
        cell_.multiply_recurrent(place, rows,
                                 [&](Index row, Index column, int count, Vector<S> sum) {
                                     store(recurrent + row * columns() + column, sum, count);
                                 });
        S* const c = remembered_.data() + place.own * padded<S>(2 * call_.layer.units);
        for (Index row = 0; row < rows.count; ++row) {
            update(rows.row[row], recurrent + row * columns(), c);
            show(rows.row[row], c);
        }
    }

private:
    static constexpr int gates = CellType::gates;

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
            const auto now = cell_.update().remember(at, unit, count, sums);
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
            cell_.update().show(at, unit, count, load(c + H + unit, count), shown);
        });
        if (at.saved == nullptr) return;
        S* const line = at.saved + saved.statistics;
        line[2] = found.factor;
        clear(line + 3, 13);
    }

    const Forward<S>& call_;
    const CellType cell_;
    const Slices slices_;
    const Index rows_;
    const Buffer<S> recurrent_;              // (slices, rows, GH): h U
    const Buffer<S> remembered_;             // (slices, 2, H): c' and o of one row
    const Buffer<S> gain_;                   // (GH)
    const Buffer<S> cell_gain_, cell_bias_;  // (H) each
};

template <class S, class CellType>
class NormalizedBackward {
public:
    static constexpr int gates = CellType::gates;

    template <class Activations>
    NormalizedBackward(const BackwardScan<S>& call, Activations activations)
        : call_(call), cell_(call, activations) {}

    void pack(Member member) const { cell_.pack(member); }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const {
        const Index columns = gates * call_.layer.units;
        const GradientRow to = gradient_row(call_.layer);
        const SavedRow saved = saved_row(call_.layer);
        for (Index row = 0; row < rows.count; ++row) {
            const BackwardRow<S>& at = rows.row[row];
            differentiate(at, at.grad_product + to.cell, rows.scale);
            const S* const line = at.saved + saved.statistics;
            normalize_backward(at.grad_product, call_.options.norm.recurrent_gain,
                               at.saved + saved.recurrent, line[0], columns,
                               at.grad_product + to.recurrent);
            normalize_backward(at.grad_product, call_.options.norm.input_gain,
                               at.saved + saved.input, line[1], columns,
                               at.grad_product + to.input);
            rows.pointers[row] = at.grad_product + to.recurrent;
        }
        cell_.multiply_recurrent(place, rows);
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
            const Vector<S> shown =
                cell_.squash(fma(value, gain, load(call_.options.norm.cell_bias + unit, count)));
            const Vector<S> grad = cell_.differentiate_shown(at, unit, count, shown, Vector<S>{});
            store(grad_normal + unit, grad, count);
            all.add(grad * gain, value);
        });
        all.finish(H);
        for_vectors<S>(H, [&](Index unit, int count) {
            const Vector<S> grad =
                load(grad_normal + unit, count) * load(call_.options.norm.cell_gain + unit, count);
            const Vector<S> through =
                all.through(grad, load(normal + unit, count), at.saved[saved.statistics + 2]);
            cell_.differentiate_memory(at, unit, count, cell_.unclipped(at, unit, count),
                                       cell_.grad_memory(at, unit, count) + through, scale);
        });
    }

    const BackwardScan<S>& call_;
    const CellType cell_;
};

}  // namespace gatewise::GATEWISE_ISA
