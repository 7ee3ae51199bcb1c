// The gradients that need no order in time: of the weights, and of the input.
//
// Both are split by parts of the result, never by parts of a sum, so the number of threads does not
// change a bit. Masked steps are left out of the sums: whatever their input holds cannot matter.

#pragma once

#include "gain_sums.h"
#include "peephole_gradient.h"
#include "weight_products.h"

namespace gatewise::GATEWISE_ISA {

// The left sides of a block of steps: a strip for each vector of their columns, with all steps of
// these. A product takes a few columns at a time, and these it reads from end to end; in a row for
// each step they would lie in another page at every step.
template <class F>
struct Strips {
    F* data;  // aligned to a vector, size(columns, steps) factors
    Index steps;

    // There is room for a step more: at an even distance a step's lines would share a place in the
    // caches.
    static Index strip_size(Index steps) { return (steps + 1) * lanes<F>; }
    static Index size(Index columns, Index steps) {
        return (columns + lanes<F> - 1) / lanes<F> * strip_size(steps);
    }
    Index strip_size() const { return strip_size(steps); }
};

template <class S>
class TraceChunkLoop;

template <class F>
class WeightGradientSums {
    using S = Sum<F>;
    friend class TraceChunkLoop<S>;  // which takes such products with traces in their place

public:
    explicit WeightGradientSums(const WeightGradient<S>& call, Homes homes = Homes::shared)
        : call_(call),
          products_(call, homes),
          groups_(call.reduce == Reduce::all      ? 1
                  : call.reduce == Reduce::sample ? call.layer.batch
                                                  : call.layer.time),
          far_sums_(most_sums(threads()) * Index(sizeof(S)) > 512 * 1024),
          steps_(call.layer.batch * call.layer.time),
          group_ends_(groups_) {
        list_steps();
    }

    void run() const {
        parallel(threads(), [&](Member member) {
            // A few results are shared out by their columns, many (samples, steps) as wholes.
            const int parts = groups_ >= member.team ? 1 : member.team;
            const Workplace workplace(*this, parts);
            for (Index task = member.index; task < groups_ * parts; task += member.team) {
                const Member part = {int(task % parts), parts};
                run_group(task / parts, part, workplace);
                if (call_.layer.layer_norm) sum_gains(task / parts, part);
            }
        });
    }

private:
    using Panel = Packed<F, 1, plain_vectors>;
    using Results = Packed<S, 1, plain_vectors>;
    static constexpr Index most_factors =
        24 * 1024 / (plain_vectors * vector_bytes);  // a panel and a strip fit in 32 KB of cache
    static constexpr Index depth = most_factors * numbers<F>;  // steps of a block
    // The tiles of a turn: a row of less than a few lines is too short for the processor to see
    // where it goes on.
    static constexpr Index tiles_at_once =
        (256 + plain_vectors * vector_bytes - 1) / (plain_vectors * vector_bytes);
    static constexpr Index turn_columns = tiles_at_once * Panel::tile_units;
    // So many columns of the left sides at a time stay in the second-level cache while the panels
    // pass.
    static constexpr Index most_rows_at_once = 512 * 1024 / (most_factors * Index(sizeof(F)));

    Index columns() const { return gates_of(call_.layer.cell) * call_.layer.units; }
    static Index tiles_of(Index columns) {
        return (columns + Panel::tile_units - 1) / Panel::tile_units;
    }
    // A step's row of grad_product.
    const S* row(Index step) const {
        return call_.grad_product + step * gradient_row(call_.layer).columns;
    }

    // Some steps (b T + t) of a sum.
    struct Block {
        const Index* steps;
        Index count;
    };

    // Where the left sides of one step come from. What is null is no factor.
    struct Left {
        const S *x, *h, *shown;
        const S *dropout, *reset;  // of h
    };

    // What of a block is computed at a time: some rows of a product's results, in the columns of a
    // tile or of a few.
    struct Turn {
        int product;
        Range rows, columns;
        const F* const* left;  // (rows): where their left columns begin
        S* sums;               // (rows, columns of a tile), one tile after the other

