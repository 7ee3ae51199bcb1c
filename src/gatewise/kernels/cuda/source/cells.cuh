// One step of one unit of one row, forward and back. The equations are those of gatewise.cells.
//
// `given` is x W + b, `recurrent` h U (+ b'), each one number a gate. Forward takes the state (h,
// c) to the next and leaves the activated gates and, of a GRU, what else is saved. Back takes the
// cotangents of the state after the step to dL/dP (`of_given`), to those of h U (`of_recurrent`)
// and to what reaches the state before the step past U.

#pragma once

#include "activations.cuh"

namespace gatewise {

struct State {
    float h, c;
};

struct Peepholes {
    float i = 0.0f, f = 0.0f, o = 0.0f;
};

template <int GATES>
struct Cotangents {
    float of_given[GATES], of_recurrent[GATES];
    State before;
};

struct Options {
    Peepholes peepholes;
    float clip;  // infinite where nothing is clipped
};

template <class Squash, class Gate, bool COUPLED>
struct LongShortTerm {
    static constexpr int gates = COUPLED ? 3 : 4;
    static constexpr bool has_memory = true, saves_recurrent = false;
    static constexpr int peepholes = COUPLED ? 2 : 3;
    static constexpr int f_at = COUPLED ? 0 : 1, g_at = f_at + 1, o_at = f_at + 2;

    __device__ static State forward(const float (&given)[gates], const float (&recurrent)[gates],
                                    State before, const Options& options,
                                    float (&activated)[gates]) {
        const Peepholes& p = options.peepholes;
        const float f = Gate::value(given[f_at] + recurrent[f_at] + p.f * before.c);
        const float g = Squash::value(given[g_at] + recurrent[g_at]);
        float i = 1.0f - f;
        if constexpr (!COUPLED) {
            i = Gate::value(given[0] + recurrent[0] + p.i * before.c);
            activated[0] = i;
        }
        const float c = clipped(f * before.c + i * g, options.clip);
        const float o = Gate::value(given[o_at] + recurrent[o_at] + p.o * c);
        activated[f_at] = f, activated[g_at] = g, activated[o_at] = o;
        return {o * Squash::value(c), c};
    }

    __device__ static Cotangents<gates> back(State grad, const float (&activated)[gates],
                                             State before, float, const Options& options) {
        const Peepholes& p = options.peepholes;
        const float f = activated[f_at], g = activated[g_at], o = activated[o_at];
        const float i = COUPLED ? 1.0f - f : activated[0];
        const float unclipped = f * before.c + i * g;
        const float shown = Squash::value(clipped(unclipped, options.clip));
        Cotangents<gates> found;
        const float of_o = grad.h * shown * Gate::slope(o);
        float of_c = grad.c + grad.h * o * Squash::slope(shown) + of_o * p.o;
        of_c = fabsf(unclipped) > options.clip ? 0.0f : of_c;
        const float of_f = of_c * (COUPLED ? before.c - g : before.c) * Gate::slope(f);
        float of_before = of_c * f + of_f * p.f;
        if constexpr (!COUPLED) {
            const float of_i = of_c * g * Gate::slope(i);
            found.of_given[0] = of_i;
            of_before += of_i * p.i;
        }
        found.of_given[f_at] = of_f;
        found.of_given[g_at] = of_c * i * Squash::slope(g);
        found.of_given[o_at] = of_o;
        for (int gate = 0; gate < gates; ++gate) found.of_recurrent[gate] = found.of_given[gate];
        found.before = {0.0f, of_before};
        return found;
    }

private:
    __device__ static float clipped(float c, float limit) {
        return c > limit ? limit : c < -limit ? -limit : c;
    }
};

template <class Squash, class Gate>
using Lstm = LongShortTerm<Squash, Gate, false>;
template <class Squash, class Gate>
using Cifg = LongShortTerm<Squash, Gate, true>;

// A GRU whose reset gate acts after the product.
template <class Squash, class Gate>
struct Gru {
    static constexpr int gates = 3;
    static constexpr bool has_memory = false, saves_recurrent = true;
    static constexpr int peepholes = 0;

    __device__ static State forward(const float (&given)[gates], const float (&recurrent)[gates],
                                    State before, const Options&, float (&activated)[gates]) {
        const float z = Gate::value(given[0] + recurrent[0]);
        const float r = Gate::value(given[1] + recurrent[1]);
        const float n = Squash::value(given[2] + r * recurrent[2]);
        activated[0] = z, activated[1] = r, activated[2] = n;
        return {z * before.h + (1.0f - z) * n, 0.0f};
    }

    __device__ static Cotangents<gates> back(State grad, const float (&activated)[gates],
                                             State before, float saved, const Options&) {
        const float z = activated[0], r = activated[1], n = activated[2];
        const float of_z = grad.h * (before.h - n) * Gate::slope(z);
        const float of_n = grad.h * (1.0f - z) * Squash::slope(n);
        const float of_r = of_n * saved * Gate::slope(r);
        return {{of_z, of_r, of_n}, {of_z, of_r, of_n * r}, {grad.h * z, 0.0f}};
    }
};

template <class Squash, class>
struct SimpleRnn {
    static constexpr int gates = 1;
    static constexpr bool has_memory = false, saves_recurrent = false;
    static constexpr int peepholes = 0;

    __device__ static State forward(const float (&given)[gates], const float (&recurrent)[gates],
                                    State, const Options&, float (&activated)[gates]) {
        activated[0] = Squash::value(given[0] + recurrent[0]);
        return {activated[0], 0.0f};
    }

    __device__ static Cotangents<gates> back(State grad, const float (&activated)[gates], State,
                                             float, const Options&) {
        const float of_sum = grad.h * Squash::slope(activated[0]);
        return {{of_sum}, {of_sum}, {0.0f, 0.0f}};
    }
};

}  // namespace gatewise
