// Forward: a block keeps the columns of U of its units, sees the whole h of its rows, and sends its
// part of the next h to every block of the cluster.

#include "layout.cuh"

namespace gatewise {

constexpr int seen = steps * step_groups * 16;  // the hidden units, padded
constexpr int seen_stride = seen + Element::padding;
constexpr int local_columns = gates * units;
constexpr int sum_stride = rounded_up(tiles * tile_groups * 16, 32) + 8;
constexpr int numbers_a_piece = 16 / sizeof(Number), pieces_a_row = 8 / numbers_a_piece;
static_assert(seen >= blocks * units);

constexpr unsigned message = blocks * units * rows * sizeof(Number);

// What a pair needs of a step, asked for one step ahead.
struct Given {
    float product[gates];
    bool masked;
};

__device__ inline Given ask(const Sequence& s, const Pair& pair, int t) {
    Given found;
    if (!pair.real) {
        for (int gate = 0; gate < gates; ++gate) found.product[gate] = 0.0f;
        found.masked = true;
        return found;
    }
#pragma unroll
    for (int gate = 0; gate < gates; ++gate) {
        found.product[gate] = __ldg(s.product + pair.at_gate(s, t, gate));
    }
    found.masked = pair.masked(s, t);
    return found;
}

__device__ inline float mixed(const float* kept, long long at, float before, float after) {
    return kept ? kept[at] * before + (1.0f - kept[at]) * after : after;
}

}  // namespace gatewise

