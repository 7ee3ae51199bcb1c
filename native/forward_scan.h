// The loop over time, forward: what is carried, what is masked.
//
// A cell supplies what one step does to the rows that are real at that step. Masked rows never
// reach it, so what their input holds cannot matter.

#pragma once

#include <optional>
#include <type_traits>

#include "normal.h"
#include "processor.h"
#include "scan.h"

namespace gatewise::GATEWISE_ISA {

// One real row at one step. Ranges of GH are [gate][unit].
template <class S>
struct ForwardRow {
    const S* h;        // (P) before the step
    const S* dropout;  // (P) or null
    const S* product;  // (GH) where the sums start: x W + b, which may be the same memory as gates,
                       // or b alone
    S* gates;          // (GH) or null
    S* c;              // (H) LSTM: updated in place
    S* saved;          // (V) or null
    S* outputs;        // (P)
    const S* share_h;  // (P), the share of h and (H) of c that stays, or null
    const S* share_c;
    bool past_caches;  // whether gates and saved are stored so

    // Stores a part of gates or saved, which only the way back reads.
    void keep(S* to, Vector<S> values, int count) const {
        past_caches ? store_past_caches(to, values) : store(to, values, count);
    }
};

template <class S>
struct ForwardRows {
    const ForwardRow<S>* row;
    Index count;
    const S** seen;  // (count): h of each row, times its dropout; a cell may overwrite the pointers
    const S** x;     // (count): x of each row; null where it is multiplied ahead

