// The product of rows of floats and a matrix of 8-bit integers.
//
//     x W = (sum over k of q_k w_k) s t        q = round(x / s), s = max |x| / 127
//
// w are the integers of W and t is their scale, one for each column; a row x gets the scale s of
// its own at every time step. cells/int8.py is the same in torch. A row that holds a NaN or an
// infinity makes every column NaN; one that is smaller than a normal scale counts as zero.

#pragma once

#include "int8_dot.h"
#include "scan.h"

namespace gatewise::GATEWISE_ISA {

typedef std::uint8_t RowBytes __attribute__((vector_size(lanes<float>)));

// The largest magnitude of a row: infinite or NaN where one of its numbers is.
GATEWISE_INLINE float magnitude(const float* row, Index depth) {
    // Without their sign, the bits of floats are ordered as the floats are, NaN above all.
    Sums most = {};
    for_vectors<float>(depth, [&](Index k, int count) {
        const Sums bits = (Sums)load(row + k, count) & 0x7fffffff;
        most = bits > most ? bits : most;
    });
    int largest = most[0];
    for (int lane = 1; lane < lanes<float>; ++lane) {
        largest = largest < most[lane] ? most[lane] : largest;
    }
    float value;
    __builtin_memcpy(&value, &largest, sizeof(value));
    return value;
}

// Writes the integers of a row, `padded_depth` of them (zeros beyond its end), and returns its
// scale.
inline float quantize(const float* row, Index depth, Index padded_depth, Byte* to) {
    constexpr float largest_float = 3.40282347e38f, smallest_normal = 1.17549435e-38f;
    const float most = magnitude(row, depth);
    const bool finite = most <= largest_float;
    const float scale = most / 127.0f;
    __builtin_memset(to, left_offset, std::size_t(padded_depth));
    if (!finite) return __builtin_nanf("");
    if (scale < smallest_normal) return 0.0f;
    // Added to this number, a small one is rounded (half to even) to the integer in its last bits.
    const Vector<float> rounder = broadcast(12582912.0f);
    for (Index k = 0; k < depth; k += lanes<float>) {
        const int count = lanes_before<float>(k, depth);
        const Vector<float> rounded = load(row + k, count) / scale + rounder;
        const RowBytes bytes = __builtin_convertvector((Bits<float>)rounded & 0xffu, RowBytes) ^
                               std::uint8_t(left_offset);
        __builtin_memcpy(to + k, &bytes, std::size_t(count));
    }
    return scale;
}

// A matrix of G blocks (gates) of `units` columns, packed as `Packed` is, four bytes a lane, with
// the memory of the rows that are multiplied by it.
template <int G, int V>
class Int8Product {
public:
    Int8Product(const Layer& layer, Index depth, Index units, int slices)
        : depth_(depth),
          padded_depth_((depth + 7) / 8 * 8),
          units_(units),
          columns_((units + lanes<float> - 1) / lanes<float> * lanes<float> * G),
          most_rows_(smaller(rows_at_once, layer.batch * layer.time)),
          panels_(padded_depth_ * columns_),
          start_(columns_),
          scale_(columns_),
          rows_(slices * padded<Byte>(most_rows_ * padded_depth_)) {}

    // Packs this member's share of the tiles. Gate g of unit u is column g * gate_stride + u of
    // `from`, whose rows are `row_stride` apart.
    void pack(Int8Matrix from, Index row_stride, Index gate_stride, Member member) const {
        const Range own = share(member, tiles());
        for (Index tile = own.begin; tile < own.end; ++tile) {
            const int vectors = vectors_of(tile), width = vectors * G;
            for (int vector = 0; vector < vectors; ++vector) {
                const Index unit = tile * tile_units + vector * lanes<float>;
                const int count = lanes_before<float>(unit, units_);
                for (int gate = 0; gate < G; ++gate) {
                    const Index place = vector * G + gate, column = gate * gate_stride + unit;
                    pack_vector({from.data + column, from.scale + column}, row_stride, count,
                                panel(tile) + place * vector_bytes, width * vector_bytes,
                                tile * tile_units * G + place * lanes<float>);
                }
            }
        }
    }

