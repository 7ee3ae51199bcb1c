// The traces over a chunk of steps: J' = A J + B, and g J, what they were worth before it.
//
// A and what makes up B are in trace_factors.h. B is the weight gradient of each row by itself; a
// tile of it is added to the trace while it is hot, and the trace is read and written once.

#pragma once

#include "trace_factors.h"
#include "traces.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
class TraceChunkLoop {
public:
    TraceChunkLoop(const TraceChunk<S>& call, const TraceFactors<S>& factors)
        : call_(call),
          factors_(factors),
          first_(factors.first()),
          states_(factors.states()),
          rows_(weight_rows(call.layer, call.trace[0][2])),
          of_h_(product_of(0)),
          of_c_(product_of(states_ - 1)),
          sums_{Sums(of_h_, Homes::single), Sums(of_c_, Homes::single)} {}

    void run() const {
        const Index H = call_.layer.units;
        for (int weight = 0; weight < 3; ++weight)
            if (call_.grad[weight]) clear(call_.grad[weight], rows_.size(weight) * columns());
        const Index tiles = (columns() + Panel::tile_units - 1) / Panel::tile_units;
        const double work = double(call_.layer.batch) * double(call_.layer.time) *
                            double(columns()) * double(call_.layer.inputs + H);
        // By columns, so that one thread adds up the rows of the batch, in order.
        parallel(useful_threads(call_.layer.threads, tiles, work), [&](Member member) {
            const Workplace place(*this,
                                  (tiles + member.team - 1) / member.team * Panel::tile_units);
            for (Index row = 0; row < call_.layer.batch; ++row) {
                spread(row, place);
                for (int product = 0; product < sums_[0].products_.count(); ++product)
                    run_product(sums_[0].products_[product], row, member, place);
            }
        });
    }

private:
    using Sums = WeightGradientSums<S>;
    using Panel = typename Sums::Panel;

    // So many rows of the traces at a time stay in the second-level cache.
    static constexpr Index most_results = 8 * most_rows<plain_vectors>;

    // One thread's memory: a block of steps of both sides, the results of a few rows, and what
    // multiplies each column of the traces of one row of the batch.
    struct Workplace {
        Workplace(const TraceChunkLoop& loop, Index columns)
            : left_memory(loop.sums_[0].most_left(loop.sums_[0].products_.left())),
              left{left_memory.data(), Sums::depth},
              sides(Sums::depth),
              right(2 * loop.right_size(columns)),
              results(2 * loop.result_size(columns)),
              left_columns(loop.sums_[0].most_columns()),
              from(most_results),
              lines(Upcoming::most_lines(2 * most_results, columns * Index(sizeof(S)))),
              factor(7 * padded<S>(loop.columns())) {}

        const Buffer<S> left_memory;
        const Strips<S> left;
        const Buffer<typename Sums::Left> sides;  // (steps)
        const Buffer<S> right;                    // (states): a panel for each tile of columns
        const Buffer<S> results;              // (states, tiles, most_results, columns of the tile)
        const Buffer<const S*> left_columns;  // (results): where each one's begins in `left`
        const Buffer<const S*> from;          // (most_results): where its sum begins
        const Buffer<const char*> lines;
        const Buffer<S> factor;  // (7, GH): A of h by h, c; of c by h, c; g of h, c; rho
    };

    Index columns() const { return gates_of(call_.layer.cell) * call_.layer.units; }
    static Index right_size(Index columns) { return Panel::size(Sums::depth, columns); }
    static Index result_size(Index columns) { return Panel::size(most_results, columns); }

    // B of a state as a weight gradient, with the state's trace in the gradient's place.
    WeightGradient<S> product_of(int state) const {
        WeightGradient<S> product = {};
        product.layer = call_.layer;
        product.reduce = Reduce::sample;
        product.x = call_.x;
        product.outputs = call_.outputs;
        product.gates = call_.gates;
        product.grad_product = factors_.psi(state);
        product.state = call_.state[0];
        product.mask = call_.mask;
        product.dropout = call_.dropout;
        product.grad_W = call_.trace[state][0];
        product.grad_U = call_.trace[state][1];
        product.grad_bias = call_.trace[state][2];
        return product;
    }

