// The gated recurrent unit in both forms: one step forward and one back, for one vector of units.
//
//     z, r = gate(x W + b + (d h) U + b')
//     n = squash(x W_h + b_h + r q),  q = (d h) U_h + b'_h      reset after the product, or
//     n = squash(x W_h + (r d h) U_h + b_h)                     reset before it
//     h' = z h + (1 - z) n
//
// Cho et al. 2014, arXiv 1406.1078. d is the recurrent dropout; the z and r parts of b' are already
// in the input product.

#pragma once

#include "activations.h"
#include "cells.h"

namespace gatewise::GATEWISE_ISA {

// Stores n's consequences: h', and what the backward pass needs.
template <class S>
GATEWISE_INLINE void finish_gru(const ForwardRow<S>& at, Index units, Index unit, int count,
                                Vector<S> z, Vector<S> n) {
    const Vector<S> before = load(at.h + unit, count);
    const Vector<S> after = fma(z, before, (S(1) - z) * n);
    store(at.outputs + unit, zoned(at.share_h, before, after, unit, count), count);
    if (at.gates == nullptr) return;
    at.keep(at.gates + unit, z, count);
    at.keep(at.gates + 2 * units + unit, n, count);
}

// Packs the gates from `column` on: of U, below those of W where x is multiplied beside h. W's come
// in turn from `first_gate` on.
template <class F, int G, int V>
void pack_gates(const Packed<F, G, V>& to, const Forward<Sum<F>>& call, Index column,
                int first_gate, Member member) {
    const Index units = call.layer.units, above = to.depth - units;
    if (above > 0) {
        pack(to, 0, call.layer.inputs, from_column(call.W, column), units, member, first_gate);
    }
    pack(to, above, to.depth, from_column(call.U, column), units, member);
}

// What both forms differentiate first. Turns grad_h into its direct part, z grad_h, and what
// zoneout lets past the step.
template <class S>
struct GruCotangents {
    Vector<S> product_z, product_h;
};

template <class S>
GATEWISE_INLINE GruCotangents<S> differentiate_update(const BackwardRow<S>& at, Index units,
                                                      Index unit, int count, Activation squash,
                                                      Activation gate) {
    const Vector<S> z = load(at.gates + unit, count), n = load(at.gates + 2 * units + unit, count);
    const Vector<S> whole = load(at.grad_h + unit, count);
    const Vector<S> grad_h = of_new(at.share_h, whole, unit, count);
    const Vector<S> product_z = grad_h * (load(at.h + unit, count) - n) * slope<S>(gate, z);
    const Vector<S> product_h = grad_h * (S(1) - z) * slope<S>(squash, n);
    at.keep(at.grad_product + unit, product_z, count);
    at.keep(at.grad_product + 2 * units + unit, product_h, count);
    store(at.grad_h + unit, with_old(at.share_h, grad_h * z, whole, unit, count), count);
    return {product_z, product_h};
}

// Sends the cotangents at rows.pointers through U: grad_h = (grad_h + d * through U) * scale.
template <class F>
void pass_on(const Through<F>& U, const Place& place, const BackwardRows<Sum<F>>& rows) {
    using S = Sum<F>;
    if (!rows.passes_on) return;
    U.multiply(rows.pointers, rows.count, rows.upcoming, place.crew,
               [&](Index row, Index unit, int count, Vector<S> sum) {
                   const BackwardRow<S>& at = rows.row[row];
                   const Vector<S> direct = load(at.grad_h + unit, count);
                   store(at.grad_h + unit,
                         fma(sum, dropout_at(at, unit, count), direct) * rows.scale, count);
               });
}

// ---- reset after the product

// `recurrent` (3H) receives the cotangents of what h U adds, which differ from dL/dP in the
// candidate's part.
template <class S>
GATEWISE_INLINE void differentiate_reset(const BackwardRow<S>& at, Index units, Index unit,
                                         int count, Activation squash, Activation gate,
                                         S* recurrent) {
    const GruCotangents<S> grad = differentiate_update(at, units, unit, count, squash, gate);
    const Vector<S> r = load(at.gates + units + unit, count);
    const Vector<S> product_r = grad.product_h * load(at.saved + unit, count) * slope<S>(gate, r);
    at.keep(at.grad_product + units + unit, product_r, count);
    store(recurrent + unit, grad.product_z, count);
    store(recurrent + units + unit, product_r, count);
    store(recurrent + 2 * units + unit, grad.product_h * r, count);
}

template <class F, class Activations>
class GruAfterForward final : public AnyForward<F> {
    using S = Sum<F>;

public:
    GruAfterForward(const ForwardOf<F>& call, Activations activations)
        : activations_(activations),
          call_(call),
          U_(depth_of_step<GruAfterForward>(call), call.layer.units),
          bias_(call.layer.units) {}

