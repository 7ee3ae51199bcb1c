#include "int8_cells.h"
#include "stream.h"

namespace gatewise::GATEWISE_ISA {

namespace {

// A cell as the loop over time takes it.
template <class CellType>
class Int8Any final : public AnyForward<float> {
public:
    template <class Activations>
    Int8Any(const Int8Forward& call, Activations activations) : cell_(call, activations) {}

    void pack(Member member) const override { cell_.pack(member); }
    void step(const Place& place, const ForwardRows<float>& rows) const override {
        cell_.step(place, rows);
    }

private:
    const CellType cell_;
};

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

ForwardCell<float> cell_of(const Int8Forward& call) {
    return with_cell(call.layer, [&]<class CellType>(auto activations) -> ForwardCell<float> {
        return std::make_unique<Int8Any<CellType>>(call, activations);
    });
}

void forward(const Int8Forward& call) {
    const ForwardCell<float> cell = cell_of(call);
    ForwardLoop<float, AnyForward<float>, Int8Input>(call, *cell).run();
}

Stream<float>* open_stream(const Int8Forward& call) {
    OpenStream<float>* const stream = new CellStream<float, Int8Input>(call, cell_of);
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
