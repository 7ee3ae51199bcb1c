// What an LSTM may do beside its equation, as the parts of one step that it changes.
//
//     peephole   p_i c and p_f c join the sums of i and f, p_o c' that of o
//     cell_clip  c' = max(-k, min(k, f c + i g))
//     zoneout    of h' and c' a share stays as it was before the step
//
// Gers and Schmidhuber 2000; Krueger et al. 2016, arXiv 1606.01305. With coupled gates there is no
// i of its own: i = 1 - f (Greff et al., arXiv 1503.04069).
//
// The step is written once and asks these. Of a plain LSTM the answers are known when it is
// compiled, and nothing is left of the questions.

#pragma once

#include "scan.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
struct PlainLstm {
    static constexpr int gates = 4;

    explicit PlainLstm(const Layer&, const Options<S>&) {}

    // The sum of a gate that sees c; `peephole` is the gate's row.
    Vector<S> see(int, Vector<S> sum, Vector<S>, Index, int) const { return sum; }
    Vector<S> clip(Vector<S> c) const { return c; }
    Vector<S> zone(const S*, const S*, Vector<S> after, Index, int) const { return after; }

    // c before it was clipped: what was saved, unless an option has changed it since.
    template <class Again>
    Vector<S> unclipped(Vector<S> saved, const Again&) const {
        return saved;
    }
    // The way back of see(), clip() and zone().
    Vector<S> seen(int, Vector<S>, Vector<S> grad_c, Index, int) const { return grad_c; }
    Vector<S> clipped(Vector<S>, Vector<S> grad_c) const { return grad_c; }
    Vector<S> taken(const S*, Vector<S> grad, Index, int) const { return grad; }
    Vector<S> past(const S*, Vector<S> passed, const S*, Index, int) const { return passed; }
};

template <class S, int G>
class ChosenLstm {
public:
    static constexpr int gates = G;

    ChosenLstm(const Layer& layer, const Options<S>& options)
        : units_(layer.units),
          peephole_(options.peephole),
          limit_(options.cell_clip),
          saved_differs_(limit_ > S(0) || options.zoneout[1].data != nullptr) {}

    Vector<S> see(int peephole, Vector<S> sum, Vector<S> c, Index unit, int count) const {
        return peephole_ ? fma(weight(peephole, unit, count), c, sum) : sum;
    }
    Vector<S> clip(Vector<S> c) const { return limit_ > S(0) ? clamp<S>(c, -limit_, limit_) : c; }
    Vector<S> zone(const S* share, const S* before, Vector<S> after, Index unit, int count) const {
        return share ? zoned(share, load(before + unit, count), after, unit, count) : after;
    }

    template <class Again>
    Vector<S> unclipped(Vector<S> saved, const Again& again) const {
        return saved_differs_ ? again() : saved;
    }
    Vector<S> seen(int peephole, Vector<S> grad, Vector<S> grad_c, Index unit, int count) const {
        return peephole_ ? fma(weight(peephole, unit, count), grad, grad_c) : grad_c;
    }
    Vector<S> clipped(Vector<S> c, Vector<S> grad_c) const {
        return limit_ > S(0) ? (absolute<S>(c) <= limit_ ? grad_c : Vector<S>{}) : grad_c;
    }
    Vector<S> taken(const S* share, Vector<S> grad, Index unit, int count) const {
        return of_new(share, grad, unit, count);
    }
    Vector<S> past(const S* share, Vector<S> passed, const S* grad, Index unit, int count) const {
        return share ? with_old(share, passed, load(grad + unit, count), unit, count) : passed;
    }

private:
    Vector<S> weight(int peephole, Index unit, int count) const {
        return load(peephole_ + peephole * units_ + unit, count);
    }

    const Index units_;
    const S* const peephole_;  // (P, H)
    const S limit_;
    const bool saved_differs_;  // the c that the next step sees, from the one of this step
};

// Calls `run` with the type of the options of a call, and returns what it returns.
template <class S, class Run>
GATEWISE_INLINE auto with_options(const Layer& layer, const Options<S>& options, const Run& run) {
    const bool zones = options.zoneout[0].data != nullptr || options.zoneout[1].data != nullptr;
    if (layer.cell == Cell::cifg) return run.template operator()<ChosenLstm<S, 3>>();
    if (zones || options.peephole != nullptr || options.cell_clip > S(0))
        return run.template operator()<ChosenLstm<S, 4>>();
    return run.template operator()<PlainLstm<S>>();
}

}  // namespace gatewise::GATEWISE_ISA
