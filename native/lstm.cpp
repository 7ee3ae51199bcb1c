#include "compiled_once.h"
#include "lstm_cells.h"

namespace gatewise::GATEWISE_ISA {

template ForwardCell<float> lstm_forward<float>(const Forward<float>&);
template ForwardCell<double> lstm_forward<double>(const Forward<double>&);
template BackwardCell<float> lstm_backward<float>(const BackwardScan<float>&);
template BackwardCell<double> lstm_backward<double>(const BackwardScan<double>&);

}  // namespace gatewise::GATEWISE_ISA
