// What a chunk of steps does to the traces, unit by unit: A, and what the inputs of each step are
// multiplied by in B.
//
// With a cotangent of ones on one state s after the chunk, the way back gives A_s, the cotangents
// of the states before it, and psi_s = dP of every step, so that B_s = sum over t of x_t psi_s(t).
//
// An LSTM on its diagonal path has two states. What h hands back goes through c, but for the output
// gate's loop onto itself, o (1 - o) tanh(c) u_o, which is weak. So a few steps back the cotangents
// (h, c) that began on h differ from those that began on c by a factor alone, to rounding, and they
// do so in all steps before:
//
//     psi_h(t) = rho psi_c(t)      A_h = rho A_c      B_h = rho B_c + sum x_t (psi_h - rho
//     psi_c)(t)
//
// with a sum over the last few steps. The factor is looked for in the last few steps of each row;
// where there is none, all rows are gone through in full.

#pragma once

#include "gradients.h"

namespace gatewise::GATEWISE_ISA {

// The last real steps of each row, one after the other, as an LSTM's pass of their own.
template <class S>
class LastSteps {
public:
    LastSteps(const TraceChunk<S>& call, Index most)
        : call_(call),
          most_(most),
          gates_(call.layer.batch * most * 4 * call.layer.units),
          saved_(call.layer.batch * most * call.layer.units),
          outputs_(call.layer.batch * most * call.layer.units),
          h_(call.layer.batch * call.layer.units),
          c_(call.layer.batch * call.layer.units),
          mask_(call.layer.batch * most),
          times_(call.layer.batch * most) {
        for (Index row = 0; row < call.layer.batch; ++row) gather(row);
    }

    Index most() const { return most_; }
    // The place of a row's first step; the last is at most() - 1.
    Index first(Index row) const {
        Index place = 0;
        while (place < most_ && !mask_.data()[row * most_ + place]) ++place;
        return place;
    }
    // Whether a row has no other real steps.
    bool whole(Index row) const { return first(row) > 0; }
    Index time(Index row, Index place) const { return times_.data()[row * most_ + place]; }

    // The way back with these cotangents; grad_product and grad_state are the caller's to add.
    BackwardScan<S> way_back() const {
        BackwardScan<S> scan = {};
        scan.layer = call_.layer;
        scan.layer.time = most_;
        scan.outputs = outputs_.data();
        scan.gates = gates_.data();
        scan.saved = saved_.data();
        scan.U = call_.U;
        scan.state[0] = h_.data();
        scan.state[1] = c_.data();
        scan.mask = mask_.data();
        scan.dropout = call_.dropout;
        scan.path = call_.path;
        return scan;
    }

private:
    void gather(Index row) const {
        const Layer& layer = call_.layer;
        const Index H = layer.units;
        Index place = most_, time = layer.time;
        while (place > 0 && time > 0) {
            if (!is_real(call_.mask, layer, row, --time)) continue;
            const Index from = row * layer.time + time, to = row * most_ + --place;
            copy(gates_.data() + to * 4 * H, call_.gates + from * 4 * H, 4 * H);
            copy(saved_.data() + to * H, call_.saved + from * H, H);
            copy(outputs_.data() + to * H, call_.outputs + from * H, H);
            mask_.data()[to] = true;
            times_.data()[to] = time;
        }
        for (Index masked = 0; masked < place; ++masked) mask_.data()[row * most_ + masked] = false;
        // The states before: masked steps carry them.
        const Index before = place == most_ ? layer.time : times_.data()[row * most_ + place];
        const Index last = row * layer.time + before - 1;
        const S* const h = before == 0 ? call_.state[0] + row * H : call_.outputs + last * H;
        const S* const c = before == 0 ? call_.state[1] + row * H : call_.saved + last * H;
        const Index to = (row * most_ + place - 1) * H;
        copy(place == 0 ? h_.data() + row * H : outputs_.data() + to, h, H);
        copy(place == 0 ? c_.data() + row * H : saved_.data() + to, c, H);
    }

    const TraceChunk<S>& call_;
    const Index most_;
    const Buffer<S> gates_, saved_, outputs_;  // (B, most, ...)
    const Buffer<S> h_, c_;                    // (B, H)
    const Buffer<bool> mask_;                  // (B, most)
    const Buffer<Index> times_;                // (B, most)
};

template <class S>
class TraceFactors {
public:
    // `backward_scan` is that of this instruction set.
    template <class GoBack>
    TraceFactors(const TraceChunk<S>& call, const GoBack& backward_scan)
        : call_(call),
          states_(call.layer.cell == Cell::lstm ? 2 : 1),
          first_(states_ == 2 && call.path == Path::cell ? 1 : 0),
          ones_(size()),
          A_(states_ * states_ * size()),
          psi_(states_ * steps() * columns()),
          ratio_(size()),
          begins_(call.layer.batch) {
        for (Index at = 0; at < size(); ++at) ones_.data()[at] = S(1);
        clear(ratio_.data(), size());
        for (Index row = 0; row < call.layer.batch; ++row) begins_.data()[row] = 0;
        scan(states_ - 1, backward_scan);
        if (states_ == 1 || first_ == 1) return;
        if (settle(8, backward_scan) || settle(32, backward_scan)) return;
        clear(ratio_.data(), size());
        scan(0, backward_scan);
    }

