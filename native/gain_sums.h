// The gradients of what layer normalization multiplies and adds: sums over steps, number by number.
//
//     db = sum dP      dgain_x = sum dP LN(x W)      dgain_h = sum dP LN(h U)
//     dbias_c = sum dn      dgain_c = sum dn LN(c')

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
        bias_ = call.grad_bias ? call.grad_bias + group * GH : nullptr;
        input_gain_ = call.grad_norm[0] + group * GH;
        recurrent_gain_ = call.grad_norm[1] + group * GH;
        cell_gain_ = call.grad_norm[2] + group * H;
        cell_bias_ = call.grad_norm[3] + group * H;
        start(bias_, columns_);
        start(input_gain_, columns_);
        start(recurrent_gain_, columns_);
        start(cell_gain_, units_);
        start(cell_bias_, units_);
    }

    // Adds a step: its row of grad_product, and of saved.
    void add(const S* grads, const S* saved) const {
        const SavedRow row = saved_row(layer_);
        for_vectors<S>(columns_, [&](Index column, int count) {
            const Vector<S> grad = load(grads + column, count);
            if (bias_) store(bias_ + column, load(bias_ + column, count) + grad, count);
            add_product(input_gain_ + column, grad, load(saved + row.input + column, count), count);
            add_product(recurrent_gain_ + column, grad, load(saved + row.recurrent + column, count),
                        count);
        });
        const S* const grad_normal = grads + gradient_row(layer_).cell;
        for_vectors<S>(units_, [&](Index unit, int count) {
            const Vector<S> grad = load(grad_normal + unit, count);
            store(cell_bias_ + unit, load(cell_bias_ + unit, count) + grad, count);
            add_product(cell_gain_ + unit, grad, load(saved + row.cell + unit, count), count);
        });
    }

private:
    // A share of whole vectors.
    static Range part(Index count, Member member) {
        const Range vectors = share(member, (count + lanes<S> - 1) / lanes<S>);
        return {vectors.begin * lanes<S>, smaller(count, vectors.end * lanes<S>)};
    }

    static void start(S* sum, Range part) {
        if (sum) clear(sum + part.begin, part.end - part.begin);
    }

    static void add_product(S* sum, Vector<S> left, Vector<S> right, int count) {
        store(sum, fma(left, right, load(sum, count)), count);
    }

    const Layer& layer_;
    const Range columns_, units_;
    S *bias_, *input_gain_, *recurrent_gain_, *cell_gain_, *cell_bias_;
};

}  // namespace gatewise::GATEWISE_ISA