    // The candidate keeps x W and h U apart, so a unit has four sums: x W_h, z, r, h U_h. x goes
    // to the first three of them, h to the last three.
    void pack(Member member) const override {
        constexpr int candidate = 2;
        const Index H = call_.layer.units;
        pack_gates(*U_, call_, 0, candidate, member);
        if (member.index != 0) return;
        if (call_.bias) {
            copy(bias_.data(), call_.bias + 5 * H, H);  // b'_h, the last of (2, 3H)
        } else {
            clear(bias_.data(), H);
        }
    }

    void step(const Place& place, const ForwardRows<S>& rows) const override {
        const Index H = call_.layer.units;
        multiply<1>(
            *U_, rows.left(call_.layer),
            [&](Index row, Index unit, int count, S* sums) {
                const S* const product = rows.row[row].product + unit;
                store(sums, load(product + 2 * H, count));
                store(sums + lanes<S>, load(product, count));
                store(sums + 2 * lanes<S>, load(product + H, count));
                store(sums + 3 * lanes<S>, load(bias_.data() + unit, count));
            },
            Twice{[&](Index row, Index unit, int count, S* sums) {
                      gate(rows.row[row], unit, count, sums);
                  },
                  [&](Index row, Index unit, int count, const S* sums) {
                      finish_gru(rows.row[row], H, unit, count, load(sums + lanes<S>),
                                 activate<S>(activations_.activation, load(sums)));
                  }},
            rows.upcoming, place.crew);
    }

private:
    // The sums of n's activation and z in place of the first two.
    void gate(const ForwardRow<S>& at, Index unit, int count, S* sums) const {
        const Index H = call_.layer.units;
        const Activation activation = activations_.recurrent_activation;
        const Vector<S> r = activate<S>(activation, load(sums + 2 * lanes<S>));
        const Vector<S> q = load(sums + 3 * lanes<S>);
        store(sums, fma(r, q, load(sums)));
        store(sums + lanes<S>, activate<S>(activation, load(sums + lanes<S>)));
        if (at.gates == nullptr) return;
        at.keep(at.gates + H + unit, r, count);
        at.keep(at.saved + unit, q, count);
    }

    [[no_unique_address]] const Activations activations_;
    const ForwardOf<F>& call_;
    const PackedBuffer<F, 3, 1> U_;
    const Buffer<S> bias_;  // (H): b'_h
};

template <class F, class Activations>
class GruAfterBackward final : public AnyBackward<F> {
    using S = Sum<F>;

public:
    GruAfterBackward(const BackwardScan<S>& call, Activations activations)
        : activations_(activations),
          call_(call),
          rows_(slices_of(call).most_rows()),
          U_(path_on(call), call.U, 0, 3, call.layer),
          recurrent_(slices_of(call).count, rows_ * 3 * call.layer.units) {}

    void pack(Member member) const override { U_.pack(member); }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const override {
        const Index H = call_.layer.units;
        const Range own = place.units<S>(H);
        S* const recurrent = recurrent_[place.common];
        for (Index row = 0; row < rows.count; ++row) {
            S* const to = recurrent + row * 3 * H;
            for_vectors<S>(own, [&](Index unit, int count) {
                differentiate_reset(rows.row[row], H, unit, count, activations_.activation,
                                    activations_.recurrent_activation, to);
            });
            rows.pointers[row] = to;
        }
        place.crew.barrier();
        pass_on(U_, place, rows);
    }

private:
    [[no_unique_address]] const Activations activations_;
    const BackwardScan<S>& call_;
    const Index rows_;
    const Through<F> U_;
    const PerThread<S> recurrent_;  // (rows, 3H)
};

// ---- reset before the product

template <class F, class Activations>
class GruBeforeForward final : public AnyForward<F> {
    using S = Sum<F>;

public:
    GruBeforeForward(const ForwardOf<F>& call, Activations activations)
        : activations_(activations),
          call_(call),
          U_gates_(depth_of_step<GruBeforeForward>(call), call.layer.units),
          U_candidate_(depth_of_step<GruBeforeForward>(call), call.layer.units) {}

    void pack(Member member) const override {
        const Index H = call_.layer.units;
        pack_gates(*U_gates_, call_, 0, 0, member);
        pack_gates(*U_candidate_, call_, 2 * H, 0, member);
    }

    Index memory(Index rows) const override { return rows * 2 * call_.layer.units; }