    // As the product of floats: for every row and vector of units, `start(row, unit, count, sums)`
    // says what the product is added to and `take(row, unit, count, sums)` takes the result.
    template <class Start, class Take>
    void multiply(const float* const* rows, Index count, const Start& start, const Take& take,
                  const Place& place) const {
        Byte* const memory = rows_.data() + place.own * padded<Byte>(most_rows_ * padded_depth_);
        const Byte* row[rows_at_once];
        float scale[rows_at_once];
        const Range own = share(place.crew, tiles());
        for (Index first = 0; first < count; first += most_rows_) {
            const Index size = smaller(most_rows_, count - first);
            for (Index r = 0; r < size; ++r) {
                Byte* const to = memory + r * padded_depth_;
                scale[r] = quantize(rows[first + r], depth_, padded_depth_, to);
                row[r] = to;
            }
            for (Index tile = own.begin; tile < own.end; ++tile) {
                multiply_tile(tile, row, scale, first, size, start, take);
            }
        }
    }

private:
    static constexpr Index tile_units = V * lanes<float>;
    static constexpr Index rows_at_once = 24;
    static constexpr int group = most_rows<G * V>;

    Index tiles() const { return (units_ + tile_units - 1) / tile_units; }
    int vectors_of(Index tile) const {
        return int(smaller(V, (units_ - tile * tile_units + lanes<float> - 1) / lanes<float>));
    }
    Byte* panel(Index tile) const { return panels_.data() + tile * tile_units * G * padded_depth_; }

    // One vector of one gate: its four bytes a lane for every four rows, its scales and where its
    // sums start.
    void pack_vector(Int8Matrix from, Index row_stride, int count, Byte* to, Index to_stride,
                     Index place) const {
        int sums[lanes<float>] = {};
        for (Index k = 0; k < padded_depth_; k += 4, to += to_stride) {
            Byte four[4][lanes<float>] = {};
            for (Index row = k; row < smaller(k + 4, depth_); ++row) {
                __builtin_memcpy(four[row - k], from.data + row * row_stride, std::size_t(count));
            }
            for (int lane = 0; lane < lanes<float>; ++lane) {
                for (int byte = 0; byte < 4; ++byte) {
                    to[4 * lane + byte] = four[byte][lane];
                    sums[lane] += four[byte][lane];
                }
            }
        }
        for (int lane = 0; lane < lanes<float>; ++lane) {
            start_.data()[place + lane] = -left_offset * sums[lane];
            scale_.data()[place + lane] = lane < count ? from.scale[lane] : 0.0f;
        }
    }

    template <class Start, class Take>
    void multiply_tile(Index tile, const Byte* const* rows, const float* scales, Index first,
                       Index count, const Start& start, const Take& take) const {
        alignas(64) int sums[group * G * V * lanes<float>];
        alignas(64) float products[G * lanes<float>];
        const int vectors = vectors_of(tile);
        const Index columns = tile * tile_units * G, groups = (count + group - 1) / group;
        for (Index g = 0; g < groups; ++g) {
            const Index begin = count * g / groups, end = count * (g + 1) / groups;
            dots_of<group, G, V>(int(end - begin), vectors, rows + begin, padded_depth_ / 4,
                                 panel(tile), start_.data() + columns, sums);
            const int* sum = sums;
            for (Index row = begin; row < end; ++row) {
                const float* scale = scale_.data() + columns;
                for (int vector = 0; vector < vectors; ++vector) {
                    const Index unit = tile * tile_units + vector * lanes<float>;
                    const int width = lanes_before<float>(unit, units_);
                    start(first + row, unit, width, products);
                    for (int gate = 0; gate < G;
                         ++gate, sum += lanes<float>, scale += lanes<float>) {
                        float* const to = products + gate * lanes<float>;
                        const auto exact = __builtin_convertvector(load_sums(sum), Vector<float>);
                        store(to, fma(exact, load(scale) * scales[row], load(to)));
                    }
                    take(first + row, unit, width, products);
                }
            }
        }
    }

    const Index depth_, padded_depth_, units_, columns_, most_rows_;
    const Buffer<Byte> panels_;
    const Buffer<int> start_;    // (columns): the sums of the products of the offset
    const Buffer<float> scale_;  // (columns)
    const Buffer<Byte> rows_;    // (slices, rows, depth)
};

}  // namespace gatewise::GATEWISE_ISA
