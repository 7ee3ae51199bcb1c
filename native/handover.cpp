#include "handover.h"

#include <chrono>

#ifdef _OPENMP
#include <omp.h>
#include <sched.h>
#endif

namespace gatewise {

double handover_seconds([[maybe_unused]] int rounds) {
    double seconds = 0;
#ifdef _OPENMP
    alignas(128) int turn = 0;
#pragma omp parallel num_threads(2)
    if (omp_get_num_threads() == 2) {
        constexpr int patience = 1 << 12;  // looks, until the other may need this processor
        const int own = omp_get_thread_num();
        auto began = std::chrono::steady_clock::now();
        for (int round = 0; round < rounds; ++round) {
            // The first time there, both may have to wake up.
            if (round == 1) began = std::chrono::steady_clock::now();
            for (int looks = 0; __atomic_load_n(&turn, __ATOMIC_ACQUIRE) != 2 * round + own;) {
                if (++looks > patience) sched_yield();
            }
            __atomic_store_n(&turn, 2 * round + own + 1, __ATOMIC_RELEASE);
        }
        if (own == 1) {
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
            seconds = took.count() / (rounds - 1);
        }
    }
#endif
    return seconds;
}

}  // namespace gatewise
