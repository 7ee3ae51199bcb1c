// What the cells of float and double share is compiled once, in products.cpp: the packing of
// matrices and the products of their tiles.

#pragma once

#include "product.h"

namespace gatewise::GATEWISE_ISA {

// Each place names the sums of a tile: `apart`, gates and vectors of units (product.h).
#define GATEWISE_PRODUCTS(place, F)                                                                \
    place template void add_tile<0>(const Packed<F, 1, 4>&, Index, const Rows<F>&, F*, Begun<F>,   \
                                    Upcoming*);                                                    \
    place template void add_tile<0>(const Packed<F, 2, 2>&, Index, const Rows<F>&, F*, Begun<F>,   \
                                    Upcoming*);                                                    \
    place template void add_tile<0>(const Packed<F, 3, 1>&, Index, const Rows<F>&, F*, Begun<F>,   \
                                    Upcoming*);                                                    \
    place template void add_tile<1>(const Packed<F, 3, 1>&, Index, const Rows<F>&, F*, Begun<F>,   \
                                    Upcoming*);                                                    \
    place template void add_tile<0>(const Packed<F, 4, 1>&, Index, const Rows<F>&, F*, Begun<F>,   \
                                    Upcoming*);                                                    \
    place template void add_pair<0>(const Packed<F, 1, 4>&, Index, const Rows<F>&, F*, Begun<F>);  \
    place template void add_pair<0>(const Packed<F, 2, 2>&, Index, const Rows<F>&, F*, Begun<F>);  \
    place template void add_pair<0>(const Packed<F, 3, 1>&, Index, const Rows<F>&, F*, Begun<F>);  \
    place template void add_pair<1>(const Packed<F, 3, 1>&, Index, const Rows<F>&, F*, Begun<F>);  \
    place template void add_pair<0>(const Packed<F, 4, 1>&, Index, const Rows<F>&, F*, Begun<F>);  \
    place template void pack(const Packed<F, 1, 4>&, Index, Index, Matrix<F>, Index, Member, int); \
    place template void pack(const Packed<F, 2, 2>&, Index, Index, Matrix<F>, Index, Member, int); \
    place template void pack(const Packed<F, 3, 1>&, Index, Index, Matrix<F>, Index, Member, int); \
    place template void pack(const Packed<F, 4, 1>&, Index, Index, Matrix<F>, Index, Member, int);

GATEWISE_PRODUCTS(extern, float)
GATEWISE_PRODUCTS(extern, double)

}  // namespace gatewise::GATEWISE_ISA
