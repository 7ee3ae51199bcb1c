// The gradients that need no order in time: of the weights, and of the input.
//
// Both are split by parts of the result, never by parts of a sum, so the number of threads does not
// change a bit. Masked steps are left out of the sums: whatever their input holds cannot matter.

#pragma once

#include "gain_sums.h"
#include "peephole_gradient.h"

namespace gatewise::GATEWISE_ISA {

// What of a step its cotangents are multiplied by: nothing, the h that its recurrent product saw
// (d h), that h times the reset gate, or what its projection multiplied.
enum class Seen { nothing, state, reset_state, shown };

// One product left^T right, summed over steps; `right` is a part of the rows of grad_product. The
// left side is x, a one whose result is the bias's gradient, and what was seen, side by side, each
// of them if it is asked for.
struct WeightProduct {
    bool with_input;
    bool with_bias[2];  // of x W, and of h U where that has its own
    Seen seen;
    Range right;       // columns of a row of grad_product
    bool times_reset;  // the right side is a candidate's, multiplied by r
    Index origin = 0;  // the column of a row of grad_product that is column 0 of the result

    bool with_one() const { return with_bias[0] || with_bias[1]; }
};

// Whether a row of results may be a row of both biases, or each goes to one place.
enum class Homes { shared, single };

template <class S>
class TraceChunkLoop;

template <class F>
class WeightGradientSums {
    using S = Sum<F>;
    friend class TraceChunkLoop<S>;  // which takes such products with traces in their place

public:
    explicit WeightGradientSums(const WeightGradient<S>& call, Homes homes = Homes::shared)
        : call_(call),
          gates_(gates_of(call.layer.cell)),
          groups_(call.reduce == Reduce::all      ? 1
                  : call.reduce == Reduce::sample ? call.layer.batch
                                                  : call.layer.time),
          steps_(call.layer.batch * call.layer.time),
          group_ends_(groups_) {
        list_products(homes);
        list_steps();
    }

    void run() const {
        parallel(threads(), [&](Member member) {
            // A few results are shared out by their columns, many (samples, steps) as wholes.
            const Index parts = groups_ >= member.team ? 1 : member.team;
            const Workplace workplace(*this, parts);
            for (Index task = member.index; task < groups_ * parts; task += member.team) {
                const Index group = task / parts;
                for (int product = 0; product < products_count_; ++product) {
                    // Each begins with another member, so that none has all the larger shares.
                    const Member member = {int((task + product) % parts), int(parts)};
                    run_product(products_[product], group, member, workplace);
                }
                if (call_.layer.layer_norm) sum_gains(group, Member{int(task % parts), int(parts)});
            }
        });
    }

private:
    using Panel = Packed<F, 1, plain_vectors>;
    using Results = Packed<S, 1, plain_vectors>;
    static constexpr Index most_factors =
        32 * 1024 / (plain_vectors * vector_bytes);  // one panel fills the first-level cache
    static constexpr Index depth = most_factors * numbers<F>;  // steps of a block

    Index units() const { return call_.layer.units; }
    Index width() const { return call_.layer.outputs; }  // of h
    Index columns() const { return gates_ * units(); }
    Index most_columns() const { return larger(columns(), width()); }
    Index most_results() const { return larger(call_.layer.inputs + 1 + width(), units()); }
    // A step's row of grad_product.
    const S* row(Index step) const {
        return call_.grad_product + step * gradient_row(call_.layer).columns;
    }
    // An odd number of cache lines, so that the steps of one column spread over the sets of the
    // cache.
    static Index odd_lines(Index count) {
        constexpr Index line = 64 / sizeof(S);
        return ((count + line - 1) / line | 1) * line;
    }

    // Some steps (b T + t) of a sum.
    struct Block {
        const Index* steps;
        Index count;
    };

    // The memory of one thread: a block of steps of both sides, and the results of its columns.
    struct Workplace {
        Workplace(const WeightGradientSums& sums, Index parts)
            : left_stride(odd_lines(sums.most_results())),
              left(most_factors * left_stride + lanes<F>),
              right(Panel::size(depth, Panel::tile_units)),
              results(Results::size(sums.most_results(), most_columns(sums, parts))),
              pointers(sums.most_results()),
              lines(Upcoming::most_lines(
                  5 * depth, larger(Panel::tile_units, sums.most_results()) * Index(sizeof(S)))) {
            for (Index row = 0; row < sums.most_results(); ++row)
                pointers.data()[row] = left.data() + row;
        }
        static Index most_columns(const WeightGradientSums& sums, Index parts) {
            const Index tiles = (sums.most_columns() + Panel::tile_units - 1) / Panel::tile_units;
            return (tiles + parts - 1) / parts * Panel::tile_units;
        }

