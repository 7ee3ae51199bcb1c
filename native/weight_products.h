// Which products a weight gradient is the sum of: what each is made of, and where its results go.

#pragma once

#include "scan.h"

namespace gatewise::GATEWISE_ISA {

// What the left sides are made of: x, a one whose result is the bias's gradient, the h that the
// recurrent product saw (d h), that h times the reset gate, and what the projection multiplied.
enum class LeftPart { input, one, state, reset_state, shown };
inline constexpr LeftPart all_left_parts[] = {LeftPart::input, LeftPart::one, LeftPart::state,
                                              LeftPart::reset_state, LeftPart::shown};

struct LeftParts {
    unsigned bits = 0;

    constexpr LeftParts() = default;
    constexpr LeftParts(LeftPart part) : bits(1u << int(part)) {}
    constexpr bool has(LeftPart part) const { return bits >> int(part) & 1; }
    constexpr LeftParts& operator|=(LeftParts others) {
        bits |= others.bits;
        return *this;
    }
};
constexpr LeftParts operator|(LeftParts parts, LeftParts others) {
    return parts |= others;
}

// One product left^T right, summed over steps: of parts of the left side, in their order, and a
// part of the rows of grad_product.
struct WeightProduct {
    LeftParts left;
    bool with_bias[2];  // the one is for that of x W, and of h U where that has its own
    Range right;        // columns of a row of grad_product
    bool times_reset;   // the right side is a candidate's, multiplied by r
    Index origin;       // the column of a row of grad_product that is column 0 of the result
};

// Whether a row of results may be a row of both biases, or each goes to one place.
enum class Homes { shared, single };

template <class S>
class WeightProducts {
public:
    WeightProducts(const WeightGradient<S>& call, Homes homes) : call_(call) { list(homes); }

    int count() const { return count_; }
    const WeightProduct& operator[](int product) const { return products_[product]; }
    // What they are made of together.
    LeftParts left() const {
        LeftParts parts;
        for (int product = 0; product < count_; ++product) parts |= products_[product].left;
        return parts;
    }

    // The columns of a part of the left side, each of which is a row of results.
    Index width(LeftPart part) const {
        switch (part) {
            case LeftPart::input: return call_.layer.inputs;
            case LeftPart::one: return 1;
            case LeftPart::shown: return call_.layer.units;
            default: return call_.layer.outputs;
        }
    }
    Index results(LeftParts parts) const {
        Index sum = 0;
        for (const LeftPart part : all_left_parts) sum += parts.has(part) ? width(part) : 0;
        return sum;
    }

    // A row of a product's results: of which part of the left side, and which of that.
    struct Spot {
        LeftPart part;
        Index row;
    };
    Spot spot(const WeightProduct& product, Index row) const {
        for (const LeftPart part : all_left_parts) {
            if (!product.left.has(part)) continue;
            if (row < width(part)) return {part, row};
            row -= width(part);
        }
        __builtin_unreachable();
    }

    // Where one group's row of results goes: to a row of W's gradient, the bias's row `bias`, or a
    // row of U's or the projection's.
    S* home(Index group, Spot at, Index bias) const {
        const Index columns = gates_of(call_.layer.cell) * call_.layer.units;
        switch (at.part) {
            case LeftPart::input:
                return call_.grad_W + (group * call_.layer.inputs + at.row) * columns;
            case LeftPart::one: return call_.grad_bias + (group * biases() + bias) * columns;
            case LeftPart::shown:
                return call_.grad_projection +
                       (group * call_.layer.units + at.row) * call_.layer.outputs;
            default: return call_.grad_U + (group * call_.layer.outputs + at.row) * columns;
        }
    }

    // Whether the results of a part of the left side are rows of columns, and not columns of rows.
    bool turned(LeftPart part) const {
        if (part == LeftPart::input) return call_.turned_W;
        return (part == LeftPart::state || part == LeftPart::reset_state) && call_.turned_U;
    }

