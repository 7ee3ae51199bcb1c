// A matrix that stays with the warps of a block for the whole sequence, and its product with the
// few vectors of a step.
//
// The matrix is cut into tiles of 16 rows and steps of 16 columns. A warp owns some tiles over some
// steps; a lane holds its part of each, its fragment. The first steps lie in registers, the next in
// shared memory, what is left in device memory (which the L2 cache holds); a lane reads there what
// it wrote itself. Vectors lie in shared memory, one after the other, eight to a product.
//
// Both elements leave the sums where the tensor cores leave them: of tile rows r and r + 8, with
// r = lane / 4, the sums for the vectors 2q and 2q + 1, with q = lane % 4.

#pragma once

namespace gatewise {

struct Sums {
    float low[2], high[2];  // row r and row r + 8
};

// The operands of a product rounded to bfloat16, to nearest, ties to even; sums in float32.
struct Bfloat16 {
    using Number = unsigned short;
    static constexpr int padding = 8;  // numbers between vectors: no two lanes want the same bank

    struct Fragment {
        unsigned part[4];
    };

    __device__ static Number number(float value) {
        Number found;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(found) : "f"(value));
        return found;
    }

    template <class Element>
    __device__ static Fragment fragment(const Element& element, int row, int column, int lane) {
        const int r = row + lane / 4, k = column + lane % 4 * 2;
        const auto pair = [&](int m, int at) {
            unsigned found;
            asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
                : "=r"(found)
                : "f"(element(m, at + 1)), "f"(element(m, at)));
            return found;
        };
        return {pair(r, k), pair(r + 8, k), pair(r, k + 8), pair(r + 8, k + 8)};
    }

    // Where a lane begins to read eight vectors; `stride` is from one to the next.
    __device__ static const Number* view(const Number* vectors, int stride, int lane) {
        return vectors + lane / 4 * stride + lane % 4 * 2;
    }

    struct Operand {
        unsigned part[2];
    };

    __device__ static Operand operand(const Number* view, int, int column) {
        const auto at = reinterpret_cast<const unsigned*>(view + column);
        return {at[0], at[4]};
    }

    struct Accumulator {
        float sum[4] = {};
    };

    __device__ static void multiply(Accumulator& into, const Fragment& matrix,
                                    const Operand& vectors) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(into.sum[0]), "+f"(into.sum[1]), "+f"(into.sum[2]), "+f"(into.sum[3])
            : "r"(matrix.part[0]), "r"(matrix.part[1]), "r"(matrix.part[2]), "r"(matrix.part[3]),
              "r"(vectors.part[0]), "r"(vectors.part[1]));
    }

    __device__ static Sums sums(const Accumulator& from, int) {
        return {{from.sum[0], from.sum[1]}, {from.sum[2], from.sum[3]}};
    }
};

// float32 as it is: multiplied and added, each product exact to its last bit.
struct Float32 {
    using Number = float;
    static constexpr int padding = 4;

    struct alignas(16) Fragment {
        float part[8];
    };

    __device__ static Number number(float value) { return value; }

    template <class Element>
    __device__ static Fragment fragment(const Element& element, int row, int column, int lane) {
        const int r = row + lane / 4, k = column + lane % 4 * 4;
        Fragment found;
#pragma unroll
        for (int at = 0; at < 4; ++at) {
            found.part[at] = element(r, k + at);
            found.part[4 + at] = element(r + 8, k + at);
        }
        return found;
    }

    __device__ static const Number* view(const Number* vectors, int, int lane) {
        return vectors + lane % 4 * 4;
    }

    struct Operand {
        float4 part[8];
    };

    __device__ static Operand operand(const Number* view, int stride, int column) {
        Operand found;
#pragma unroll
        for (int n = 0; n < 8; ++n) {
            found.part[n] = *reinterpret_cast<const float4*>(view + n * stride + column);
        }
        return found;
    }

    struct Accumulator {
        float low[8] = {}, high[8] = {};
    };

    __device__ static void multiply(Accumulator& into, const Fragment& matrix,
                                    const Operand& vectors) {
#pragma unroll
        for (int n = 0; n < 8; ++n) {
            const float4 v = vectors.part[n];
            into.low[n] = along(matrix.part, v, into.low[n]);
            into.high[n] = along(matrix.part + 4, v, into.high[n]);
        }
    }

    // The four lanes of a row have summed four columns of each step; each ends with two vectors.
    __device__ static Sums sums(const Accumulator& from, int lane) {
        Sums found;
        gather(from.low, lane, found.low);
        gather(from.high, lane, found.high);
        return found;
    }

private:
    __device__ static float along(const float* m, const float4& v, float sum) {
        return fmaf(m[3], v.w, fmaf(m[2], v.z, fmaf(m[1], v.y, fmaf(m[0], v.x, sum))));
    }