    // On an LSTM's cell path the trace of h is worth nothing, since h goes on through U alone.
    int first() const { return first_; }
    int states() const { return states_; }
    // (B, T, GH): what the inputs are multiplied by; of h, less rho times that of c.
    const S* psi(int state) const { return psi_.data() + state * steps() * columns(); }
    // (B, H): how a state depends on one before the chunk.
    const S* A(int state, int before) const {
        return A_.data() + (state * states_ + before) * size();
    }
    const S* ratio() const { return ratio_.data(); }  // (B, H): rho
    // The time from which on psi(0) of a row counts.
    Index begins(Index row) const { return begins_.data()[row]; }

private:
    Index size() const { return call_.layer.batch * call_.layer.units; }
    Index steps() const { return call_.layer.batch * call_.layer.time; }
    Index columns() const { return gates_of(call_.layer.cell) * call_.layer.units; }
    S* of(int state, int before) const { return A_.data() + (state * states_ + before) * size(); }

    template <class GoBack>
    void scan(int state, const GoBack& backward_scan) const {
        BackwardScan<S> scan = {};
        scan.layer = call_.layer;
        scan.grad_final[state] = ones_.data();
        scan.outputs = call_.outputs;
        scan.gates = call_.gates;
        scan.saved = call_.saved;
        scan.U = call_.U;
        scan.mask = call_.mask;
        scan.dropout = call_.dropout;
        scan.path = call_.path;
        scan.grad_product = psi_.data() + state * steps() * columns();
        for (int before = 0; before < states_; ++before) {
            scan.state[before] = call_.state[before];
            scan.grad_state[before] = of(state, before);
        }
        backward_scan(scan);
    }

    // Looks for the factor in the last steps of every row; false where it is not to be found.
    template <class GoBack>
    bool settle(Index most, const GoBack& backward_scan) const {
        if (most >= call_.layer.time) return false;
        const LastSteps<S> last(call_, most);
        const Buffer<S> psi(2 * call_.layer.batch * most * columns()), A(4 * size());
        for (int state = 0; state < 2; ++state) {
            BackwardScan<S> scan = last.way_back();
            scan.grad_final[state] = ones_.data();
            scan.grad_product = psi.data() + state * call_.layer.batch * most * columns();
            for (int before = 0; before < 2; ++before)
                scan.grad_state[before] = A.data() + (2 * state + before) * size();
            backward_scan(scan);
        }
        for (Index row = 0; row < call_.layer.batch; ++row)
            if (!last.whole(row) && !find_ratio(row, A.data())) return false;
        for (Index row = 0; row < call_.layer.batch; ++row) take(row, last, A.data(), psi.data());
        return true;
    }

    // rho of each unit of a row, by the cotangents before its last steps: A of h, then that of c.
    bool find_ratio(Index row, const S* A) const {
        constexpr S rounding = 4 * (sizeof(S) == 4 ? S(1.2e-7) : S(2.3e-16));
        for (Index at = row * call_.layer.units; at < (row + 1) * call_.layer.units; ++at) {
            const S from_h[2] = {A[at], A[size() + at]};
            const S from_c[2] = {A[2 * size() + at], A[3 * size() + at]};
            const S least = rounding * (magnitude(from_h[0]) + magnitude(from_h[1]));
            const S ratio = least == S(0) ? S(0) : from_h[1] / from_c[1];
            // Where c hands back nothing the ratio is no number, and no number is near enough.
            if (!(magnitude(from_h[0] - ratio * from_c[0]) <= least)) return false;
            ratio_.data()[at] = ratio;
        }
        return true;
    }
    static S magnitude(S value) { return value < S(0) ? -value : value; }

    void take(Index row, const LastSteps<S>& last, const S* A, const S* psi) const {
        const Index H = call_.layer.units, from = row * H, T = call_.layer.time;
        const bool whole = last.whole(row);
        if (whole) clear(ratio_.data() + from, H);
        for (int before = 0; before < 2; ++before) {
            for (Index at = from; at < from + H; ++at) {
                of(0, before)[at] =
                    whole ? A[before * size() + at] : ratio_.data()[at] * of(1, before)[at];
            }
        }
        begins_.data()[row] = last.first(row) < last.most() ? last.time(row, last.first(row)) : T;
        for (Index place = last.first(row); place < last.most(); ++place) {
            const Index step = row * T + last.time(row, place);
            const S* const of_h = psi + (row * last.most() + place) * columns();
            const S* const of_c = this->psi(1) + step * columns();
            S* const to = psi_.data() + step * columns();
            for (Index gate = 0; gate < columns(); gate += H) {
                for (Index unit = 0; unit < H; ++unit)
                    to[gate + unit] =
                        of_h[gate + unit] - ratio_.data()[from + unit] * of_c[gate + unit];
            }
        }
    }

    const TraceChunk<S>& call_;
    const int states_, first_;
    const Buffer<S> ones_;        // (B, H)
    const Buffer<S> A_;           // (states, states, B, H)
    const Buffer<S> psi_;         // (states, B, T, GH)
    const Buffer<S> ratio_;       // (B, H)
    const Buffer<Index> begins_;  // (B)
};

}  // namespace gatewise::GATEWISE_ISA
