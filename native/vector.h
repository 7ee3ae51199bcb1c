// One vector of the instruction set this translation unit is built for.
//
// Everything the kernels compute goes through this type: GCC's and Clang's vector extensions give
// the operators, and the few things they lack are here. Results must not depend on how the compiler
// arranges a loop, so contraction is off (-ffp-contract=off) and every fused multiply-add is
// written.
//
// All code lives in a namespace named after the instruction set (GATEWISE_ISA): two builds of one
// template are two functions, and the linker cannot put one in the other's place.

#pragma once

#include "kernels.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef GATEWISE_ISA
#error "GATEWISE_ISA names the instruction set: portable, avx2, avx512, avx512_vnni or avx512_bf16"
#endif

#define GATEWISE_INLINE [[gnu::always_inline]] inline

namespace gatewise::GATEWISE_ISA {

// The bytes of a vector, and how many of them one product keeps in registers as its sums.
#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
inline constexpr int accumulators = 24;
#elif defined(__AVX2__)
inline constexpr int vector_bytes = 32;
inline constexpr int accumulators = 12;
#elif defined(__aarch64__)
inline constexpr int vector_bytes = 16;
inline constexpr int accumulators = 24;
#else
inline constexpr int vector_bytes = 16;
inline constexpr int accumulators = 8;
#endif

template <class S>
struct VectorOf;

template <>
struct VectorOf<float> {
    typedef float Type __attribute__((vector_size(vector_bytes)));
    typedef unsigned Bits __attribute__((vector_size(vector_bytes)));
};

template <>
struct VectorOf<double> {
    typedef double Type __attribute__((vector_size(vector_bytes)));
    typedef unsigned long long Bits __attribute__((vector_size(vector_bytes)));
};

template <class S>
using Vector = typename VectorOf<S>::Type;
template <class S>
using Bits = typename VectorOf<S>::Bits;
template <class S>
inline constexpr int lanes = vector_bytes / int(sizeof(S));

template <class S>
GATEWISE_INLINE Vector<S> broadcast(S value) {
    return value - Vector<S>{};  // x - 0 is x, also for -0
}

template <class S>
GATEWISE_INLINE Vector<S> load(const S* from) {
    Vector<S> vector;
    __builtin_memcpy(&vector, from, vector_bytes);
    return vector;
}

template <class S>
GATEWISE_INLINE void store(S* to, Vector<S> vector) {
    __builtin_memcpy(to, &vector, vector_bytes);
}

// The first `count` lanes, the others zero (reads nothing beyond them), and the way back.
#if defined(__AVX512F__)
GATEWISE_INLINE Vector<float> load_some(const float* from, int count) {
    return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
}
GATEWISE_INLINE Vector<double> load_some(const double* from, int count) {
    return _mm512_maskz_loadu_pd(__mmask8((1u << count) - 1), from);
}
GATEWISE_INLINE void store_some(float* to, Vector<float> vector, int count) {
    _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), vector);
}
GATEWISE_INLINE void store_some(double* to, Vector<double> vector, int count) {
    _mm512_mask_storeu_pd(to, __mmask8((1u << count) - 1), vector);
}
#elif defined(__AVX2__)
inline constexpr std::int32_t ones_and_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
template <class S>
GATEWISE_INLINE __m256i lanes_mask(int count) {
    return _mm256_loadu_si256(
        reinterpret_cast<const __m256i*>(ones_and_zeros + 8 - count * int(sizeof(S) / 4)));
}
GATEWISE_INLINE Vector<float> load_some(const float* from, int count) {
    return _mm256_maskload_ps(from, lanes_mask<float>(count));
}
GATEWISE_INLINE Vector<double> load_some(const double* from, int count) {
    return _mm256_maskload_pd(from, lanes_mask<double>(count));
}
GATEWISE_INLINE void store_some(float* to, Vector<float> vector, int count) {
    _mm256_maskstore_ps(to, lanes_mask<float>(count), vector);
}
GATEWISE_INLINE void store_some(double* to, Vector<double> vector, int count) {
    _mm256_maskstore_pd(to, lanes_mask<double>(count), vector);
}
#else
template <class S>
GATEWISE_INLINE Vector<S> load_some(const S* from, int count) {
    alignas(vector_bytes) S padded[lanes<S>] = {};
    for (int lane = 0; lane < count; ++lane) padded[lane] = from[lane];
    return load(padded);
}
template <class S>
GATEWISE_INLINE void store_some(S* to, Vector<S> vector, int count) {
    alignas(vector_bytes) S padded[lanes<S>];
    store(padded, vector);
    for (int lane = 0; lane < count; ++lane) to[lane] = padded[lane];
}
#endif

