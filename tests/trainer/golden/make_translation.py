#!/usr/bin/python3
"""Writes translation.json: what PyTorch, in double precision, makes of small fixed encoder-decoders over 20 steps.

Batches are of sentences of unequal lengths.  Initial values are drawn as in make_language_model.py, whose parts serve
here, too:  ./make_translation.py > translation.json
"""
import json
import math

import torch
import torch.nn.functional as F

from make_language_model import (INIT_STDDEV, PONDER_COST, VOCABULARY, WIDTH, activate, add_halting_unit, constant, normal,
                                 rotate, run_loops, sinusoids)

LAYERS, ENCODER_LAYERS = 2, 3
PAPER = {"heads": 3, "kv_heads": 3, "head_width": 16, "feed_forward": 100, "norm": "layer", "norm_placement": "post",
         "norm_epsilon": 1e-5, "activation": "relu", "biases": "all", "positions": "sinusoidal", "rope_theta": 10000.0,
         "cross_positions": False, "window": 0, "tied_embeddings": True, "tied_source_embedding": True}
MODELS = {
    "paper": {},
    "modern": {"heads": 4, "kv_heads": 2, "head_width": 10, "norm": "rms", "norm_placement": "pre",
               "norm_epsilon": 1e-6, "activation": "swiglu", "biases": "none", "positions": "rope",
               "rope_theta": 500.0, "tied_embeddings": False, "tied_source_embedding": False},
    "looped": {"norm_placement": "pre", "loops": 2, "halting": False, "halting_threshold": 0.99},
    "halting": {"loops": 3, "halting": True, "halting_threshold": 0.9},
    "cross_positions": {"kv_heads": 1, "positions": "rope", "rope_theta": 500.0, "cross_positions": True},
}
STEPS, END = 20, 0
LENGTHS = [((12, 9), (5, 11), (1, 1), (8, 3)), ((4, 7), (13, 10), (7, 7), (2, 12))]  # of sources and targets, no ends
LABEL_SMOOTHING = 0.1
LEARNING_RATE, WARMUP = 3e-3, 4
BETA1, BETA2, EPSILON, WEIGHT_DECAY = 0.9, 0.98, 1e-9, 0.1


def make_parameters(o):
    parameters = {}

    def table(name):
        parameters[name] = normal(name, (VOCABULARY, WIDTH), INIT_STDDEV)

    def linear(name, outputs, inputs, stddev):
        parameters[name + ".weight"] = normal(name + ".weight", (outputs, inputs), stddev)
        if o["biases"] == "all":
            parameters[name + ".bias"] = constant((outputs,), 0.0)

    def norm(name):
        parameters[name + ".weight"] = constant((WIDTH,), 1.0)
        if o["norm"] == "layer":
            parameters[name + ".bias"] = constant((WIDTH,), 0.0)

    queries, keys = o["heads"] * o["head_width"], o["kv_heads"] * o["head_width"]
    hidden = (2 if o["activation"] == "swiglu" else 1) * o["feed_forward"]
    for stack, layers in (("encoder.", ENCODER_LAYERS), ("decoder.", LAYERS)):
        if stack == "encoder." or not o["tied_source_embedding"]:
            table(stack + "embedding.token")
        crosses = stack == "decoder."
        out_stddev = INIT_STDDEV / math.sqrt((3.0 if crosses else 2.0) * layers * o.get("loops", 1))
        if o.get("halting"):
            add_halting_unit(parameters, stack)
        for layer in range(layers):
            block = f"{stack}blocks.{layer}."
            norm(block + "attention_norm")
            linear(block + "attention.qkv", queries + 2 * keys, WIDTH, INIT_STDDEV)
            linear(block + "attention.out", WIDTH, queries, out_stddev)
            if crosses:
                norm(block + "cross_norm")
                linear(block + "cross_attention.query", queries, WIDTH, INIT_STDDEV)
                linear(block + "cross_attention.key_value", 2 * keys, WIDTH, INIT_STDDEV)
                linear(block + "cross_attention.out", WIDTH, queries, out_stddev)
            norm(block + "mlp_norm")
            linear(block + "mlp.in", hidden, WIDTH, INIT_STDDEV)
            linear(block + "mlp.out", WIDTH, o["feed_forward"], out_stddev)
        if o["norm_placement"] == "pre":
            norm(stack + "final_norm")
    if not o["tied_embeddings"]:
        table("output.weight")
    return parameters


