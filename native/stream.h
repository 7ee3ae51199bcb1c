// A layer that is fed some time steps at a time.
//
// It is the loop over time with everything kept that a call prepares: the packed weights and, for
// single steps, all working memory. So a step gives the bits that it has in a sequence.

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

    virtual void advance(const StreamSteps<S>&) = 0;
};

// F is what the cell's products multiply.
template <class F>
class CellStream final : public OpenStream<Sum<F>> {
    using S = Sum<F>;
    using Call = ForwardOf<F>;
    using Loop = ForwardLoop<S, AnyForward<F>>;

public:
    CellStream(const Call& call, ForwardCell<F> (*make)(const Call&))
        : call_(same_at_all_steps(call)),
          cell_(make(call_)),
          slices_(slices_of(call_)),
          input_(call_, way_of_step() == InputWay::ahead, may_ever_be_in_shadow()),
          loop_(call_, *cell_, slices_, input_, way_of_step()) {
        loop_.pack();
    }

    void advance(const StreamSteps<S>& steps) override {
        call_.layer.time = steps.time;
        call_.x = steps.x;
        call_.mask = steps.mask;
        call_.outputs = steps.outputs;
        if (steps.time == 1) return loop_.run_packed();
        const Slices slices = slices_of(call_);
        const InputWay way = input_way<AnyForward<F>>(call_.layer, slices.count);
        Loop(call_, *cell_, slices, input_, way).run_packed();
    }

private:
    static Call same_at_all_steps(Call call) {
        for (Sequence<S>& share : call.options.zoneout) share.time_stride = 0;
        return call;
    }
    InputWay way_of_step() const { return input_way<AnyForward<F>>(call_.layer, slices_.count); }
    // More steps may wake more threads than one does.
    bool may_ever_be_in_shadow() const {
        for (int threads = 1; threads <= call_.layer.threads; ++threads) {
            if (may_be_in_shadow<F>(call_.layer, threads)) return true;
        }
        return false;
    }

    Call call_;  // the cell and the loop refer to it
    const ForwardCell<F> cell_;
    const Slices slices_;
    const InputProduct<F> input_;
    const Loop loop_;
};

}  // namespace gatewise::GATEWISE_ISA
