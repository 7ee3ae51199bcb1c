#include "int8.h"

#include "gru_cells.h"
#include "lstm_cells.h"
#include "passes.h"
#include "simple_rnn.h"

namespace gatewise::GATEWISE_ISA {

extern const Int8Kernels kernels_int8;
const Int8Kernels kernels_int8 = {run_forward<Byte>, open_stream<Byte>, advance_stream<float>,
                                  close_stream<float>};

}  // namespace gatewise::GATEWISE_ISA