def forward(o, p, source, target):
    """The logits of one pair of sentences, and its pondering: there is no padding here that could be wrong."""
    heads, kv_heads, head_width = o["heads"], o["kv_heads"], o["head_width"]

    def linear(name, x):
        return F.linear(x, p[name + ".weight"], p.get(name + ".bias"))

    def norm(name, x):
        if o["norm"] == "layer":
            return F.layer_norm(x, (WIDTH,), p[name + ".weight"], p[name + ".bias"], o["norm_epsilon"])
        return x * torch.rsqrt((x ** 2).mean(-1, keepdim=True) + o["norm_epsilon"]) * p[name + ".weight"]

    def attend(name, q, k, v, causal):
        k, v = (kv.repeat_interleave(heads // kv_heads, 0) for kv in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(head_width)
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
        out = scores.softmax(-1) @ v
        return linear(name + ".out", out.transpose(0, 1).reshape(-1, heads * head_width))

    def split(x):
        return x.view(x.shape[0], -1, head_width).transpose(0, 1)

    def self_attention(name, x, causal):
        q, k, v = split(linear(name + ".qkv", x)).split((heads, kv_heads, kv_heads), 0)
        if o["positions"] == "rope":
            q, k = rotate(q, o["rope_theta"]), rotate(k, o["rope_theta"])
        return attend(name, q, k, v, causal)

    def cross_attention(name, x, memory):
        k, v = split(linear(name + ".key_value", memory)).chunk(2, 0)
        q = split(linear(name + ".query", x))
        if o["cross_positions"]:
            q, k = rotate(q, o["rope_theta"]), rotate(k, o["rope_theta"])
        return attend(name, q, k, v, False)

    def stack(prefix, layers, tokens, memory):
        x = p["encoder.embedding.token" if o["tied_source_embedding"] else prefix + "embedding.token"][tokens]
        positions = None
        if o["positions"] == "sinusoidal":
            positions = sinusoids()[:len(tokens)]
            x = x * math.sqrt(WIDTH) + positions
        x, ponder = run_loops(o, p, prefix, x, positions, lambda y: blocks(prefix, layers, y, memory))
        return norm(prefix + "final_norm", x) if o["norm_placement"] == "pre" else x, ponder

    def blocks(prefix, layers, x, memory):
        for layer in range(layers):
            block = f"{prefix}blocks.{layer}."
            sublayers = [("attention_norm", lambda y: self_attention(block + "attention", y, memory is not None)),
                         ("mlp_norm", lambda y: linear(block + "mlp.out",
                                                       activate(o["activation"], linear(block + "mlp.in", y))))]
            if memory is not None:
                sublayers.insert(1, ("cross_norm", lambda y: cross_attention(block + "cross_attention", y, memory)))
            for name, f in sublayers:
                if o["norm_placement"] == "pre":
                    x = x + f(norm(block + name, x))
                else:
                    x = norm(block + name, x + f(x))
        return x

    memory, encoder_ponder = stack("encoder.", ENCODER_LAYERS, source + [END], None)
    hidden, decoder_ponder = stack("decoder.", LAYERS, [END] + target, memory)
    logits = hidden @ p["encoder.embedding.token" if o["tied_embeddings"] else "output.weight"].T
    return logits, encoder_ponder + decoder_ponder


def pairs_of_step(step):
    pairs = []
    for row, (source_length, target_length) in enumerate(LENGTHS[step % 2]):
        source = [1 + ((row + 2) * s + s * s // 3) % (VOCABULARY - 1) for s in range(source_length)]
        target = [1 + ((row + 3) * t + source[0] + t * t // 5) % (VOCABULARY - 1) for t in range(target_length)]
        pairs.append((source, target))
    return pairs


def learning_rate(step):
    return LEARNING_RATE * min((step + 1) / WARMUP, math.sqrt(WARMUP / (step + 1)))


def train(o):
    parameters = make_parameters(o)
    decaying = [v for v in parameters.values() if v.dim() > 1]
    others = [v for v in parameters.values() if v.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decaying, "weight_decay": WEIGHT_DECAY},
                                   {"params": others, "weight_decay": 0.0}],
                                  lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPSILON)
    losses, norms = [], []
    for step in range(STEPS):
        pairs = pairs_of_step(step)
        results = [forward(o, parameters, source, target) for source, target in pairs]
        logits = torch.cat([logits for logits, _ in results])
        targets = torch.tensor([token for _, target in pairs for token in target + [END]])
        loss = F.cross_entropy(logits, targets, label_smoothing=LABEL_SMOOTHING)
        loss = loss + PONDER_COST * sum(ponder for _, ponder in results) / len(targets)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.sqrt(sum((v.grad ** 2).sum() for v in parameters.values())).item())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        # Biases of keys get no gradient but rounding noise: see make_language_model.py.
        queries, keys = o["heads"] * o["head_width"], o["kv_heads"] * o["head_width"]
        for name, v in parameters.items():
            if name.endswith("qkv.bias") and o["positions"] != "rope":
                v[queries:queries + keys] = 0
            if name.endswith("key_value.bias") and not o["cross_positions"]:
                v[:keys] = 0
        sums = {name: v.abs().sum().item() for name, v in parameters.items()}
    return {"options": o, "losses": losses, "gradient_norms": norms, "sums_of_magnitudes": sums}


if __name__ == "__main__":
    print(json.dumps({name: train(PAPER | options) for name, options in MODELS.items()}, indent=1))
