// What a single row leaves room for: x W of later steps, multiplied while the row waits for U.
//
// A row by itself takes each line of U once. Where the second-level cache brings a line in the time
// of two multiply-adds, the second one is x W's: its W is read for as many steps as a vector has
// lanes. The bits are those of x W multiplied ahead of all steps.

#pragma once

#include "pack.h"

namespace gatewise::GATEWISE_ISA {

// A part of the depth of x W, for one vector of its columns and some steps.
template <class S>
struct ShadowPart {
    const S* panel;      // of W, a vector for each step of the depth
    const S* x;          // (depth, lanes): a time step in each lane
    Index depth;         // may be 0
    const S* begin;      // where the sums of all steps start; null: at `sums`
    S* sums;             // (lanes, lanes): where they stay until the depth is through
    S* const* products;  // (count) where they go then, from `column` on; null: not yet
    int count;           // time steps
    Index column;
    int width;  // columns, a vector or less
};

template <class S>
class ShadowSums {
public:
    GATEWISE_INLINE explicit ShadowSums(const ShadowPart<S>& part)
        : panel_(part.panel), x_(part.x) {
#pragma GCC unroll 16
        for (int step = 0; step < lanes<S>; ++step) {
            sum_[step] =
                part.begin ? load(part.begin, part.width) : load(part.sums + step * lanes<S>);
        }
    }

    // Adds the next products.
    GATEWISE_INLINE void add() {
        const Vector<S> right = load(panel_);
#pragma GCC unroll 16
        for (int step = 0; step < lanes<S>; ++step)
            sum_[step] = fma(broadcast(x_[step]), right, sum_[step]);
        panel_ += lanes<S>;
        x_ += lanes<S>;
    }

    GATEWISE_INLINE void finish(const ShadowPart<S>& part) const {
#pragma GCC unroll 16
        for (int step = 0; step < lanes<S>; ++step) {
            if (part.products == nullptr) {
                store(part.sums + step * lanes<S>, sum_[step]);
            } else if (step < part.count) {
                store(part.products[step] + part.column, sum_[step], part.width);
            }
        }
    }

private:
    Vector<S> sum_[lanes<S>];
    const S* panel_;
    const S* x_;
};

template <class S>
[[gnu::noinline]] void multiply_alone(const ShadowPart<S>& part) {
    ShadowSums<S> sums(part);
    for (Index at = 0; at < part.depth; ++at) sums.add();
    sums.finish(part);
}

// x W + b of a block of later steps, a part at a time: the columns of one thread's units, which it
// keeps to itself.
template <class S>
class Shadow {
public:
    using W = Packed<S, 1, 1>;              // (I, GH)
    static constexpr int steps = lanes<S>;  // of a block
    // Whether its sums find room beside the row's own, which else are better off with a second tile
    // (product_of_pair).
    static constexpr bool fits = vector_bytes == 64;

    // The numbers that `memory` holds.
    static Index memory_size(Index inputs) { return (inputs + steps) * steps; }

    // `own` are the thread's of so many units; bias is (GH).
    Shadow(const W& packed, const S* bias, Index units, Range own, S* memory)
        : W_(packed), bias_(bias), units_(units), own_(own), x_(memory) {
        for (Index vector = next_own(0); vector < W_.tiles(); vector = next_own(vector + 1))
            parts_ += parts_of_vector;
    }

    // Packs what this thread multiplies.
    void pack(Matrix<S> from) const {
        // A row at a time where it lies in lines of memory, else lines of its columns.
        const Index at_once = from.column_stride == 1 ? 1 : transposed_rows;
        for (Index row = 0; row < W_.depth; row += at_once) {
            const Matrix<S> rows = from_row(from, row);
            const Index depth = smaller(at_once, W_.depth - row);
            for (Index gate = 0; gate < W_.units; gate += units_) {
                const Range vectors = own_vectors(gate);
                for (Index vector = vectors.begin; vector < vectors.end; ++vector) {
                    const Index column = W_.first_unit(vector);
                    pack_vector(rows, column, lanes_before<S>(column, W_.units), depth,
                                W_.panel(vector) + row * lanes<S>, lanes<S>);
                }
            }
        }
    }

    // Begins with a block: the x (I) of so many steps, so far from each other, and where their
    // products go (count, GH). What was left of the last block is forgotten.
    void begin(const S* x, Index stride, S* const* products, int count) {
        if (count > 0) pack_transposed(x, stride, count, W_.depth, x_, Index(steps));
        products_ = products;
        count_ = count;
        taken_ = due_ = 0;
        vector_ = -1;
    }

    // Says how much is to be done by the end of this step of the block before.
    void begin_step(Index step) { due_ = count_ > 0 ? parts_ * (step + 1) / steps : 0; }

    // Does what is due and nobody took along.
    void end_step() {
        while (const ShadowPart<S>* part = take()) multiply_alone(*part);
    }

    // The next part that is due, or null.
    const ShadowPart<S>* take() {
        if (taken_ >= due_) return nullptr;
        const int number = int(taken_++ % parts_of_vector);
        if (number == 0) vector_ = next_own(vector_ + 1);
        const Range depth = share(Member{number, parts_of_vector}, W_.depth);
        const Index column = W_.first_unit(vector_);
        part_ = {.panel = W_.panel(vector_) + depth.begin * lanes<S>,
                 .x = x_ + depth.begin * steps,
                 .depth = depth.end - depth.begin,
                 .begin = number == 0 ? bias_ + column : nullptr,
                 .sums = x_ + W_.depth * steps,
                 .products = number == parts_of_vector - 1 ? products_ : nullptr,
                 .count = count_,
                 .column = column,
                 .width = lanes_before<S>(column, W_.units)};
        return &part_;
    }

private:
    // A tile of U has about four vectors, so there is about a part for each time that one is read.
    static constexpr int parts_of_vector = steps < 4 ? 1 : steps / 4;

    // The vectors where this thread's units have columns of a gate, which begins with this column.
    // A vector may belong to several gates, and to several threads, which all pack it then.
    Range own_vectors(Index gate) const {
        if (own_.begin == own_.end) return {0, 0};
        return {(gate + own_.begin) / lanes<S>, (gate + own_.end - 1) / lanes<S> + 1};
    }

    // The first of all own vectors from this one on, or tiles().
    Index next_own(Index vector) const {
        for (Index gate = 0; gate < W_.units; gate += units_) {
            const Range own = own_vectors(gate);
            if (vector < own.end) return larger(vector, own.begin);
        }
        return W_.tiles();
    }

    const W W_;
    const S* const bias_;
    const Index units_;
    const Range own_;
    S* const x_;  // (I, steps), and behind it the sums of a part (steps, lanes)
    Index parts_ = 0, taken_ = 0, due_ = 0;
    S* const* products_ = nullptr;
    int count_ = 0;
    Index vector_ = -1;
    ShadowPart<S> part_ = {};
};

}  // namespace gatewise::GATEWISE_ISA
