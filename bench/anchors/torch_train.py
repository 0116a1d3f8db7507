"""A GPT trained by PyTorch, written as its documentation would write it, under the protocol of torch_peer.py.

`eager float32 2x64x4x64x8 20` times 20 training steps of 2 layers, width 64, 4 heads, T = 64, a batch of 8, each with
a batch of its own; `compile` does the same through torch.compile; bfloat16 is autocast over fp32 weights. A sample is
a step, and its parts are forward, backward and optimiser (clipping and zeroing with it), with the loss it had.
"""

import time

import torch
import torch.nn.functional as F
from torch import nn
from torch_peer import serve

VOCABULARY = 256
CLIP = 1.0


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (
            y.view(b, t, self.heads, d // self.heads).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(d, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, layers, d, heads, length):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, d), nn.Embedding(length, d)
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, VOCABULARY, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        self.register_buffer("places", torch.arange(length), persistent=False)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions(self.places)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))


def faster(make, use):
    """The one of several ways to do the same that took less time, tried in turns."""
    ways = [m() for m in make]
    best = [float("inf")] * len(ways)
    for _ in range(5):
        for i, way in enumerate(ways):
            start = time.perf_counter()
            use(way)
            best[i] = min(best[i], time.perf_counter() - start)
    return ways[best.index(min(best))]


def train(compiled):
    def make(dtype, layers, d, heads, length, batch):
        torch.manual_seed(0)
        model = GPT(layers, d, heads, length)
        parameters = list(model.parameters())
        for p in parameters:
            p.grad = torch.zeros_like(p)
        # Gradients of zero and no decay: trying the ways of AdamW leaves the weights what they are.
        ways = [{"fused": True}, {"foreach": True}, {"foreach": False}]
        optimiser = faster(
            [lambda way=way: torch.optim.AdamW(parameters, lr=3e-4, weight_decay=0.0, **way) for way in ways],
            lambda o: o.step(),
        )
        optimiser.param_groups[0]["weight_decay"] = 0.1
        each = faster(
            [lambda: True, lambda: False],
            lambda way: nn.utils.clip_grad_norm_(parameters, CLIP, foreach=way),
        )
        loss_of = torch.compile(model) if compiled else model
        words = torch.Generator().manual_seed(1)
        text = torch.randint(0, 64, (4096,), generator=words).repeat(4)  # something to learn: it repeats
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")

        def step():
            marks = [time.perf_counter_ns()]
            at = torch.randint(0, len(text) - length - 1, (batch,), generator=words).tolist()
            tokens = torch.stack([text[i : i + length] for i in at])
            targets = torch.stack([text[i + 1 : i + 1 + length] for i in at])
            optimiser.zero_grad(set_to_none=True)
            with autocast:
                loss = loss_of(tokens, targets)
            marks.append(time.perf_counter_ns())
            loss.backward()
            marks.append(time.perf_counter_ns())
            nn.utils.clip_grad_norm_(parameters, CLIP, foreach=each)
            optimiser.step()
            value = loss.item()
            marks.append(time.perf_counter_ns())
            forward, backward, optimise = ((b - a) / 1e3 for a, b in zip(marks, marks[1:]))
            return {"forward": forward, "backward": backward, "optimiser": optimise, "loss": value}

        for _ in range(2):  # compiles, allocates
            step()
        return step, 0, 0

    return make


BOTH = ["float32", "bfloat16"]
serve({"eager": (BOTH, train(False)), "compile": (BOTH, train(True))})