    // What multiplies W above U, or U alone.
    Rows<S> left(const Layer& layer) const {
        return {seen, count, 1, x, x ? layer.inputs : 0, shadow};
    }
    Upcoming* upcoming;
    Shadow<S>* shadow;  // of a single row, or null
    S* memory;          // what the cell needs, the crew's
};

// A forward pass with weights that are factors of this kind.
template <class F>
struct ForwardCall {
    using Type = Forward<Sum<F>>;
};
template <class F>
using ForwardOf = typename ForwardCall<F>::Type;

// A matrix of more bytes than these does not stay in the nearest cache from step to step, not in
// the second-level cache and not in the last one.
inline constexpr Index nearest_bytes = 32 * 1024, far_bytes = 640 * 1024, farthest_bytes = 5 << 20;
// So many rows of a thread are worth reading a matrix for from the last cache.
inline constexpr Index rows_worth_far = 16;

// Whether x and h may be one row of a product.
template <class F>
inline constexpr bool joins = true;

// How x is multiplied; the bits are the same.
enum class InputWay {
    beside,  // in each step, beside h, by one matrix of W above U: the sums stay in the registers
    shadow,  // of a block of steps at a time, while a single row waits for U in the block before
    ahead,   // of many steps at a time, ahead of them: W is read once for all
};

// Whether so many vectors are saved where the gates stand side by side, and not each in vectors of
// its own, that they are worth the way of x W to memory and back: few units, or many inputs.
template <class S>
GATEWISE_INLINE bool fills_vectors_badly(const Layer& layer) {
    constexpr Index worth_storing = 16;  // multiply-adds of a vector
    const auto vectors = [](Index columns) { return (columns + lanes<S> - 1) / lanes<S>; };
    const Index gates = gates_of(layer.cell), together = vectors(gates * layer.units);
    const Index saved = gates * vectors(layer.units) - together;
    return layer.inputs * saved > worth_storing * together;
}

// Whether x is multiplied beside h. W is then read in every step, which counts where it is too
// large for the caches, or far and larger than U, or far for the few rows that a thread has.
template <class CellType>
GATEWISE_INLINE bool takes_input_beside(const Layer& layer) {
    if constexpr (!CellType::may_take_input || !joins<typename CellType::Factor>) {
        return false;
    } else {
        using F = typename CellType::Factor;
        if (layer.layer_norm || fills_vectors_badly<Sum<F>>(layer)) return false;
        const Index matrix = (layer.inputs + layer.outputs) * gates_of(layer.cell) * layer.units;
        const Index bytes = matrix * Index(sizeof(F)) / numbers<F>;
        if (bytes <= far_bytes) return layer.batch > 1;
        return bytes <= farthest_bytes && layer.inputs <= layer.outputs &&
               layer.batch >= rows_worth_far * layer.threads;
    }
}

// Whether each product of this cell's step gives a thread the gates of its own units, and only
// those: the others share out tiles of several vectors.
GATEWISE_INLINE bool has_units_of_its_own(Cell cell) {
    return has_memory(cell) || cell == Cell::gru_reset_after;
}

// Whether the x of a single row may be multiplied in the shadow, if there are steps enough.
template <class F>
GATEWISE_INLINE bool may_be_in_shadow(const Layer& layer, int threads) {
    const bool single =
        Shadow<Sum<F>>::fits && layer.batch == 1 && has_units_of_its_own(layer.cell);
    if (!single || layer.layer_norm || !std::is_same_v<F, Sum<F>>) return false;
    const Index row = gates_of(layer.cell) * layer.units * Index(sizeof(F)) / threads;
    const bool waits = layer.outputs * row > nearest_bytes;
    const bool stays = (layer.inputs + layer.outputs) * row <= far_bytes;
    return waits && stays && second_cache_is_narrow();
}

template <class CellType>
GATEWISE_INLINE InputWay input_way(const Layer& layer, int threads) {
    using F = typename CellType::Factor;
    if (takes_input_beside<CellType>(layer)) return InputWay::beside;
    const bool long_enough = layer.time > 2 * Shadow<Sum<F>>::steps;
    return long_enough && may_be_in_shadow<F>(layer, threads) ? InputWay::shadow : InputWay::ahead;
}

// The depth of the matrix that a step multiplies by: U, or W above U. Its W ends with a whole
// factor, so that x and h are paired as they are apart.
template <class CellType, class S>
GATEWISE_INLINE Index depth_of_step(const Forward<S>& call) {
    using F = typename CellType::Factor;
    const bool beside = takes_input_beside<CellType>(call.layer);
    return (beside ? factors<F>(call.layer.inputs) * numbers<F> : 0) + call.layer.outputs;
}

// Whether gates and saved are stored past the caches. With layer_norm a step reads some of them
// again.
template <class S>
GATEWISE_INLINE bool keeps_past_caches(const Forward<S>& call) {
    const Layer& layer = call.layer;
    if (call.gates == nullptr || layer.layer_norm) return false;
    const Index row = gates_of(layer.cell) * layer.units + (call.saved ? layer.units : 0);
    return in_whole_lines(call.gates, layer.units) && in_whole_lines(call.saved, layer.units) &&
           outgrow_caches<S>(layer.batch * layer.time * row);
}

template <class F, int G, int V>
void pack_step(const Packed<F, G, V>& to, const Forward<Sum<F>>& call, Member member) {
    const Index units = call.layer.units, above = to.depth - call.layer.outputs;
    if (above > 0) pack(to, 0, call.layer.inputs, call.W, units, member);
    pack(to, above, to.depth, call.U, units, member);
}

template <class F, int V>
void pack_input(const Packed<F, 1, V>& to, const Forward<Sum<F>>& call, Member member) {
    pack(to, call.W, 0, member);
}

// U by itself, all gates side by side.
template <class F, int V>
void pack_recurrent(const Packed<F, 1, V>& to, const Forward<Sum<F>>& call, Member member) {
    pack(to, call.U, 0, member);
}

// Fills (GH) with all that does not depend on x or h.
template <class S>
void fill_bias(const Forward<S>& call, S* to) {
    const Index units = call.layer.units, columns = gates_of(call.layer.cell) * units;
    if (call.bias == nullptr) return clear(to, columns);
    copy(to, call.bias, columns);
    if (call.layer.cell == Cell::gru_reset_after) {  // the second row's z and r join the first's
        for (Index column = 0; column < 2 * units; ++column)
            to[column] += call.bias[columns + column];
    }
}

// x W + b for a chunk of steps of one slice, or in the shadow of others; with layer_norm the
// normalized x W. It is made for those ways of multiplying x beside h that a loop may ask it for.
template <class F>
struct InputProduct {
    using S = Sum<F>;
    using Call = ForwardOf<F>;

