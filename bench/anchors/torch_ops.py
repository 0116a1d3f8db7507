"""PyTorch's ops beside ours, under the protocol of torch_peer.py.

A size is `n` (n x n) or `<rows>x<cols>`. `chain float32 16x16 10` times chains of 10,000 dependent additions, one
sample a chain.
"""

import torch
from torch_peer import serve

F32 = ["float32"]
BOTH = ["float32", "bfloat16"]
CHAIN = 10_000


def sized(make):
    """`n` is n x n, and no graph is kept."""

    def build(dtype, rows, cols=None):
        run, flops, moved = make(dtype, rows, cols or rows)
        return torch.inference_mode()(run), flops, moved

    return build


def operand(rows, cols, dtype):
    return (torch.rand(rows, cols) * 2 - 1).to(getattr(torch, dtype))


def matmul(dtype, rows, cols):
    a, b, out = operand(rows, cols, dtype), operand(cols, cols, dtype), operand(rows, cols, dtype)
    size = a.element_size()
    return lambda: torch.mm(a, b, out=out), 2 * rows * cols * cols, size * (2 * rows * cols + cols * cols)


def binary(op):
    def make(dtype, rows, cols):
        a, b, out = (operand(rows, cols, dtype) for _ in range(3))
        return lambda: op(a, b, out=out), rows * cols, 3 * a.element_size() * rows * cols

    return make


def relu(dtype, rows, cols):
    a, out = operand(rows, cols, dtype), operand(rows, cols, dtype)
    # torch.relu takes no `out`; clamping below is the same kernel class writing to one.
    return lambda: torch.clamp_min(a, 0, out=out), rows * cols, 2 * a.element_size() * rows * cols


def relu_new(dtype, rows, cols):
    a = operand(rows, cols, dtype)
    return lambda: torch.relu(a), rows * cols, 2 * a.element_size() * rows * cols


def softmax(dtype, rows, cols):
    a = operand(rows, cols, dtype)
    return lambda: torch.softmax(a, 1), 5 * rows * cols, 2 * a.element_size() * rows * cols


def layer_norm(dtype, rows, cols):
    a, weight, bias = operand(rows, cols, dtype), operand(1, cols, dtype)[0], operand(1, cols, dtype)[0]
    return lambda: torch.layer_norm(a, [cols], weight, bias), 8 * rows * cols, 2 * a.element_size() * rows * cols


def rowsum(dtype, rows, cols):
    a = operand(rows, cols, dtype)
    return lambda: torch.sum(a, 1), rows * cols, a.element_size() * rows * cols


def chain(dtype, rows, cols):
    a, b = operand(rows, cols, dtype), torch.zeros(rows, cols, dtype=getattr(torch, dtype))

    def run():
        x = a
        for _ in range(CHAIN):
            x = x + b
        return x

    return run, CHAIN * rows * cols, 3 * a.element_size() * CHAIN * rows * cols


CASES = {
    "matmul": (BOTH, matmul),
    "add": (BOTH, binary(torch.add)),
    "mul": (BOTH, binary(torch.mul)),
    "relu": (BOTH, relu),
    "relu_new": (BOTH, relu_new),
    "softmax": (BOTH, softmax),
    "layer_norm": (BOTH, layer_norm),
    "rowsum": (BOTH, rowsum),
    "chain": (F32, chain),
}

serve({name: (dtypes, sized(make)) for name, (dtypes, make) in CASES.items()})
