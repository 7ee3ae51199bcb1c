// The LSTM: one step forward and one back, for one vector of units.
//
//     i, f, o = gate(x W + (d h) U + b)      g = squash(x W + (d h) U + b)
//     c' = f c + i g                         h' = o squash(c')
//
// Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000. d is the recurrent dropout.
// What else there may be, lstm_options.h says.

#pragma once

#include "activations.h"
#include "cells.h"
#include "lstm_options.h"

namespace gatewise::GATEWISE_ISA {

// Where the gates stand, i f g o or f g o, and the rows of the peepholes, i f o or f o.
template <class Options>
struct LstmPlaces {
    static constexpr bool coupled = Options::gates == 3;
    static constexpr int gates = Options::gates, i = 0, f = gates - 3, g = gates - 2, o = gates - 1;
    static constexpr int peephole_i = i, peephole_f = f, peephole_o = g;
};

// From the sums of the gates of one vector of units to its c and h.
template <class S, class Activations, class Options>
struct LstmUpdate {
    using At = LstmPlaces<Options>;

    // What a step hands to its h'; zoneout has kept nothing of this c'.
    struct Remembered {
        Vector<S> o, c;
    };

    [[no_unique_address]] Activations activations;
    [[no_unique_address]] Options options;
    Index units;

    // Everything up to c', from the sums of the gates.
    Remembered remember(const ForwardRow<S>& at, Index unit, int count, const S* sums) const {
        const Index H = units;
        const Activation squash = activations.activation, gate = activations.recurrent_activation;
        const Vector<S> before = load(at.c + unit, count);
        const auto sees = [&](int place, int peephole, Vector<S> c) {
            return options.see(peephole, load(sums + place * lanes<S>), c, unit, count);
        };
        const Vector<S> f = activate<S>(gate, sees(At::f, At::peephole_f, before));
        Vector<S> i;
        if constexpr (At::coupled) {
            i = S(1) - f;
        } else {
            i = activate<S>(gate, sees(At::i, At::peephole_i, before));
        }
        const Vector<S> g = activate<S>(squash, load(sums + At::g * lanes<S>));
        const Vector<S> c = options.clip(fma(f, before, i * g));
        const Vector<S> o = activate<S>(gate, sees(At::o, At::peephole_o, c));
        const Vector<S> kept = options.zone(at.share_c, at.c, c, unit, count);
        store(at.c + unit, kept, count);
        if (at.gates == nullptr) return {o, c};
        if constexpr (!At::coupled) at.keep(at.gates + At::i * H + unit, i, count);
        at.keep(at.gates + At::f * H + unit, f, count);
        at.keep(at.gates + At::g * H + unit, g, count);
        at.keep(at.gates + At::o * H + unit, o, count);
        at.keep(at.saved + unit, kept, count);
        return {o, c};
    }

    // h' = o squash(shown), of which zoneout may keep some as it was.
    void show(const ForwardRow<S>& at, Index unit, int count, Vector<S> o, Vector<S> shown) const {
        const Vector<S> h = o * activate<S>(activations.activation, shown);
        store(at.outputs + unit, options.zone(at.share_h, at.h, h, unit, count), count);
    }
};

template <class F, class Activations, class Options>
class LstmForward final : public AnyForward<F> {
    using S = Sum<F>;
    using At = LstmPlaces<Options>;

public:
    LstmForward(const ForwardOf<F>& call, Activations activations)
        : update_{activations, Options(call.layer, call.options), call.layer.units},
          call_(call),
          U_(depth_of_step<LstmForward>(call), call.layer.units) {}

    void pack(Member member) const override { pack_step(*U_, call_, member); }

    void step(const Place& place, const ForwardRows<S>& rows) const override {
        const Index H = call_.layer.units;
        multiply(*U_, rows.left(call_.layer),
                 from_memory<At::gates>([&](Index row) { return rows.row[row].product; }, H),
                 Twice{[&](Index row, Index unit, int count, S* sums) {
                           const auto now = update_.remember(rows.row[row], unit, count, sums);
                           store(sums, now.o);
                           store(sums + lanes<S>, now.c);
                       },
                       [&](Index row, Index unit, int count, const S* sums) {
                           update_.show(rows.row[row], unit, count, load(sums),
                                        load(sums + lanes<S>));
                       }},
                 rows.upcoming, place.crew);
    }

private:
    const LstmUpdate<S, Activations, Options> update_;
    const ForwardOf<F>& call_;
    const PackedBuffer<F, At::gates, 1> U_;
};

// From the cotangents of one vector of units' h and c to those of its sums and of the step before.
template <class S, class Activations, class Options>
struct LstmWayBack {
    using At = LstmPlaces<Options>;

    [[no_unique_address]] Activations activations;
    [[no_unique_address]] Options options;
    Index units;

    void operator()(const BackwardRow<S>& at, Index unit, int count, S scale) const {
        const Vector<S> c = unclipped(at, unit, count);
        const Vector<S> grad_c =
            differentiate_shown(at, unit, count, squash(clip(c)), grad_memory(at, unit, count));
        differentiate_memory(at, unit, count, c, grad_c, scale);
    }

