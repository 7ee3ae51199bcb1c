#include "compiled_once.h"
#include "gru_cells.h"

namespace gatewise::GATEWISE_ISA {

template ForwardCell<float> gru_forward<float>(const Forward<float>&);
template ForwardCell<double> gru_forward<double>(const Forward<double>&);
template BackwardCell<float> gru_backward<float>(const BackwardScan<float>&);
template BackwardCell<double> gru_backward<double>(const BackwardScan<double>&);

}  // namespace gatewise::GATEWISE_ISA
