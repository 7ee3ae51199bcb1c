// The contract of the native kernels: what goes in, what comes out, who owns it.
//
// Sizes: B batch, T time, I inputs, H units, G gates (LSTM 4: i f g o, or with coupled gates 3:
// f g o; GRU 3: z r h; simple RNN 1), P the width of h: that of its projection, and H where it is
// not projected.
// S is float or double. Unless a stride is named, arrays are contiguous in the order written.
// Every pointer is borrowed for the call. Outputs may hold anything on entry, are wholly written,
// and overlap neither an input nor each other. A null pointer is allowed where the comment says so.
//
// This header holds data only, no functions: it is seen by translation units built for different
// instruction sets, and a function emitted by one of them could be linked into another.

#pragma once

#include <cstddef>
#include <cstdint>

namespace gatewise {

using Index = std::ptrdiff_t;

enum class Cell { lstm, cifg, gru_reset_after, gru_reset_before, simple_rnn };
enum class Activation { linear, tanh, sigmoid, relu, hard_sigmoid, softsign };
enum class Path { full, diagonal, cell };
enum class Reduce { all, sample, step };
enum class Precision { scalar, bfloat16 };  // of what the matrix products multiply

// What every call must know about the layer and the machine.
struct Layer {
    Cell cell;
    Activation activation;            // of the candidate, and of an LSTM's c
    Activation recurrent_activation;  // of the gates
    bool reverse;                     // process t = T-1 ... 0; arrays stay indexed by their own t
    bool projected;                   // LSTM: h' = (o squash(c')) projection
    bool layer_norm;                  // x W, h U and the c that an LSTM shows are normalized
    Index batch, time, inputs, units;
    Index outputs;        // P
    int threads;          // at most this many; the bits of the result do not depend on it
    Precision precision;  // bfloat16 for a scalar of float alone
};

// Element (row, column) of a matrix is data[row * row_stride + column * column_stride].
template <class S>
struct Matrix {
    const S* data;
    Index row_stride, column_stride;
};

// Element (b, t, i) of the input is data[b * batch_stride + t * time_stride + i].
template <class S>
struct Sequence {
    const S* data;
    Index batch_stride, time_stride;
};

// The weights of a layer with layer_norm; null without.
template <class S>
struct LayerNorm {
    const S *input_gain, *recurrent_gain;  // (GH) each
    const S *cell_gain, *cell_bias;        // (H) each; null without a memory c
};

// What a cell does beside its equation; nothing, unless it says otherwise. All but zoneout of h are
// an LSTM's alone, coupled gates or not.
template <class S>
struct Options {
    const S* peephole;       // (3, H), rows i f o, or (2, H), f o, with coupled gates; null: none
    S cell_clip;             // c stays within +-cell_clip; 0: as it is
    Sequence<S> zoneout[2];  // (B, T, P) for h and (B, T, H) for c: the share of the state that
                             // stays as it was before the step; strides may be 0; null data: none
    Matrix<S> projection;    // (H, P), of a projected layer
    LayerNorm<S> norm;
};

// A row of V numbers is what a step saves beside the gates: an LSTM's c (H), or h U_h + b'_h (H) of
// a GRU with reset_after; nothing of other cells. With layer_norm there follow the normalized h U
// and x W (GH each) and an LSTM's normalized c' (H), before their gains, and a line of 16 for their
// factors, 1 / sqrt(variance + epsilon): an LSTM uses three of it, and a GRU four, of h U and of
// x W for z and r, and again for the candidate.
template <class S>
struct Forward {
    Layer layer;
    Sequence<S> x;      // (B, T, I)
    Matrix<S> W;        // (I, GH)
    Matrix<S> U;        // (P, GH)
    const S* bias;      // (GH), GRU with reset_after (2, GH); null: none
    const S* state[2];  // h (B, P), and an LSTM's c (B, H)
    const bool* mask;   // (B, T), true where a step is real; null: everywhere
    const S* dropout;   // (B, P), multiplies h in the recurrent product; null: ones
    S* outputs;         // (B, T, P): h after step t
    S* final_state[2];  // h (B, P), and an LSTM's c (B, H), after the last processed step; may be
                        // the memory of `state`
    S* gates;           // (B, T, GH) activated, zero at masked steps; null: not wanted
    S* saved;           // (B, T, V); null with gates, or by cell
    Options<S> options;
};

// A row of R numbers is what a step's way back leaves to the weights' gradients: dL/dP (GH); with
// layer_norm dL/d(h U) (GH), dL/dn of an LSTM's normalized c' = n (H) and dL/d(x W) (GH); and of a
// projected layer dL/dh (P), all that reaches h after the step, and o squash(c') (H).
template <class S>
struct BackwardScan {
    Layer layer;
    Sequence<S> grad_outputs;  // (B, T, P); null data: zeros
    const S* grad_final[2];    // (B, P), (B, H); null: zeros
    const S* outputs;          // (B, T, P), gates and saved: as the forward pass wrote them
    const S* gates;            // (B, T, GH)
    const S* saved;            // (B, T, V); null where the cell has none
    Matrix<S> U;               // (P, GH)
    const S* state[2];         // (B, P), (B, H)
    const bool* mask;          // (B, T); null: every step is real
    const S* dropout;          // (B, P); null: ones
    const S* scale;            // (T): factor on what step t hands to the step before it; null: ones
    Path path;                 // which way the cotangent may take through U
    S* grad_product;           // (B, T, R): dL/dP, zero at masked steps; with R = GH it may be the
                               // memory of `gates`
    S* grad_state[2];          // (B, P), (B, H): cotangents of the initial state
    bool state_unwanted;       // those are working memory alone, and hold anything afterwards
    S* norms;  // (B, T, states): ||dL/dh_t||, and an LSTM's ||dL/dc_t||; null: not wanted
    Options<S> options;
};

// The sum over N = B T steps (all), or one result for each sample or each time step: the outputs
// have a leading axis of 1, B or T.
template <class S>
struct WeightGradient {
    Layer layer;
    Reduce reduce;
    Sequence<S> x;          // (B, T, I)
    const S* outputs;       // (B, T, P)
    const S* gates;         // (B, T, GH)
    const S* saved;         // (B, T, V), with layer_norm or peepholes
    const S* grad_product;  // (B, T, R)
    const S* state;         // (B, P): the initial h
    const bool* mask;       // (B, T); null: every step is real
    const S* dropout;       // (B, P); null: ones
    S* grad_W;              // (., I, GH), or turned (GH, I)
    S* grad_U;              // (., P, GH), or turned (GH, P)
    S* grad_bias;           // (., GH), GRU with reset_after (., 2, GH); null: no bias
    const S* memory;        // (B, H), the initial c: of a cell with peepholes; else null
    S* grad_peephole;       // (., 3 or 2, H); null: none
    S* grad_projection;     // (., H, P), of a projected layer
    S* grad_norm[4];        // (., GH), (., GH), (., H), (., H), null as in LayerNorm
    Options<S> options;
    bool turned_W, turned_U;  // with Reduce::all alone
};

template <class S>
struct InputGradient {
    Layer layer;
    const S* grad_product;  // (B, T, R)
    Matrix<S> W;            // (I, GH)
    const bool* mask;       // (B, T) or null
    S* grad_x;              // (B, T, I); 0 at masked steps
};

// The time steps from `start` up to `stop`.
struct Segment {
    Index start, stop;
};

// A forward pass in segments, without gates.
template <class S>
struct SegmentsForward {
    Forward<S> whole;        // outputs null: not wanted; gates and saved null
    const Segment* segment;  // (count), in the order in which they run
    Index count;
    S* kept;  // (count - 1, states, B, H): the states between them; null: not wanted
};

// The way back over segments, each run once more for its gates.
template <class S>
struct SegmentsBackward {
    Forward<S> whole;        // outputs, final_state, gates and saved null
    const Segment* segment;  // (count), in the order in which they run
    Index count;
    const S* kept;          // (count - 1, states, B, H), as the forward pass kept them
    const S* grad_outputs;  // (B, T, H); null: zeros
    S* grad_state[2];       // (B, H) each: cotangents of the final states, overwritten by those of
                            // the initial ones
    S* grad[3];             // W, U and the bias: added to; null: not wanted, or no bias
    S* grad_x;              // (B, T, I), written at the segments' steps; null: not wanted
};

// A random mask: number n has one value where the n-th 32-bit word of the key is below `below`, and
// another elsewhere.
template <class S>
struct RandomMask {
    S* values;
    Index count;
    unsigned key;
    unsigned long long below;  // 1 to 2^32: one value everywhere
    S if_below, otherwise;
    int threads;  // at most this many; the bits of the result do not depend on it
};

template <class S>
struct Array {
    const S* values;
    Index count;
};

// Arrays that are looked through for a NaN or an infinity.
template <class S>
struct Finite {
    const Array<S>* array;
    Index arrays;
    int threads;  // at most this many
};

// One weight tensor of an RMSprop step: arrays of `count` numbers.
template <class S>
struct RmspropTensor {
    S* weight;  // updated in place, as is all below but the gradient
    const S* gradient;
    S* velocity;  // the mean square of the gradient
    S* momentum;  // null: without
    S* average;   // the mean gradient; null: not centered
    Index count;
};

template <class S>
struct Rmsprop {
    const RmspropTensor<S>* tensor;
    Index tensors;
    double learning_rate, rho, momentum, epsilon;
    int threads;  // at most this many; the bits of the result do not depend on it
};

// One time step, and the traces of the weights over it. `trace` is, for each state, that of W
// (B, I, GH), U (B, H, GH) and the bias, (B, GH) or (B, 2, GH): of the step before, overwritten.
template <class S>
struct TraceStep {
    Forward<S> forward;  // of a layer of time 1, with the gates; final_state is not `state`
    Path path;           // diagonal or cell
    S* trace[2][3];
};

template <class S>
struct TraceGradient {
    Layer layer;
    const S* grad_state[2];  // (B, H) each: cotangents of the states after the step; null: zeros
    const S* trace[2][3];
    S* grad[3];  // (I, GH), (H, GH) and (GH) or (2, GH), null: no bias; summed over B
};

// The traces over a chunk of steps, and what they were worth before it. `trace` as in TraceStep, of
// the step before the chunk, overwritten with that of its last step.
template <class S>
struct TraceChunk {
    Layer layer;             // not reverse
    Path path;               // diagonal or cell
    Sequence<S> x;           // (B, T, I)
    const S* outputs;        // (B, T, H), gates and saved: as the forward pass wrote them
    const S* gates;          // (B, T, GH)
    const S* saved;          // (B, T, H); null where the cell has none
    Matrix<S> U;             // (H, GH)
    const S* state[2];       // (B, H) each: before the chunk
    const bool* mask;        // (B, T); null: every step is real
    const S* dropout;        // (B, H); null: ones
    const S* grad_state[2];  // (B, H) each: cotangents of the states before the chunk; null: zeros
    S* trace[2][3];
    S* grad[3];  // as in TraceGradient, of the traces before the chunk; null: not wanted
};

// The next time steps of a stream, T of them.
template <class S>
struct StreamSteps {
    Index time;        // at least 1
    Sequence<S> x;     // (B, T, I)
    const bool* mask;  // (B, T), true at real steps; null: all are
    S* outputs;        // (B, T, P)
};

// A layer that is fed by and by: its weights, packed once, and the place of its state. What is
// behind it only the instruction set that opened it knows.
template <class S>
struct Stream;

// A matrix of 8-bit integers, -127 to 127, with a scale for each column: element (row, column)
// stands for data[row * columns + column] * scale[column].
struct Int8Matrix {
    const std::int8_t* data;  // (depth, columns)
    const float* scale;       // (columns)
};

// A forward pass without gates or saved, whose W, U and projection are these: the base's are null.
struct Int8Forward : Forward<float> {
    Int8Matrix int8_W;           // (I, GH)
    Int8Matrix int8_U;           // (P, GH)
    Int8Matrix int8_projection;  // (H, P), of a projected layer
};

// One instruction set's kernels for weights of 8 bits; see `Kernels` for the meaning of each.
struct Int8Kernels {
    void (*forward)(const Int8Forward&);
    Stream<float>* (*open_stream)(const Int8Forward&);
    void (*advance_stream)(Stream<float>&, const StreamSteps<float>&);
    void (*close_stream)(Stream<float>*);
};

// One instruction set's kernels that multiply matrices, for one type of factor: float, double, or
// pairs of bfloat16, whose scalar is float.
template <class S>
struct Passes {
    void (*forward)(const Forward<S>&);
    void (*backward_scan)(const BackwardScan<S>&);
    void (*weight_gradient)(const WeightGradient<S>&);
    void (*input_gradient)(const InputGradient<S>&);