    S* factor(const Workplace& place, int number) const {
        return place.factor.data() + number * padded<S>(columns());
    }

    void spread(Index row, const Workplace& place) const {
        const Index H = call_.layer.units;
        const auto each = [&](int number, const S* of_units) {
            S* const to = factor(place, number);
            for (Index column = 0; column < columns(); column += H) {
                of_units ? copy(to + column, of_units + row * H, H) : clear(to + column, H);
            }
        };
        for (int state = first_; state < states_; ++state) {
            for (int before = first_; before < states_; ++before)
                each(2 * state + before, factors_.A(state, before));
            each(4 + state, call_.grad_state[state]);
        }
        each(6, factors_.ratio());
    }

    // One row's product, for this member's share of the column tiles.
    void run_product(const WeightProduct& product, Index row, Member member,
                     const Workplace& place) const {
        // On the cell path an LSTM's c owes nothing to the output gate.
        const Index first = product.right.begin;
        const Index end = first_ == 1 ? 3 * call_.layer.units : product.right.end;
        const Range tiles =
            share(member, (end - first + Panel::tile_units - 1) / Panel::tile_units);
        const Index* const steps = sums_[0].steps_.data();
        const Index begin = row == 0 ? 0 : sums_[0].group_ends_.data()[row - 1];
        const Index last_step = sums_[0].group_ends_.data()[row];
        const Range columns = {first + tiles.begin * Panel::tile_units,
                               smaller(end, first + tiles.end * Panel::tile_units)};
        if (columns.begin >= columns.end) return;
        for (Index step = begin; step == begin || step < last_step; step += Sums::depth) {
            const Block block = {
                product,      row, columns, steps + step, smaller(Sums::depth, last_step - step),
                step == begin};
            pack(block, place);
            const Index results = sums_[0].products_.results(product.left);
            for (Index result = 0; result < results; result += most_results)
                run_block(block, {result, smaller(results, result + most_results)}, place);
        }
    }

    // Some steps of one row of the batch, and the columns that this thread computes.
    struct Block {
        const WeightProduct& product;
        Index row;
        Range columns;
        const Index* steps;
        Index count;
        bool first;  // of the chunk
    };

    Panel panel(const Block& block, int state, const Workplace& place) const {
        const Index columns = block.columns.end - block.columns.begin;
        return {place.right.data() + state * right_size(columns),
                block.count - skipped(state, block), columns};
    }

    // The steps of a block that a state's sum begins behind.
    Index skipped(int state, const Block& block) const {
        if (states_ == 1 || state == 1) return 0;
        const Index begins = block.row * call_.layer.time + factors_.begins(block.row);
        Index count = 0;
        while (count < block.count && block.steps[count] < begins) ++count;
        return count;
    }

    void pack(const Block& block, const Workplace& place) const {
        const LeftParts parts = block.product.left;
        sums_[0].list_columns(parts, parts, place.left, place.left_columns.data());
        sums_[0].fill_left(parts, {block.steps, block.count}, place.sides.data(), place.left);
        for (int state = first_; state < states_; ++state) {
            const Panel to = panel(block, state, place);
            const Index* const steps = block.steps + skipped(state, block);
            for (Index at = 0; at < to.depth; ++at) {
                const auto side =
                    sums_[state].right_of(block.product, block.columns.begin, steps[at]);
                sums_[state].fill_right(to, at, Sums::alone(side));
            }
        }
    }

