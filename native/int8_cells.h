// The cells with weights of 8 bits, forward: their products are integer, all else is as it was.

#pragma once

#include "gru.h"
#include "int8.h"
#include "lstm.h"
#include "simple_rnn.h"

namespace gatewise::GATEWISE_ISA {

// x W + b for a chunk of steps of one slice.
struct Int8Input {
    using Call = Int8Forward;

    static constexpr bool beside = false;  // x and h have scales of their own
    const Int8Forward& call;
    const Index columns;
    const Int8Product<1, plain_vectors> W;
    const Buffer<float> bias;  // (GH)

    Int8Input(const Int8Forward& forward, bool)
        : call(forward),
          columns(gates_of(forward.layer.cell) * forward.layer.units),
          W(forward.layer, forward.layer.inputs, columns, slices_of(forward).count),
          bias(columns) {}

    void pack(Member member) const {
        W.pack(call.int8_W, columns, 0, member);
        if (member.index == 0) fill_bias(call, bias.data());
    }

    void multiply(const float* const* x, float* const* product, Index count,
                  const Place& place) const {
        W.multiply(
            x, count,
            [&](Index, Index column, int width, float* sums) {
                store(sums, load(bias.data() + column, width));
            },
            [&](Index row, Index column, int width, const float* sums) {
                store(product[row] + column, load(sums), width);
            },
            place);
    }
};

// What every cell has: its call, its activations, and a product by G of its gates.
template <class Activations>
struct Int8Cell {
    static constexpr bool may_take_input = false;

    const Int8Forward& call;
    [[no_unique_address]] const Activations activations;

    Index units() const { return call.layer.units; }

    template <int G, int V>
    Int8Product<G, V> product() const {
        return {call.layer, units(), units(), slices_of(call).count};
    }
    // The columns of U from a gate on.
    template <int G, int V>
    void pack(const Int8Product<G, V>& to, Index gate, Member member) const {
        const Int8Matrix& U = call.int8_U;
        const Index first = gate * units();
        to.pack({U.data + first, U.scale + first}, gates_of(call.layer.cell) * units(), units(),
                member);
    }
};

template <class Activations>
class Int8Lstm : Int8Cell<Activations> {
    using Base = Int8Cell<Activations>;

public:
    using Base::may_take_input;

    Int8Lstm(const Int8Forward& call, Activations activations)
        : Base{call, activations},
          update_{activations, PlainLstm<float>(call.layer, call.options), call.layer.units},
          U_(this->template product<4, 1>()) {}

    void pack(Member member) const { Base::pack(U_, 0, member); }

    void step(const Place& place, const ForwardRows<float>& rows) const {
        U_.multiply(
            rows.seen, rows.count,
            [&](Index row, Index unit, int count, float* sums) {
                for (int gate = 0; gate < 4; ++gate) {
                    store(sums + gate * lanes<float>,
                          load(rows.row[row].product + gate * this->units() + unit, count));
                }
            },
            [&](Index row, Index unit, int count, const float* sums) {
                update_(rows.row[row], unit, count, sums);
            },
            place);
    }

private:
    const LstmUpdate<float, Activations, PlainLstm<float>> update_;
    const Int8Product<4, 1> U_;
};

template <class Activations>
class Int8GruAfter : Int8Cell<Activations> {
    using Base = Int8Cell<Activations>;

public:
    using Base::may_take_input;

    Int8GruAfter(const Int8Forward& call, Activations activations)
        : Base{call, activations}, U_(this->template product<3, 1>()), bias_(call.layer.units) {}

    void pack(Member member) const {
        const Index H = this->units();
        Base::pack(U_, 0, member);
        if (member.index != 0) return;
        if (this->call.bias) {
            copy(bias_.data(), this->call.bias + 5 * H, H);  // b'_h, the last of (2, 3H)
        } else {
            clear(bias_.data(), H);
        }
    }

