#!/usr/bin/python3
"""Writes masked_language_model.json: what PyTorch, in double precision, makes of small fixed encoders over 20 steps.

Sequences are of unequal lengths, with tokens of several types, and some of their tokens are to be guessed.  Initial
values are drawn as in make_language_model.py, whose parts serve here, too:
./make_masked_language_model.py > masked_language_model.json
"""
import json
import math

import torch
import torch.nn.functional as F

from make_language_model import (BETA1, BETA2, EPSILON, INIT_STDDEV, LEARNING_RATE, VOCABULARY, WEIGHT_DECAY, WIDTH,
                                 activate, alibi_slopes, constant, learning_rate, normal, rotate)

LAYERS, CONTEXT, STEPS = 2, 17, 20
BERT = {"heads": 3, "kv_heads": 3, "head_width": 16, "feed_forward": 100, "norm": "layer", "norm_placement": "post",
        "norm_epsilon": 1e-12, "activation": "gelu", "biases": "all", "positions": "learned", "rope_theta": 10000.0,
        "window": 0, "tied_embeddings": True, "embedding_norm": True, "token_types": 2, "output_transform": True,
        "output_bias": True}
MODELS = {
    "bert": {},
    "modern": {"heads": 4, "kv_heads": 2, "head_width": 10, "norm": "rms", "norm_placement": "pre",
               "norm_epsilon": 1e-6, "activation": "geglu", "biases": "none", "positions": "rope", "rope_theta": 500.0,
               "window": 4, "token_types": 0, "tied_embeddings": False},
    "plain": {"norm_placement": "pre", "norm_epsilon": 1e-5, "positions": "alibi", "embedding_norm": False,
              "token_types": 3, "output_transform": False, "output_bias": False},
}
LENGTHS = [(17, 9, 1, 13), (5, 17, 11, 16)]  # of the sequences of two batches, which take turns


def make_parameters(o):
    out_stddev = INIT_STDDEV / math.sqrt(2.0 * LAYERS)
    parameters = {}

    def table(name, rows):
        parameters[name] = normal(name, (rows, WIDTH), INIT_STDDEV)

    def linear(name, outputs, inputs, stddev):
        parameters[name + ".weight"] = normal(name + ".weight", (outputs, inputs), stddev)
        if o["biases"] == "all":
            parameters[name + ".bias"] = constant((outputs,), 0.0)

    def norm(name):
        parameters[name + ".weight"] = constant((WIDTH,), 1.0)
        if o["norm"] == "layer":
            parameters[name + ".bias"] = constant((WIDTH,), 0.0)

    table("embedding.token", VOCABULARY)
    if o["positions"] == "learned":
        table("embedding.position", CONTEXT)
    if o["token_types"] > 0:
        table("embedding.type", o["token_types"])
    if o["embedding_norm"]:
        norm("embedding.norm")
    queries = o["heads"] * o["head_width"]
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        norm(block + "attention_norm")
        linear(block + "attention.qkv", queries + 2 * o["kv_heads"] * o["head_width"], WIDTH, INIT_STDDEV)
        linear(block + "attention.out", WIDTH, queries, out_stddev)
        norm(block + "mlp_norm")
        linear(block + "mlp.in", (2 if o["activation"] == "geglu" else 1) * o["feed_forward"], WIDTH, INIT_STDDEV)
        linear(block + "mlp.out", WIDTH, o["feed_forward"], out_stddev)
    if o["norm_placement"] == "pre":
        norm("final_norm")
    if o["output_transform"]:
        linear("output.transform", WIDTH, WIDTH, INIT_STDDEV)
        norm("output.norm")
    if not o["tied_embeddings"]:
        table("output.weight", VOCABULARY)
    if o["output_bias"]:
        parameters["output.bias"] = constant((VOCABULARY,), 0.0)
    return parameters