    // Some results, over all columns.
    void run_block(const Block& block, Range results, const Workplace& place) const {
        const Index count = results.end - results.begin;
        const Index size = result_size(block.columns.end - block.columns.begin);
        Upcoming upcoming(place.lines.data());
        for (Index result = results.begin; result < results.end; ++result) {
            for (int state = first_; state < states_; ++state)
                upcoming.add(trace(block, state, result), block.columns.end - block.columns.begin);
        }
        for (int state = states_ - 1; state >= first_; --state) {
            const Panel right = panel(block, state, place);
            S* const to = place.results.data() + state * size;
            clear(to, Panel::size(count, right.units));
            if (right.depth == 0) continue;
            const Index skipped = (block.count - right.depth) * lanes<S>;
            for (Index result = 0; result < count; ++result)
                place.from.data()[result] =
                    place.left_columns.data()[results.begin + result] + skipped;
            for (Index tile = 0; tile < right.tiles(); ++tile) {
                add_tile(right, tile, Rows<S>{place.from.data(), count, lanes<S>},
                         to + right.first_unit(tile) * count, {}, &upcoming);
            }
        }
        for (Index result = results.begin; result < results.end; ++result) {
            states_ == 2 && first_ == 0 ? carry<2>(block, results, result, place)
                                        : carry<1>(block, results, result, place);
        }
    }

    S* trace(const Block& block, int state, Index result) const {
        const Index bias = block.product.with_bias[0] ? 0 : 1;
        const WeightProducts<S>& products = sums_[state].products_;
        return products.home(block.row, products.spot(block.product, result), bias) +
               block.columns.begin;
    }

    // Where a result's share of g J is added to; null where it is not wanted.
    S* gradient(const Block& block, Index result) const {
        if (call_.grad[0] == nullptr) return nullptr;
        const WeightProduct& product = block.product;
        const Index inputs = product.left.has(LeftPart::input) ? call_.layer.inputs : 0;
        const Index biases = product.left.has(LeftPart::one) ? 1 : 0;
        const int weight = result < inputs ? 0 : result < inputs + biases ? 2 : 1;
        const Index within = weight == 0   ? result
                             : weight == 2 ? (product.with_bias[0] ? 0 : 1)
                                           : result - inputs - biases;
        return call_.grad[weight] + within * columns() + block.columns.begin;
    }

    // g J of the traces before, where the block is a chunk's first, and the traces after.
    template <int states>
    void carry(const Block& block, Range results, Index result, const Workplace& place) const {
        const Index columns = block.columns.end - block.columns.begin;
        const Index count = results.end - results.begin;
        const int own = states == 1 ? first_ : 0;
        S* J[states];
        for (int state = 0; state < states; ++state) J[state] = trace(block, own + state, result);
        S* const grad = block.first ? gradient(block, result) : nullptr;
        const Panel tiles = {nullptr, count, columns};
        for (Index tile = 0; tile < tiles.tiles(); ++tile) {
            const Index begin = tiles.first_unit(tile);
            const S* const sums = place.results.data() + own * result_size(columns) +
                                  begin * count +
                                  (result - results.begin) * tiles.vectors(tile) * lanes<S>;
            const Index end = smaller(columns, begin + Panel::tile_units);
            for_vectors<S>({begin, end}, [&](Index at, int width) {
                const auto factor = [&](int number) {
                    return load(this->factor(place, number) + block.columns.begin + at, width);
                };
                Vector<S> old[states], B[states];
                for (int state = 0; state < states; ++state) {
                    old[state] = load(J[state] + at, width);
                    B[state] = load(sums + state * result_size(columns) + at - begin);
                }
                if (states == 2) B[0] = fma(factor(6), B[states - 1], B[0]);
                if (grad) {
                    Vector<S> worth = load(grad + at, width);
                    for (int state = 0; state < states; ++state)
                        worth = fma(factor(4 + own + state), old[state], worth);
                    store(grad + at, worth, width);
                }
                for (int state = 0; state < states; ++state) {
                    Vector<S> after = block.first ? B[state] : B[state] + old[state];
                    for (int other = 0; block.first && other < states; ++other)
                        after = fma(factor(2 * (own + state) + own + other), old[other], after);
                    store(J[state] + at, after, width);
                }
            });
        }
    }

    const TraceChunk<S>& call_;
    const TraceFactors<S>& factors_;
    const int first_, states_;
    const WeightRows rows_;
    const WeightGradient<S> of_h_, of_c_;
    const Sums sums_[2];
};

}  // namespace gatewise::GATEWISE_ISA
