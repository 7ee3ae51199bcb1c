// The kernels whose products multiply pairs of bfloat16.

#include "gru_cells.h"
#include "lstm_cells.h"
#include "passes.h"
#include "simple_rnn.h"

namespace gatewise::GATEWISE_ISA {

extern const Passes<float> passes_pairs;
const Passes<float> passes_pairs = passes<Pair>;

}  // namespace gatewise::GATEWISE_ISA