    // Of the call, a stream takes the layer, of time 1, and the weights, which it copies but for
    // the peepholes, and the options and `state`, which must outlive it: every step overwrites the
    // state with what follows it. What zoneout keeps is the same in all steps.
    Stream<S>* (*open_stream)(const Forward<S>&);
    void (*advance_stream)(Stream<S>&, const StreamSteps<S>&);
    void (*close_stream)(Stream<S>*);

    // Does nothing but multiply-adds in this many threads, and returns their number.
    double (*multiply_adds)(int threads, Index rounds);
};

// One instruction set's kernels for one scalar type. What runs passes is told which: those of the
// layer's precision, which may be another instruction set's.
template <class S>
struct Kernels {
    Passes<S> passes;

    void (*rmsprop)(const Rmsprop<S>&);
    void (*random_mask)(const RandomMask<S>&);
    bool (*finite)(const Finite<S>&);  // whether there is none
    // Does nothing but tanh and sigmoid in this many threads, and returns their number.
    double (*activations)(int threads, Index rounds);

    void (*trace_step)(const Passes<S>&, const TraceStep<S>&);
    void (*trace_gradient)(const TraceGradient<S>&);
    void (*trace_chunk)(const Passes<S>&, const TraceChunk<S>&);
    void (*run_segments)(const Passes<S>&, const SegmentsForward<S>&);
    void (*segments_backward)(const Passes<S>&, const SegmentsBackward<S>&);
};

}  // namespace gatewise
