// The product of float32 rows with a matrix of bfloat16 pairs: the rows are rounded on the way in.

#pragma once

#include "pack_pairs.h"
#include "product.h"

namespace gatewise::GATEWISE_ISA {

// Memory that a thread keeps from one product to the next, so that only its first and largest ones
// allocate.
class KeptMemory {
public:
    KeptMemory() = default;
    ~KeptMemory() { release(data_, std::size_t(bytes_)); }
    KeptMemory(const KeptMemory&) = delete;
    KeptMemory& operator=(const KeptMemory&) = delete;

    void* at_least(Index bytes) {
        if (bytes > bytes_) {
            release(data_, std::size_t(bytes_));
            data_ = nullptr;
            bytes_ = 0;
            data_ = allocate(std::size_t(bytes));
            bytes_ = bytes;
        }
        return data_;
    }

private:
    void* data_ = nullptr;
    Index bytes_ = 0;
};

// The rows in pairs, `depth` numbers of each after those before: valid until this thread's next
// product. One after the other they are one row, unless they are to be `apart`.
GATEWISE_INLINE Rows<Pair> rounded(const Rows<float>& rows, Index depth, bool apart) {
    thread_local KeptMemory memory;
    const Index before = factors<Pair>(rows.depth_before);
    const Index stride = padded<Pair>(before + factors<Pair>(depth) + lanes<Pair>);
    const Index pointers_bytes = padded<const Pair*>(2 * rows.count) * Index(sizeof(const Pair*));
    char* const all = static_cast<char*>(
        memory.at_least(pointers_bytes + rows.count * stride * Index(sizeof(Pair))));
    const Pair** const pointers = reinterpret_cast<const Pair**>(all);
    Pair* const pairs = reinterpret_cast<Pair*>(all + pointers_bytes);
    for (Index row = 0; row < rows.count; ++row) {
        Pair* const to = pairs + row * stride;
        if (before > 0) round_row(rows.before[row], rows.depth_before, to);
        round_row(rows.pointers[row], depth, to + before);
        pointers[row] = to + before;
        pointers[rows.count + row] = to;
    }
    if (!apart) return {pointers + rows.count, rows.count};
    return {pointers, rows.count, 1, pointers + rows.count, before};
}

// As `multiply` of other factors; each element of `left` is next to its neighbour.
template <int apart = 0, int G, int V, class Start, class Take>
void multiply(const Packed<Pair, G, V>& right, const Rows<float>& left, const Start& start,
              const Take& take, Upcoming* upcoming, Member member) {
    const Index before = factors<Pair>(left.depth_before) * numbers<Pair>;
    multiply<apart>(right, rounded(left, right.depth - before, apart > 0), start, take, upcoming,
                    member);
}

}  // namespace gatewise::GATEWISE_ISA