def forward(o, p, tokens, types, masked):
    """The logits of the masked places of one sequence: there is no padding here that could be wrong."""
    heads, kv_heads, head_width = o["heads"], o["kv_heads"], o["head_width"]

    def linear(name, x):
        return F.linear(x, p[name + ".weight"], p.get(name + ".bias"))

    def norm(name, x):
        if o["norm"] == "layer":
            return F.layer_norm(x, (WIDTH,), p[name + ".weight"], p[name + ".bias"], o["norm_epsilon"])
        return x * torch.rsqrt((x ** 2).mean(-1, keepdim=True) + o["norm_epsilon"]) * p[name + ".weight"]

    def attention(name, x):
        qkv = linear(name + ".qkv", x).view(len(tokens), -1, head_width).transpose(0, 1)
        q, k, v = qkv.split((heads, kv_heads, kv_heads), 0)
        if o["positions"] == "rope":
            q, k = rotate(q, o["rope_theta"]), rotate(k, o["rope_theta"])
        k, v = (kv.repeat_interleave(heads // kv_heads, 0) for kv in (k, v))
        distance = (torch.arange(len(tokens))[:, None] - torch.arange(len(tokens))).abs()
        scores = q @ k.transpose(-1, -2) / math.sqrt(head_width)
        if o["positions"] == "alibi":
            scores = scores - alibi_slopes(heads)[:, None, None] * distance
        if o["window"] > 0:
            scores = scores.masked_fill(distance >= o["window"], -math.inf)
        out = scores.softmax(-1) @ v
        return linear(name + ".out", out.transpose(0, 1).reshape(len(tokens), heads * head_width))

    def mlp(name, x):
        return linear(name + ".out", activate(o["activation"], linear(name + ".in", x)))

    x = p["embedding.token"][tokens]
    if o["positions"] == "learned":
        x = x + p["embedding.position"][:len(tokens)]
    if o["token_types"] > 0:
        x = x + p["embedding.type"][types]
    if o["embedding_norm"]:
        x = norm("embedding.norm", x)
    for layer in range(LAYERS):
        for sublayer, f in (("attention", attention), ("mlp", mlp)):
            name = f"blocks.{layer}.{sublayer}"
            if o["norm_placement"] == "pre":
                x = x + f(name, norm(name + "_norm", x))
            else:
                x = norm(name + "_norm", x + f(name, x))
    if o["norm_placement"] == "pre":
        x = norm("final_norm", x)
    x = x[masked]
    if o["output_transform"]:
        x = norm("output.norm", F.gelu(linear("output.transform", x)))
    logits = x @ p["embedding.token" if o["tied_embeddings"] else "output.weight"].T
    return logits + p["output.bias"] if o["output_bias"] else logits


def sequences_of_step(o, step):
    """Tokens, types, masked places and their targets of each sequence: formulas that the test has, too."""
    for row, length in enumerate(LENGTHS[step % 2]):
        tokens = [((row + 2) * (t + step % 2) + t * t // 5) % VOCABULARY for t in range(length)]
        types = [(t // 3 + row) % max(1, o["token_types"]) for t in range(length)]
        masked = list(range(row % 3 % length, length, 4))
        targets = [(tokens[t] + t + 1) % VOCABULARY for t in masked]
        yield tokens, types, masked, targets


def train(o):
    parameters = make_parameters(o)
    decaying = [v for v in parameters.values() if v.dim() > 1]
    others = [v for v in parameters.values() if v.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decaying, "weight_decay": WEIGHT_DECAY},
                                   {"params": others, "weight_decay": 0.0}],
                                  lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPSILON)
    losses, norms = [], []
    for step in range(STEPS):
        sequences = list(sequences_of_step(o, step))
        logits = torch.cat([forward(o, parameters, tokens, types, masked) for tokens, types, masked, _ in sequences])
        targets = torch.tensor([target for *_, of_sequence in sequences for target in of_sequence])
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.sqrt(sum((v.grad ** 2).sum() for v in parameters.values())).item())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        # Biases of keys get no gradient but rounding noise: see make_language_model.py.
        if o["positions"] != "rope":
            queries, keys = o["heads"] * o["head_width"], o["kv_heads"] * o["head_width"]
            for name, v in parameters.items():
                if name.endswith("qkv.bias"):
                    v[queries:queries + keys] = 0
        sums = {name: v.abs().sum().item() for name, v in parameters.items()}
    return {"options": o, "losses": losses, "gradient_norms": norms, "sums_of_magnitudes": sums}


if __name__ == "__main__":
    print(json.dumps({name: train(BERT | options) for name, options in MODELS.items()}, indent=1))
