// The normalization of a row of numbers, forward and back: to mean 0 and variance 1.
//
//     n = (v - mean) factor      factor = 1 / sqrt(variance + epsilon)
//     dL/dv = factor (g - mean(g) - n mean(g n))      g = dL/dn
//
// Ba, Kiros and Hinton 2016, arXiv 1607.06450. The gates of one step are normalized together, a
// GRU's candidate apart from its z and r (the paper's appendix). A sum goes over the vectors in
// their order and then over the lanes, so its bits depend on the row alone.

#pragma once

#include "scan.h"

namespace gatewise::GATEWISE_ISA {

inline constexpr double layer_norm_epsilon = 1e-5;

template <class S>
struct Statistics {
    S mean, factor;

    Vector<S> normal(Vector<S> value) const { return (value - mean) * factor; }
};

// The lanes before `count`, the others zero.
template <class S>
GATEWISE_INLINE Vector<S> lanes_within(Vector<S> value, int count) {
    if (count == lanes<S>) return value;
    alignas(vector_bytes) S padded[lanes<S>];
    store(padded, value);
    return load(padded, count);
}

template <class S>
GATEWISE_INLINE Statistics<S> statistics(const S* values, Index count) {
    Vector<S> total = {}, squares = {};
    for_vectors<S>(count, [&](Index at, int width) { total += load(values + at, width); });
    const S mean = sum<S>(total) / S(count);
    for_vectors<S>(count, [&](Index at, int width) {
        const Vector<S> apart = lanes_within<S>(load(values + at, width) - mean, width);
        squares = fma(apart, apart, squares);
    });
    const S variance = sum<S>(squares) / S(count);
    return {mean, S(1) / S(__builtin_sqrt(variance + S(layer_norm_epsilon)))};
}

// What all of a row's cotangents g contribute to the cotangent of each of its values.
template <class S>
class NormalCotangents {
public:
    void add(Vector<S> grad, Vector<S> normal) {
        grads_ += grad;
        products_ = fma(grad, normal, products_);
    }
    void finish(Index count) {
        mean_ = sum<S>(grads_) / S(count);
        product_mean_ = sum<S>(products_) / S(count);
    }
    Vector<S> through(Vector<S> grad, Vector<S> normal, S factor) const {
        return (grad - mean_ - normal * product_mean_) * factor;
    }

private:
    Vector<S> grads_ = {}, products_ = {};
    S mean_ = 0, product_mean_ = 0;
};

// to = dL/dv of a row whose n is `normal`, from dL/d(gain n) = grad.
template <class S>
GATEWISE_INLINE void normalize_backward(const S* grad, const S* gain, const S* normal, S factor,
                                        Index count, S* to) {
    NormalCotangents<S> all;
    for_vectors<S>(count, [&](Index at, int width) {
        const Vector<S> scaled = load(grad + at, width) * load(gain + at, width);
        store(to + at, scaled, width);
        all.add(scaled, load(normal + at, width));
    });
    all.finish(count);
    for_vectors<S>(count, [&](Index at, int width) {
        store(to + at, all.through(load(to + at, width), load(normal + at, width), factor), width);
    });
}

// The columns of GH that are normalized together.
struct NormalizedParts {
    Range part[2];
    int count;
};

GATEWISE_INLINE NormalizedParts normalized_parts(const Layer& layer) {
    const Index H = layer.units;
    if (has_memory(layer.cell)) return {{{0, gates_of(layer.cell) * H}, {}}, 1};
    return {{{0, 2 * H}, {2 * H, 3 * H}}, 2};
}

// Where a row of Forward::saved holds the factors of a part of h U and of x W.
GATEWISE_INLINE Index recurrent_factor(const SavedRow& row, int part) {
    return row.statistics + 2 * part;
}
GATEWISE_INLINE Index input_factor(const SavedRow& row, int part) {
    return row.statistics + 2 * part + 1;
}

// Writes the cotangents of h U and of x W into a row of BackwardScan::grad_product, from those of
// what they add to the gates' sums: `grad_recurrent` (GH), which may be where the result goes, and
// dL/dP, with which the row begins.
template <class S>
void normalize_gates_backward(const Layer& layer, const LayerNorm<S>& norm, const S* saved,
                              const S* grad_recurrent, S* row) {
    const GradientRow to = gradient_row(layer);
    const SavedRow from = saved_row(layer);
    const NormalizedParts parts = normalized_parts(layer);
    for (int part = 0; part < parts.count; ++part) {
        const auto [begin, end] = parts.part[part];
        normalize_backward(grad_recurrent + begin, norm.recurrent_gain + begin,
                           saved + from.recurrent + begin, saved[recurrent_factor(from, part)],
                           end - begin, row + to.recurrent + begin);
        normalize_backward(row + begin, norm.input_gain + begin, saved + from.input + begin,
                           saved[input_factor(from, part)], end - begin, row + to.input + begin);
    }
}

}  // namespace gatewise::GATEWISE_ISA