    // What h before the step receives, `sum` of it through U.
    void pass(const BackwardRow<S>& at, Index unit, int count, Vector<S> sum, S scale) const {
        const Vector<S> passed =
            options.past(at.share_h, sum * dropout_at(at, unit, count), at.grad_h, unit, count);
        store(at.grad_h + unit, passed * scale, count);
    }

    // c' before it was clipped.
    Vector<S> unclipped(const BackwardRow<S>& at, Index unit, int count) const {
        return options.unclipped(load(at.saved + unit, count), [&] {
            const Gates now = gates_of_step(at, unit, count);
            return fma(now.f, load(at.c + unit, count), now.i * now.g);
        });
    }

    // The part of dL/dc' that comes from the steps after it.
    Vector<S> grad_memory(const BackwardRow<S>& at, Index unit, int count) const {
        return options.taken(at.share_c, load(at.grad_c + unit, count), unit, count);
    }

    Vector<S> clip(Vector<S> c) const { return options.clip(c); }
    Vector<S> squash(Vector<S> c) const { return activate<S>(activations.activation, c); }

    // Goes back through h' = o shown: stores dL/dP of o, and returns `grad` + the cotangent of what
    // was squashed into `shown`. Leaves grad_h as it is: zoneout passes some of it on when the
    // product is done.
    Vector<S> differentiate_shown(const BackwardRow<S>& at, Index unit, int count, Vector<S> shown,
                                  Vector<S> grad) const {
        const Index H = units;
        const Vector<S> o = load(at.gates + At::o * H + unit, count);
        const Vector<S> grad_shown =
            options.taken(at.share_shown, load(at.grad_shown + unit, count), unit, count);
        if (at.shown) store(at.shown + unit, o * shown, count);
        store(at.grad_product + At::o * H + unit,
              grad_shown * shown * slope<S>(activations.recurrent_activation, o), count);
        return fma(grad_shown * o, slope<S>(activations.activation, shown), grad);
    }

    // Goes back through c', from all of dL/dc' but what comes through the peephole of o.
    void differentiate_memory(const BackwardRow<S>& at, Index unit, int count, Vector<S> unclipped,
                              Vector<S> grad_c, S scale) const {
        const Index H = units;
        const Activation squash = activations.activation, gate = activations.recurrent_activation;
        const Gates now = gates_of_step(at, unit, count);
        const Vector<S> before = load(at.c + unit, count);
        grad_c = options.seen(At::peephole_o, load(at.grad_product + At::o * H + unit, count),
                              grad_c, unit, count);
        grad_c = options.clipped(unclipped, grad_c);
        const Vector<S> product_f =
            grad_c * (At::coupled ? before - now.g : before) * slope<S>(gate, now.f);
        Vector<S> passed = options.seen(At::peephole_f, product_f, grad_c * now.f, unit, count);
        if constexpr (!At::coupled) {
            const Vector<S> product_i = grad_c * now.g * slope<S>(gate, now.i);
            store(at.grad_product + At::i * H + unit, product_i, count);
            passed = options.seen(At::peephole_i, product_i, passed, unit, count);
        }
        store(at.grad_product + At::f * H + unit, product_f, count);
        store(at.grad_product + At::g * H + unit, grad_c * now.i * slope<S>(squash, now.g), count);
        passed = options.past(at.share_c, passed, at.grad_c, unit, count);
        store(at.grad_c + unit, passed * scale, count);
    }

private:
    struct Gates {
        Vector<S> i, f, g;
    };
    Gates gates_of_step(const BackwardRow<S>& at, Index unit, int count) const {
        const Index H = units;
        const Vector<S> f = load(at.gates + At::f * H + unit, count);
        const Vector<S> i = At::coupled ? S(1) - f : load(at.gates + At::i * H + unit, count);
        return {i, f, load(at.gates + At::g * H + unit, count)};
    }
};

template <class F, class Activations, class Options>
class LstmBackward final : public AnyBackward<F> {
    using S = Sum<F>;

public:
    LstmBackward(const BackwardScan<S>& call, Activations activations)
        : way_back_{activations, Options(call.layer, call.options), call.layer.units},
          U_(path_on(call), call.U, 0, Options::gates, call.layer) {}

    void pack(Member member) const override { U_.pack(member); }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const override {
        const Range own = place.units<S>(way_back_.units);
        for (Index row = 0; row < rows.count; ++row) {
            const BackwardRow<S>& at = rows.row[row];
            for_vectors<S>(own,
                           [&](Index unit, int count) { way_back_(at, unit, count, rows.scale); });
            rows.pointers[row] = at.grad_product;
        }
        place.crew.barrier();
        if (!rows.passes_on) return;
        U_.multiply(rows.pointers, rows.count, rows.upcoming, place.crew,
                    [&](Index row, Index unit, int count, Vector<S> sum) {
                        way_back_.pass(rows.row[row], unit, count, sum, rows.scale);
                    });
    }

private:
    const LstmWayBack<S, Activations, Options> way_back_;
    const Through<F> U_;
};

}  // namespace gatewise::GATEWISE_ISA
