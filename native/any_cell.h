// A cell behind an interface, so that the loops over time are compiled once and not for every cell.
//
// A loop calls its cell once a time step, for all rows of a slice: the way there costs nothing
// beside the step.

#pragma once

#include <memory>

#include "backward_scan.h"
#include "forward_scan.h"

namespace gatewise::GATEWISE_ISA {

template <class F>
class AnyForward {
public:
    using Factor = F;
    static constexpr bool may_take_input = true;  // unless the layer normalizes x W

    AnyForward() = default;
    virtual ~AnyForward() = default;
    AnyForward(const AnyForward&) = delete;
    AnyForward& operator=(const AnyForward&) = delete;

    // This member's share of the weights.
    virtual void pack(Member member) const = 0;
    // The numbers of working memory that a step of so many rows needs.
    virtual Index memory(Index) const { return 0; }
    virtual void step(const Place& place, const ForwardRows<Sum<F>>& rows) const = 0;
};

template <class F>
class AnyBackward {
public:
    AnyBackward() = default;
    virtual ~AnyBackward() = default;
    AnyBackward(const AnyBackward&) = delete;
    AnyBackward& operator=(const AnyBackward&) = delete;

    virtual void pack(Member member) const = 0;
    virtual void step_backward(const Place& place, const BackwardRows<Sum<F>>& rows) const = 0;
};

// A cell refers to the call that it was made for.
template <class F>
using ForwardCell = std::unique_ptr<const AnyForward<F>>;
template <class F>
using BackwardCell = std::unique_ptr<const AnyBackward<F>>;

}  // namespace gatewise::GATEWISE_ISA