        Index sums_count() const { return Results::size(row_count(), columns.end - columns.begin); }
        Index row_count() const { return rows.end - rows.begin; }
        Results results() const { return {sums, row_count(), columns.end - columns.begin}; }
    };

    // The memory of one thread: a block of steps of both sides, and the results of its columns.
    struct Workplace {
        Workplace(const WeightGradientSums& call, int parts)
            : left_memory(call.most_left(call.products_.left())),
              left{left_memory.data(), most_factors},
              sides(depth),
              right(Panel::size(depth, turn_columns)),
              sums(call.most_sums(parts)),
              turns(call.most_turns(parts)),
              columns(call.most_columns()),
              zeros(call.most_columns()),
              lines(call.most_lines()) {
            for (Index row = 0; row < call.most_columns(); ++row)
                zeros.data()[row] = FromZero<S, 1>().at(row, 0);
            const F** to = columns.data();
            for (int product = 0; product < call.products_.count(); ++product)
                to = call.list_columns(call.products_[product].left, call.products_.left(), left,
                                       to);
        }

        const Buffer<F> left_memory;
        const Strips<F> left;
        const Buffer<Left> sides;         // (steps)
        const Buffer<F> right;            // the panels of a turn
        const Buffer<S> sums;             // of all turns
        const Buffer<Turn> turns;         // of a block
        const Buffer<const F*> columns;   // (results of all products): where the left columns
                                          // that they are sums of begin in `left`
        const Buffer<const S*> zeros;     // (rows) where the sums of the first block start
        const Buffer<const char*> lines;  // of what the next turn takes
    };

