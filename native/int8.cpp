#include "int8.h"

#include <type_traits>

#include "gru.h"
#include "layer_norm.h"
#include "lstm.h"
#include "projection.h"
#include "simple_rnn.h"
#include "stream.h"

namespace gatewise::GATEWISE_ISA {

namespace {

// Calls `run` with the type of an LSTM, and with its activations. The plain one is compiled for
// itself and all others of the same number of gates as one: beside integer products, what an option
// is asked for is little.
template <int gates, class Run>
GATEWISE_INLINE auto with_chosen_lstm(const Layer& layer, const Run& run) {
    using Bare = LstmForward<Byte, ChosenActivations, ChosenLstm<float, gates>>;
    using Normalized = NormalizedForward<float, Bare>;
    const ChosenActivations chosen = {layer.activation, layer.recurrent_activation};
    if (layer.layer_norm && layer.projected)
        return run.template operator()<ProjectedForward<float, Normalized>>(chosen);
    if (layer.layer_norm) return run.template operator()<Normalized>(chosen);
    if (layer.projected) return run.template operator()<ProjectedForward<float, Bare>>(chosen);
    return run.template operator()<Bare>(chosen);
}

template <class Run>
GATEWISE_INLINE auto with_lstm(const Int8Forward& call, const Run& run) {
    const Layer& layer = call.layer;
    return with_activations(layer, [&]<class Activations>(Activations activations) {
        return with_options(layer, call.options, [&]<class Chosen>() {
            if constexpr (std::is_same_v<Activations, UsualActivations> &&
                          std::is_same_v<Chosen, PlainLstm<float>>) {
                if (!layer.layer_norm && !layer.projected)
                    return run.template operator()<LstmForward<Byte, Activations, Chosen>>(
                        activations);
            }
            return with_chosen_lstm<Chosen::gates>(layer, run);
        });
    });
}

// The same for every cell.
template <class Run>
auto with_cell(const Int8Forward& call, const Run& run) {
    if (has_memory(call.layer.cell)) return with_lstm(call, run);
    return with_activations(call.layer, [&]<class Activations>(Activations activations) {
        switch (call.layer.cell) {
            case Cell::gru_reset_after:
                return run.template operator()<GruAfterForward<Byte, Activations>>(activations);
            case Cell::gru_reset_before:
                return run.template operator()<GruBeforeForward<Byte, Activations>>(activations);
            default:
                return run.template operator()<SimpleRnnForward<Byte, Activations>>(activations);
        }
    });
}

void forward(const Int8Forward& call) {
    with_cell(call, [&]<class CellType>(auto activations) {
        const CellType cell(call, activations);
        ForwardLoop(call, cell).run();
    });
}

Stream<float>* open_stream(const Int8Forward& call) {
    OpenStream<float>* const stream =
        with_cell(call, [&]<class CellType>(auto activations) -> OpenStream<float>* {
            return new CellStream<float, CellType>(call, activations);
        });
    return reinterpret_cast<Stream<float>*>(stream);
}

void step_stream(Stream<float>& stream, const StreamStep<float>& step) {
    reinterpret_cast<OpenStream<float>&>(stream).step(step);
}

void close_stream(Stream<float>* stream) {
    delete reinterpret_cast<OpenStream<float>*>(stream);
}

}  // namespace

extern const Int8Kernels kernels_int8;
const Int8Kernels kernels_int8 = {forward, open_stream, step_stream, close_stream};

}  // namespace gatewise::GATEWISE_ISA
