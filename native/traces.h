// Traces: what each weight did to the states of its own unit, one time step at a time.
//
//     J' = A J + B      A = ds'/ds, B = ds'/dtheta: this step's, on a path on which units do not
//     mix dL/dtheta = sum over rows and states of (dL/ds) J
//
// A has a number for each unit and pair of its states, B is (dL/dP) times what the weight
// multiplies. Both come from the layer's own way back, with a cotangent of ones on one state.
// Menick et al. 2020 (path diagonal), Bellec et al. 2020 (path cell).

#pragma once

#include "scan.h"

namespace gatewise::GATEWISE_ISA {

// The rows (GH) of W, U and the bias, one after the other: what multiplies each, and where it lies.
struct WeightRows {
    Index inputs, units, biases;

    Index count() const { return inputs + units + biases; }
    int weight(Index row) const { return row < inputs ? 0 : row < inputs + units ? 1 : 2; }
    Index within(Index row) const {
        return row < inputs ? row : row < inputs + units ? row - inputs : row - inputs - units;
    }
    Index size(int weight) const { return weight == 0 ? inputs : weight == 1 ? units : biases; }
    // Whether the row belongs to the recurrent product: of a GRU that resets after it, U and b'.
    bool recurrent(Index row) const { return weight(row) == 1 || row == count() - 1; }
};

template <class S>
WeightRows weight_rows(const Layer& layer, const S* bias) {
    const Index biases = bias == nullptr ? 0 : layer.cell == Cell::gru_reset_after ? 2 : 1;
    return {layer.inputs, layer.units, biases};
}

// Calls `each(column, unit, count)` for the vectors of a row of `gates` times `units` columns.
template <class S, class Each>
GATEWISE_INLINE void for_columns(Index gates, Index units, const Each& each) {
    for (Index gate = 0; gate < gates; ++gate) {
        for (Index unit = 0; unit < units; unit += lanes<S>)
            each(gate * units + unit, unit, lanes_before<S>(unit, units));
    }
}

// `forward` and `backward_scan` are those of this instruction set.
template <class S, class Run, class GoBack>
class TraceLoop {
public:
    TraceLoop(const TraceStep<S>& step, const Run& forward, const GoBack& backward_scan)
        : call_(step.forward),
          step_(step),
          states_(has_memory(call_.layer.cell) ? 2 : 1),
          gates_(gates_of(call_.layer.cell)),
          rows_(weight_rows(call_.layer, call_.bias)),
          ones_(size()),
          A_(states_ * states_ * size()),
          B_(states_ * gates_ * size()),
          recurrent_B_(gates_ * size()) {
        forward(call_);
        for (Index at = 0; at < size(); ++at) ones_.data()[at] = S(1);
        for (int state = 0; state < states_; ++state) backward_scan(way_back(state));
        if (call_.layer.cell == Cell::gru_reset_after) reset();
    }

    void run() const {
        const Index all = call_.layer.batch * rows_.count();
        const double work = 8.0 * double(all) * double(gates_ * call_.layer.units);
        parallel(useful_threads(call_.layer.threads, all, work), [&](Member member) {
            const Range mine = share(member, all);
            for (Index at = mine.begin; at < mine.end; ++at) {
                const Index batch = at / rows_.count();
                if (call_.mask && !call_.mask[batch]) continue;
                states_ == 2 ? advance<2>(batch, at % rows_.count())
                             : advance<1>(batch, at % rows_.count());
            }
        });
    }

private:
    Index size() const { return call_.layer.batch * call_.layer.units; }

    BackwardScan<S> way_back(int state) const {
        BackwardScan<S> scan = {};
        scan.layer = call_.layer;
        scan.grad_final[state] = ones_.data();
        scan.outputs = call_.outputs;
        scan.gates = call_.gates;
        scan.saved = call_.saved;
        scan.U = call_.U;
        scan.mask = call_.mask;
        scan.dropout = call_.dropout;
        scan.path = step_.path;
        scan.grad_product = B_.data() + state * gates_ * size();
        for (int from = 0; from < states_; ++from) {
            scan.state[from] = call_.state[from];
            scan.grad_state[from] = A_.data() + (state * states_ + from) * size();
        }
        return scan;
    }

