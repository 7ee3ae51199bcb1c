// The loop over time, backward: what is carried, what is masked.
//
// A cell supplies what one step does to the rows that are real at that step. Masked rows never
// reach it, so what their input holds cannot matter.

#pragma once

#include "scan.h"

namespace gatewise::GATEWISE_ISA {

// One real row at one step. grad_h and grad_c hold the cotangents of the state after the step, and
// are overwritten by those of the state before it.
template <class S>
struct BackwardRow {
    const S* h;        // (P) before the step
    const S* c;        // (H) LSTM: before the step
    const S* gates;    // (GH)
    const S* saved;    // (V)
    const S* dropout;  // (P) or null
    S* grad_product;   // (R)
    S* grad_h;         // (P)
    S* grad_c;         // (H)
    // What a projection multiplies, o squash(c'): its cotangent, which is grad_h where h is not
    // projected, and itself, for the projection's gradient; null: not wanted.
    const S* grad_shown;  // (H)
    S* shown;             // (H) or null
    const S* share_h;     // (P), the share of h and (H) of c that stays, or null
    const S* share_c;
    const S* share_shown;  // of what grad_shown belongs to: share_h, or null where it is projected
    bool past_caches;      // whether grad_product is stored so

    // Stores a part of grad_product.
    void keep(S* to, Vector<S> values, int count) const {
        past_caches ? store_past_caches(to, values) : store(to, values, count);
    }
};

template <class S>
struct BackwardRows {
    const BackwardRow<S>* row;
    Index count;
    S scale;
    bool passes_on;      // whether the state before the step is to receive anything
    const S** pointers;  // (count): for the cell's use
    Upcoming* upcoming;
};

template <class S>
GATEWISE_INLINE Vector<S> dropout_at(const BackwardRow<S>& row, Index unit, int count) {
    return row.dropout ? load(row.dropout + unit, count) : broadcast(S(1));
}

// The way that the cotangents take from step to step: none where no step comes before.
template <class S>
GATEWISE_INLINE Path path_on(const BackwardScan<S>& call) {
    return call.state_unwanted && call.layer.time == 1 ? Path::cell : call.path;
}

// Whether grad_product is stored past the caches: of one cell alone no step reads it.
template <class S>
GATEWISE_INLINE bool keeps_past_caches(const BackwardScan<S>& call) {
    const Layer& layer = call.layer;
    if (layer.cell != Cell::gru_reset_after || layer.layer_norm || layer.projected) return false;
    return in_whole_lines(call.grad_product, layer.units) &&
           outgrow_caches<S>(layer.batch * layer.time * gradient_row(layer).columns);
}

// The cotangent's way through the columns of some gates of U: all of them, their diagonals, or
// none.
template <class F>
class Through {
    using S = Sum<F>;

public:
    Through(Path path, Matrix<S> U, Index first_gate, Index gates, const Layer& layer)
        : path_(path),
          U_(from_column(U, first_gate * layer.units)),
          gates_(gates),
          units_(layer.units),
          width_(layer.outputs),
          packed_(path == Path::full ? gates * units_ : 0, width_),
          diagonal_(path == Path::diagonal ? gates * units_ : 0) {}

    void pack(Member member) const {
        if (path_ == Path::full) gatewise::GATEWISE_ISA::pack(*packed_, transposed(U_), 0, member);
        if (path_ != Path::diagonal || member.index != 0) return;
        for (Index column = 0; column < gates_ * units_; ++column) {
            const Index unit = column % units_;
            diagonal_.data()[column] = U_.data[unit * U_.row_stride + column * U_.column_stride];
        }
    }

    // Calls `take(row, unit, count, sum)` with each vector of grad U^T; grad[row] is (gates H).
    template <class Take>
    void multiply(const S* const* grad, Index rows, Upcoming* upcoming, Member crew,
                  const Take& take) const {
        if (path_ == Path::full) {
            gatewise::GATEWISE_ISA::multiply(
                *packed_, Rows<S>{grad, rows}, FromZero<S, 1>{},
                [&](Index row, Index unit, int count, const S* sums) {
                    take(row, unit, count, load(sums));
                },
                upcoming, crew);
            return;
        }
        for (Index row = 0; row < rows; ++row) {
            for_vectors<S>(width_, [&](Index unit, int count) {
                take(row, unit, count, along_diagonal(grad[row], unit, count));
            });
        }
    }

