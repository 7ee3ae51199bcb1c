// The LSTM: one step forward and one back, for one vector of units.
//
//     i, f, o = gate(x W + (d h) U + b)      g = squash(x W + (d h) U + b)
//     c' = f c + i g                         h' = o squash(c')
//
// Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000. d is the recurrent dropout.

#pragma once

#include "activations.h"
#include "backward_scan.h"
#include "forward_scan.h"

namespace gatewise::GATEWISE_ISA {

template <class S, class Activations>
class LstmForward {
public:
    static constexpr bool may_take_input = true;
    static constexpr int gates = 4;

    LstmForward(const Forward<S>& call, Activations activations)
        : activations_(activations),
          call_(call),
          U_(depth_of_step<LstmForward>(call), call.layer.units) {}

    void pack(Member member) const { pack_step(*U_, call_, member); }

    void step(const Place& place, const ForwardRows<S>& rows) const {
        const Index H = call_.layer.units;
        multiply(
            *U_, rows.left((*U_).depth, call_.layer.outputs),
            [&](Index row, Index unit, int count, S* sums) {
                for (int gate = 0; gate < 4; ++gate) {
                    store(sums + gate * lanes<S>,
                          load(rows.row[row].product + gate * H + unit, count));
                }
            },
            [&](Index row, Index unit, int count, const S* sums) {
                update(rows.row[row], unit, count, sums);
            },
            rows.upcoming, place.crew);
    }

    // Calls `take(row, column, count, sum)` with each vector of h U.
    template <class Take>
    void multiply_recurrent(const Place& place, const ForwardRows<S>& rows,
                            const Take& take) const {
        const Index H = call_.layer.units;
        multiply(
            *U_, Rows<S>{rows.seen, rows.count}, FromZero<S, gates>{},
            [&](Index row, Index unit, int count, const S* sums) {
                for (int gate = 0; gate < gates; ++gate)
                    take(row, gate * H + unit, count, load(sums + gate * lanes<S>));
            },
            rows.upcoming, place.crew);
    }

    // What a step hands to its h'.
    struct Remembered {
        Vector<S> o, c;
    };

    // Everything up to c', from the sums of the gates.
    Remembered remember(const ForwardRow<S>& at, Index unit, int count, const S* sums) const {
        const Index H = call_.layer.units;
        const Activation squash = activations_.activation, gate = activations_.recurrent_activation;
        const Vector<S> i = activate<S>(gate, load(sums));
        const Vector<S> f = activate<S>(gate, load(sums + lanes<S>));
        const Vector<S> g = activate<S>(squash, load(sums + 2 * lanes<S>));
        const Vector<S> o = activate<S>(gate, load(sums + 3 * lanes<S>));
        const Vector<S> c = fma(f, load(at.c + unit, count), i * g);
        store(at.c + unit, c, count);
        if (at.gates == nullptr) return {o, c};
        store(at.gates + unit, i, count);
        store(at.gates + H + unit, f, count);
        store(at.gates + 2 * H + unit, g, count);
        store(at.gates + 3 * H + unit, o, count);
        store(at.saved + unit, c, count);
        return {o, c};
    }

    Vector<S> squash(Vector<S> c) const { return activate<S>(activations_.activation, c); }

private:
    void update(const ForwardRow<S>& at, Index unit, int count, const S* sums) const {
        const Remembered now = remember(at, unit, count, sums);
        store(at.outputs + unit, now.o * squash(now.c), count);
    }

    [[no_unique_address]] const Activations activations_;
    const Forward<S>& call_;
    const PackedBuffer<S, 4, 1> U_;
};

template <class S, class Activations>
class LstmBackward {
public:
    static constexpr int gates = 4;

    LstmBackward(const BackwardScan<S>& call, Activations activations)
        : activations_(activations), call_(call), U_(call.path, call.U, 0, 4, call.layer) {}

    void pack(Member member) const { U_.pack(member); }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const {
        const Range own = place.units<S>(call_.layer.units);
        for (Index row = 0; row < rows.count; ++row) {
            const BackwardRow<S>& at = rows.row[row];
            for_vectors<S>(
                own, [&](Index unit, int count) { differentiate(at, unit, count, rows.scale); });
            rows.pointers[row] = at.grad_product;
        }
        place.crew.barrier();
        multiply_recurrent(place, rows);
    }

    // Sends the cotangents at rows.pointers through U.
    void multiply_recurrent(const Place& place, const BackwardRows<S>& rows) const {
        U_.multiply(rows.pointers, rows.count, rows.upcoming, place.crew,
                    [&](Index row, Index unit, int count, Vector<S> sum) {
                        const BackwardRow<S>& at = rows.row[row];
                        store(at.grad_h + unit, sum * dropout_at(at, unit, count) * rows.scale,
                              count);
                    });
    }

    // Goes back through h' = o shown: dL/dP of o. Returns `grad` + dL/dc', the part that comes
    // through what was shown, squash(c').
    Vector<S> differentiate_shown(const BackwardRow<S>& at, Index unit, int count, Vector<S> shown,
                                  Vector<S> grad) const {
        const Index H = call_.layer.units;
        const Vector<S> o = load(at.gates + 3 * H + unit, count);
        const Vector<S> grad_shown = load(at.grad_shown + unit, count);
        if (at.shown) store(at.shown + unit, o * shown, count);
        store(at.grad_product + 3 * H + unit,
              grad_shown * shown * slope<S>(activations_.recurrent_activation, o), count);
        return fma(grad_shown * o, slope<S>(activations_.activation, shown), grad);
    }

    // Goes back through c' = f c + i g.
    void differentiate_memory(const BackwardRow<S>& at, Index unit, int count, Vector<S> grad_c,
                              S scale) const {
        const Index H = call_.layer.units;
        const Activation squash = activations_.activation, gate = activations_.recurrent_activation;
        const Vector<S> i = load(at.gates + unit, count), f = load(at.gates + H + unit, count);
        const Vector<S> g = load(at.gates + 2 * H + unit, count);
        store(at.grad_product + unit, grad_c * g * slope<S>(gate, i), count);
        store(at.grad_product + H + unit, grad_c * load(at.c + unit, count) * slope<S>(gate, f),
              count);
        store(at.grad_product + 2 * H + unit, grad_c * i * slope<S>(squash, g), count);
        store(at.grad_c + unit, grad_c * f * scale, count);
    }

    Vector<S> squash(Vector<S> c) const { return activate<S>(activations_.activation, c); }

private:
    void differentiate(const BackwardRow<S>& at, Index unit, int count, S scale) const {
        const Vector<S> shown = squash(load(at.saved + unit, count));
        const Vector<S> grad_c =
            differentiate_shown(at, unit, count, shown, load(at.grad_c + unit, count));
        differentiate_memory(at, unit, count, grad_c, scale);
    }

    [[no_unique_address]] const Activations activations_;
    const BackwardScan<S>& call_;
    const Through<S> U_;
};

}  // namespace gatewise::GATEWISE_ISA