    void step(const Place& place, const ForwardRows<float>& rows) const {
        constexpr int next = lanes<float>;
        const Index H = this->units();
        U_.multiply(
            rows.seen, rows.count,
            [&](Index row, Index unit, int count, float* sums) {
                store(sums, load(rows.row[row].product + unit, count));
                store(sums + next, load(rows.row[row].product + H + unit, count));
                store(sums + 2 * next, load(bias_.data() + unit, count));
            },
            [&](Index row, Index unit, int count, const float* sums) {
                const ForwardRow<float>& at = rows.row[row];
                const Activation gate = this->activations.recurrent_activation;
                const Vector<float> z = activate<float>(gate, load(sums));
                const Vector<float> r = activate<float>(gate, load(sums + next));
                const Vector<float> n = activate<float>(
                    this->activations.activation,
                    fma(r, load(sums + 2 * next), load(at.product + 2 * H + unit, count)));
                finish_gru(at, H, unit, count, z, n);
            },
            place);
    }

private:
    const Int8Product<3, 1> U_;
    const Buffer<float> bias_;  // (H): b'_h
};

template <class Activations>
class Int8GruBefore : Int8Cell<Activations> {
    using Base = Int8Cell<Activations>;

public:
    using Base::may_take_input;

    Int8GruBefore(const Int8Forward& call, Activations activations)
        : Base{call, activations},
          rows_(slices_of(call).most_rows()),
          U_gates_(this->template product<2, 2>()),
          U_candidate_(this->template product<1, plain_vectors>()),
          update_(slices_of(call).count * padded<float>(rows_ * call.layer.units)),
          reset_(slices_of(call).count * padded<float>(rows_ * call.layer.units)) {}

    void pack(Member member) const {
        Base::pack(U_gates_, 0, member);
        Base::pack(U_candidate_, 2, member);
    }

    void step(const Place& place, const ForwardRows<float>& rows) const {
        const Index H = this->units();
        const Activation gate = this->activations.recurrent_activation;
        float* const update = update_.data() + place.common * padded<float>(rows_ * H);
        float* const reset = reset_.data() + place.common * padded<float>(rows_ * H);
        U_gates_.multiply(
            rows.seen, rows.count,
            [&](Index row, Index unit, int count, float* sums) {
                store(sums, load(rows.row[row].product + unit, count));
                store(sums + lanes<float>, load(rows.row[row].product + H + unit, count));
            },
            [&](Index row, Index unit, int count, const float* sums) {
                const Vector<float> r = activate<float>(gate, load(sums + lanes<float>));
                store(update + row * H + unit, activate<float>(gate, load(sums)), count);
                store(reset + row * H + unit, r * load(rows.seen[row] + unit, count), count);
            },
            place);
        place.crew.barrier();
        for (Index row = 0; row < rows.count; ++row) rows.seen[row] = reset + row * H;
        U_candidate_.multiply(
            rows.seen, rows.count,
            [&](Index row, Index unit, int count, float* sums) {
                store(sums, load(rows.row[row].product + 2 * H + unit, count));
            },
            [&](Index row, Index unit, int count, const float* sums) {
                const Vector<float> n = activate<float>(this->activations.activation, load(sums));
                const Vector<float> z = load(update + row * H + unit, count);
                finish_gru(rows.row[row], H, unit, count, z, n);
            },
            place);
    }

private:
    const Index rows_;
    const Int8Product<2, 2> U_gates_;
    const Int8Product<1, plain_vectors> U_candidate_;
    const Buffer<float> update_, reset_;  // (slices, rows, H) each: z, and r d h
};

template <class Activations>
class Int8SimpleRnn : Int8Cell<Activations> {
    using Base = Int8Cell<Activations>;

public:
    using Base::may_take_input;

    Int8SimpleRnn(const Int8Forward& call, Activations activations)
        : Base{call, activations}, U_(this->template product<1, plain_vectors>()) {}

    void pack(Member member) const { Base::pack(U_, 0, member); }

    void step(const Place& place, const ForwardRows<float>& rows) const {
        U_.multiply(
            rows.seen, rows.count,
            [&](Index row, Index unit, int count, float* sums) {
                store(sums, load(rows.row[row].product + unit, count));
            },
            [&](Index row, Index unit, int count, const float* sums) {
                store(rows.row[row].outputs + unit,
                      activate<float>(this->activations.activation, load(sums)), count);
            },
            place);
    }

private:
    const Int8Product<1, plain_vectors> U_;
};

}  // namespace gatewise::GATEWISE_ISA