    // What the diagonals alone let through; nothing on the cell's own path.
    Vector<S> along_diagonal(const S* grad, Index unit, int count) const {
        Vector<S> sum = {};
        if (path_ != Path::diagonal) return sum;
        for (Index column = unit; column < gates_ * units_; column += units_) {
            sum = fma(load(grad + column, count), load(diagonal_.data() + column, count), sum);
        }
        return sum;
    }

private:
    const Path path_;
    const Matrix<S> U_;
    const Index gates_, units_, width_;
    const PlainBuffer<F> packed_;  // U^T: depth gates H
    const Buffer<S> diagonal_;     // (gates H)
};

template <class S>
GATEWISE_INLINE S norm(const S* values, Index count) {
    Vector<S> squares = {};
    for_vectors<S>(count, [&](Index unit, int width) {
        const Vector<S> value = load(values + unit, width);
        squares = fma(value, value, squares);
    });
    return S(__builtin_sqrt(sum<S>(squares)));
}

template <class S, class CellType>
class BackwardLoop {
public:
    BackwardLoop(const BackwardScan<S>& call, const CellType& cell)
        : call_(call),
          cell_(cell),
          gates_(gates_of(call.layer.cell)),
          states_(has_memory(call.layer.cell) ? 2 : 1),
          slices_(slices_of(call)),
          rows_(slices_.most_rows()),
          past_caches_(keeps_past_caches(call)),
          grad_{{slices_.count, slices_.side_by_side() ? rows_ * width(0) : 0},
                {slices_.count, slices_.side_by_side() && states_ > 1 ? rows_ * width(1) : 0}},
          real_(slices_.count, rows_),
          pointers_(slices_.count, rows_),
          lines_(slices_.count, lines_ahead()) {}

    void run() const {
        parallel(
            slices_.count,
            [&](Member member) {
                cell_.pack(member);
                member.barrier();
                slices_.run(member, [&](const Place& place) { run_place(place); });
                if (past_caches_) end_stores_past_caches();
            },
            slices_.patience);
    }

private:
    Index units() const { return call_.layer.units; }
    // The numbers of a state, h or c, and this thread's part of them.
    Index width(int state) const { return state == 0 ? call_.layer.outputs : units(); }
    Range own(const Place& place, int state) const { return place.units<S>(width(state)); }
    Index columns() const { return gradient_row(call_.layer).columns; }

    // The lines of memory that one step of one slice touches at most.
    Index lines_ahead() const {
        return Upcoming::most_lines(
            rows_ * 7, larger(columns(), saved_row(call_.layer).columns) * Index(sizeof(S)));
    }

    // The cotangent of a row's h or c while the steps are taken.
    S* grad_at(const Place& place, int state, Index at) const {
        if (slices_.side_by_side()) return grad_[state][place.own] + at * width(state);
        return call_.grad_state[state] + place.rows[at] * width(state);
    }

    void run_place(Place place) const {
        for (int state = 0; state < states_; ++state) {
            const Range own = this->own(place, state);
            for (Index at = 0; at < place.rows.count; ++at) {
                S* const grad = grad_at(place, state, at) + own.begin;
                if (call_.grad_final[state]) {
                    copy(grad, call_.grad_final[state] + place.rows[at] * width(state) + own.begin,
                         own.end - own.begin);
                } else {
                    clear(grad, own.end - own.begin);
                }
            }
        }
        Upcoming upcoming(lines_[place.own]);
        for (Index step = call_.layer.time - 1; step >= 0; --step) {
            upcoming.clear();
            if (step > 0) announce(place, step - 1, upcoming);
            run_step(place, step, upcoming);
            if (!place.meet()) return;
        }
        if (!slices_.side_by_side() || call_.state_unwanted) return;
        for (int state = 0; state < states_; ++state) {
            for (Index at = 0; at < place.rows.count; ++at) {
                copy(call_.grad_state[state] + place.rows[at] * width(state),
                     grad_at(place, state, at), width(state));
            }
        }
    }

