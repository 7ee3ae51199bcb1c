#include "simple_rnn.h"
#include "compiled_once.h"

namespace gatewise::GATEWISE_ISA {

template ForwardCell<float> simple_rnn_forward<float>(const Forward<float>&);
template ForwardCell<double> simple_rnn_forward<double>(const Forward<double>&);
template BackwardCell<float> simple_rnn_backward<float>(const BackwardScan<float>&);
template BackwardCell<double> simple_rnn_backward<double>(const BackwardScan<double>&);

}  // namespace gatewise::GATEWISE_ISA
