// The gradient of the peephole weights: what each gate's cotangent was multiplied by is the memory.
//
//     dp_i = sum of dP_i c      dp_f = sum of dP_f c      dp_o = sum of dP_o c'
//
// over the real steps, c before and c' after each. Split by units, never by parts of a sum, so the
// number of threads does not change a bit.

#pragma once

#include "activations.h"
#include "scan.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
class PeepholeGradient {
public:
    explicit PeepholeGradient(const WeightGradient<S>& call)
        : call_(call), gates_(int(gates_of(call.layer.cell))) {}

    void run() const {
        const Layer& layer = call_.layer;
        const Index vectors = (layer.units + lanes<S> - 1) / lanes<S>;
        const double work = 2.0 * double(layer.batch * layer.time) * double(gates_ * layer.units);
        parallel(useful_threads(layer.threads, vectors, work), [&](Member member) {
            const Range mine = share(member, vectors);
            const Range units = {mine.begin * lanes<S>, smaller(layer.units, mine.end * lanes<S>)};
            clear(units);
            for (Index row = 0; row < layer.batch; ++row) {
                for (Index t = 0; t < layer.time; ++t) {
                    if (is_real(call_.mask, layer, row, t)) add(row, t, units);
                }
            }
        });
    }

private:
    Index peepholes() const { return gates_ - 1; }
    const S* saved(Index at) const { return call_.saved + at * saved_row(call_.layer).columns; }

    // The results of the group that a step belongs to, (P, H).
    S* results(Index row, Index t) const {
        const Index group = call_.reduce == Reduce::all      ? 0
                            : call_.reduce == Reduce::sample ? row
                                                             : t;
        return call_.grad_peephole + group * peepholes() * call_.layer.units;
    }

    void clear(Range units) const {
        const Index groups = call_.reduce == Reduce::all      ? 1
                             : call_.reduce == Reduce::sample ? call_.layer.batch
                                                              : call_.layer.time;
        for (Index at = 0; at < groups * peepholes(); ++at) {
            gatewise::GATEWISE_ISA::clear(
                call_.grad_peephole + at * call_.layer.units + units.begin,
                units.end - units.begin);
        }
    }

    void add(Index row, Index t, Range units) const {
        const Layer& layer = call_.layer;
        const Index H = layer.units, at = row * layer.time + t;
        const S* const before =
            t == time_at(layer, 0) ? call_.memory + row * H : saved(at + (layer.reverse ? 1 : -1));
        const S* const grad = call_.grad_product + at * gradient_row(layer).columns;
        S* const to = results(row, t);
        for_vectors<S>(units, [&](Index unit, int count) {
            const Vector<S> c = load(before + unit, count);
            for (int peephole = 0; peephole < gates_ - 2; ++peephole)
                add(to + peephole * H + unit, grad + peephole * H + unit, c, count);
            const Vector<S> seen_by_o = after(at, unit, count, c);
            add(to + (gates_ - 2) * H + unit, grad + (gates_ - 1) * H + unit, seen_by_o, count);
        });
    }

    static void add(S* to, const S* grad, Vector<S> c, int count) {
        store(to, fma(load(grad, count), c, load(to, count)), count);
    }

    // c' as o saw it. Zoneout keeps some of the c before in what was saved, but not in this.
    Vector<S> after(Index at, Index unit, int count, Vector<S> before) const {
        const Index H = call_.layer.units;
        if (call_.options.zoneout[1].data == nullptr) return load(saved(at) + unit, count);
        const S* const gates = call_.gates + at * gates_ * H + unit;
        const Vector<S> f = load(gates + (gates_ - 3) * H, count);
        const Vector<S> g = load(gates + (gates_ - 2) * H, count);
        const Vector<S> i = gates_ == 3 ? S(1) - f : load(gates, count);
        const Vector<S> c = fma(f, before, i * g);
        const S limit = call_.options.cell_clip;
        return limit > S(0) ? clamp<S>(c, -limit, limit) : c;
    }

    const WeightGradient<S>& call_;
    const int gates_;
};

}  // namespace gatewise::GATEWISE_ISA