extern "C" __global__ void __launch_bounds__(gatewise::threads, 1)
    __cluster_dims__(gatewise::blocks, 1, 1) forward(const __grid_constant__ gatewise::Sequence s) {
    using namespace gatewise;
    extern __shared__ __align__(16) char memory[];
    Shared shared{memory};
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int tile_group = warp % tile_groups, step_group = warp / tile_groups;
    const unsigned block = blocks > 1 ? rank_in_cluster() : 0;
    const int first_row = blockIdx.x / blocks * rows;

    Held matrix;
    matrix.lane = lane;
    matrix.first_tile = tile_group, matrix.tiles_apart = tile_groups;
    matrix.first_step = step_group * steps;
    matrix.shared =
        shared.take<Held::Fragment>(warps * tiles * in_shared * 32) + warp * tiles * in_shared * 32;
    matrix.device = device_fragments(s, block);
    Number* const heard = shared.take<Number>(2 * rows * seen_stride);
    float* const sums = shared.take<float>(step_groups * rows * sum_stride);
    Number* const said = shared.take<Number>(pairs * threads);
    Mailboxes& mailboxes = *shared.take<Mailboxes>(1);

    matrix.load([&](int m, int k) {
        const int gate = m / units, unit = block * units + m % units;
        const bool real = m < local_columns && unit < hidden && k < hidden;
        return real ? s.recurrent[static_cast<long long>(k) * columns + gate * hidden + unit]
                    : 0.0f;
    });
    for (int at = threadIdx.x; at < 2 * rows * seen_stride; at += threads) {
        const int row = first_row + at / seen_stride, unit = at % seen_stride;
        float h = 0.0f;
        if (at < rows * seen_stride && row < s.batch && unit < hidden) {
            const long long place = static_cast<long long>(row) * hidden + unit;
            h = s.state_h[place];
            if (s.dropout) h *= s.dropout[place];
        }
        heard[at] = Element::number(h);
    }

    State state[pairs];
    Options options[pairs];
    float dropout[pairs], bias[pairs][gates], recurrent_bias[pairs][gates];
    Given given[pairs];
    const int first = s.reverse ? s.time - 1 : 0, onward = s.reverse ? -1 : 1;
#pragma unroll
    for (int i = 0; i < pairs; ++i) {
        const Pair pair(i, block, first_row, s.batch);
        state[i] = {0.0f, 0.0f};
        dropout[i] = 1.0f;
        for (int gate = 0; gate < gates; ++gate) bias[i][gate] = recurrent_bias[i][gate] = 0.0f;
        options[i] = options_of(s, pair);
        if (pair.real) {
            state[i].h = s.state_h[pair.at_state()];
            if (Cell::has_memory) state[i].c = s.state_c[pair.at_state()];
            if (s.dropout) dropout[i] = s.dropout[pair.at_state()];
            for (int gate = 0; gate < gates; ++gate) {
                const int column = gate * hidden + pair.of_layer;
                if (s.bias) bias[i][gate] = s.bias[column];
                if (s.recurrent_bias) recurrent_bias[i][gate] = s.recurrent_bias[column];
            }
        }
        given[i] = ask(s, pair, first);
    }
    if (blocks > 1) {
        if (threadIdx.x == 0) mailboxes.open(message);
        __syncwarp();  // the next instruction is one of a whole warp
        meet_cluster();
    }
    __syncthreads();

    for (int step = 0; step < s.time; ++step) {
        const int t = first + step * onward, parity = step & 1;
        if (blocks > 1 && step > 0) {
            mailboxes.wait(parity, (step - 1) / 2);
            if (threadIdx.x == 0) mailboxes.expect(parity, message);
            __syncwarp();
        }
        const Number* const vectors = heard + parity * rows * seen_stride;
#pragma unroll 1
        for (int row = 0; row < rows; row += 8) {
            matrix.multiply(vectors + row * seen_stride, seen_stride, [&](int tile, Sums found) {
                float* const to =
                    sums + (step_group * rows + row + lane % 4 * 2) * sum_stride + tile + lane / 4;
                to[0] = found.low[0], to[sum_stride] = found.low[1];
                to[8] = found.high[0], to[sum_stride + 8] = found.high[1];
            });
        }
        __syncthreads();
        Number* const next = heard + (parity ^ 1) * rows * seen_stride;
        const unsigned mailbox = mailboxes.address(parity ^ 1);
        const bool goes_on = step + 1 < s.time;
#pragma unroll
        for (int i = 0; i < pairs; ++i) {
            const Pair pair(i, block, first_row, s.batch);
            if (!pair.within()) break;  // a whole warp at once
            float with_bias[gates], recurrent[gates], activated[gates];
#pragma unroll
            for (int gate = 0; gate < gates; ++gate) {
                const float* const from = sums + pair.row * sum_stride + gate * units + pair.unit;
                float sum = from[0];
#pragma unroll
                for (int group = 1; group < step_groups; ++group) {
                    sum += from[group * rows * sum_stride];
                }
                with_bias[gate] = given[i].product[gate] + bias[i][gate];
                recurrent[gate] = sum + recurrent_bias[i][gate];
            }
            const bool left_out = given[i].masked;
            const long long at = pair.at_unit(s, t);
            State after = Cell::forward(with_bias, recurrent, state[i], options[i], activated);
            if (pair.real) {
                if (goes_on) given[i] = ask(s, pair, t + onward);
                after.h = mixed(s.zoneout_h, at, state[i].h, after.h);
                if (Cell::has_memory) after.c = mixed(s.zoneout_c, at, state[i].c, after.c);
                state[i] = left_out ? state[i] : after;
            }
            const Number told = Element::number(state[i].h * dropout[i]);
            if constexpr (blocks > 1) {
                // The warp's eight units of four rows, put together and sent to every block.
                Number* const mine = said + (i * warps + warp) * 32;
                mine[lane % 4 * 8 + lane / 4] = told;
                __syncwarp();
                if (goes_on) {
                    const int first_of_row = pair.row - lane % 4, unit = pair.of_layer - lane / 4;
#pragma unroll
                    for (int at = lane; at < 4 * pieces_a_row * blocks; at += 32) {
                        const int piece = at % (4 * pieces_a_row), to = at / (4 * pieces_a_row);
                        const int row = first_of_row + piece / pieces_a_row;
                        const int in_row = piece % pieces_a_row * numbers_a_piece;
                        const unsigned place =
                            shared_address(next + row * seen_stride + unit + in_row);
                        send(address_in(to, place), address_in(to, mailbox),
                             *reinterpret_cast<const uint4*>(mine + piece * numbers_a_piece));
                    }
                }
            } else {
                next[pair.row * seen_stride + pair.of_layer] = told;
            }
            if (pair.real) {
                s.outputs[at] = state[i].h;
                if (s.activated) {
#pragma unroll
                    for (int gate = 0; gate < gates; ++gate) {
                        s.activated[pair.at_gate(s, t, gate)] = left_out ? 0.0f : activated[gate];
                    }
                    if (Cell::has_memory) s.saved[at] = state[i].c;
                    if (Cell::saves_recurrent) s.saved[at] = recurrent[gates - 1];
                }
            }
        }
        // With more blocks, the next message says that every warp of this one has read the sums.
        if (blocks == 1) __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < pairs; ++i) {
        const Pair pair(i, block, first_row, s.batch);
        if (!pair.real) continue;
        s.final_h[pair.at_state()] = state[i].h;
        if (Cell::has_memory) s.final_c[pair.at_state()] = state[i].c;
    }
    if (blocks > 1) meet_cluster();  // nobody leaves while a message to it may be on its way
}