    void step(const Place& place, const ForwardRows<S>& rows) const override {
        const Index H = call_.layer.units;
        S* const update = rows.memory;  // (rows, H), as `reset`
        S* const reset = update + rows.count * H;
        multiply(
            *U_gates_, rows.left(call_.layer),
            from_memory<2>([&](Index row) { return rows.row[row].product; }, H),
            [&](Index row, Index unit, int count, const S* sums) {
                gate(rows.row[row], unit, count, sums, rows.seen[row], update + row * H,
                     reset + row * H);
            },
            rows.upcoming, place.crew);
        place.crew.barrier();
        for (Index row = 0; row < rows.count; ++row) rows.seen[row] = reset + row * H;
        multiply(
            *U_candidate_, rows.left(call_.layer),
            from_memory<1>([&](Index row) { return rows.row[row].product + 2 * H; }, 0),
            [&](Index row, Index unit, int count, const S* sums) {
                const ForwardRow<S>& at = rows.row[row];
                const Vector<S> n = activate<S>(activations_.activation, load(sums));
                finish_gru(at, H, unit, count, load(update + row * H + unit, count), n);
            },
            rows.upcoming, place.crew);
    }

private:
    // z into `update`, r d h into `reset`: (H) each.
    void gate(const ForwardRow<S>& at, Index unit, int count, const S* sums, const S* seen,
              S* update, S* reset) const {
        const Index H = call_.layer.units;
        const Activation activation = activations_.recurrent_activation;
        const Vector<S> z = activate<S>(activation, load(sums));
        const Vector<S> r = activate<S>(activation, load(sums + lanes<S>));
        store(update + unit, z, count);
        store(reset + unit, r * load(seen + unit, count), count);
        if (at.gates) at.keep(at.gates + H + unit, r, count);
    }

    [[no_unique_address]] const Activations activations_;
    const ForwardOf<F>& call_;
    const PackedBuffer<F, 2, 2> U_gates_;
    const PlainBuffer<F> U_candidate_;
};

template <class F, class Activations>
class GruBeforeBackward final : public AnyBackward<F> {
    using S = Sum<F>;

public:
    GruBeforeBackward(const BackwardScan<S>& call, Activations activations)
        : activations_(activations),
          call_(call),
          U_gates_(path_on(call), call.U, 0, 2, call.layer),
          U_candidate_(call.path == Path::full ? Path::cell : call.path, call.U, 2, 1, call.layer),
          U_reset_(Path::full, call.U, 2, 1, call.layer) {}

    void pack(Member member) const override {
        U_gates_.pack(member);
        U_candidate_.pack(member);
        U_reset_.pack(member);
    }

    void step_backward(const Place& place, const BackwardRows<S>& rows) const override {
        const Index H = call_.layer.units;
        const Range own = place.units<S>(H);
        for (Index row = 0; row < rows.count; ++row) {
            const BackwardRow<S>& at = rows.row[row];
            for_vectors<S>(own, [&](Index unit, int count) {
                differentiate_update(at, H, unit, count, activations_.activation,
                                     activations_.recurrent_activation);
            });
            rows.pointers[row] = at.grad_product + 2 * H;
        }
        place.crew.barrier();
        // The reset gate belongs to this very step, so its cotangent takes the whole of U_h on
        // every path.
        U_reset_.multiply(rows.pointers, rows.count, rows.upcoming, place.crew,
                          [&](Index row, Index unit, int count, Vector<S> sum) {
                              reset(rows.row[row], unit, count, sum);
                          });
        place.crew.barrier();
        for (Index row = 0; row < rows.count; ++row)
            rows.pointers[row] = rows.row[row].grad_product;
        pass_on(U_gates_, place, rows);
    }

private:
    // `sum` is the cotangent of r d h.
    void reset(const BackwardRow<S>& at, Index unit, int count, Vector<S> sum) const {
        const Index H = call_.layer.units;
        const Vector<S> dropout = dropout_at(at, unit, count), r = load(at.gates + H + unit, count);
        const Vector<S> seen = load(at.h + unit, count) * dropout;
        store(at.grad_product + H + unit,
              sum * seen * slope<S>(activations_.recurrent_activation, r), count);
        const Vector<S> through =
            call_.path == Path::full
                ? sum
                : U_candidate_.along_diagonal(at.grad_product + 2 * H, unit, count);
        store(at.grad_h + unit, fma(through, r * dropout, load(at.grad_h + unit, count)), count);
    }

    [[no_unique_address]] const Activations activations_;
    const BackwardScan<S>& call_;
    const Through<F> U_gates_, U_candidate_, U_reset_;
};

}  // namespace gatewise::GATEWISE_ISA
