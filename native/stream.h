// A layer that is fed one time step at a time.
//
// It is the loop over time for sequences of one step, with everything that a call prepares kept:
// the packed weights and all working memory. So a step gives the bits that it has in a sequence.

#pragma once

#include "forward_scan.h"

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

template <class S, class CellType>
class CellStream final : public OpenStream<S> {
    using Call = ForwardOf<typename CellType::Factor>;

public:
    template <class Activations>
    CellStream(const Call& call, Activations activations)
        : call_(call), cell_(call_, activations), loop_(call_, cell_) {
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
    const CellType cell_;
    const ForwardLoop<S, CellType> loop_;
};

}  // namespace gatewise::GATEWISE_ISA
