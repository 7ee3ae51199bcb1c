// The gradients that need no order in time: of the weights, and of the input.
//
// Both are split by parts of the result, never by parts of a sum, so the number of threads does not
// change a bit. Masked steps are left out of the sums: whatever their input holds cannot matter.

#pragma once

#include "scan.h"

namespace gatewise::GATEWISE_ISA {

// What a step's cotangents are multiplied by: its x, the h that its recurrent product saw (d h), or
// that h times the reset gate.
enum class Left { input, state, reset_state };

// One product left^T right, summed over steps; `right` is dL/dP. The rows of the result follow the
// columns of `left`; where `with_bias`, a column of ones is added, whose row is the bias's
// gradient.
struct WeightProduct {
    Left left;
    Index first_gate, last_gate;  // of the right side
    bool reset_candidate;         // the right side's candidate part is multiplied by r
    bool with_bias;
};

template <class S>
class WeightGradientSums {
public:
    explicit WeightGradientSums(const WeightGradient<S>& call)
        : call_(call),
          gates_(gates_of(call.layer.cell)),
          groups_(call.reduce == Reduce::all      ? 1
                  : call.reduce == Reduce::sample ? call.layer.batch
                                                  : call.layer.time),
          threads_(threads()),
          left_stride_(odd_lines(larger(call.layer.inputs, call.layer.units) + 1)),
          left_(threads_ * depth * left_stride_),
          right_(threads_ * right_size()),
          steps_(call.layer.batch * call.layer.time),
          group_ends_(groups_),
          pointers_(threads_ * padded<const S*>(left_stride_)) {
        list_products();
        list_steps();
    }

    void run() const {
        parallel(threads_, [&](Member member) {
            const int thread = member.index;
            // A few results are shared out by their columns, many (samples, steps) as wholes.
            const Index parts = groups_ >= member.team ? 1 : member.team;
            for (Index task = thread; task < groups_ * parts; task += member.team) {
                const Index group = task / parts;
                for (int product = 0; product < products_count_; ++product) {
                    run_product(products_[product], group, Member{int(task % parts), int(parts)},
                                thread);
                }
            }
        });
    }

private:
    using Panel = Packed<S, 1, plain_vectors>;
    static constexpr Index depth =
        32 * 1024 / (plain_vectors * vector_bytes);  // one panel fills the first-level cache

    Index units() const { return call_.layer.units; }
    Index columns() const { return gates_ * units(); }
    // An odd number of cache lines, so that the steps of one column spread over the sets of the
    // cache.
    static Index odd_lines(Index count) {
        constexpr Index line = 64 / sizeof(S);
        return ((count + line - 1) / line | 1) * line;
    }
    static Index right_size() { return padded<S>(Panel::size(depth, Panel::tile_units)); }

    int threads() const {
        const double steps = double(call_.layer.batch) * double(call_.layer.time);
        const Index parts =
            larger(groups_, (columns() + Panel::tile_units - 1) / Panel::tile_units);
        return useful_threads(call_.layer.threads, parts,
                              steps * double(columns()) * double(call_.layer.inputs + units()));
    }

    void list_products() {
        const bool bias = call_.grad_bias != nullptr;
        const auto add = [&](WeightProduct product) { products_[products_count_++] = product; };
        add({Left::input, 0, gates_, false, bias});
        switch (call_.layer.cell) {
            case Cell::lstm:
            case Cell::simple_rnn: add({Left::state, 0, gates_, false, false}); break;
            case Cell::gru_reset_after: add({Left::state, 0, gates_, true, bias}); break;
            case Cell::gru_reset_before:
                add({Left::state, 0, 2, false, false});
                add({Left::reset_state, 2, 3, false, false});
                break;
        }
    }

    // The real steps (b T + t) of each group, one group after the other.
    void list_steps() {
        const Layer& layer = call_.layer;
        Index count = 0;
        const auto add = [&](Index row, Index t) {
            if (is_real(call_.mask, layer, row, t)) steps_.data()[count++] = row * layer.time + t;
        };
        if (call_.reduce == Reduce::step) {
            for (Index t = 0; t < layer.time; ++t) {
                for (Index row = 0; row < layer.batch; ++row) add(row, t);
                group_ends_.data()[t] = count;
            }
            return;
        }
        for (Index row = 0; row < layer.batch; ++row) {
            for (Index t = 0; t < layer.time; ++t) add(row, t);
            group_ends_.data()[call_.reduce == Reduce::all ? 0 : row] = count;
        }
    }

    // One group's product, for this member's share of the column tiles.
    void run_product(const WeightProduct& product, Index group, Member member, int thread) const {
        const Index first = product.first_gate * units(), end = product.last_gate * units();
        const Range tiles =
            share(member, (end - first + Panel::tile_units - 1) / Panel::tile_units);
        const Range columns = {first + tiles.begin * Panel::tile_units,
                               smaller(end, first + tiles.end * Panel::tile_units)};
        if (columns.begin >= columns.end) return;
        const Index width = product.left == Left::input ? call_.layer.inputs : units();
        const Index results = width + (product.with_bias ? 1 : 0);
        for (Index row = 0; row < results; ++row) {
            clear(result(product, group, row, width) + columns.begin, columns.end - columns.begin);
        }
        const Index* const steps = steps_.data();
        const Index last_step = group_ends_.data()[group];
        for (Index step = group == 0 ? 0 : group_ends_.data()[group - 1]; step < last_step;
             step += depth) {
            add_block(product, group, columns, steps + step, smaller(depth, last_step - step),
                      thread);
        }
    }

