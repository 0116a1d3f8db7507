"""The protocol of onednn.cc for PyTorch: what torch_ops.py, torch_attention.py and torch_train.py share.

Requests are lines on stdin, `<case> <dtype> <size> <runs>`, for example `matmul float32 512 30`; a size is numbers
joined by `x`. Each is answered by one line of JSON with the samples in microseconds, or an "error". `list` answers
{"cases": {...}, "threads": n, "version": "..."}. "peak" is the largest resident size of this process so far, in bytes.
"""

import json
import os
import sys
import time

import torch


def peak_resident():
    """Bytes. Not getrusage(), which begins with what the process that started this one held."""
    with open("/proc/self/status") as status:
        kilobytes = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


def answer(line, cases, made):
    words = line.split()
    if len(words) != 4 or not words[3].isdigit() or int(words[3]) < 1:
        return {"case": words[0] if words else "", "error": "expected: <case> <dtype> <size> <runs>"}
    name, dtype, size, runs = *words[:3], int(words[3])
    reply = {"case": name, "dtype": dtype, "size": size}
    try:
        if words[0] not in cases:
            raise ValueError("no such case")
        dtypes, make = cases[name]
        if dtype not in dtypes:
            raise ValueError(f"the case does not take {dtype}")
        if not all(part.isdigit() and int(part) > 0 for part in size.split("x")):
            raise ValueError(f"bad size {size}")
        key = (name, dtype, size)
        if key not in made:
            made[key] = make(dtype, *map(int, size.split("x")))
            made[key][0]()
        run, flops, moved = made[key]
        run()
        samples, parts = [], {}
        for _ in range(runs):
            start = time.perf_counter_ns()
            told = run()
            samples.append((time.perf_counter_ns() - start) / 1e3)
            for part, value in (told if isinstance(told, dict) else {}).items():
                parts.setdefault(part, []).append(value)
        peak = peak_resident()
        return {**reply, "runs": runs, "flops": flops, "bytes": moved, "us": samples, "parts": parts, "peak": peak}
    except Exception as error:  # a compiler that is not there, memory that is short: the answer says it
        return {**reply, "error": (str(error).strip() or type(error).__name__).splitlines()[0]}


def serve(cases):
    """Answers requests until stdin ends. `cases`: name -> (dtypes, make), and make(dtype, *size) -> (run, flops, bytes);
    what `run` returns as a dictionary are parts of the sample, in microseconds or of any other unit."""
    threads = int(os.environ.get("ATTN_VK_THREADS") or 0) or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    made = {}
    for line in sys.stdin:
        if line.strip() == "list":
            reply = {
                "cases": {name: dtypes for name, (dtypes, _) in cases.items()},
                "threads": torch.get_num_threads(),
                "version": torch.__version__,
            }
        elif line.strip():
            reply = answer(line, cases, made)
        else:
            continue
        print(json.dumps(reply), flush=True)
