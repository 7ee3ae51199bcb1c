// How near two threads are to each other.

#pragma once

namespace gatewise {

// Has two threads hand a line of memory to each other, so many times there and back, and returns
// the seconds of one; 0 where there is only one thread.
double handover_seconds(int rounds);

}  // namespace gatewise
