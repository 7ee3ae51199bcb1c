#include "compiled_once.h"

namespace gatewise::GATEWISE_ISA {

GATEWISE_PRODUCTS(, float)
GATEWISE_PRODUCTS(, double)

}  // namespace gatewise::GATEWISE_ISA