    __device__ static void gather(const float (&of)[8], int lane, float (&found)[2]) {
        const bool upper = lane & 2, second = lane & 1;
        float half[4];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
            const float other = __shfl_xor_sync(~0u, upper ? of[n] : of[4 + n], 2);
            half[n] = (upper ? of[4 + n] : of[n]) + other;
        }
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const float other = __shfl_xor_sync(~0u, second ? half[n] : half[2 + n], 1);
            found[n] = (second ? half[2 + n] : half[n]) + other;
        }
    }
};

// A warp's part: TILES tiles, every `tiles_apart`-th from `first_tile`, over STEPS steps from
// `first_step`; STEPS = in registers + in shared memory + in device memory.
template <class Element, int TILES, int STEPS, int IN_REGISTERS, int IN_SHARED>
struct Matrix {
    static constexpr int in_device = STEPS - IN_REGISTERS - IN_SHARED;
    using Fragment = typename Element::Fragment;
    using Number = typename Element::Number;

    Fragment held[IN_REGISTERS > 0 ? IN_REGISTERS * TILES : 1];
    Fragment* shared;  // [IN_SHARED][TILES][32], this warp's
    Fragment* device;  // [in_device][TILES][32], this warp's
    int first_tile, tiles_apart, first_step, lane;

    // `at(m, k)` is the matrix's element, 0 beyond its edges.
    template <class At>
    __device__ void load(const At& at) {
#pragma unroll
        for (int step = 0; step < IN_REGISTERS; ++step) {
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                held[step * TILES + tile] = part(at, step, tile);
            }
        }
#pragma unroll 1
        for (int step = 0; step < IN_SHARED; ++step) {
            for (int tile = 0; tile < TILES; ++tile) {
                shared[(step * TILES + tile) * 32 + lane] = part(at, IN_REGISTERS + step, tile);
            }
        }
#pragma unroll 1
        for (int step = 0; step < in_device; ++step) {
            for (int tile = 0; tile < TILES; ++tile) {
                device[(step * TILES + tile) * 32 + lane] =
                    part(at, IN_REGISTERS + IN_SHARED + step, tile);
            }
        }
    }

    // Multiplies eight vectors; `take(row, sums)` gets the sums of each tile, which begins at
    // `row`.
    template <class Take>
    __device__ void multiply(const Number* vectors, int stride, const Take& take) const {
        // A tensor core answers after a while; several sums of the same tile wait side by side.
        constexpr int chains = sizeof(Fragment) == 16 ? (TILES >= 4 ? 1 : TILES >= 2 ? 2 : 4) : 1;
        typename Element::Accumulator sum[TILES][chains];
        const Number* view = Element::view(vectors, stride, lane);
#pragma unroll
        for (int step = 0; step < IN_REGISTERS; ++step) {
            const auto operand = Element::operand(view, stride, (first_step + step) * 16);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                Element::multiply(sum[tile][step % chains], held[step * TILES + tile], operand);
            }
        }
        further<IN_SHARED>(sum, shared, view, stride, IN_REGISTERS);
        further<in_device>(sum, device, view, stride, IN_REGISTERS + IN_SHARED);
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            Sums found = Element::sums(sum[tile][0], lane);
#pragma unroll
            for (int chain = 1; chain < chains; ++chain) {
                const Sums more = Element::sums(sum[tile][chain], lane);
#pragma unroll
                for (int n = 0; n < 2; ++n) {
                    found.low[n] += more.low[n];
                    found.high[n] += more.high[n];
                }
            }
            take((first_tile + tile * tiles_apart) * 16, found);
        }
    }

private:
    template <class At>
    __device__ Fragment part(const At& at, int step, int tile) const {
        return Element::fragment(at, (first_tile + tile * tiles_apart) * 16,
                                 (first_step + step) * 16, lane);
    }

    template <int COUNT, class Sum, int CHAINS>
    __device__ void further(Sum (&sum)[TILES][CHAINS], const Fragment* from, const Number* view,
                            int stride, int before) const {
#pragma unroll(sizeof(Fragment) == 16 ? 4 : 1)
        for (int step = 0; step < COUNT; ++step) {
            const auto operand = Element::operand(view, stride, (first_step + before + step) * 16);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                // Whole rounds of four are unrolled, so the chain is known when it is compiled.
                Element::multiply(sum[tile][CHAINS == 1 ? 0 : step % CHAINS],
                                  from[(step * TILES + tile) * 32 + lane], operand);
            }
        }
    }
};

}  // namespace gatewise