    const Call& call;
    const bool ahead, in_shadow;
    PlainBuffer<F> W;                // to multiply x ahead
    PackedBuffer<S, 1, 1> W_shadow;  // to multiply it in the shadow
    Buffer<S> bias;                  // (GH)
    Buffer<S> gain;                  // (GH), with layer_norm

    InputProduct(const Call& forward, bool may_be_ahead, bool may_be_in_shadow)
        : call(forward),
          ahead(may_be_ahead),
          in_shadow(may_be_in_shadow),
          W(ahead ? forward.layer.inputs : 0, gates_of(forward.layer.cell) * forward.layer.units),
          W_shadow(in_shadow ? forward.layer.inputs : 0,
                   gates_of(forward.layer.cell) * forward.layer.units),
          bias(gates_of(forward.layer.cell) * forward.layer.units),
          gain(forward.layer.layer_norm ? gates_of(forward.layer.cell) * forward.layer.units : 0) {}

    void pack(Member member) const {
        if (ahead) pack_input(*W, call, member);
        if (in_shadow) shadow(member, nullptr).pack(call.W);
        if (member.index != 0) return;
        fill_bias(call, bias.data());
        if (call.layer.layer_norm) {
            copy(gain.data(), call.options.norm.input_gain,
                 gates_of(call.layer.cell) * call.layer.units);
        }
    }

    // A member's part, which needs this memory for anything but to be packed.
    Shadow<S> shadow(Member member, S* memory) const {
        const Index units = call.layer.units;
        return {*W_shadow, bias.data(), units, units_of<S>(member, units), memory};
    }

    void multiply(const S* const* x, S* const* product, Index count, const Place& place) const {
        using gatewise::GATEWISE_ISA::multiply;
        multiply(
            *W, Rows<S>{x, count},
            [&](Index, Index column, int width, S* sums) {
                store(sums,
                      call.layer.layer_norm ? Vector<S>{} : load(bias.data() + column, width));
            },
            [&](Index row, Index column, int width, const S* sums) {
                store(product[row] + column, load(sums), width);
            },
            nullptr, place.crew);
    }

    // Turns x W of one step into its normalized form, times the gain, plus b; the normalized values
    // and their factor go to `saved`, which may be null.
    void normalize(S* product, S* saved) const {
        const SavedRow row = saved_row(call.layer);
        const NormalizedParts parts = normalized_parts(call.layer);
        for (int part = 0; part < parts.count; ++part) {
            const auto [begin, end] = parts.part[part];
            const Statistics<S> found = statistics(product + begin, end - begin);
            if (saved) saved[input_factor(row, part)] = found.factor;
            for (Index column = begin; column < end; column += lanes<S>) {
                const int count = lanes_before<S>(column, end);
                const Vector<S> normal = found.normal(load(product + column, count));
                if (saved) store(saved + row.input + column, normal, count);
                store(product + column,
                      fma(normal, load(gain.data() + column, count),
                          load(bias.data() + column, count)),
                      count);
            }
        }
    }
};

template <class S, class CellType>
class ForwardLoop {
    using Factor = typename CellType::Factor;

public:
    ForwardLoop(const ForwardOf<Factor>& call, const CellType& cell, const Slices& slices,
                const InputProduct<Factor>& input, InputWay way)
        : call_(call),
          cell_(cell),
          gates_(gates_of(call.layer.cell)),
          slices_(slices),
          rows_(slices_.most_rows()),
          input_(input),
          way_(way),
          past_caches_(keeps_past_caches(call)),
          chunk_(chunk_steps()),
          products_at_once_(in_shadow() ? 2 * chunk_ : chunk_),
          products_(slices_.count,
                    beside() || in_gates() ? 0 : products_at_once_ * rows_ * gates_ * units()),
          c_(slices_.count, moves_c() ? rows_ * units() : 0),
          seen_(slices_.count, call.dropout ? rows_ * width() : 0),
          real_(slices_.count, rows_),
          pointers_(slices_.count, (2 + ahead()) * rows_),
          targets_(slices_.count, ahead() * rows_),
          lines_(slices_.count, lines_ahead()),
          shadow_(slices_.count, in_shadow() ? Shadow<S>::memory_size(call.layer.inputs) : 0),
          memory_(slices_.count, cell.memory(rows_)) {}