    // The candidate's recurrent product reaches it through the reset gate.
    void reset() const {
        const Index H = call_.layer.units;
        for (Index batch = 0; batch < call_.layer.batch; ++batch) {
            const Index at = batch * gates_ * H;
            for (Index column = 0; column < gates_ * H; ++column) {
                const S r = column < 2 * H ? S(1) : call_.gates[at + column - H];
                recurrent_B_.data()[at + column] = B_.data()[at + column] * r;
            }
        }
    }

    S multiplied(Index batch, Index row) const {
        const Index within = rows_.within(row), units = call_.layer.units;
        switch (rows_.weight(row)) {
            case 0: return call_.x.data[batch * call_.x.batch_stride + within];
            case 1: {
                const Index at = batch * units + within;
                return call_.state[0][at] * (call_.dropout ? call_.dropout[at] : S(1));
            }
            default: return S(1);
        }
    }

    template <int states>
    void advance(Index batch, Index row) const {
        const Index H = call_.layer.units, columns = gates_ * H;
        const int weight = rows_.weight(row);
        const Index at = (batch * rows_.size(weight) + rows_.within(row)) * columns;
        const bool through_reset =
            call_.layer.cell == Cell::gru_reset_after && rows_.recurrent(row);
        const Vector<S> input = broadcast(multiplied(batch, row));
        S* J[states];
        const S *A[states][states], *B[states];
        for (int state = 0; state < states; ++state) {
            J[state] = step_.trace[state][weight] + at;
            const S* const from = through_reset ? recurrent_B_.data() : B_.data();
            B[state] = from + state * gates_ * size() + batch * columns;
            for (int other = 0; other < states; ++other)
                A[state][other] = A_.data() + (state * states + other) * size() + batch * H;
        }
        for_columns<S>(gates_, H, [&](Index column, Index unit, int count) {
            Vector<S> before[states];
            for (int state = 0; state < states; ++state)
                before[state] = load(J[state] + column, count);
            for (int state = 0; state < states; ++state) {
                Vector<S> after = load(B[state] + column, count) * input;
                for (int other = 0; other < states; ++other)
                    after = fma(load(A[state][other] + unit, count), before[other], after);
                store(J[state] + column, after, count);
            }
        });
    }

    const Forward<S>& call_;
    const TraceStep<S>& step_;
    const int states_;
    const Index gates_;
    const WeightRows rows_;
    const Buffer<S> ones_;         // (B, H)
    const Buffer<S> A_;            // (states, states, B, H): of what state, by which state before
    const Buffer<S> B_;            // (states, B, GH)
    const Buffer<S> recurrent_B_;  // (B, GH)
};

template <class S>
void trace_gradient(const TraceGradient<S>& call) {
    const Layer& layer = call.layer;
    const Index gates = gates_of(layer.cell);
    const Index H = layer.units, columns = gates * H;
    const int states = has_memory(layer.cell) ? 2 : 1;
    const WeightRows rows = weight_rows(layer, call.grad[2]);
    const double work = 2.0 * double(layer.batch * states * columns) * double(rows.count());
    parallel(useful_threads(layer.threads, rows.count(), work), [&](Member member) {
        const Range mine = share(member, rows.count());
        for (Index row = mine.begin; row < mine.end; ++row) {
            const int weight = rows.weight(row);
            const Index within = rows.within(row), size = rows.size(weight);
            for_columns<S>(gates, H, [&](Index column, Index unit, int count) {
                Vector<S> sum = {};
                for (Index batch = 0; batch < layer.batch; ++batch) {
                    const Index at = (batch * size + within) * columns + column;
                    for (int state = 0; state < states; ++state) {
                        if (!call.grad_state[state]) continue;
                        sum = fma(load(call.grad_state[state] + batch * H + unit, count),
                                  load(call.trace[state][weight] + at, count), sum);
                    }
                }
                store(call.grad[weight] + within * columns + column, sum, count);
            });
        }
    });
}

}  // namespace gatewise::GATEWISE_ISA