    int threads() const {
        const double steps = double(call_.layer.batch) * double(call_.layer.time);
        const Index parts = larger(groups_, tiles_of(columns()));
        return useful_threads(
            call_.layer.threads, parts,
            steps * double(columns()) * double(call_.layer.inputs + call_.layer.outputs));
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

    // What the strips of these parts take, each of which begins with one of its own.
    Index most_left(LeftParts parts) const {
        Index size = 0;
        for (const LeftPart part : all_left_parts) {
            if (parts.has(part)) size += Strips<F>::size(products_.width(part), most_factors);
        }
        return size;
    }

    // Where each column of `parts` begins, in the strips of `all`; returns the end of the list.
    const F** list_columns(LeftParts parts, LeftParts all, const Strips<F>& strips,
                           const F** to) const {
        const F* strip = strips.data;
        for (const LeftPart part : all_left_parts) {
            if (!all.has(part)) continue;
            const Index width = products_.width(part);
            for (Index column = 0; parts.has(part) && column < width; ++column)
                *to++ = strip + column / lanes<F> * strips.strip_size() + column % lanes<F>;
            strip += Strips<F>::size(width, strips.steps);
        }
        return to;
    }

    // What of a product's right side is a thread's at most, and what comes of it.
    Index most_tiles(const WeightProduct& product, int parts) const {
        return (tiles_of(product.right.end - product.right.begin) + parts - 1) / parts;
    }
    Index most_sums(int parts) const {
        return sum_over_products([&](const WeightProduct& product) {
            return Results::size(products_.results(product.left),
                                 most_tiles(product, parts) * Panel::tile_units);
        });
    }
    Index most_turns(int parts) const {
        return sum_over_products([&](const WeightProduct& product) {
            return times_of(products_.results(product.left)) * most_tiles(product, parts);
        });
    }
    Index most_columns() const {
        return sum_over_products(
            [&](const WeightProduct& product) { return products_.results(product.left); });
    }
    // The lines of memory of a turn: its right side and its sums, and before a block the left side.
    Index most_lines() const {
        const Index line = Index(sizeof(S)), columns = turn_columns;
        const Layer& layer = call_.layer;
        return Upcoming::most_lines(2 * depth, columns * line) +
               Upcoming::most_lines(1, most_rows_at_once * columns * line) +
               Upcoming::most_lines(depth, layer.inputs * line) +
               Upcoming::most_lines(3 * depth, larger(layer.outputs, layer.units) * line);
    }
    template <class Of>
    Index sum_over_products(const Of& of) const {
        Index sum = 0;
        for (int product = 0; product < products_.count(); ++product) sum += of(products_[product]);
        return sum;
    }

    // In how many parts a product's rows of results are taken.
    static Index times_of(Index results) {
        return (results + most_rows_at_once - 1) / most_rows_at_once;
    }

    // One group's sums, for this member's share of the column tiles.
    void run_group(Index group, Member member, const Workplace& workplace) const {
        const Turn* const turns = workplace.turns.data();
        const Index first_step = group == 0 ? 0 : group_ends_.data()[group - 1];
        const Index last_step = group_ends_.data()[group];
        const bool single = last_step - first_step <= depth;
        const Index count = list_turns(member, workplace, single);
        if (count == 0) return;
        if (first_step == last_step) {
            for (Index turn = 0; turn < count; ++turn) {
                clear(turns[turn].sums, turns[turn].sums_count());
                write_results(turns[turn], group);
            }
            return;
        }
        for (Index step = first_step; step < last_step; step += depth) {
            const Index after = smaller(last_step, step + depth);
            const Block block = {steps_.data() + step, after - step};
            const Block next = {steps_.data() + after, smaller(depth, last_step - after)};
            add_block(turns, count, block, next, step == first_step, workplace,
                      [&](const Turn& turn) {
                          if (after == last_step) write_results(turn, group);
                      });
        }
    }

    // The turns of this member's share of every product, in order; returns their number. The sums
    // of a single block have one memory, which stays near: each turn's are written when it is over.
    Index list_turns(Member member, const Workplace& workplace, bool single) const {
        Turn* turn = workplace.turns.data();
        S* sums = workplace.sums.data();
        const F* const* left = workplace.columns.data();
        for (int number = 0; number < products_.count(); ++number) {
            const WeightProduct& product = products_[number];
            const auto [first, end] = product.right;
            // Each begins with another member, so that none has all the larger shares.
            const Member part = {(member.index + number) % member.team, member.team};
            const Range tiles = share(part, tiles_of(end - first));
            const Index results = products_.results(product.left), times = times_of(results);
            for (Index time = 0; time < times; ++time) {
                const Range rows = {results * time / times, results * (time + 1) / times};
                const Index last = smaller(end, first + tiles.end * Panel::tile_units);
                for (Index column = first + tiles.begin * Panel::tile_units; column < last;
                     column += turn_columns, ++turn) {
                    const Range columns = {column, smaller(last, column + turn_columns)};
                    *turn = {number, rows, columns, left + rows.begin, sums};
                    if (!single) sums += turn->sums_count();
                }
            }
            left += results;
        }
        return turn - workplace.turns.data();
    }

    void write_results(const Turn& turn, Index group) const {
        const Results results = turn.results();
        for (Index tile = 0; tile < results.tiles(); ++tile) {
            const Index first = results.first_unit(tile);
            const Index count = smaller(Results::tile_units, results.units - first);
            const S* from = results.panel(tile);
            const WeightProduct& product = products_[turn.product];
            const Index column = turn.columns.begin + first;
            for (Index row = turn.rows.begin, next; row < turn.rows.end; row = next) {
                const auto at = products_.spot(product, row);
                next = smaller(turn.rows.end, row + products_.width(at.part) - at.row);
                products_.write(product, group, at, next - row, column, from, count);
                from += (next - row) * results.step(tile);
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

    // What the left sides of a block are made of.
    void announce_left(Block block, Upcoming& upcoming) const {
        const LeftParts parts = products_.left();
        for (Index place = 0; place < block.count; ++place) {
            const Index step = block.steps[place];
            if (parts.has(LeftPart::input)) upcoming.add(x_at(step), call_.layer.inputs);
            if (parts.has(LeftPart::shown)) upcoming.add(shown(step), call_.layer.units);
            if (parts.has(LeftPart::state) || parts.has(LeftPart::reset_state))
                upcoming.add(h_before(step), call_.layer.outputs);
            if (parts.has(LeftPart::reset_state)) upcoming.add(reset_at(step), call_.layer.units);
        }
    }

    // The same of a turn's right side, and its sums where the nearer caches do not hold them.
    void announce_turn(const Turn& turn, Block block, Upcoming& upcoming) const {
        const Index width = turn.columns.end - turn.columns.begin;
        for (Index place = 0; place < block.count; ++place) {
            const Right side =
                right_of(products_[turn.product], turn.columns.begin, block.steps[place]);
            upcoming.add(side.grad, width);
            if (side.reset) upcoming.add(side.reset, width);
        }
        if (far_sums_) upcoming.add(turn.sums, turn.sums_count());
    }

    const S* x_at(Index step) const {
        return call_.x.data + step / call_.layer.time * call_.x.batch_stride +
               step % call_.layer.time * call_.x.time_stride;
    }

    const S* reset_at(Index step) const {
        return call_.gates + step * columns() + call_.layer.units;
    }

    const S* h_before(Index step) const {
        const Index row = step / call_.layer.time, t = step % call_.layer.time;
        if (t == time_at(call_.layer, 0)) return call_.state + row * call_.layer.outputs;
        return call_.outputs + (step + (call_.layer.reverse ? 1 : -1)) * call_.layer.outputs;
    }

    // What a step's projection multiplied.
    const S* shown(Index step) const { return row(step) + gradient_row(call_.layer).shown; }

    // Adds a block of steps to the sums of all turns; `take` follows each turn.
    template <class Take>
    void add_block(const Turn* turns, Index count, Block block, Block next, bool is_first,
                   const Workplace& workplace, const Take& take) const {
        fill_left(products_.left(), block, workplace.sides.data(), workplace.left);
        // One turn's panels after the other's in the same memory, which stays near. Meanwhile comes
        // what the next ones are made of, no earlier, lest it be gone again by then.
        for (Index number = 0; number < count; ++number) {
            const Turn& turn = turns[number];
            const Panel panel = {workplace.right.data(), block.count,
                                 turn.columns.end - turn.columns.begin};
            for_factors(
                block.count,
                [&](Index at) {
                    return right_of(products_[turn.product], turn.columns.begin, block.steps[at]);
                },
                [&](Index place, const auto& factor) { fill_right(panel, place, factor); });
            Upcoming upcoming(workplace.lines.data());
            if (number + 1 < count) {
                announce_turn(turns[number + 1], block, upcoming);
            } else {
                announce_left(next, upcoming);
                announce_turn(turns[0], next, upcoming);
            }
            const Rows<F> rows = {turn.left, turn.row_count(), lanes<F>};
            const Begun<S> from_zero = {workplace.zeros.data(), 0};
            for (Index tile = 0; tile < panel.tiles(); ++tile) {
                add_tile(panel, tile, rows, turn.results().panel(tile),
                         is_first ? from_zero : Begun<S>{}, &upcoming);
            }
            take(turn);
        }
    }

    // Calls `fill(place, factor)` for each factor of so many steps; factor(part) makes a vector of
    // factors of those that part(side) gives for its steps, whose sides are side_at(step).
    template <class SideAt, class Fill>
    static void for_factors(Index count, const SideAt& side_at, const Fill& fill) {
        for (Index step = 0, place = 0; step < count; step += numbers<F>, ++place) {
            const auto& side = side_at(step);
            if constexpr (numbers<F> == 1) {
                fill(place, alone(side));
            } else {
                // A factor's neighbours; the last one may be missing.
                const bool both = step + 1 < count;
                const auto& next = side_at(both ? step + 1 : step);
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

    Left left_of(Index step) const {
        const LeftParts parts = products_.left();
        return {.x = x_at(step),
                .h = h_before(step),
                .shown = parts.has(LeftPart::shown) ? shown(step) : nullptr,
                .dropout = call_.dropout
                               ? call_.dropout + step / call_.layer.time * call_.layer.outputs
                               : nullptr,
                .reset = parts.has(LeftPart::reset_state) ? reset_at(step) : nullptr};
    }

    // The same of the right side: dL/dP from a column on, and its reset gate.
    struct Right {
        const S* grad;
        const S* reset;
    };

    Right right_of(const WeightProduct& product, Index column, Index step) const {
        return {row(step) + column,
                product.times_reset ? reset_at(step) + column - 2 * call_.layer.units : nullptr};
    }

    // Writes some parts of the left side of a block, one strip after the other; `sides` is memory
    // for its steps.
    void fill_left(LeftParts parts, Block block, Left* sides, const Strips<F>& strips) const {
        for (Index at = 0; at < block.count; ++at) sides[at] = left_of(block.steps[at]);
        F* to = strips.data;
        const auto fill = [&](Index width, const auto& load_part) {
            for_vectors<S>(width, [&](Index column, int count) {
                for_factors(
                    block.count, [&](Index at) -> const Left& { return sides[at]; },
                    [&](Index place, const auto& factor) {
                        store(to + place * lanes<F>, factor([&](const Left& left) {
                                  return load_part(left, column, count);
                              }));
                    });
                to += strips.strip_size();
            });
        };
        const auto load_h = [](const Left& left, Index column, int count) {
            const Vector<S> h = load(left.h + column, count);
            return left.dropout ? h * load(left.dropout + column, count) : h;
        };
        if (parts.has(LeftPart::input)) {
            fill(call_.layer.inputs, [](const Left& left, Index column, int count) {
                return load(left.x + column, count);
            });
        }
        if (parts.has(LeftPart::one))
            fill(1, [](const Left&, Index, int) { return broadcast(S(1)); });
        if (parts.has(LeftPart::state)) fill(call_.layer.outputs, load_h);
        if (parts.has(LeftPart::reset_state)) {
            fill(call_.layer.outputs, [&](const Left& left, Index column, int count) {
                return load_h(left, column, count) * load(left.reset + column, count);
            });
        }
        if (parts.has(LeftPart::shown)) {
            fill(call_.layer.units, [](const Left& left, Index column, int count) {
                return load(left.shown + column, count);
            });
        }
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
    const WeightProducts<S> products_;
    const Index groups_;
    const bool far_sums_;
    const Buffer<Index> steps_;  // (B T at most)
    const Buffer<Index> group_ends_;
};

// dx = dP W^T, and 0 at masked steps.
template <class F>
void input_gradient_of(const InputGradient<Sum<F>>& call) {
    using S = Sum<F>;
    constexpr Index block = 96;  // rows of dP that stay in the second-level cache while W passes
    const Layer& layer = call.layer;
    const Index steps = layer.batch * layer.time, columns = gates_of(layer.cell) * layer.units;
    const Buffer<Index> listed(call.mask ? steps : 0);  // the real steps, b T + t
    Index real = call.mask ? 0 : steps;
    for (Index step = 0; call.mask && step < steps; ++step) {
        if (call.mask[step]) listed.data()[real++] = step;
    }
    const auto step_of = [&](Index row) { return call.mask ? listed.data()[row] : row; };
    const Index blocks = (real + block - 1) / block;
    const int threads = useful_threads(layer.threads, blocks,
                                       double(real) * double(columns) * double(layer.inputs));
    const GradientRow row_of = gradient_row(layer);
    const PlainBuffer<F> W(columns, layer.inputs);
    parallel(threads, [&](Member member) {
        pack(*W, transposed(call.W), 0, member);
        const Range all = share(member, steps);
        for (Index step = all.begin; call.mask && step < all.end; ++step) {
            if (!call.mask[step]) clear(call.grad_x + step * layer.inputs, layer.inputs);
        }
        member.barrier();
        const Range mine = share(member, blocks);
        for (Index first = mine.begin * block; first < smaller(real, mine.end * block);
             first += block) {
            const S* pointers[block];
            const Index count = smaller(block, real - first);
            for (Index row = 0; row < count; ++row) {
                pointers[row] =
                    call.grad_product + step_of(first + row) * row_of.columns + row_of.input;
            }
            multiply(
                *W, Rows<S>{pointers, count}, FromZero<S, 1>{},
                [&](Index row, Index unit, int width, const S* sums) {
                    store(call.grad_x + step_of(first + row) * layer.inputs + unit, load(sums),
                          width);
                },
                nullptr, Member{0, 1});
        }
    });
}

}  // namespace gatewise::GATEWISE_ISA
