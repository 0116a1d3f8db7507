"""PyTorch beside us, under the protocol of onednn.cc.

Requests are lines on stdin, `<case> <dtype> <size> <runs>`, for example `matmul float32 512 30`; a size is `n`
(n x n) or `<rows>x<cols>`. Each is answered by one line of JSON with the samples in microseconds, or an "error".
`list` answers {"cases": {...}, "threads": n, "version": "..."}. `chain float32 16x16 10` times chains of 10,000
dependent additions, one sample a chain.
"""

import json
import os
import sys
import time

import torch

F32 = ["float32"]
BOTH = ["float32", "bfloat16"]
CHAIN = 10_000


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
    "rowsum": (BOTH, rowsum),
    "chain": (F32, chain),
}

made = {}


def work(name, dtype, size):
    key = (name, dtype, size)
    if key not in made:
        if name not in CASES:
            raise ValueError("no such case")
        dtypes, make = CASES[name]
        if dtype not in dtypes:
            raise ValueError(f"the case does not take {dtype}")
        rows, _, cols = size.partition("x")
        rows, cols = int(rows), int(cols or rows)
        if rows <= 0 or cols <= 0:
            raise ValueError(f"bad size {size}")
        made[key] = make(dtype, rows, cols)
        made[key][0]()
    return made[key]


def answer(line):
    words = line.split()
    if len(words) != 4 or not words[3].isdigit() or int(words[3]) < 1:
        return {"case": words[0] if words else "", "error": "expected: <case> <dtype> <size> <runs>"}
    name, dtype, size, runs = *words[:3], int(words[3])
    reply = {"case": name, "dtype": dtype, "size": size}
    try:
        run, flops, moved = work(name, dtype, size)
        run()
        samples = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            run()
            samples.append((time.perf_counter_ns() - start) / 1e3)
        return {**reply, "runs": runs, "flops": flops, "bytes": moved, "us": samples}
    except (ValueError, RuntimeError) as error:
        return {**reply, "error": str(error)}


def main():
    threads = int(os.environ.get("ATTN_VK_THREADS") or 0) or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    with torch.inference_mode():
        for line in sys.stdin:
            if line.strip() == "list":
                reply = {
                    "cases": {name: dtypes for name, (dtypes, _) in CASES.items()},
                    "threads": torch.get_num_threads(),
                    "version": torch.__version__,
                }
            elif line.strip():
                reply = answer(line)
            else:
                continue
            print(json.dumps(reply), flush=True)


main()
