// A layer that is fed one time step at a time.
//
// It is the loop over time for sequences of one step, with everything that a call prepares kept:
// the packed weights and all working memory. So a step gives the bits that it has in a sequence.

#pragma once

#include "any_cell.h"

namespace gatewise::GATEWISE_ISA {

template <class S>
class OpenStream {
public:
    OpenStream() = default;
    virtual ~OpenStream() = default;
    OpenStream(const OpenStream&) = delete;
    OpenStream& operator=(const OpenStream&) = delete;

    virtual void step(const StreamStep<S>&) = 0;
};

// F is what the cell's products multiply.
template <class F>
class CellStream final : public OpenStream<Sum<F>> {
    using S = Sum<F>;
    using Call = ForwardOf<F>;

public:
    CellStream(const Call& call, ForwardCell<F> (*make)(const Call&))
        : call_(call), cell_(make(call_)), loop_(call_, *cell_) {
        call_.x = {nullptr, call.layer.inputs, call.layer.inputs};
        loop_.pack();
    }

    void step(const StreamStep<S>& step) override {
        call_.x.data = step.x;
        call_.mask = step.mask;
        call_.outputs = step.outputs;
        loop_.run_packed();
    }

private:
    Call call_;  // the cell and the loop refer to it
    const ForwardCell<F> cell_;
    const ForwardLoop<S, AnyForward<F>> loop_;
};

}  // namespace gatewise::GATEWISE_ISA