    // Writes some rows of the results of one part, from `column` on: they stand one behind the
    // other from `from` on, each in the vectors that its `count` columns fill.
    void write(const WeightProduct& product, Index group, Spot at, Index rows, Index column,
               const S* from, Index count) const {
        const Index step = (count + lanes<S> - 1) / lanes<S> * lanes<S>;
        if (turned(at.part)) {
            for (Index row = 0; row < rows; row += lanes<S>, from += lanes<S> * step) {
                write_turned({at.part, at.row + row}, int(smaller(lanes<S>, rows - row)),
                             column - product.origin, from, count, step);
            }
            return;
        }
        const bool both = product.with_bias[0] && product.with_bias[1];
        const Index first = product.with_bias[1] && !both ? 1 : 0;
        const Index columns = gates_of(call_.layer.cell) * call_.layer.units;
        const Index length = at.part == LeftPart::shown ? call_.layer.outputs : columns;
        S* to = home(group, at, first) + column - product.origin;
        for (Index row = 0; row < rows; ++row, to += length, from += step) {
            copy_vectors(to, from, count);
            if (both && at.part == LeftPart::one) copy_vectors(to + columns, from, count);
        }
    }

private:
    // copy() of whole vectors but for the last: a row is too short for a call of the C library.
    static void copy_vectors(S* to, const S* from, Index count) {
        for_vectors<S>(count, [&](Index first, int columns) {
            store(to + first, load(from + first), columns);
        });
    }

    // write() of a vector's lanes of rows at most, of a part that is turned.
    void write_turned(Spot at, int rows, Index column, const S* from, Index count,
                      Index step) const {
        const Index depth = width(at.part);
        S* const to =
            (at.part == LeftPart::input ? call_.grad_W : call_.grad_U) + column * depth + at.row;
        for_vectors<S>(count, [&](Index first, int columns) {
            Vector<S> square[lanes<S>];
#pragma GCC unroll 16
            for (int row = 0; row < lanes<S>; ++row)
                square[row] = row < rows ? load(from + row * step + first) : Vector<S>{};
            transpose<S>(square);
#pragma GCC unroll 16
            for (int of = 0; of < lanes<S>; ++of) {
                if (of < columns) store(to + (first + of) * depth, square[of], rows);
            }
        });
    }

    Index biases() const { return call_.layer.cell == Cell::gru_reset_after ? 2 : 1; }

    void add(LeftParts left, bool with_bias, bool with_own_bias, Range right,
             bool times_reset = false, Index origin = 0) {
        if (with_bias || with_own_bias) left |= LeftPart::one;
        products_[count_++] = {left, {with_bias, with_own_bias}, right, times_reset, origin};
    }

    void list(Homes homes) {
        const Layer& layer = call_.layer;
        const bool bias = call_.grad_bias != nullptr;
        const LeftParts x = LeftPart::input, h = LeftPart::state;
        const GradientRow row = gradient_row(layer);
        const Index H = layer.units, columns = gates_of(layer.cell) * H;
        const Range gates = {0, columns}, update_and_reset = {0, 2 * H};
        const Range candidate = {2 * H, columns};
        const auto add_whole = [&](LeftParts left, Index first, Index count) {
            add(left, false, false, {first, first + count}, false, first);
        };
        if (layer.projected) add_whole(LeftPart::shown, row.hidden, layer.outputs);
        if (layer.layer_norm) {
            add_whole(x, row.input, columns);
            return add_whole(h, row.recurrent, columns);
        }
        switch (layer.cell) {
            case Cell::lstm:
            case Cell::cifg:
            case Cell::simple_rnn: return add(x | h, bias, false, gates);
            case Cell::gru_reset_after:
                if (homes == Homes::shared) {
                    add(x | h, bias, bias, update_and_reset);
                    add(x, bias, false, candidate);
                } else {
                    add(x, bias, false, gates);
                    add(h, false, bias, update_and_reset);
                }
                return add(h, false, bias, candidate, true);
            case Cell::gru_reset_before:
                add(x | h, bias, false, update_and_reset);
                return add(x | LeftPart::reset_state, bias, false, candidate);
        }
    }

    const WeightGradient<S>& call_;
    WeightProduct products_[3];
    int count_ = 0;
};

}  // namespace gatewise::GATEWISE_ISA
