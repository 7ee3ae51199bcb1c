#include "int8_cells.h"
#include "stream.h"

namespace gatewise::GATEWISE_ISA {

namespace {

// Calls `run` with the type of the layer's cell and its activations, and returns what it returns.
template <class Run>
GATEWISE_INLINE auto with_cell(const Layer& layer, const Run& run) {
    return with_activations(layer, [&](auto activations) {
        using Activations = decltype(activations);
        switch (layer.cell) {
            case Cell::lstm: return run.template operator()<Int8Lstm<Activations>>(activations);
            case Cell::gru_reset_after:
                return run.template operator()<Int8GruAfter<Activations>>(activations);
            case Cell::gru_reset_before:
                return run.template operator()<Int8GruBefore<Activations>>(activations);
            case Cell::simple_rnn:
                return run.template operator()<Int8SimpleRnn<Activations>>(activations);
            case Cell::cifg: break;  // not offered with weights of 8 bits
        }
        __builtin_unreachable();
    });
}

void forward(const Int8Forward& call) {
    with_cell(call.layer, [&]<class CellType>(auto activations) {
        const CellType cell(call, activations);
        ForwardLoop<float, CellType, Int8Input>(call, cell).run();
    });
}

Stream<float>* open_stream(const Int8Forward& call) {
    OpenStream<float>* const stream =
        with_cell(call.layer, [&]<class CellType>(auto activations) -> OpenStream<float>* {
            return new CellStream<float, CellType, Int8Input>(call, activations);
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