    // What a step will read and write.
    void announce(const Place& place, Index step, Upcoming& upcoming) const {
        const Index H = units(), t = time_at(call_.layer, step);
        for (Index at = 0; at < place.rows.count; ++at) {
            if (!is_real(call_.mask, call_.layer, place.rows[at], t)) continue;
            const BackwardRow<S> row = row_at(place, at, step);
            upcoming.add(row.gates, gates_ * H);
            if (call_.grad_outputs.data) upcoming.add(grad_output(place.rows[at], t), width(0));
            upcoming.add(row.c ? row.c : row.h, H);
            if ((!row.c || call_.layer.layer_norm) && row.saved)
                upcoming.add(row.saved, saved_row(call_.layer).columns);
            if (!past_caches_) upcoming.add(row.grad_product, columns());
            if (row.share_h) upcoming.add(row.share_h, width(0));
            if (row.share_c) upcoming.add(row.share_c, H);
        }
    }

    void run_step(const Place& place, Index step, Upcoming& upcoming) const {
        const Index t = time_at(call_.layer, step);
        const S scale = call_.scale ? call_.scale[t] : S(1);
        BackwardRow<S>* const real = real_[place.own];
        Index count = 0;
        place.each_row([&](Index at, Index row) {
            receive(place, at, t);
            if (is_real(call_.mask, call_.layer, row, t)) {
                real[count++] = row_at(place, at, step);
                return;
            }
            if (call_.grad_product != call_.gates) {  // which are zero there already
                const Range part = place.units<S>(columns());
                S* const to = call_.grad_product + (row * call_.layer.time + t) * columns();
                clear(to + part.begin, part.end - part.begin);
            }
            for (int state = 0; state < states_; ++state) {
                S* const grad = grad_at(place, state, at);
                for_vectors<S>(own(place, state), [&](Index unit, int width) {
                    store(grad + unit, load(grad + unit, width) * scale, width);
                });
            }
        });
        const bool passes_on = step > 0 || !call_.state_unwanted;
        cell_.step_backward(place,
                            {real, count, scale, passes_on, pointers_[place.own], &upcoming});
    }

    const S* grad_output(Index row, Index t) const {
        const Sequence<S>& grad = call_.grad_outputs;
        return grad.data + row * grad.batch_stride + t * grad.time_stride;
    }

    // Adds what the step's own output receives, and measures.
    void receive(const Place& place, Index at, Index t) const {
        const Index row = place.rows[at];
        if (call_.grad_outputs.data) {
            S* const grad = grad_at(place, 0, at);
            const S* const from = grad_output(row, t);
            for_vectors<S>(own(place, 0), [&](Index unit, int width) {
                store(grad + unit, load(grad + unit, width) + load(from + unit, width), width);
            });
        }
        if (!call_.norms) return;
        for (int state = 0; state < states_; ++state) {
            call_.norms[(row * call_.layer.time + t) * states_ + state] =
                norm(grad_at(place, state, at), width(state));
        }
    }

    BackwardRow<S> row_at(const Place& place, Index at, Index step) const {
        const Index H = units(), P = width(0), row = place.rows[at];
        const Index t = time_at(call_.layer, step), row_step = row * call_.layer.time + t;
        const Index before = row_step + (call_.layer.reverse ? 1 : -1);
        const bool memory = has_memory(call_.layer.cell);
        return {
            .h = step == 0 ? call_.state[0] + row * P : call_.outputs + before * P,
            .c = !memory     ? nullptr
                 : step == 0 ? call_.state[1] + row * H
                             : call_.saved + before * saved_row(call_.layer).columns,
            .gates = call_.gates + row_step * gates_ * H,
            .saved =
                call_.saved ? call_.saved + row_step * saved_row(call_.layer).columns : nullptr,
            .dropout = call_.dropout ? call_.dropout + row * P : nullptr,
            .grad_product = call_.grad_product + row_step * columns(),
            .grad_h = grad_at(place, 0, at),
            .grad_c = memory ? grad_at(place, 1, at) : nullptr,
            .grad_shown = grad_at(place, 0, at),
            .shown = nullptr,
            .share_h = share_at(call_.options.zoneout[0], row, t),
            .share_c = share_at(call_.options.zoneout[1], row, t),
            .share_shown = share_at(call_.options.zoneout[0], row, t),
            .past_caches = past_caches_,
        };
    }

    const BackwardScan<S>& call_;
    const CellType& cell_;
    const Index gates_;
    const int states_;
    const Slices slices_;
    const Index rows_;
    const bool past_caches_;
    const PerThread<S> grad_[2];  // (rows, P), (rows, H), where threads write side by side
    const PerThread<BackwardRow<S>> real_;  // (rows)
    const PerThread<const S*> pointers_;    // (rows)
    const PerThread<const char*> lines_;    // (lines of one step)
};

}  // namespace gatewise::GATEWISE_ISA
