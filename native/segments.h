// A sequence in segments: forward with the states between them kept, and back with each segment's
// gates computed again.
//
// The memory of one segment serves all, so it stays in the caches. Arrays over the whole sequence
// are (B, T, ...), those of a segment (B, its steps, ...): rows are copied from one to the other.

#pragma once

#include "gradients.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
class SegmentMemory {
public:
    SegmentMemory(const Layer& layer, const bool* mask, const Segment* segments, Index count)
        : layer_(layer), mask_(mask), mask_of_(layer.batch * longest(segments, count)) {}

    static Index longest(const Segment* segments, Index count) {
        Index most = 0;
        for (Index n = 0; n < count; ++n) most = larger(most, segments[n].stop - segments[n].start);
        return most;
    }

    Layer layer(Segment segment) const {
        Layer layer = layer_;
        layer.time = segment.stop - segment.start;
        return layer;
    }

    const bool* mask(Segment segment) const {
        if (mask_ == nullptr) return nullptr;
        rows(segment, 1, mask_, mask_of_.data());
        return mask_of_.data();
    }

    // Copies (B, T, size) at the segment to (B, steps, size), and back.
    template <class T>
    void rows(Segment segment, Index size, const T* whole, T* part) const {
        const Index count = (segment.stop - segment.start) * size;
        for (Index row = 0; row < layer_.batch; ++row)
            copy(part + row * count, whole + (row * layer_.time + segment.start) * size, count);
    }
    template <class T>
    void rows_back(Segment segment, Index size, const T* part, T* whole) const {
        const Index count = (segment.stop - segment.start) * size;
        for (Index row = 0; row < layer_.batch; ++row)
            copy(whole + (row * layer_.time + segment.start) * size, part + row * count, count);
    }

private:
    const Layer layer_;
    const bool* const mask_;
    const Buffer<bool> mask_of_;
};

template <class S>
Index states_of(const Layer& layer) {
    return layer.cell == Cell::lstm ? 2 : 1;
}

// The kernels `forward` and so on are those of this instruction set.
template <class S, class Run>
void forward_in_segments(const SegmentsForward<S>& call, const Run& forward) {
    const Layer& layer = call.whole.layer;
    const Index states = states_of<S>(layer), size = layer.batch * layer.units;
    const SegmentMemory<S> memory(layer, call.whole.mask, call.segment, call.count);
    const Buffer<S> outputs(SegmentMemory<S>::longest(call.segment, call.count) * size);
    for (Index n = 0; n < call.count; ++n) {
        const Segment segment = call.segment[n];
        Forward<S> part = call.whole;
        part.layer = memory.layer(segment);
        part.x.data += segment.start * part.x.time_stride;
        part.mask = memory.mask(segment);
        part.outputs = outputs.data();
        for (Index state = 0; n > 0 && state < states; ++state) {
            part.state[state] = call.whole.final_state[state];
            if (call.kept == nullptr) continue;
            copy(call.kept + ((n - 1) * states + state) * size, part.state[state], size);
        }
        forward(part);
        if (call.whole.outputs)
            memory.rows_back(segment, layer.units, outputs.data(), call.whole.outputs);
    }
}

template <class S, class Run, class GoBack, class OfWeights, class OfInput>
class SegmentsBack {
public:
    SegmentsBack(const SegmentsBackward<S>& call, const Run& forward, const GoBack& backward_scan,
                 const OfWeights& weight_gradient, const OfInput& input_gradient)
        : call_(call),
          forward_(forward),
          backward_scan_(backward_scan),
          weight_gradient_(weight_gradient),
          input_gradient_(input_gradient),
          states_(states_of<S>(call.whole.layer)),
          columns_(gates_of(call.whole.layer.cell) * units()),
          weights_{call.whole.layer.inputs * columns_, units() * columns_,
                   (call.whole.layer.cell == Cell::gru_reset_after ? 2 : 1) * columns_},
          memory_(call.whole.layer, call.whole.mask, call.segment, call.count),
          steps_(call.whole.layer.batch * SegmentMemory<S>::longest(call.segment, call.count)),
          gates_(steps_ * columns_),
          grad_product_(steps_ * columns_),
          saved_(steps_ * units()),
          outputs_(steps_ * units()),
          grad_x_(call.grad_x ? steps_ * call.whole.layer.inputs : 0),
          grad_(call.grad[0] ? weights_[0] + weights_[1] + weights_[2] : 0),
          final_(2 * size()),
          grad_final_(2 * size()) {}

