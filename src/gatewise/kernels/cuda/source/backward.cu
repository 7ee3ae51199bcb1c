// Back through time: a block turns the cotangent of its units' h into that of their gates, and
// multiplies it with their columns of U. That gives a part of the cotangent of every unit's h a
// step earlier; each block gets those of its own units from all the others and adds them.

#include "layout.cuh"

namespace gatewise {

constexpr int own = steps * step_groups * 16;  // the gates of a block's units, padded
constexpr int own_stride = own + Element::padding;
constexpr int part_stride = rows + 4;  // four numbers travel together
constexpr int part = units * part_stride;
constexpr unsigned message = blocks * units * rows * sizeof(float);

static_assert(step_groups == 1 && own >= gates * units);

struct Given {
    float activated[gates];
    State before;
    float saved, grad_output, kept_h, kept_c;
    bool masked;
};

// `before` is the time step before t, or -1 where t is the first of the pass.
__device__ inline Given ask(const Sequence& s, const Pair& pair, int t, int before) {
    Given found{};
    found.masked = true;
    if (!pair.real) return found;
    const long long at = pair.at_unit(s, t);
#pragma unroll
    for (int gate = 0; gate < gates; ++gate) {
        found.activated[gate] = __ldg(s.activated + pair.at_gate(s, t, gate));
    }
    const long long earlier = before < 0 ? pair.at_state() : pair.at_unit(s, before);
    if (Cell::has_memory) {
        found.before.c = __ldg((before < 0 ? s.state_c : s.saved) + earlier);
    } else {
        found.before.h = __ldg((before < 0 ? s.state_h : s.outputs) + earlier);
    }
    if (Cell::saves_recurrent) found.saved = __ldg(s.saved + at);
    if (s.grad_outputs) found.grad_output = __ldg(s.grad_outputs + at);
    if (s.zoneout_h) found.kept_h = __ldg(s.zoneout_h + at);
    if (s.zoneout_c) found.kept_c = __ldg(s.zoneout_c + at);
    found.masked = pair.masked(s, t);
    return found;
}

}  // namespace gatewise

