// How a layer is laid out over a cluster, and what a pass over a sequence reads and writes.
//
// A cluster takes ROWS rows of the batch through the whole sequence. Each of its BLOCKS blocks owns
// UNITS hidden units with all their gates: it keeps their columns of U and their state, and the
// blocks exchange h (forward) or the cotangent of h (back) once a step. The sizes, the cell and the
// element of the products are defined by whoever compiles this.

#pragma once

#include "cells.cuh"
#include "cluster.cuh"
#include "matrix.cuh"

namespace gatewise {

using Cell = GATEWISE_CELL<GATEWISE_ACTIVATION, GATEWISE_RECURRENT_ACTIVATION>;
using Element = GATEWISE_ELEMENT;
using Number = Element::Number;

constexpr int hidden = GATEWISE_HIDDEN, gates = Cell::gates;
constexpr int blocks = GATEWISE_BLOCKS, units = GATEWISE_UNITS, rows = GATEWISE_ROWS;
constexpr int warps = GATEWISE_WARPS, threads = warps * 32;
constexpr int tiles = GATEWISE_TILES, tile_groups = GATEWISE_TILE_GROUPS;
constexpr int steps = GATEWISE_STEPS, step_groups = warps / tile_groups;
constexpr int in_registers = GATEWISE_IN_REGISTERS, in_shared = GATEWISE_IN_SHARED;
constexpr int columns = gates * hidden;

static_assert(blocks * units >= hidden && units % 8 == 0 && rows % 8 == 0);
static_assert(tile_groups * step_groups == warps);

using Held = Matrix<Element, tiles, steps, in_registers, in_shared>;

__host__ __device__ constexpr int rounded_up(int number, int multiple) {
    return (number + multiple - 1) / multiple * multiple;
}

// Pairs of a unit and a row, which the threads of a block share out.
constexpr int pairs = rounded_up(units * rows, threads) / threads;

struct Sequence {
    const float* product;         // forward: x W, (batch, time, columns)
    const float* recurrent;       // U, (hidden, columns)
    const float* bias;            // (columns), or null
    const float* recurrent_bias;  // (columns), or null
    const float* peepholes;       // a row (hidden) for each gate that has one, or null
    const float* state_h;         // (batch, hidden), before the first step
    const float* state_c;
    const unsigned char* mask;  // (batch, time), 0 where a step is left out; or null
    const float* dropout;       // (batch, hidden), on the h that U sees; or null
    const float* zoneout_h;     // (batch, time, hidden), the share of the old state; or null
    const float* zoneout_c;
    float* outputs;             // h, (batch, time, hidden); read on the way back
    float* activated;           // (batch, time, columns); null forward where nothing is kept
    float* saved;               // (batch, time, hidden): c, or of a GRU h U_h + b'_h
    float* final_h;             // (batch, hidden); on the way back the cotangents of the first
    float* final_c;             // state
    void* fragments;            // what of U fits neither registers nor shared memory
    const float* grad_outputs;  // back: (batch, time, hidden), or null
    const float* grad_final_h;  // (batch, hidden)
    const float* grad_final_c;
    const float* scale;   // (time), on what a step hands to the one before; or null
    float* grad_product;  // (batch, time, columns)
    int batch, time;
    int reverse;  // from the last time step to the first
    float clip;   // of c; infinite where there is none
};

// Shared memory is handed out in this order.
struct Shared {
    char* next;

    template <class T>
    __device__ T* take(int count) {
        T* found = reinterpret_cast<T*>(next);
        next += rounded_up(count * static_cast<int>(sizeof(T)), 16);
        return found;
    }
};

// One unit of one row, which a thread takes through the sequence. A warp takes eight units of four
// rows: whole sectors of device memory, and no bank of shared memory twice.
struct Pair {
    int unit, row;           // within the block
    int of_layer, of_batch;  // within the layer, within the batch
    bool real;               // no padding

    __device__ Pair(int index, unsigned block, int first_row, int batch) {
        const int warp = index * warps + threadIdx.x / 32, lane = threadIdx.x % 32;
        row = warp % (rows / 4) * 4 + lane % 4;
        unit = warp / (rows / 4) * 8 + lane / 4;
        of_layer = block * units + unit, of_batch = first_row + row;
        real = within() && of_layer < hidden && of_batch < batch;
    }

    __device__ bool within() const { return unit < units; }

    __device__ long long at_state() const {
        return static_cast<long long>(of_batch) * hidden + of_layer;
    }
    __device__ long long at_unit(const Sequence& s, int t) const {
        return (static_cast<long long>(of_batch) * s.time + t) * hidden + of_layer;
    }
    __device__ long long at_gate(const Sequence& s, int t, int gate) const {
        return (static_cast<long long>(of_batch) * s.time + t) * columns + gate * hidden + of_layer;
    }
    __device__ bool masked(const Sequence& s, int t) const {
        return s.mask && !s.mask[static_cast<long long>(of_batch) * s.time + t];
    }
};

__device__ inline Options options_of(const Sequence& s, const Pair& pair) {
    Options found{{}, s.clip};
    if constexpr (Cell::peepholes > 0) {
        if (s.peepholes && pair.real) {
            const float* p = s.peepholes + pair.of_layer;
            if constexpr (Cell::peepholes == 3) found.peepholes.i = p[0];
            found.peepholes.f = p[(Cell::peepholes - 2) * hidden];
            found.peepholes.o = p[(Cell::peepholes - 1) * hidden];
        }
    }
    return found;
}

// All clusters write the same fragments to the same place, so that one copy of them stays in L2; a
// lane reads what it wrote itself, or what another wrote in its place.
__device__ inline Held::Fragment* device_fragments(const Sequence& s, unsigned block) {
    const int warp = block * warps + threadIdx.x / 32;
    return static_cast<Held::Fragment*>(s.fragments) + warp * Held::in_device * tiles * 32;
}

}  // namespace gatewise
