"""PyTorch's fused attention, F.scaled_dot_product_attention, under the protocol of torch_peer.py.

`forward float32 4x8x512x64 10` times causal attention of batch 4, 8 heads, T = 512, D = 64, on operands laid out as it
likes them, [B, H, T, D]; `both` times forward and backward with respect to q, k and v. Flops count the causal half.
"""

import torch
import torch.nn.functional as F
from torch_peer import serve


def forward_flops(batch, heads, length, d):
    return 4 * length * length * d * heads * batch // 2


def operands(dtype, shape, grad):
    return [(torch.rand(shape) * 2 - 1).to(getattr(torch, dtype)).requires_grad_(grad) for _ in range(3)]


def forward(dtype, *shape):
    q, k, v = operands(dtype, shape, False)

    def run():
        with torch.inference_mode():
            F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return run, forward_flops(*shape), 4 * q.element_size() * q.numel()


def both(dtype, *shape):
    q, k, v = operands(dtype, shape, True)
    g = torch.rand(shape).to(q.dtype)

    def run():
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        torch.autograd.grad(y, [q, k, v], g)

    return run, 7 * forward_flops(*shape) // 2, 8 * q.element_size() * q.numel()


BOTH = ["float32", "bfloat16"]
serve({"forward": (BOTH, forward), "both": (BOTH, both)})