        const Index left_stride;
        const Buffer<F> left;             // (factors, left_stride)
        const Buffer<F> right;            // a panel of one tile of columns
        const Buffer<S> results;          // (results, columns of the tile) for each tile of columns
        const Buffer<const F*> pointers;  // (results): where each one's row begins in `left`
        const Buffer<const char*> lines;  // of what the next panel is made of
    };

    int threads() const {
        const double steps = double(call_.layer.batch) * double(call_.layer.time);
        const Index parts =
            larger(groups_, (columns() + Panel::tile_units - 1) / Panel::tile_units);
        return useful_threads(call_.layer.threads, parts,
                              steps * double(columns()) * double(call_.layer.inputs + width()));
    }

    void list_products(Homes homes) {
        const bool bias = call_.grad_bias != nullptr;
        const GradientRow row = gradient_row(call_.layer);
        const Range gates = {0, columns()}, update_and_reset = {0, 2 * units()};
        const Range candidate = {2 * units(), columns()};
        const auto add = [&](WeightProduct product) { products_[products_count_++] = product; };
        const auto add_whole = [&](bool with_input, Seen seen, Index first, Index count) {
            add({with_input, {false, false}, seen, {first, first + count}, false, first});
        };
        if (call_.layer.projected) add_whole(false, Seen::shown, row.hidden, width());
        if (call_.layer.layer_norm) {
            add_whole(true, Seen::nothing, row.input, columns());
            return add_whole(false, Seen::state, row.recurrent, columns());
        }
        switch (call_.layer.cell) {
            case Cell::lstm:
            case Cell::cifg:
            case Cell::simple_rnn: return add({true, {bias, false}, Seen::state, gates, false});
            case Cell::gru_reset_after:
                if (homes == Homes::shared) {
                    add({true, {bias, bias}, Seen::state, update_and_reset, false});
                    add({true, {bias, false}, Seen::nothing, candidate, false});
                } else {
                    add({true, {bias, false}, Seen::nothing, gates, false});
                    add({false, {false, bias}, Seen::state, update_and_reset, false});
                }
                return add({false, {false, bias}, Seen::state, candidate, true});
            case Cell::gru_reset_before:
                add({true, {bias, false}, Seen::state, update_and_reset, false});
                return add({true, {bias, false}, Seen::reset_state, candidate, false});
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
    void run_product(const WeightProduct& product, Index group, Member member,
                     const Workplace& workplace) const {
        const auto [first, end] = product.right;
        const Range tiles =
            share(member, (end - first + Panel::tile_units - 1) / Panel::tile_units);
        const Range columns = {first + tiles.begin * Panel::tile_units,
                               smaller(end, first + tiles.end * Panel::tile_units)};
        if (columns.begin >= columns.end) return;
        const Index results = results_of(product);
        clear(workplace.results.data(), Results::size(results, columns.end - columns.begin));
        const Index* const steps = steps_.data();
        const Index last_step = group_ends_.data()[group];
        for (Index step = group == 0 ? 0 : group_ends_.data()[group - 1]; step < last_step;
             step += depth) {
            const Index after = smaller(last_step, step + depth);
            const Block block = {steps + step, after - step};
            const Block next = {steps + after, smaller(depth, last_step - after)};
            add_block(product, columns, block, next, workplace);
        }
        const Results whole = {nullptr, results, columns.end - columns.begin};
        for (Index tile = 0; tile < whole.tiles(); ++tile) {
            const Index column = columns.begin + whole.first_unit(tile);
            const Index width = whole.vectors(tile) * lanes<S>;
            const S* from = workplace.results.data() + whole.first_unit(tile) * results;
            const Index count = smaller(width, columns.end - column);
            for (Index row = 0; row < results; ++row, from += width) {
                write_result(product, group, row, column, from, count);
            }
        }
    }

    // One group's gradients of b and of the gains, for this member's share of their columns.
    void sum_gains(Index group, Member member) const {
        const bool resets = call_.layer.cell == Cell::gru_reset_after;
        GainSums<S> sums(call_, group, member);
        const Index last_step = group_ends_.data()[group];
        for (Index at = group == 0 ? 0 : group_ends_.data()[group - 1]; at < last_step; ++at) {
            const Index step = steps_.data()[at];
            sums.add(row(step), call_.saved + step * saved_row(call_.layer).columns,
                     resets ? reset_at(step) : nullptr);
        }
    }

    // What the left side of a block is made of.
    void announce_left(const WeightProduct& product, Block block, Upcoming& upcoming) const {
        for (Index place = 0; place < block.count; ++place) {
            const Index step = block.steps[place];
            if (product.with_input) upcoming.add(x_at(step), call_.layer.inputs);
            if (product.seen == Seen::shown) {
                upcoming.add(shown(step), units());
            } else if (product.seen != Seen::nothing) {
                upcoming.add(h_before(step), width());
            }
            if (product.seen == Seen::reset_state) upcoming.add(reset_at(step), units());
        }
    }

    // The same of some columns of its right side.
    void announce_right(const WeightProduct& product, Range columns, Block block,
                        Upcoming& upcoming) const {
        const Index width = columns.end - columns.begin;
        for (Index place = 0; place < block.count; ++place) {
            const Right side = right_of(product, columns.begin, block.steps[place]);
            upcoming.add(side.grad, width);
            if (side.reset) upcoming.add(side.reset, width);
        }
    }

    const S* x_at(Index step) const {
        return call_.x.data + step / call_.layer.time * call_.x.batch_stride +
               step % call_.layer.time * call_.x.time_stride;
    }

    const S* reset_at(Index step) const { return call_.gates + step * columns() + units(); }

    const S* h_before(Index step) const {
        const Index row = step / call_.layer.time, t = step % call_.layer.time;
        if (t == time_at(call_.layer, 0)) return call_.state + row * width();
        return call_.outputs + (step + (call_.layer.reverse ? 1 : -1)) * width();
    }

    // What a step's projection multiplied.
    const S* shown(Index step) const { return row(step) + gradient_row(call_.layer).shown; }

    Index results_of(const WeightProduct& product) const {
        return (product.with_input ? call_.layer.inputs : 0) + (product.with_one() ? 1 : 0) +
               (product.seen == Seen::nothing ? 0
                : product.seen == Seen::shown ? units()
                                              : width());
    }

    // Where row `row` of a product's results goes: to a row of W's gradient, the bias's row `bias`,
    // or a row of U's or the projection's.
    S* home(const WeightProduct& product, Index group, Index row, Index bias) const {
        const Index inputs = product.with_input ? call_.layer.inputs : 0;
        if (row < inputs) return call_.grad_W + (group * inputs + row) * columns();
        row -= inputs;
        if (product.with_one() && row == 0) {
            const Index rows = call_.layer.cell == Cell::gru_reset_after ? 2 : 1;
            return call_.grad_bias + (group * rows + bias) * columns();
        }
        row -= product.with_one() ? 1 : 0;
        if (product.seen == Seen::shown)
            return call_.grad_projection + (group * units() + row) * width();
        return call_.grad_U + (group * width() + row) * columns();
    }

    void write_result(const WeightProduct& product, Index group, Index row, Index column,
                      const S* from, Index count) const {
        const bool both = product.with_bias[0] && product.with_bias[1];
        const Index first = product.with_bias[0] || !product.with_one() ? 0 : 1;
        S* const to = home(product, group, row, first) + column - product.origin;
        copy(to, from, count);
        const bool is_one = row == (product.with_input ? call_.layer.inputs : 0);
        if (both && is_one) copy(to + columns(), from, count);
    }

    void add_block(const WeightProduct& product, Range columns, Block block, Block next,
                   const Workplace& workplace) const {
        const Index results = results_of(product);
        for_factors(
            block, [&](Index step) { return left_of(product, step); },
            [&](Index place, const auto& factor) {
                fill_left(product, workplace.left.data() + place * workplace.left_stride, factor);
            });
        const Rows<F> rows = {workplace.pointers.data(), results, workplace.left_stride};
        const auto tile_from = [&](Index first) {
            return Range{first, smaller(columns.end, first + Panel::tile_units)};
        };
        // One panel after the other in the same memory, which stays in the nearest cache. Meanwhile
        // comes what the next one is made of, no earlier, lest it be gone again by then.
        for (Index first = columns.begin; first < columns.end; first += Panel::tile_units) {
            const Range tile = tile_from(first);
            const Panel panel = {workplace.right.data(), block.count, tile.end - tile.begin};
            for_factors(
                block, [&](Index step) { return right_of(product, first, step); },
                [&](Index place, const auto& factor) { fill_right(panel, place, factor); });
            Upcoming upcoming(workplace.lines.data());
            if (tile.end < columns.end) {
                announce_right(product, tile_from(tile.end), block, upcoming);
            } else {
                announce_left(product, next, upcoming);
                announce_right(product, tile_from(columns.begin), next, upcoming);
            }
            add_tile(panel, 0, rows, workplace.results.data() + (first - columns.begin) * results,
                     {}, &upcoming);
        }
    }

    // Calls `fill(place, factor)` for each factor of a block; factor(part) makes a vector of
    // factors of those that part(side) gives for their steps, whose sides are side_of(step).
    template <class SideOf, class Fill>
    void for_factors(Block block, const SideOf& side_of, const Fill& fill) const {
        for (Index step = 0, place = 0; step < block.count; step += numbers<F>, ++place) {
            const auto side = side_of(block.steps[step]);
            if constexpr (numbers<F> == 1) {
                fill(place, alone(side));
            } else {
                // A factor's neighbours; the last one may be missing.
                const bool both = step + 1 < block.count;
                const auto next = both ? side_of(block.steps[step + 1]) : side;
                fill(place, [&](const auto& part) {
                    return pair_up(part(side), both ? part(next) : Vector<S>{});
                });
            }
        }
    }

    // The factors of a single step.
    template <class Side>
    static auto alone(const Side& side) {
        return [&side](const auto& part) { return part(side); };
    }

    // Where the left side of one step comes from. What is null is no factor.
    struct Left {
        const S* x;
        const S* seen;     // h, or what was shown
        const S* dropout;  // of what was seen, and its reset gate
        const S* reset;
    };

    Left left_of(const WeightProduct& product, Index step) const {
        const bool shows = product.seen == Seen::shown;
        return {.x = x_at(step),
                .seen = shows ? shown(step) : h_before(step),
                .dropout = call_.dropout && !shows
                               ? call_.dropout + step / call_.layer.time * width()
                               : nullptr,
                .reset = product.seen == Seen::reset_state ? reset_at(step) : nullptr};
    }

    // The same of the right side: dL/dP from a column on, and its reset gate.
    struct Right {
        const S* grad;
        const S* reset;
    };

    Right right_of(const WeightProduct& product, Index column, Index step) const {
        return {row(step) + column,
                product.times_reset ? reset_at(step) + column - 2 * units() : nullptr};
    }

    // Writes one row of the left side. Whole vectors are stored: what comes next covers the rest.
    template <class Factor>
    void fill_left(const WeightProduct& product, F* to, const Factor& factor) const {
        const auto put = [&](Index size, const auto& part) {
            for_vectors<S>(size, [&](Index at, int count) {
                store(to + at, factor([&](const Left& side) { return part(side, at, count); }));
            });
            to += size;
        };
        if (product.with_input) {
            put(call_.layer.inputs,
                [](const Left& side, Index at, int count) { return load(side.x + at, count); });
        }
        if (product.with_one()) put(1, [](const Left&, Index, int) { return broadcast(S(1)); });
        if (product.seen == Seen::nothing) return;
        put(product.seen == Seen::shown ? units() : width(),
            [](const Left& side, Index at, int count) {
                Vector<S> seen = load(side.seen + at, count);
                if (side.dropout) seen *= load(side.dropout + at, count);
                if (side.reset) seen *= load(side.reset + at, count);
                return seen;
            });
    }

    // Writes one row of the panels of the right side.
    template <class Factor>
    void fill_right(const Panel& panel, Index place, const Factor& factor) const {
        for (Index tile = 0; tile < panel.tiles(); ++tile) {
            const int vectors = panel.vectors(tile);
            F* to = panel.panel(tile) + place * vectors * lanes<F>;
            for (int vector = 0; vector < vectors; ++vector, to += lanes<F>) {
                const Index column = panel.first_unit(tile) + vector * lanes<S>;
                const int count = lanes_before<S>(column, panel.units);
                store(to, factor([&](const Right& side) {
                          const Vector<S> grad = load(side.grad + column, count);
                          return side.reset ? grad * load(side.reset + column, count) : grad;
                      }));
            }
        }
    }

    const WeightGradient<S>& call_;
    const Index gates_, groups_;
    const Buffer<Index> steps_;  // (B T at most)
    const Buffer<Index> group_ends_;
    WeightProduct products_[3];
    int products_count_ = 0;
};

// dx = dP W^T
template <class F>
void input_gradient_of(const InputGradient<Sum<F>>& call) {
    using S = Sum<F>;
    constexpr Index block = 96;  // rows of dP that stay in the second-level cache while W passes
    const Layer& layer = call.layer;
    const Index rows = layer.batch * layer.time, columns = gates_of(layer.cell) * layer.units;
    const Index blocks = (rows + block - 1) / block;
    const int threads = useful_threads(layer.threads, blocks,
                                       double(rows) * double(columns) * double(layer.inputs));
    const GradientRow row_of = gradient_row(layer);
    const PlainBuffer<F> W(columns, layer.inputs);
    parallel(threads, [&](Member member) {
        pack(*W, transposed(call.W), 0, member);
        member.barrier();
        const Range mine = share(member, blocks);
        for (Index first = mine.begin * block; first < smaller(rows, mine.end * block);
             first += block) {
            const S* pointers[block];
            const Index count = smaller(block, rows - first);
            for (Index row = 0; row < count; ++row)
                pointers[row] = call.grad_product + (first + row) * row_of.columns + row_of.input;
            multiply(
                *W, Rows<S>{pointers, count}, FromZero<S, 1>{},
                [&](Index row, Index unit, int width, const S* sums) {
                    store(call.grad_x + (first + row) * layer.inputs + unit, load(sums), width);
                },
                nullptr, Member{0, 1});
        }
    });
}

}  // namespace gatewise::GATEWISE_ISA