template <class S>
GATEWISE_INLINE Vector<S> load(const S* from, int count) {
    return count == lanes<S> ? load(from) : load_some(from, count);
}

template <class S>
GATEWISE_INLINE void store(S* to, Vector<S> vector, int count) {
    count == lanes<S> ? store(to, vector) : store_some(to, vector, count);
}

// Stores a whole vector, at a multiple of its size, past the caches where it is a whole line of
// them: what stood there is not fetched first, and what the caches hold stays. Other threads may
// count on it after end_stores_past_caches(). Half a line stored so is slower than any other store.
#if defined(__AVX512F__)
GATEWISE_INLINE void store_past_caches(float* to, Vector<float> vector) {
    _mm512_stream_ps(to, vector);
}
GATEWISE_INLINE void store_past_caches(double* to, Vector<double> vector) {
    _mm512_stream_pd(to, vector);
}
#else
template <class S>
GATEWISE_INLINE void store_past_caches(S* to, Vector<S> vector) {
    store(to, vector);
}
#endif

GATEWISE_INLINE void end_stores_past_caches() {
#if defined(__AVX512F__)
    _mm_sfence();
#endif
}

// a * b + c, rounded once where the instruction set can.
#if defined(__AVX512F__)
GATEWISE_INLINE Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) {
    return _mm512_fmadd_ps(a, b, c);
}
GATEWISE_INLINE Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) {
    return _mm512_fmadd_pd(a, b, c);
}
#elif defined(__AVX2__)
GATEWISE_INLINE Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) {
    return _mm256_fmadd_ps(a, b, c);
}
GATEWISE_INLINE Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) {
    return _mm256_fmadd_pd(a, b, c);
}
#elif defined(__aarch64__)
GATEWISE_INLINE Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) {
    return (Vector<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
GATEWISE_INLINE Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) {
    return (Vector<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else
GATEWISE_INLINE Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) {
    return a * b + c;
}
GATEWISE_INLINE Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) {
    return a * b + c;
}
#endif

// The larger and the smaller of a limit and x, which is taken where it is NaN. (GCC 12 warns of an
// uninitialized value in its own header's _mm512_max_ps; under a full mask it is the same
// instruction.)
#if defined(__AVX512F__)
GATEWISE_INLINE Vector<float> at_least(Vector<float> limit, Vector<float> x) {
    return _mm512_maskz_max_ps(__mmask16(-1), limit, x);
}
GATEWISE_INLINE Vector<double> at_least(Vector<double> limit, Vector<double> x) {
    return _mm512_maskz_max_pd(__mmask8(-1), limit, x);
}
GATEWISE_INLINE Vector<float> at_most(Vector<float> limit, Vector<float> x) {
    return _mm512_maskz_min_ps(__mmask16(-1), limit, x);
}
GATEWISE_INLINE Vector<double> at_most(Vector<double> limit, Vector<double> x) {
    return _mm512_maskz_min_pd(__mmask8(-1), limit, x);
}
#elif defined(__AVX2__)
GATEWISE_INLINE Vector<float> at_least(Vector<float> limit, Vector<float> x) {
    return _mm256_max_ps(limit, x);
}
GATEWISE_INLINE Vector<double> at_least(Vector<double> limit, Vector<double> x) {
    return _mm256_max_pd(limit, x);
}
GATEWISE_INLINE Vector<float> at_most(Vector<float> limit, Vector<float> x) {
    return _mm256_min_ps(limit, x);
}
GATEWISE_INLINE Vector<double> at_most(Vector<double> limit, Vector<double> x) {
    return _mm256_min_pd(limit, x);
}
#else
template <class V>
GATEWISE_INLINE V at_least(V limit, V x) {
    return x < limit ? limit : x;
}
template <class V>
GATEWISE_INLINE V at_most(V limit, V x) {
    return x > limit ? limit : x;
}
#endif

// The lanes of two vectors in turn: a0 b0 a1 b1 ..., in `low` and then `high`.
#if defined(__AVX512F__)
GATEWISE_INLINE void interleave(Vector<float> a, Vector<float> b, Vector<float>& low,
                                Vector<float>& high) {
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i last =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    low = _mm512_permutex2var_ps(a, first, b);
    high = _mm512_permutex2var_ps(a, last, b);
}
GATEWISE_INLINE void interleave(Vector<double> a, Vector<double> b, Vector<double>& low,
                                Vector<double>& high) {
    low = _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
    high = _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
}
#elif defined(__AVX2__)
GATEWISE_INLINE void interleave(Vector<float> a, Vector<float> b, Vector<float>& low,
                                Vector<float>& high) {
    const __m256 even = _mm256_unpacklo_ps(a, b), odd = _mm256_unpackhi_ps(a, b);
    low = _mm256_permute2f128_ps(even, odd, 0x20);
    high = _mm256_permute2f128_ps(even, odd, 0x31);
}
GATEWISE_INLINE void interleave(Vector<double> a, Vector<double> b, Vector<double>& low,
                                Vector<double>& high) {
    const __m256d even = _mm256_unpacklo_pd(a, b), odd = _mm256_unpackhi_pd(a, b);
    low = _mm256_permute2f128_pd(even, odd, 0x20);
    high = _mm256_permute2f128_pd(even, odd, 0x31);
}
#else
template <class V>
GATEWISE_INLINE void interleave(V a, V b, V& low, V& high) {
    constexpr int half = sizeof(V) / sizeof(a[0]) / 2;
    for (int lane = 0; lane < half; ++lane) {
        low[2 * lane] = a[lane];
        low[2 * lane + 1] = b[lane];
        high[2 * lane] = a[half + lane];
        high[2 * lane + 1] = b[half + lane];
    }
}
#endif

// Lane l of vector v becomes lane v of vector l. Each stage interleaves the first half of the
// vectors with the second, which halves the distance between neighbours.
template <class S>
GATEWISE_INLINE void transpose(Vector<S> (&square)[lanes<S>]) {
    constexpr int half = lanes<S> / 2;
#pragma GCC unroll 4
    for (int stage = 1; stage < lanes<S>; stage *= 2) {
        Vector<S> from[lanes<S>];
#pragma GCC unroll 16
        for (int v = 0; v < lanes<S>; ++v) from[v] = square[v];
#pragma GCC unroll 8
        for (int v = 0; v < half; ++v)
            interleave(from[v], from[v + half], square[2 * v], square[2 * v + 1]);
    }
}

// The sum of the lanes, first to last.
template <class S>
GATEWISE_INLINE S sum(Vector<S> vector) {
    S total = vector[0];
    for (int lane = 1; lane < lanes<S>; ++lane) total += vector[lane];
    return total;
}

GATEWISE_INLINE Index smaller(Index a, Index b) {
    return a < b ? a : b;
}
GATEWISE_INLINE Index larger(Index a, Index b) {
    return a < b ? b : a;
}

// The lanes of the vector that starts at `first` that lie before `end`.
template <class S>
GATEWISE_INLINE int lanes_before(Index first, Index end) {
    return int(smaller(lanes<S>, end - first));
}

}  // namespace gatewise::GATEWISE_ISA