extern "C" __global__ void __launch_bounds__(gatewise::threads, 1)
    __cluster_dims__(gatewise::blocks, 1, 1)
        backward(const __grid_constant__ gatewise::Sequence s) {
    using namespace gatewise;
    extern __shared__ __align__(16) char memory[];
    Shared shared{memory};
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned block = blocks > 1 ? rank_in_cluster() : 0;
    const int first_row = blockIdx.x / blocks * rows;

    Held matrix;
    matrix.lane = lane;
    matrix.first_tile = warp, matrix.tiles_apart = tile_groups;
    matrix.first_step = 0;
    matrix.shared =
        shared.take<Held::Fragment>(warps * tiles * in_shared * 32) + warp * tiles * in_shared * 32;
    matrix.device = device_fragments(s, block);
    // Of two steps: a warp may still multiply those of one when others have gone on to the next.
    Number* const both = shared.take<Number>(2 * rows * own_stride);
    float* const parts = shared.take<float>(2 * blocks * part);
    Mailboxes& mailboxes = *shared.take<Mailboxes>(1);

    // The rows of this matrix are the units before, its columns the gates of the block's units.
    matrix.load([&](int m, int k) {
        const int gate = k / units, unit = block * units + k % units;
        const bool real = m < hidden && unit < hidden && gate < gates;
        return real ? s.recurrent[static_cast<long long>(m) * columns + gate * hidden + unit]
                    : 0.0f;
    });
    for (int at = threadIdx.x; at < 2 * rows * own_stride; at += threads) {
        both[at] = Element::number(0.0f);
    }

    State grad[pairs];  // what reaches the state past U; the parts of the others join it
    Options options[pairs];
    float dropout[pairs];
    Given given[pairs];
    const int first = s.reverse ? 0 : s.time - 1, onward = s.reverse ? 1 : -1;
    const auto before = [&](int step) {
        return step + 1 < s.time ? first + (step + 1) * onward : -1;
    };
#pragma unroll
    for (int i = 0; i < pairs; ++i) {
        const Pair pair(i, block, first_row, s.batch);
        grad[i] = {0.0f, 0.0f};
        dropout[i] = 1.0f;
        options[i] = options_of(s, pair);
        if (pair.real) {
            grad[i].h = s.grad_final_h[pair.at_state()];
            if (Cell::has_memory) grad[i].c = s.grad_final_c[pair.at_state()];
            if (s.dropout) dropout[i] = s.dropout[pair.at_state()];
        }
        given[i] = ask(s, pair, first, before(0));
    }
    if (blocks > 1) {
        if (threadIdx.x == 0) mailboxes.open(message);
        __syncwarp();  // the next instruction is one of a whole warp
        meet_cluster();
    }
    __syncthreads();

    // Adds what the blocks found in the step before this one, the same for all pairs of a thread.
    const auto receive = [&](int step) {
        const int parity = step & 1;
        if (blocks > 1) {
            mailboxes.wait(parity, (step - 1) / 2);
            if (threadIdx.x == 0) mailboxes.expect(parity, message);
            __syncwarp();
        }
        const float scale = s.scale ? s.scale[first + (step - 1) * onward] : 1.0f;
#pragma unroll
        for (int i = 0; i < pairs; ++i) {
            const Pair pair(i, block, first_row, s.batch);
            if (!pair.within()) break;
            const float* const from =
                parts + parity * blocks * part + pair.unit * part_stride + pair.row;
            float sum = 0.0f;
#pragma unroll
            for (int source = 0; source < blocks; ++source) sum += from[source * part];
            grad[i].h = (grad[i].h + sum * dropout[i]) * scale;
            grad[i].c *= scale;
        }
    };

    for (int step = 0; step < s.time; ++step) {
        const int t = first + step * onward, parity = step & 1;
        Number* const cotangents = both + parity * rows * own_stride;
        if (step > 0) receive(step);
#pragma unroll
        for (int i = 0; i < pairs; ++i) {
            const Pair pair(i, block, first_row, s.batch);
            if (!pair.within()) break;
            const Given& now = given[i];
            const State whole{grad[i].h + now.grad_output, grad[i].c};
            const State of_new{(1.0f - now.kept_h) * whole.h, (1.0f - now.kept_c) * whole.c};
            auto found = Cell::back(of_new, now.activated, now.before, now.saved, options[i]);
            found.before.h += now.kept_h * whole.h;
            found.before.c += now.kept_c * whole.c;
            const bool left_out = now.masked;
            grad[i] = left_out ? whole : found.before;
            if (step + 1 < s.time) given[i] = ask(s, pair, t + onward, before(step + 1));
#pragma unroll
            for (int gate = 0; gate < gates; ++gate) {
                const float of_given = left_out ? 0.0f : found.of_given[gate];
                const float of_recurrent = left_out ? 0.0f : found.of_recurrent[gate];
                if (pair.real) s.grad_product[pair.at_gate(s, t, gate)] = of_given;
                cotangents[pair.row * own_stride + gate * units + pair.unit] =
                    Element::number(of_recurrent);
            }
        }
        __syncthreads();
        const unsigned mailbox = shared_address(&mailboxes.box[parity ^ 1]);
        float* const mine = parts + ((parity ^ 1) * blocks + block) * part;
#pragma unroll 1
        for (int row = 0; row < rows; row += 8) {
            matrix.multiply(cotangents + row * own_stride, own_stride, [&](int tile, Sums found) {
                // Neighbouring lanes exchange halves: each has then four rows of one unit.
                const bool second = lane & 1;
                const float first_got =
                    __shfl_xor_sync(~0u, second ? found.low[0] : found.high[0], 1);
                const float second_got =
                    __shfl_xor_sync(~0u, second ? found.low[1] : found.high[1], 1);
                const float4 four =
                    second ? float4{first_got, second_got, found.high[0], found.high[1]}
                           : float4{found.low[0], found.low[1], first_got, second_got};
                const int of_layer = tile + lane / 4 + (second ? 8 : 0), to = of_layer / units;
                if (to >= blocks) return;
                float* const place = mine + of_layer % units * part_stride + row + lane % 4 / 2 * 4;
                if constexpr (blocks > 1) {
                    const uint4 bits{__float_as_uint(four.x), __float_as_uint(four.y),
                                     __float_as_uint(four.z), __float_as_uint(four.w)};
                    send(address_in(to, shared_address(place)), address_in(to, mailbox), bits);
                } else {
                    *reinterpret_cast<float4*>(place) = four;
                }
            });
        }
        if (blocks == 1) __syncthreads();
    }
    receive(s.time);
#pragma unroll
    for (int i = 0; i < pairs; ++i) {
        const Pair pair(i, block, first_row, s.batch);
        if (!pair.real) continue;
        s.final_h[pair.at_state()] = grad[i].h;
        if (Cell::has_memory) s.final_c[pair.at_state()] = grad[i].c;
    }
    if (blocks > 1) meet_cluster();
}