    void run() const {
        parallel(
            slices_.count,
            [&](Member member) {
                pack(member);
                member.barrier();
                run_packed(member);
            },
            slices_.patience);
    }

    // The two parts of run(), for a call that is repeated with other x and outputs.
    void pack() const {
        parallel(1, [&](Member member) { pack(member); });
    }
    void run_packed() const {
        parallel(slices_.count, [&](Member member) { run_packed(member); }, slices_.patience);
    }

private:
    Index units() const { return call_.layer.units; }
    Index width() const { return call_.layer.outputs; }  // of h
    bool beside() const { return way_ == InputWay::beside; }
    bool in_shadow() const { return way_ == InputWay::shadow; }
    // Whether x W stands where the gates will.
    bool in_gates() const { return call_.gates && !past_caches_ && !in_shadow(); }
    // The steps whose x are gathered at a time.
    Index ahead() const { return beside() ? 1 : chunk_; }

    // The lines of memory that one step of one slice touches at most. A few rows leave no time to
    // ask for them: their products wait for the weights.
    Index lines_ahead() const {
        if (call_.layer.time == 1 || rows_ < 4) return 0;
        const Index longest = larger(call_.layer.inputs, gates_ * units()) * Index(sizeof(S));
        return Upcoming::most_lines(rows_ * 6, longest);
    }

    void pack(Member member) const {
        input_.pack(member);
        cell_.pack(member);
    }
    void run_packed(Member member) const {
        slices_.run(member, [&](const Place& place) { run_place(place); });
        if (past_caches_) end_stores_past_caches();
    }

    // As many steps as keep their input products in the second-level cache, and where W does not
    // stay there itself, as many as are worth reading it.
    Index chunk_steps() const {
        if (beside()) return call_.layer.time;
        if (in_shadow()) return Shadow<S>::steps;
        constexpr Index budget = 256 * 1024;
        const Index row = gates_ * units() * Index(sizeof(S)), step = rows_ * row;
        const Index bytes = call_.layer.inputs * row;
        const bool near = bytes <= farthest_bytes && rows_ >= rows_worth_far;
        const Index worth_reading = bytes <= far_bytes ? 1 : near ? 32 : 96;  // rows
        const Index fewest = (worth_reading + rows_ - 1) / rows_;
        return smaller(call_.layer.time, larger(fewest, budget / step));
    }

    S* product_at(const Place& place, Index at, Index step) const {
        if (beside()) return input_.bias.data();
        if (in_gates())
            return call_.gates + (place.rows[at] * call_.layer.time + time_at(call_.layer, step)) *
                                     gates_ * units();
        const Index number = step % products_at_once_ * rows_ + at;
        const int memory = in_shadow() ? place.own : place.common;
        return products_[memory] + number * gates_ * units();
    }

    // Whether each thread keeps its part of c apart while the steps are taken.
    bool moves_c() const {
        return has_memory(call_.layer.cell) && slices_.count > 1 && call_.layer.time > 1;
    }

    // A row's c while the steps are taken: this thread's units of it.
    S* c_at(const Place& place, Index at) const {
        if (moves_c()) return c_[place.own] + at * units();
        return call_.final_state[1] + place.rows[at] * units();
    }

    // Copies this thread's units of a row's c, unless they are there.
    void move_c(const Place& place, S* to, const S* from) const {
        const Range own = place.units<S>(units());
        if (to != from) copy(to + own.begin, from + own.begin, own.end - own.begin);
    }

    // Takes over the others' parts of c from a crew that was held up.
    void take_over_c(const Place& place, int team) const {
        for (int other = 1; other < team; ++other) {
            const Place theirs = {other, place.common, place.rows, Member{other, team}};
            for (Index at = 0; at < place.rows.count; ++at)
                move_c(theirs, c_at(place, at), c_at(theirs, at));
        }
    }

