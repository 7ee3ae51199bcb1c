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
            const Workplace place(*this);
            for (Index row = 0; row < call_.layer.batch; ++row) {
                spread(row, place);
                for (int product = 0; product < sums_[0].products_count_; ++product)
                    run_product(sums_[0].products_[product], row, member, place);
            }
        });
    }

private:
    using Sums = WeightGradientSums<S>;
    using Panel = typename Sums::Panel;

    // One thread's memory: a block of steps of both sides, the results of a tile, and what
    // multiplies each column of the traces of one row of the batch.
    struct Workplace {
        explicit Workplace(const TraceChunkLoop& loop)
            : left_stride(Sums::odd_lines(loop.sums_[0].most_results())),
              left(Sums::depth * left_stride),
              right(Panel::size(Sums::depth, Panel::tile_units)),
              results(2 * loop.result_size()),
              pointers(loop.sums_[0].most_results()),
              lines(Upcoming::most_lines(2 * loop.sums_[0].most_results() + 2 * Sums::depth,
                                         Panel::tile_units * Index(sizeof(S)))),
              factor(7 * padded<S>(loop.columns())) {}

        const Index left_stride;
        const Buffer<S> left;             // (steps, left_stride)
        const Buffer<S> right;            // one panel
        const Buffer<S> results;          // (states, results, columns of the tile)
        const Buffer<const S*> pointers;  // (results): where each one's row begins in `left`
        const Buffer<const char*> lines;
        const Buffer<S> factor;  // (7, GH): A of h by h, c; of c by h, c; g of h, c; rho
    };

    Index columns() const { return gates_of(call_.layer.cell) * call_.layer.units; }
    Index result_size() const { return sums_[0].most_results() * Panel::tile_units; }

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
        const Index last_gate = first_ == 1 ? 3 : product.last_gate, H = call_.layer.units;
        const Index first = product.first_gate * H, end = last_gate * H;
        const Range tiles =
            share(member, (end - first + Panel::tile_units - 1) / Panel::tile_units);
        const Index* const steps = sums_[0].steps_.data();
        const Index begin = row == 0 ? 0 : sums_[0].group_ends_.data()[row - 1];
        const Index last_step = sums_[0].group_ends_.data()[row];
        for (Index step = begin; step == begin || step < last_step; step += Sums::depth) {
            const Index count = smaller(Sums::depth, last_step - step);
            for (Index at = 0; at < count; ++at)
                sums_[0].copy_left(product, steps[step + at],
                                   place.left.data() + at * place.left_stride);
            for (Index tile = tiles.begin; tile < tiles.end; ++tile) {
                const Index column = first + tile * Panel::tile_units;
                run_tile({product, row, {column, smaller(end, column + Panel::tile_units)}},
                         steps + step, count, step == begin, place);
            }
        }
    }

    struct Tile {
        const WeightProduct& product;
        Index row;
        Range columns;
    };

    void run_tile(const Tile& tile, const Index* steps, Index count, bool first_block,
                  const Workplace& place) const {
        const Index results = sums_[0].results_of(tile.product);
        Upcoming upcoming(place.lines.data());
        for (int state = first_; state < states_; ++state) {
            for (Index result = 0; result < results; ++result)
                upcoming.add(trace(tile, state, result), tile.columns.end - tile.columns.begin);
        }
        for (int state = states_ - 1; state >= first_; --state) {
            S* const to = place.results.data() + state * result_size();
            clear(to, result_size());
            const Index skipped = before(state, tile.row, steps, count);
            if (skipped < count)
                add(tile, state, steps + skipped, count - skipped, skipped, to, place, upcoming);
        }
        if (states_ == 2 && first_ == 0) return carry<2>(tile, results, first_block, place);
        carry<1>(tile, results, first_block, place);
    }

    // The steps of a block that a state's sum begins behind.
    Index before(int state, Index row, const Index* steps, Index count) const {
        Index skipped = 0;
        if (states_ == 2 && state == 0) {
            const Index begins = row * call_.layer.time + factors_.begins(row);
            while (skipped < count && steps[skipped] < begins) ++skipped;
        }
        return skipped;
    }

    void add(const Tile& tile, int state, const Index* steps, Index count, Index skipped, S* to,
             const Workplace& place, Upcoming& upcoming) const {
        const Index results = sums_[0].results_of(tile.product);
        const Panel panel = {place.right.data(), count, tile.columns.end - tile.columns.begin};
        for (Index at = 0; at < count; ++at)
            sums_[state].copy_right(tile.product, tile.columns.begin, steps[at], panel, at);
        for (Index result = 0; result < results; ++result)
            place.pointers.data()[result] =
                place.left.data() + skipped * place.left_stride + result;
        add_tile(panel, 0, Rows<S>{place.pointers.data(), results, place.left_stride}, to,
                 &upcoming);
    }

    S* trace(const Tile& tile, int state, Index result) const {
        const Index bias = tile.product.with_bias[0] ? 0 : 1;
        return sums_[state].home(tile.product, tile.row, result, bias) + tile.columns.begin;
    }

    // Where a result's share of g J is added to; null where it is not wanted.
    S* gradient(const Tile& tile, Index result) const {
        if (call_.grad[0] == nullptr) return nullptr;
        const WeightProduct& product = tile.product;
        const Index inputs = product.with_input ? call_.layer.inputs : 0;
        const Index biases = product.with_one() ? 1 : 0;
        const int weight = result < inputs ? 0 : result < inputs + biases ? 2 : 1;
        const Index within = weight == 0   ? result
                             : weight == 2 ? (product.with_bias[0] ? 0 : 1)
                                           : result - inputs - biases;
        return call_.grad[weight] + within * columns() + tile.columns.begin;
    }

    // g J of the traces before, where the block is a chunk's first, and the traces after.
    template <int states>
    void carry(const Tile& tile, Index results, bool first_block, const Workplace& place) const {
        const Index width = tile.columns.end - tile.columns.begin;
        const Index stride = (width + lanes<S> - 1) / lanes<S> * lanes<S>;
        const int own = states == 1 ? first_ : 0;
        for (Index result = 0; result < results; ++result) {
            S* J[states];
            const S* sums[states];
            for (int state = 0; state < states; ++state) {
                J[state] = trace(tile, own + state, result);
                sums[state] =
                    place.results.data() + (own + state) * result_size() + result * stride;
            }
            S* const grad = first_block ? gradient(tile, result) : nullptr;
            for_vectors<S>(width, [&](Index at, int count) {
                const Index column = tile.columns.begin + at;
                const auto factor = [&](int number) {
                    return load(this->factor(place, number) + column, count);
                };
                Vector<S> old[states], B[states];
                for (int state = 0; state < states; ++state) {
                    old[state] = load(J[state] + at, count);
                    B[state] = load(sums[state] + at);
                }
                if (states == 2) B[0] = fma(factor(6), B[states - 1], B[0]);
                if (grad) {
                    Vector<S> worth = load(grad + at, count);
                    for (int state = 0; state < states; ++state)
                        worth = fma(factor(4 + own + state), old[state], worth);
                    store(grad + at, worth, count);
                }
                for (int state = 0; state < states; ++state) {
                    Vector<S> after = first_block ? B[state] : B[state] + old[state];
                    for (int other = 0; first_block && other < states; ++other)
                        after = fma(factor(2 * (own + state) + own + other), old[other], after);
                    store(J[state] + at, after, count);
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
