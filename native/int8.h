// Rows of floats times a matrix of 8-bit integers.
//
//     x W = (sum over k of q_k w_k) s t        q = round(x / s), s = max |x| / 127
//
// w are the integers of W and t is their scale, one for each column; a row x gets the scale s of
// its own at every time step. cells/int8.py is the same in torch. A row that holds a NaN or an
// infinity makes every column NaN; one that is smaller than a normal scale counts as zero.
//
// A cell is made of such products where its factors are Bytes: what differs is how a matrix is
// packed and multiplied, and the cell knows nothing of it.

#pragma once

#include "forward_scan.h"
#include "int8_dot.h"

namespace gatewise::GATEWISE_ISA {

template <>
struct SumOf<Byte> {
    using Type = float;
};
template <>
struct ForwardCall<Byte> {
    using Type = Int8Forward;
};
// x and h have scales of their own.
template <>
inline constexpr bool joins<Byte> = false;

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

// As of floats, with four rows of the depth side by side in each lane.
template <int G, int V>
struct Packed<Byte, G, V> {
    static constexpr Index tile_units = V * lanes<float>;

    Byte* data;    // size(depth, units) bytes
    int* start;    // (columns): where the sums start, which makes up for left_offset
    float* scale;  // (columns)
    Index depth, units;

