// Activations, and their slopes from the activated value y.

#pragma once

namespace gatewise {

struct Linear {
    __device__ static float value(float x) { return x; }
    __device__ static float slope(float) { return 1.0f; }
};

struct Tanh {
    __device__ static float value(float x) { return tanhf(x); }
    __device__ static float slope(float y) { return 1.0f - y * y; }
};

struct Sigmoid {
    // The quotient to the last bit but one: the exact one takes longer than all the rest.
    __device__ static float value(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }
    __device__ static float slope(float y) { return y * (1.0f - y); }
};

struct Relu {
    __device__ static float value(float x) { return x < 0.0f ? 0.0f : x; }  // NaN stays
    __device__ static float slope(float y) { return y > 0.0f ? 1.0f : 0.0f; }
};

struct HardSigmoid {
    __device__ static float value(float x) {
        const float shifted = x + 3.0f;
        return (shifted < 0.0f ? 0.0f : shifted > 6.0f ? 6.0f : shifted) / 6.0f;
    }
    __device__ static float slope(float y) { return y > 0.0f && y < 1.0f ? 1.0f / 6.0f : 0.0f; }
};

struct Softsign {
    __device__ static float value(float x) { return x / (1.0f + fabsf(x)); }
    __device__ static float slope(float y) {
        const float rest = 1.0f - fabsf(y);
        return rest * rest;
    }
};

}  // namespace gatewise