    void run() const {
        for (Index n = call_.count - 1; n >= 0; --n) go_back(call_.segment[n], n);
    }

private:
    Index units() const { return call_.whole.layer.units; }
    Index size() const { return call_.whole.layer.batch * units(); }

    // The same fields of both ways.
    template <class Call>
    void begin(Call& part, Segment segment, Index n) const {
        part.layer = memory_.layer(segment);
        part.U = call_.whole.U;
        part.dropout = call_.whole.dropout;
        for (Index state = 0; state < states_; ++state) {
            part.state[state] = n == 0 ? call_.whole.state[state]
                                       : call_.kept + ((n - 1) * states_ + state) * size();
        }
    }

    void go_back(Segment segment, Index n) const {
        const Layer& layer = call_.whole.layer;
        const bool* const mask = memory_.mask(segment);
        const bool saves = layer.cell == Cell::lstm || layer.cell == Cell::gru_reset_after;
        Forward<S> again = call_.whole;
        begin(again, segment, n);
        again.x.data += segment.start * again.x.time_stride;
        again.mask = mask;
        again.outputs = outputs_.data();
        again.gates = gates_.data();
        again.saved = saves ? saved_.data() : nullptr;
        for (Index state = 0; state < states_; ++state)
            again.final_state[state] = final_.data() + state * size();
        forward_(again);

        BackwardScan<S> back = {};
        begin(back, segment, n);
        back.mask = mask;
        back.outputs = outputs_.data();
        back.gates = gates_.data();
        back.saved = again.saved;
        back.path = Path::full;
        back.grad_product = grad_product_.data();
        if (call_.grad_outputs) {
            back.grad_outputs = {call_.grad_outputs + segment.start * units(),
                                 call_.whole.layer.time * units(), units()};
        }
        for (Index state = 0; state < states_; ++state) {
            copy(grad_final_.data() + state * size(), call_.grad_state[state], size());
            back.grad_final[state] = grad_final_.data() + state * size();
            back.grad_state[state] = call_.grad_state[state];
        }
        backward_scan_(back);
        if (call_.grad[0]) add_weights(again, back);
        if (call_.grad_x == nullptr) return;
        input_gradient_({back.layer, grad_product_.data(), call_.whole.W, mask, grad_x_.data()});
        memory_.rows_back(segment, layer.inputs, grad_x_.data(), call_.grad_x);
    }

    void add_weights(const Forward<S>& again, const BackwardScan<S>& back) const {
        WeightGradient<S> call = {};
        call.layer = back.layer;
        call.reduce = Reduce::all;
        call.x = again.x;
        call.outputs = outputs_.data();
        call.gates = gates_.data();
        call.grad_product = grad_product_.data();
        call.state = back.state[0];
        call.mask = back.mask;
        call.dropout = back.dropout;
        call.grad_W = grad_.data();
        call.grad_U = call.grad_W + weights_[0];
        call.grad_bias = call_.grad[2] ? call.grad_U + weights_[1] : nullptr;
        weight_gradient_(call);
        const S* from = grad_.data();
        for (int weight = 0; weight < 3 && call_.grad[weight]; from += weights_[weight++]) {
            S* const to = call_.grad[weight];
            for_vectors<S>(weights_[weight], [&](Index at, int count) {
                store(to + at, load(to + at, count) + load(from + at, count), count);
            });
        }
    }

    const SegmentsBackward<S>& call_;
    const Run& forward_;
    const GoBack& backward_scan_;
    const OfWeights& weight_gradient_;
    const OfInput& input_gradient_;
    const Index states_, columns_;
    const Index weights_[3];  // numbers of W, U and the bias
    const SegmentMemory<S> memory_;
    const Index steps_;  // of all rows in the longest segment
    const Buffer<S> gates_, grad_product_, saved_, outputs_, grad_x_, grad_;
    const Buffer<S> final_, grad_final_;  // (2, B, H)
};

}  // namespace gatewise::GATEWISE_ISA