    static Index padded(Index depth) { return (depth + 7) / 8 * 8; }
    static Index columns(Index units) {
        return G * ((units + lanes<float> - 1) / lanes<float> * lanes<float>);
    }
    static Index size(Index depth, Index units) { return padded(depth) * columns(units); }
    Index padded_depth() const { return padded(depth); }
    Index tiles() const { return (units + tile_units - 1) / tile_units; }
    Index first_unit(Index tile) const { return tile * tile_units; }
    Index first_column(Index tile) const { return first_unit(tile) * G; }
    int vectors(Index tile) const {
        return int(smaller(V, (units - first_unit(tile) + lanes<float> - 1) / lanes<float>));
    }
    Byte* panel(Index tile) const { return data + first_column(tile) * padded_depth(); }
};

template <int G, int V>
class PackedBuffer<Byte, G, V> {
    using Matrix = Packed<Byte, G, V>;

public:
    PackedBuffer(Index depth, Index units)
        : memory_(Matrix::size(depth, units)),
          start_(Matrix::columns(units)),
          scale_(Matrix::columns(units)),
          packed_{memory_.data(), start_.data(), scale_.data(), depth, units} {}
    const Matrix& operator*() const { return packed_; }

private:
    const Buffer<Byte> memory_;
    const Buffer<int> start_;
    const Buffer<float> scale_;
    const Matrix packed_;
};

// Packs one vector of one gate: its four bytes a lane for every four rows, its scales and where its
// sums start, at `column` of the packed ones.
template <int G, int V>
void pack_vector(const Packed<Byte, G, V>& matrix, Int8Matrix from, Index row_stride, int count,
                 Byte* to, Index to_stride, Index column) {
    int sums[lanes<float>] = {};
    for (Index k = 0; k < matrix.padded_depth(); k += 4, to += to_stride) {
        Byte four[4][lanes<float>] = {};
        for (Index row = k; row < smaller(k + 4, matrix.depth); ++row) {
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
        matrix.start[column + lane] = -left_offset * sums[lane];
        matrix.scale[column + lane] = lane < count ? from.scale[lane] : 0.0f;
    }
}

GATEWISE_INLINE Int8Matrix from_column(Int8Matrix matrix, Index column) {
    return {matrix.data + column, matrix.scale + column};
}

// Packs this member's share of the tiles. Gate g of unit u is column g * gate_stride + u of `from`,
// whose rows are `row_stride` apart.
template <int G, int V>
void pack(const Packed<Byte, G, V>& to, Int8Matrix from, Index row_stride, Index gate_stride,
          Member member) {
    const Range own = share(member, to.tiles());
    for (Index tile = own.begin; tile < own.end; ++tile) {
        const int vectors = to.vectors(tile), width = vectors * G;
        for (int vector = 0; vector < vectors; ++vector) {
            const Index unit = to.first_unit(tile) + vector * lanes<float>;
            const int count = lanes_before<float>(unit, to.units);
            for (int gate = 0; gate < G; ++gate) {
                const Index place = vector * G + gate;
                pack_vector(to, from_column(from, gate * gate_stride + unit), row_stride, count,
                            to.panel(tile) + place * vector_bytes, width * vector_bytes,
                            to.first_column(tile) + place * lanes<float>);
            }
        }
    }
}

// The rows of a product that are rounded at a time: valid until this thread's next product. A few
// short ones lie on the stack, where they cost the least.
class RoundedRows {
public:
    static constexpr Index most = 24;

    RoundedRows(const float* const* rows, Index count, Index depth, Index padded_depth) {
        const Index stride = padded<Byte>(padded_depth);
        Byte* const bytes = count * stride <= Index(sizeof(near_)) ? near_ : far(count * stride);
        for (Index r = 0; r < count; ++r) {
            row[r] = bytes + r * stride;
            scale[r] = quantize(rows[r], depth, padded_depth, bytes + r * stride);
        }
    }

    const Byte* row[most];
    float scale[most];

private:
    [[gnu::noinline]] static Byte* far(Index bytes) {
        thread_local KeptMemory memory;
        return static_cast<Byte*>(memory.at_least(bytes));
    }

    alignas(64) Byte near_[4096];
};

// The rows from `first` on times one tile.
template <int apart, int G, int V, class Start, class Take>
void multiply_tile(const Packed<Byte, G, V>& right, Index tile, const RoundedRows& rows,
                   Index first, Index count, const Start& start, const Take& take) {
    constexpr int group = most_rows<G * V>;
    alignas(64) int sums[group * G * V * lanes<float>];
    alignas(64) float products[(G + apart) * lanes<float>];
    const int vectors = right.vectors(tile);
    const Index column = right.first_column(tile), groups = (count + group - 1) / group;
    for (Index g = 0; g < groups; ++g) {
        const Index begin = count * g / groups, end = count * (g + 1) / groups;
        dots_of<group, G, V>(int(end - begin), vectors, rows.row + begin, right.padded_depth() / 4,
                             right.panel(tile), right.start + column, sums);
        const int* sum = sums;
        for (Index row = begin; row < end; ++row) {
            const float* scale = right.scale + column;
            for (int vector = 0; vector < vectors; ++vector) {
                const Index unit = right.first_unit(tile) + vector * lanes<float>;
                const int width = lanes_before<float>(unit, right.units);
                start(first + row, unit, width, products);
#pragma GCC unroll 4
                for (int gate = 0; gate < G; ++gate, sum += lanes<float>, scale += lanes<float>) {
                    float* const to = products + (apart + gate) * lanes<float>;
                    const auto exact = __builtin_convertvector(load_sums(sum), Vector<float>);
                    store(to, fma(exact, load(scale) * rows.scale[row], load(to)));
                }
                take(first + row, unit, width, products);
            }
        }
    }
}

// As `multiply` of other factors. With `apart` the rows go to the last G sums; there is nothing
// before them.
template <int apart = 0, int G, int V, class Start, class Take>
void multiply(const Packed<Byte, G, V>& right, const Rows<float>& left, const Start& start,
              const Take& take, Upcoming*, Member member) {
    const Range own = share(member, right.tiles());
    for (Index first = 0; first < left.count; first += RoundedRows::most) {
        const Index count = smaller(RoundedRows::most, left.count - first);
        const RoundedRows rows(left.pointers + first, count, right.depth, right.padded_depth());
        for (Index tile = own.begin; tile < own.end; ++tile)
            multiply_tile<apart>(right, tile, rows, first, count, start, take);
    }
}

// What the cells pack.

template <int G, int V>
void pack_input(const Packed<Byte, G, V>& to, const Int8Forward& call, Member member) {
    pack(to, call.int8_W, to.units, 0, member);
}

template <int G, int V>
void pack_gates(const Packed<Byte, G, V>& to, const Int8Forward& call, Index column, int,
                Member member) {
    const Index units = call.layer.units, columns = gates_of(call.layer.cell) * units;
    pack(to, from_column(call.int8_U, column), columns, units, member);
}

template <int G, int V>
void pack_step(const Packed<Byte, G, V>& to, const Int8Forward& call, Member member) {
    pack_gates(to, call, 0, 0, member);
}

template <int V>
void pack_recurrent(const Packed<Byte, 1, V>& to, const Int8Forward& call, Member member) {
    pack(to, call.int8_U, to.units, 0, member);
}

template <int V>
void pack_projection(const Packed<Byte, 1, V>& to, const Int8Forward& call, Member member) {
    pack(to, call.int8_projection, to.units, 0, member);
}

}  // namespace gatewise::GATEWISE_ISA
