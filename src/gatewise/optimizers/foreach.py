"""Torch's operations on whole lists of tensors, which it exports with an underscore.

The optimizers of torch are written with them; one call serves all parameters of a model.
"""
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import torch

abs_of = torch._foreach_abs
add = torch._foreach_add
add_ = torch._foreach_add_
addcdiv_ = torch._foreach_addcdiv_
addcmul_ = torch._foreach_addcmul_
clamp_max = torch._foreach_clamp_max
clamp_min_ = torch._foreach_clamp_min_
div = torch._foreach_div
div_ = torch._foreach_div_
lerp_ = torch._foreach_lerp_
maximum_ = torch._foreach_maximum_
mul = torch._foreach_mul
mul_ = torch._foreach_mul_
norm = torch._foreach_norm
sqrt_ = torch._foreach_sqrt_
sub_ = torch._foreach_sub_