    // Row `row` of the result: of W or U, or the bias after their last.
    S* result(const WeightProduct& product, Index group, Index row, Index width) const {
        const bool input = product.left == Left::input;
        if (row < width)
            return (input ? call_.grad_W : call_.grad_U) + (group * width + row) * columns();
        const Index bias_rows = call_.layer.cell == Cell::gru_reset_after ? 2 : 1;
        return call_.grad_bias + (group * bias_rows + (input ? 0 : 1)) * columns();
    }

    void add_block(const WeightProduct& product, Index group, Range columns, const Index* steps,
                   Index count, int thread) const {
        const Index width = product.left == Left::input ? call_.layer.inputs : units();
        const Index results = width + (product.with_bias ? 1 : 0);
        S* const left = left_.data() + thread * depth * left_stride_;
        const S** const pointers = pointers_.data() + thread * padded<const S*>(left_stride_);
        pack_left(product, results, steps, count, left, pointers);
        for (Index column = columns.begin; column < columns.end; column += Panel::tile_units) {
            const Panel panel = {right_.data() + thread * right_size(), count,
                                 smaller(Panel::tile_units, columns.end - column)};
            pack_right(product, column, steps, panel);
            multiply_tile(panel, 0, Rows<S>{pointers, results, left_stride_},
                          [&](Index row, Index unit, int lane_count, const S* sums) {
                              S* const to = result(product, group, row, width) + column + unit;
                              store(to, load(to, lane_count) + load(sums), lane_count);
                          });
        }
    }

    // The left rows of the block, [step][row of the result], and where each result's row begins in
    // it.
    void pack_left(const WeightProduct& product, Index results, const Index* steps, Index count,
                   S* to, const S** pointers) const {
        const Index width = product.left == Left::input ? call_.layer.inputs : units();
        for (Index row = 0; row < results; ++row) pointers[row] = to + row;
        for (Index step = 0; step < count; ++step, to += left_stride_) {
            copy_left(product.left, steps[step], to);
            if (results > width) to[width] = S(1);
        }
    }

    void copy_left(Left left, Index step, S* to) const {
        const Index row = step / call_.layer.time, t = step % call_.layer.time, H = units();
        if (left == Left::input) {
            return copy(to, call_.x.data + row * call_.x.batch_stride + t * call_.x.time_stride,
                        call_.layer.inputs);
        }
        const bool first = t == time_at(call_.layer, 0);
        const S* const h = first ? call_.state + row * H
                                 : call_.outputs + (step + (call_.layer.reverse ? 1 : -1)) * H;
        for_vectors<S>(H, [&](Index unit, int count) {
            Vector<S> seen = load(h + unit, count);
            if (call_.dropout) seen *= load(call_.dropout + row * H + unit, count);
            if (left == Left::reset_state)
                seen *= load(call_.gates + step * columns() + H + unit, count);
            store(to + unit, seen, count);
        });
    }

    // The panel's columns of dL/dP, from `column` on.
    void pack_right(const WeightProduct& product, Index column, const Index* steps,
                    const Panel& panel) const {
        const int vectors = panel.vectors(0);
        for (Index step = 0; step < panel.depth; ++step) {
            const S* const from = call_.grad_product + steps[step] * columns() + column;
            S* const to = panel.panel(0) + step * vectors * lanes<S>;
            for (int vector = 0; vector < vectors; ++vector) {
                const Index unit = vector * lanes<S>;
                store(to + unit, load(from + unit, lanes_before<S>(unit, panel.units)));
            }
            if (product.reset_candidate) scale_candidate(column, steps[step], panel.units, to);
        }
    }

    void scale_candidate(Index column, Index step, Index width, S* values) const {
        const S* const r = call_.gates + step * columns() + units();
        for (Index at = larger(0, 2 * units() - column); at < width; ++at)
            values[at] *= r[column + at - 2 * units()];
    }

    const WeightGradient<S>& call_;
    const Index gates_, groups_;
    const int threads_;
    const Index left_stride_;
    const Buffer<S> left_;       // (threads, ...): one block of left rows
    const Buffer<S> right_;      // (threads, ...): one panel
    const Buffer<Index> steps_;  // (B T at most)
    const Buffer<Index> group_ends_;
    const Buffer<const S*> pointers_;  // (threads, left rows)
    WeightProduct products_[3];
    int products_count_ = 0;
};

template <class S>
void weight_gradient(const WeightGradient<S>& call) {
    WeightGradientSums<S>(call).run();
}

// dx = dP W^T
template <class S>
void input_gradient(const InputGradient<S>& call) {
    constexpr Index block = 96;  // rows of dP that stay in the second-level cache while W passes
    const Layer& layer = call.layer;
    const Index rows = layer.batch * layer.time, columns = gates_of(layer.cell) * layer.units;
    const Index blocks = (rows + block - 1) / block;
    const int threads = useful_threads(layer.threads, blocks,
                                       double(rows) * double(columns) * double(layer.inputs));
    const PlainBuffer<S> W(columns, layer.inputs);
    parallel(threads, [&](Member member) {
        pack(*W, transposed(call.W), 0, member);
        member.barrier();
        const Range mine = share(member, blocks);
        for (Index first = mine.begin * block; first < smaller(rows, mine.end * block);
             first += block) {
            const S* pointers[block];
            const Index count = smaller(block, rows - first);
            for (Index row = 0; row < count; ++row)
                pointers[row] = call.grad_product + (first + row) * columns;
            multiply(
                *W, Rows<S>{pointers, count}, [&](Index row, Index unit, int width, const S* sums) {
                    store(call.grad_x + (first + row) * layer.inputs + unit, load(sums), width);
                });
        }
    });
}

}  // namespace gatewise::GATEWISE_ISA
