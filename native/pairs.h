// Pairs of bfloat16: what a product multiplies where the layer's precision is bfloat16.
//
// A pair is two neighbours along the depth of a product, so that one vector holds a pair for each
// lane and one multiply-add takes two steps of every sum: first the odd neighbour, then the even
// one, each rounded to float32. That is what vdpbf16ps does; elsewhere two ordinary multiply-adds
// give the same bits, since the product of two bfloat16 is exact in float32.

#pragma once

#include "vector.h"

namespace gatewise::GATEWISE_ISA {

struct Pair {
    unsigned bits;  // the even neighbour's in the lower half, the odd one's in the upper
};

template <>
struct VectorOf<Pair> {
    typedef unsigned Type __attribute__((vector_size(vector_bytes)));
};

// What the products of a factor are summed in.
template <class F>
struct SumOf {
    using Type = F;
};
template <>
struct SumOf<Pair> {
    using Type = float;
};
template <class F>
using Sum = typename SumOf<F>::Type;

// How many numbers one factor holds, and the factors that hold so many numbers.
template <class F>
inline constexpr Index numbers = 1;
template <>
inline constexpr Index numbers<Pair> = 2;
template <class F>
GATEWISE_INLINE Index factors(Index count) {
    return (count + numbers<F> - 1) / numbers<F>;
}

GATEWISE_INLINE Vector<Pair> broadcast(Pair value) {
    return value.bits - Vector<Pair>{};
}

#if defined(__AVX512BF16__)
GATEWISE_INLINE Vector<float> fma(Vector<Pair> a, Vector<Pair> b, Vector<float> c) {
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}
#else
GATEWISE_INLINE Vector<float> fma(Vector<Pair> a, Vector<Pair> b, Vector<float> c) {
    constexpr unsigned upper = 0xffff0000;
    const Vector<float> odd = fma((Vector<float>)(a & upper), (Vector<float>)(b & upper), c);
    return fma((Vector<float>)(a << 16), (Vector<float>)(b << 16), odd);
}
#endif

// The bfloat16 nearest to a float32, ties to even, in the lower half of the result. A NaN stays
// one, and a denormal counts as zero: as vcvtneps2bf16 has it. B is a number or a vector of them.
template <class B>
GATEWISE_INLINE B rounded_bits(B bits) {
    const B nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const B zero_or_nearest = (bits & 0x7f800000) == 0 ? (bits >> 16) & 0x8000 : nearest;
    return (bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : zero_or_nearest;
}

// The pairs of two vectors, lane by lane.
GATEWISE_INLINE Vector<Pair> pair_up(Vector<float> even, Vector<float> odd) {
#if defined(__AVX512BF16__)
    constexpr long long step = 0x0001000100010001, first = 0x0011000100100000;
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
    const __m512i interleaved =
        _mm512_set_epi64(first + 14 * step, first + 12 * step, first + 10 * step, first + 8 * step,
                         first + 6 * step, first + 4 * step, first + 2 * step, first);
    return (Vector<Pair>)_mm512_permutexvar_epi16(interleaved, halves);
#else
    return rounded_bits((Bits<float>)even) | rounded_bits((Bits<float>)odd) << 16;
#endif
}

// Rounds `count` numbers in a row to factors(count) pairs; a missing last neighbour is zero. `to`
// has room for a vector more.
GATEWISE_INLINE void round_row(const float* from, Index count, Pair* to) {
#if defined(__AVX512BF16__)
    for (Index at = 0; at < count; at += 2 * lanes<float>) {
        const Index left = count - at;
        const Vector<float> low = load(from + at, int(smaller(left, lanes<float>)));
        const Vector<float> high =
            left <= lanes<float>
                ? Vector<float>{}
                : load(from + at + lanes<float>, int(smaller(left - lanes<float>, lanes<float>)));
        store(to + at / 2, (Vector<Pair>)_mm512_cvtne2ps_pbh(high, low));
    }
#else
    const auto bits = [&](Index at) {
        unsigned value;
        __builtin_memcpy(&value, from + at, sizeof value);
        return rounded_bits(value);
    };
    for (Index pair = 0; pair < count / 2; ++pair)
        to[pair].bits = bits(2 * pair) | bits(2 * pair + 1) << 16;
    if (count % 2 == 1) to[count / 2].bits = bits(count - 1);
#endif
}

}  // namespace gatewise::GATEWISE_ISA
