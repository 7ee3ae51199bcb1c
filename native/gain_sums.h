// The gradients of what layer normalization multiplies and adds: sums over steps, number by number.
//
//     db = sum dP      dgain_x = sum dP LN(x W)      dgain_h = sum dP LN(h U)
//     dbias_c = sum dn      dgain_c = sum dn LN(c')
//
// Of a GRU's candidate r dP stands for dP at what comes from h U: its gain and its own bias.

#pragma once

#include "normal.h"

namespace gatewise::GATEWISE_ISA {

// One group's sums, for a member's share of the columns; they grow where the caller wants them.
template <class S>
class GainSums {
public:
    GainSums(const WeightGradient<S>& call, Index group, Member member)
        : layer_(call.layer),
          columns_(part(gates_of(layer_.cell) * layer_.units, member)),
          units_(part(layer_.units, member)) {
        const Index H = layer_.units, GH = gates_of(layer_.cell) * H;
        const bool apart = layer_.cell == Cell::gru_reset_after;
        bias_ = call.grad_bias ? call.grad_bias + group * (apart ? 2 : 1) * GH : nullptr;
        recurrent_bias_ = call.grad_bias && apart ? bias_ + GH : nullptr;
        input_gain_ = call.grad_norm[0] + group * GH;
        recurrent_gain_ = call.grad_norm[1] + group * GH;
        for (S* const sum : {bias_, recurrent_bias_, input_gain_, recurrent_gain_})
            if (sum) clear(sum + columns_.begin, columns_.end - columns_.begin);
        if (!has_memory(layer_.cell)) return;
        cell_gain_ = call.grad_norm[2] + group * H;
        cell_bias_ = call.grad_norm[3] + group * H;
        for (S* const sum : {cell_gain_, cell_bias_})
            clear(sum + units_.begin, units_.end - units_.begin);
    }

    // Adds a step: its row of grad_product and of saved, and a GRU's reset gates (H).
    void add(const S* grads, const S* saved, const S* reset) const {
        const Index candidate = 2 * layer_.units;
        if (has_memory(layer_.cell)) {
            add_gates(columns_, grads, saved, nullptr);
            add_cell(grads + gradient_row(layer_).cell, saved + saved_row(layer_).cell);
        } else {
            add_gates({columns_.begin, smaller(columns_.end, candidate)}, grads, saved, nullptr);
            add_gates({larger(columns_.begin, candidate), columns_.end}, grads, saved, reset);
        }
    }

private:
    // A share of whole vectors.
    static Range part(Index count, Member member) {
        const Range vectors = share(member, (count + lanes<S> - 1) / lanes<S>);
        return {vectors.begin * lanes<S>, smaller(count, vectors.end * lanes<S>)};
    }

    // `reset` (H) multiplies what comes from h U, in the columns of a GRU's candidate; null in
    // others, where nothing does.
    void add_gates(Range columns, const S* grads, const S* saved, const S* reset) const {
        const SavedRow row = saved_row(layer_);
        for (Index column = columns.begin; column < columns.end; column += lanes<S>) {
            const int count = lanes_before<S>(column, columns.end);
            const Vector<S> grad = load(grads + column, count);
            const Vector<S> past =
                reset ? grad * load(reset + column - 2 * layer_.units, count) : grad;
            if (bias_) add_number(bias_ + column, grad, count);
            if (recurrent_bias_) add_number(recurrent_bias_ + column, past, count);
            add_product(input_gain_ + column, grad, load(saved + row.input + column, count), count);
            add_product(recurrent_gain_ + column, past, load(saved + row.recurrent + column, count),
                        count);
        }
    }

    void add_cell(const S* grads, const S* normal) const {
        for_vectors<S>(units_, [&](Index unit, int count) {
            const Vector<S> grad = load(grads + unit, count);
            store(cell_bias_ + unit, load(cell_bias_ + unit, count) + grad, count);
            add_product(cell_gain_ + unit, grad, load(normal + unit, count), count);
        });
    }

    // A bias's gradient is a product with ones, whose operands are rounded as those of others.
    void add_number(S* sum, Vector<S> grad, int count) const {
        if constexpr (sizeof(S) == sizeof(float)) {
            if (layer_.precision == Precision::bfloat16)
                grad = (Vector<S>)(rounded_bits((Bits<S>)grad) << 16);
        }
        store(sum, load(sum, count) + grad, count);
    }

    static void add_product(S* sum, Vector<S> left, Vector<S> right, int count) {
        store(sum, fma(left, right, load(sum, count)), count);
    }

    const Layer& layer_;
    const Range columns_, units_;
    S *bias_, *recurrent_bias_, *input_gain_, *recurrent_gain_;  // null where there is none
    S *cell_gain_ = nullptr, *cell_bias_ = nullptr;
};

}  // namespace gatewise::GATEWISE_ISA
