// Activations of one vector, and their slopes from the activated value.
//
// tanh and sigmoid stand on e^x = 2^n (1 + p(r)) with x = n ln 2 + r and |r| <= ln 2 / 2. p is a
// minimax polynomial for e^r - 1 that keeps its relative accuracy at 0, so tanh needs no second
// branch for small x. NaN stays NaN; both functions are exact in the limits.

#pragma once

#include "vector.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
struct Exponential;

template <>
struct Exponential<float> {
    static constexpr float log2_e = 1.44269504088896341f;
    static constexpr float ln2_high = 0.693359375f;  // few bits, so that n * ln2_high is exact
    static constexpr float ln2_low = -2.12194440054690583e-4f;
    static constexpr float round =
        12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
    static constexpr float limit = 88.0f;
    static constexpr float tanh_limit = 20.0f;  // of 2x: tanh is 1 beyond
    static constexpr int mantissa = 23, bias = 127;
    static constexpr float polynomial[] = {// (e^r - 1 - r) / r^2, relative error 3.6e-10
                                           0.50000000312174601554f,   0.16666666795295850195f,
                                           0.04166639872631806825f,   0.0083332775063958508338f,
                                           0.0013938266484942963695f, 0.00019911969747988527079f};
};

template <>
struct Exponential<double> {
    static constexpr double log2_e = 1.44269504088896340736;
    static constexpr double ln2_high = 6.93145751953125e-1;
    static constexpr double ln2_low = 1.42860682030941723212e-6;
    static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double limit = 709.0;
    static constexpr double tanh_limit = 40.0;
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr double polynomial[] = {
        // relative error 3.8e-19
        0.49999999999999999992,     0.16666666666666673977,   0.041666666666666692879,
        0.0083333333333235269613,   0.0013888888888870137544, 0.00019841269881664354705,
        0.000024801587355148913093, 2.755724843075062081e-6,  2.7557246727116275625e-7,
        2.5107643463015705768e-8,   2.0923366177025908078e-9};
};

// e^x = scale * (1 + fraction)
template <class S>
struct Power {
    Vector<S> scale, fraction;
};

// |x| must not exceed Exponential<S>::limit.
template <class S>
GATEWISE_INLINE Power<S> power_of_e(Vector<S> x) {
    using E = Exponential<S>;
    const Vector<S> shifted = fma(x, broadcast(E::log2_e), broadcast(E::round));
    const Vector<S> n = shifted - E::round;
    const Vector<S> r = fma(n, broadcast(-E::ln2_low), fma(n, broadcast(-E::ln2_high), x));
    // Two terms at a time, after Estrin: half as many multiply-adds wait for one another.
    constexpr int terms = sizeof(E::polynomial) / sizeof(S);
    const Vector<S> square = r * r;
    Vector<S> p = {};
#pragma GCC unroll 8
    for (int term = (terms - 1) / 2 * 2; term >= 0; term -= 2) {
        const Vector<S> low = broadcast(E::polynomial[term]);
        const Vector<S> pair =
            term + 1 < terms ? fma(broadcast(E::polynomial[term + 1]), r, low) : low;
        p = term + 2 < terms ? fma(p, square, pair) : pair;
    }
    return {(Vector<S>)(((Bits<S>)shifted + E::bias) << E::mantissa), fma(square, p, r)};
}

template <class S>
GATEWISE_INLINE Vector<S> clamp(Vector<S> x, S low, S high) {
    return at_most(broadcast(high), at_least(broadcast(low), x));  // NaN passes
}

template <class S>
GATEWISE_INLINE Vector<S> absolute(Vector<S> x) {
    return (Vector<S>)((Bits<S>)x & ~(Bits<S>)broadcast(S(-0.0)));
}

template <class S>
GATEWISE_INLINE Vector<S> sigmoid(Vector<S> x) {
    using E = Exponential<S>;
    const Power<S> power = power_of_e<S>(clamp<S>(-x, -E::limit, E::limit));
    return S(1) / (S(1) + fma(power.scale, power.fraction, power.scale));
}

template <class S>
GATEWISE_INLINE Vector<S> tanh(Vector<S> x) {
    const Vector<S> magnitude = absolute<S>(x);
    const Power<S> power =
        power_of_e<S>(clamp<S>(magnitude + magnitude, S(0), Exponential<S>::tanh_limit));
    const Vector<S> e = fma(power.scale, power.fraction, power.scale - S(1));  // e^2|x| - 1
    const Bits<S> sign = (Bits<S>)x & (Bits<S>)broadcast(S(-0.0));
    return (Vector<S>)((Bits<S>)(e / (e + S(2))) | sign);
}

template <class S>
GATEWISE_INLINE Vector<S> activate(Activation activation, Vector<S> x) {
    switch (activation) {
        case Activation::linear: return x;
        case Activation::tanh: return tanh<S>(x);
        case Activation::sigmoid: return sigmoid<S>(x);
        case Activation::relu: return x < S(0) ? Vector<S>{} : x;
        case Activation::hard_sigmoid: return clamp<S>(x + S(3), S(0), S(6)) / S(6);
        case Activation::softsign: return x / (S(1) + absolute<S>(x));
    }
    __builtin_unreachable();
}

// The derivative where the activated value is y.
template <class S>
GATEWISE_INLINE Vector<S> slope(Activation activation, Vector<S> y) {
    const Vector<S> zero = {}, one = broadcast(S(1));
    switch (activation) {
        case Activation::linear: return one;
        case Activation::tanh: return fma(-y, y, one);
        case Activation::sigmoid: return y * (one - y);
        case Activation::relu: return y > zero ? one : zero;
        case Activation::hard_sigmoid: return y > zero ? (y < one ? one / S(6) : zero) : zero;
        case Activation::softsign: return (one - absolute<S>(y)) * (one - absolute<S>(y));
    }
    __builtin_unreachable();
}

// The two activations of a cell. The usual pair is known when the cell is compiled, any other pair
// when it runs.
struct UsualActivations {
    static constexpr Activation activation = Activation::tanh;
    static constexpr Activation recurrent_activation = Activation::sigmoid;
};

struct ChosenActivations {
    Activation activation, recurrent_activation;
};

// Calls `run` with the activations of the layer and returns what it returns.
template <class Run>
GATEWISE_INLINE auto with_activations(const Layer& layer, const Run& run) {
    if (layer.activation == Activation::tanh && layer.recurrent_activation == Activation::sigmoid) {
        return run(UsualActivations{});
    }
    return run(ChosenActivations{layer.activation, layer.recurrent_activation});
}

}  // namespace gatewise::GATEWISE_ISA