    void run_place(Place place) const {
        const Layer& layer = call_.layer;
        const RowList rows = place.rows;
        const bool memory = has_memory(layer.cell);
        const S** const h = pointers_[place.own];
        for (Index at = 0; at < rows.count; ++at) {
            h[at] = call_.state[0] + rows[at] * width();
            if (memory) move_c(place, c_at(place, at), call_.state[1] + rows[at] * units());
        }
        place.crew.barrier();
        Upcoming upcoming(lines_[place.own]);
        std::optional<Shadow<S>> shadow;
        if (in_shadow()) multiply_block(place, 0, shadow);
        for (Index first = 0; first < layer.time; first += chunk_) {
            const Index last = smaller(first + chunk_, layer.time);
            if (shadow) {
                begin_block(place, last, *shadow);
            } else if (!beside()) {
                multiply_inputs(place, first, last, h + 2 * rows_);
            }
            for (Index step = first; step < last; ++step) {
                upcoming.clear();
                if (lines_ahead() > 0 && step + 1 < last) announce(rows, step + 1, upcoming);
                if (shadow) shadow->begin_step(step - first);
                run_step(place, step, h, h + rows_, h + 2 * rows_, upcoming,
                         shadow ? &*shadow : nullptr);
                if (shadow) shadow->end_step();
                const int team = place.crew.team;
                if (!place.meet()) return;
                if (place.crew.team == team) continue;
                if (memory) take_over_c(place, team);
                if (shadow) {  // which was of this thread's units
                    multiply_block(place, first, shadow);
                    multiply_block(place, last, shadow);
                }
            }
        }
        for (Index at = 0; at < rows.count; ++at) {
            if (memory) move_c(place, call_.final_state[1] + rows[at] * units(), c_at(place, at));
            if (place.first()) copy(call_.final_state[0] + rows[at] * width(), h[at], width());
        }
    }

    // Has the x of the block of steps from `first` on multiplied in the shadow of those before.
    void begin_block(const Place& place, Index first, Shadow<S>& shadow) const {
        const Layer& layer = call_.layer;
        const Index last = smaller(first + chunk_, layer.time);
        if (first == last) return shadow.begin(nullptr, 0, nullptr, 0);
        S** const products = targets_[place.own];
        for (Index step = first; step < last; ++step)
            products[step - first] = product_at(place, 0, step);
        shadow.begin(x_at(place.rows[0], time_at(layer, first)),
                     layer.reverse ? -call_.x.time_stride : call_.x.time_stride, products,
                     int(last - first));
    }

    // Multiplies this block's with no step before it, in a shadow that fits the crew as it is now.
    void multiply_block(const Place& place, Index first, std::optional<Shadow<S>>& shadow) const {
        shadow.emplace(input_.shadow(place.crew, shadow_[place.own]));
        begin_block(place, first, *shadow);
        shadow->begin_step(chunk_ - 1);
        shadow->end_step();
    }

    // What a step will read and write.
    void announce(RowList rows, Index step, Upcoming& upcoming) const {
        const Index H = units(), t = time_at(call_.layer, step);
        for (Index at = 0; at < rows.count; ++at) {
            const Index row = rows[at], row_step = row * call_.layer.time + t;
            if (beside() && is_real(call_.mask, call_.layer, row, t)) {
                upcoming.add(x_at(row, t), call_.layer.inputs);
            }
            if (!past_caches_) {
                if (call_.gates) upcoming.add(call_.gates + row_step * gates_ * H, gates_ * H);
                if (call_.saved) upcoming.add(saved_at(row_step), saved_row(call_.layer).columns);
            }
            upcoming.add(call_.outputs + row_step * width(), width());
            const auto& [zoneout_h, zoneout_c] = call_.options.zoneout;
            if (zoneout_h.data) upcoming.add(share_at(zoneout_h, row, t), width());
            if (zoneout_c.data) upcoming.add(share_at(zoneout_c, row, t), H);
        }
    }

    S* saved_at(Index at) const { return call_.saved + at * saved_row(call_.layer).columns; }

    const S* x_at(Index row, Index t) const {
        return call_.x.data + row * call_.x.batch_stride + t * call_.x.time_stride;
    }

    void multiply_inputs(const Place& place, Index first, Index last, const S** x) const {
        S** const products = targets_[place.own];
        Index count = 0;
        for (Index at = 0; at < place.rows.count; ++at) {
            for (Index step = first; step < last; ++step) {
                const Index row = place.rows[at], t = time_at(call_.layer, step);
                if (!is_real(call_.mask, call_.layer, row, t)) continue;
                x[count] = x_at(row, t);
                products[count++] = product_at(place, at, step);
            }
        }
        input_.multiply(x, products, count, place);
        if (call_.layer.layer_norm) normalize_inputs(place, first, last);
        place.crew.barrier();
    }

