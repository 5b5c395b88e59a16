#!/usr/bin/python3
"""Writes language_model.json: what PyTorch, in double precision, makes of a small fixed model over 20 steps.

The initial values are drawn as Trireme draws them (Philox keyed by parameter name, Box-Muller), so that nothing but
numbers of a few bytes is stored.  Needs numpy and torch:  ./make_language_model.py > language_model.json
"""
import json
import math

import numpy
import torch
import torch.nn.functional as F

LAYERS, WIDTH, HEADS, FEED_FORWARD, CONTEXT, VOCABULARY = 2, 48, 3, 100, 17, 67
BATCH, STEPS, SEED = 3, 20, 11
INIT_STDDEV = 0.08
LEARNING_RATE, MIN_LEARNING_RATE, WARMUP = 3e-3, 3e-4, 4
BETA1, BETA2, EPSILON, WEIGHT_DECAY, GRAD_CLIP = 0.9, 0.95, 1e-8, 0.1, 1.0
MASK32, MASK64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def philox(key, counters):
    """Philox4x32-10 of an array of 64-bit counters: four arrays of 32 random bits."""
    c = numpy.asarray(counters, dtype=numpy.uint64)
    x = [c & MASK32, c >> numpy.uint64(32), numpy.zeros_like(c), numpy.zeros_like(c)]
    k0, k1 = key & MASK32, key >> 32
    for _ in range(10):
        p0, p1 = x[0] * numpy.uint64(0xD2511F53), x[2] * numpy.uint64(0xCD9E8D57)
        x = [(p1 >> numpy.uint64(32)) ^ x[1] ^ numpy.uint64(k0), p1 & MASK32,
             (p0 >> numpy.uint64(32)) ^ x[3] ^ numpy.uint64(k1), p0 & MASK32]
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return x


def key_of(seed, name):
    digest = 0xCBF29CE484222325
    for byte in name.encode():
        digest = ((digest ^ byte) * 0x100000001B3) & MASK64
    bits = philox(seed, [digest])
    return int(bits[0][0]) << 32 | int(bits[1][0])


def normal(name, shape, stddev):
    size = math.prod(shape)
    bits = philox(key_of(SEED, name), numpy.arange((size + 3) // 4))
    u = [(b >> numpy.uint64(8)).astype(numpy.float64) * 2.0 ** -24 for b in bits]
    z = []
    for radius, angle in ((u[0], u[1]), (u[2], u[3])):
        radius = numpy.sqrt(-2.0 * numpy.log(1.0 - radius))
        z += [radius * numpy.cos(2.0 * math.pi * angle), radius * numpy.sin(2.0 * math.pi * angle)]
    z = numpy.float32(stddev) * numpy.stack(z, axis=-1).reshape(-1)[:size].astype(numpy.float32)
    return torch.tensor(z.astype(numpy.float64).reshape(shape), requires_grad=True)


def constant(shape, value):
    return torch.full(shape, value, dtype=torch.float64, requires_grad=True)


def make_parameters():
    out_stddev = INIT_STDDEV / math.sqrt(2.0 * LAYERS)
    parameters = {"embedding.token": normal("embedding.token", (VOCABULARY, WIDTH), INIT_STDDEV),
                  "embedding.position": normal("embedding.position", (CONTEXT, WIDTH), INIT_STDDEV)}

    def linear(name, outputs, inputs, stddev):
        parameters[name + ".weight"] = normal(name + ".weight", (outputs, inputs), stddev)
        parameters[name + ".bias"] = constant((outputs,), 0.0)

    def norm(name):
        parameters[name + ".weight"] = constant((WIDTH,), 1.0)
        parameters[name + ".bias"] = constant((WIDTH,), 0.0)

    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        norm(block + "attention_norm")
        linear(block + "attention.qkv", 3 * WIDTH, WIDTH, INIT_STDDEV)
        linear(block + "attention.out", WIDTH, WIDTH, out_stddev)
        norm(block + "mlp_norm")
        linear(block + "mlp.in", FEED_FORWARD, WIDTH, INIT_STDDEV)
        linear(block + "mlp.out", WIDTH, FEED_FORWARD, out_stddev)
    norm("final_norm")
    return parameters


def forward_loss(p, tokens, targets):
    def linear(name, x):
        return F.linear(x, p[name + ".weight"], p[name + ".bias"])

    def norm(name, x):
        return F.layer_norm(x, (WIDTH,), p[name + ".weight"], p[name + ".bias"], 1e-5)

    head_width = WIDTH // HEADS
    future = torch.triu(torch.ones(CONTEXT, CONTEXT, dtype=torch.bool), 1)
    x = p["embedding.token"][tokens] + p["embedding.position"]
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        qkv = linear(block + "attention.qkv", norm(block + "attention_norm", x))
        q, k, v = (part.view(BATCH, CONTEXT, HEADS, head_width).transpose(1, 2) for part in qkv.split(WIDTH, -1))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(head_width)).masked_fill(future, -math.inf)
        heads = (scores.softmax(-1) @ v).transpose(1, 2).reshape(BATCH, CONTEXT, WIDTH)
        x = x + linear(block + "attention.out", heads)
        hidden = linear(block + "mlp.in", norm(block + "mlp_norm", x))
        gelu = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden ** 3)))
        x = x + linear(block + "mlp.out", gelu)
    logits = norm("final_norm", x) @ p["embedding.token"].T
    return F.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1))


def token(step, row, position):
    """Two batches in turn: arithmetic progressions that depend on the row, with a disturbance."""
    return ((row + 2) * (position + step % 2) + position * position // 5) % VOCABULARY


def learning_rate(step):
    if step < WARMUP:
        return LEARNING_RATE * (step + 1) / WARMUP
    done = min(1.0, (step - WARMUP) / (STEPS - 1 - WARMUP))
    return MIN_LEARNING_RATE + (LEARNING_RATE - MIN_LEARNING_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def main():
    parameters = make_parameters()
    decaying = [v for v in parameters.values() if v.dim() > 1]
    others = [v for v in parameters.values() if v.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decaying, "weight_decay": WEIGHT_DECAY},
                                   {"params": others, "weight_decay": 0.0}],
                                  lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPSILON)
    losses, norms = [], []
    for step in range(STEPS):
        rows = torch.tensor([[token(step, r, t) for t in range(CONTEXT + 1)] for r in range(BATCH)])
        loss = forward_loss(parameters, rows[:, :-1], rows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum((v.grad ** 2).sum() for v in parameters.values()))
        for v in parameters.values():
            v.grad *= min(1.0, GRAD_CLIP / norm.item())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
    with torch.no_grad():
        # A key bias shifts all scores of a query alike: softmax doesn't see it, its gradient is rounding noise, and
        # Adam makes steps of that noise.  It is left out.
        for name, v in parameters.items():
            if name.endswith("qkv.bias"):
                v[WIDTH:2 * WIDTH] = 0
        sums = {name: v.abs().sum().item() for name, v in parameters.items()}
    print(json.dumps({"losses": losses, "gradient_norms": norms, "sums_of_magnitudes": sums}, indent=1))


main()
