// Products of 8-bit integers, four at a time, summed exactly: what an int8 product consists of.
//
// Both factors lie from -127 to 127, so a sum of two products fits 16 bits and that of a whole row
// fits 32. Sums of integers do not depend on their order, so every instruction set gives the same.

#pragma once

#include "threads.h"

namespace gatewise::GATEWISE_ISA {

using Byte = std::int8_t;

// One 32-bit sum a lane, or four bytes a lane.
typedef int Sums __attribute__((vector_size(vector_bytes)));

GATEWISE_INLINE Sums load_sums(const void* from) {
    Sums sums;
    __builtin_memcpy(&sums, from, vector_bytes);
    return sums;
}
GATEWISE_INLINE void store_sums(void* to, Sums sums) {
    __builtin_memcpy(to, &sums, vector_bytes);
}

// The same four bytes in every lane.
GATEWISE_INLINE Sums four_bytes(const Byte* from) {
    int four;
    __builtin_memcpy(&four, from, 4);
    return four - Sums{};
}

// What is added to the bytes of the left factor: vpdpbusd takes them as unsigned. The sums then
// begin at -left_offset times the sum of the right factors.
#if defined(__AVX512VNNI__)
inline constexpr int left_offset = 128;
#else
inline constexpr int left_offset = 0;
#endif

// sums[lane] += left[lane][0] right[lane][0] + ... + left[lane][3] right[lane][3].
#if defined(__AVX512VNNI__)
GATEWISE_INLINE Sums add_dots(Sums sums, Sums left, Sums right) {
    return (Sums)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)left, (__m512i)right);
}
#elif defined(__AVX2__) && !defined(__AVX512F__)
// vpmaddubsw takes one factor as unsigned: the left one's magnitude, its sign given to the right.
GATEWISE_INLINE Sums add_dots(Sums sums, Sums left, Sums right) {
    const __m256i x = (__m256i)left, w = (__m256i)right;
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
    return sums + (Sums)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#else
// Without such instructions: the even and the odd bytes as numbers of 16 bits, then the two sums of
// a lane as numbers of 32.
typedef short Shorts __attribute__((vector_size(vector_bytes)));

GATEWISE_INLINE Sums add_dots(Sums sums, Sums left, Sums right) {
    const Shorts x = (Shorts)left, w = (Shorts)right;
    const Sums pairs = (Sums)(((x << 8) >> 8) * ((w << 8) >> 8) + (x >> 8) * (w >> 8));
    return sums + ((pairs << 16) >> 16) + (pairs >> 16);
}
#endif

// sums[R][C] (vectors) = start[C], and R rows times a panel of C vectors for each four bytes.
//
// `fours` is even. Few sums are two chains each, so that one instruction need not wait for the
// other.
template <int R, int C>
[[gnu::noinline]] void dots(const Byte* const* rows, Index fours, const Byte* panel,
                            const int* start, int* sums) {
    constexpr int chains = R * C <= 4 ? 2 : 1;
    Sums sum[2][R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            sum[0][r][c] = load_sums(start + c * lanes<float>);
            sum[1][r][c] = Sums{};
        }
    }
    Index at = 0;
    do {
#pragma GCC unroll 2
        for (int part = 0; part < 2; ++part) {
            Sums right[C];
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) right[c] = load_sums(panel + c * vector_bytes);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const Sums left = four_bytes(rows[r] + 4 * (at + part));
#pragma GCC unroll 8
                for (int c = 0; c < C; ++c) {
                    Sums& to = sum[part % chains][r][c];
                    to = add_dots(to, left, right[c]);
                }
            }
            panel += C * vector_bytes;
        }
        at += 2;
    } while (at < fours);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            store_sums(sums + (r * C + c) * lanes<float>, sum[0][r][c] + sum[1][r][c]);
        }
    }
}

// The same for a number of rows, 1 to R, and of vectors of units, 1 to V, known only now.
template <int R, int G, int V>
GATEWISE_INLINE void dots_of(int count, int vectors, const Byte* const* rows, Index fours,
                             const Byte* panel, const int* start, int* sums) {
    if constexpr (V > 1) {
        if (vectors < V) {
            return dots_of<R, G, V - 1>(count, vectors, rows, fours, panel, start, sums);
        }
    }
    if constexpr (R > 1) {
        if (count < R) return dots_of<R - 1, G, V>(count, vectors, rows, fours, panel, start, sums);
    }
    dots<R, G * V>(rows, fours, panel, start, sums);
}

}  // namespace gatewise::GATEWISE_ISA
