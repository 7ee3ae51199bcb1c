// What the blocks of a cluster say to one another.
//
// Each block has two mailboxes in its shared memory, one for the even and one for the odd steps. A
// mailbox is an mbarrier that opens once a known number of bytes has arrived; whoever waits for it
// sees them. A block sends a step's message only when it has opened that of the step before from
// every block, so no mailbox is written while it is still read: two are enough.

#pragma once

namespace gatewise {

__device__ inline unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// The address of the same place in the shared memory of another block of the cluster.
__device__ inline unsigned address_in(unsigned block, unsigned address) {
    unsigned found;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(found) : "r"(address), "r"(block));
    return found;
}

__device__ inline unsigned rank_in_cluster() {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ inline void meet_cluster() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}

struct Mailboxes {
    unsigned long long box[2];

    // By one thread, before the cluster meets for the first time.
    __device__ void open(unsigned bytes) {
        for (int parity = 0; parity < 2; ++parity) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address(parity))
                         : "memory");
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        for (int parity = 0; parity < 2; ++parity) expect(parity, bytes);
    }

    // By one thread: so many bytes make the next message of this mailbox.
    __device__ void expect(int parity, unsigned bytes) {
        asm volatile(
            "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(parity)),
            "r"(bytes)
            : "memory");
    }

    // By every thread: wait for the n-th message of this mailbox, from 0.
    __device__ void wait(int parity, int message) {
        asm volatile(
            "{\n"
            ".reg .pred arrived;\n"
            "again:\n"
            "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 arrived, [%0], %1;\n"
            "@!arrived bra again;\n"
            "}\n" ::"r"(address(parity)),
            "r"(message & 1)
            : "memory");
    }

    __device__ unsigned address(int parity) const { return shared_address(&box[parity]); }
};

// Sends 16 bytes to a place in a block's shared memory, and says so in a mailbox of that block.
__device__ inline void send(unsigned place, unsigned mailbox, uint4 value) {
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
        "[%5];" ::"r"(place),
        "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(mailbox)
        : "memory");
}

}  // namespace gatewise
