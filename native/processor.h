// What the kernels ask about the processor, beside its instructions.

#pragma once

namespace gatewise {

// Whether the second-level cache brings half a line of 64 bytes in a cycle, and no more: AMD's
// families 17h and 19h, Zen to Zen 4.
bool second_cache_is_narrow();

}  // namespace gatewise