    void normalize_inputs(const Place& place, Index first, Index last) const {
        for (Index at = 0; at < place.rows.count; ++at) {
            for (Index step = first; step < last; ++step) {
                const Index row = place.rows[at], t = time_at(call_.layer, step);
                if (!is_real(call_.mask, call_.layer, row, t)) continue;
                input_.normalize(product_at(place, at, step),
                                 call_.saved ? saved_at(row * call_.layer.time + t) : nullptr);
            }
        }
    }

    void run_step(const Place& place, Index step, const S** h, const S** seen, const S** x,
                  Upcoming& upcoming, Shadow<S>* shadow) const {
        const Index H = units(), P = width(), t = time_at(call_.layer, step);
        ForwardRow<S>* const real = real_[place.own];
        Index count = 0;
        place.each_row([&](Index at, Index row) {
            const Index row_step = row * call_.layer.time + t;
            const S*& before = h[at];
            S* const outputs = call_.outputs + row_step * P;
            S* const gates = call_.gates ? call_.gates + row_step * gates_ * H : nullptr;
            S* const saved = call_.saved ? saved_at(row_step) : nullptr;
            S* const c = has_memory(call_.layer.cell) ? c_at(place, at) : nullptr;
            if (is_real(call_.mask, call_.layer, row, t)) {
                const S* const dropout = call_.dropout ? call_.dropout + row * P : nullptr;
                const S* const product = product_at(place, at, step);
                seen[count] = dropout ? dropped(place.own, count, before, dropout) : before;
                x[count] = x_at(row, t);
                real[count++] = {before,
                                 dropout,
                                 product,
                                 gates,
                                 c,
                                 saved,
                                 outputs,
                                 share_at(call_.options.zoneout[0], row, t),
                                 share_at(call_.options.zoneout[1], row, t),
                                 past_caches_};
            } else {
                if (place.first()) {
                    const Index kept = c ? H : 0;
                    copy(outputs, before, P);
                    if (gates) {
                        past_caches_ ? clear_past_caches(gates, gates_ * H)
                                     : clear(gates, gates_ * H);
                    }
                    if (saved) clear(saved + kept, saved_row(call_.layer).columns - kept);
                }
                if (saved && c) move_c(place, saved, c);
            }
            before = outputs;
        });
        cell_.step(place, {real, count, seen, beside() ? x : nullptr, &upcoming, shadow,
                           memory_[place.common]});
    }

    const S* dropped(int thread, Index row, const S* h, const S* dropout) const {
        S* const seen = seen_[thread] + row * width();
        for_vectors<S>(width(), [&](Index unit, int count) {
            store(seen + unit, load(h + unit, count) * load(dropout + unit, count), count);
        });
        return seen;
    }

    const Forward<S>& call_;
    const CellType& cell_;
    const Index gates_;
    const Slices& slices_;
    const Index rows_;
    const InputProduct<Factor>& input_;
    const InputWay way_;
    const bool past_caches_;
    const Index chunk_, products_at_once_;
    const PerThread<S> products_;          // (products at once, rows, GH), where not in `gates`
    const PerThread<S> c_;                 // (rows, H), where c is moved
    const PerThread<S> seen_;              // (rows, P): h with dropout
    const PerThread<ForwardRow<S>> real_;  // (rows)
    const PerThread<const S*> pointers_;   // ((2 + ahead) rows): h, seen, x
    const PerThread<S*> targets_;          // (ahead rows)
    const PerThread<const char*> lines_;   // (lines of one step)
    const PerThread<S> shadow_;            // what a shadow needs
    const PerThread<S> memory_;            // and what the cell needs
};

template <class S, class CellType>
ForwardLoop(const Forward<S>&, const CellType&, const Slices&,
            const InputProduct<typename CellType::Factor>&, InputWay) -> ForwardLoop<S, CellType>;

}  // namespace gatewise::GATEWISE_ISA
