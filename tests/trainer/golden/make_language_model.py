#!/usr/bin/python3
"""Writes language_model.json: what PyTorch, in double precision, makes of small fixed models over 20 steps.

Each model is GPT-2's shape but for the options named, in the words of Trireme's config.

The initial values are drawn as Trireme draws them (Philox keyed by parameter name, Box-Muller), so that nothing but
numbers of a few bytes is stored.  Needs numpy and torch:  ./make_language_model.py > language_model.json
"""
import json
import math
import os

import numpy
import torch
import torch.nn.functional as F

LAYERS, WIDTH, CONTEXT, VOCABULARY = 2, 48, 17, 67
GPT2 = {"heads": 3, "kv_heads": 3, "head_width": 16, "feed_forward": 100, "norm": "layer", "norm_placement": "pre",
        "norm_epsilon": 1e-5, "activation": "gelu_tanh", "biases": "all", "positions": "learned",
        "rope_theta": 10000.0, "window": 0, "tied_embeddings": True}
LOOPED = {"loops": 3, "halting": False, "halting_threshold": 0.99}
PONDER_COST = 0.05
# Under thresholds of positions that halt, none comes so near to them that rounding could decide.
MODELS = {
    "gpt2": {},
    "llama": {"heads": 4, "kv_heads": 2, "head_width": 10, "norm": "rms", "norm_epsilon": 1e-6, "activation": "swiglu",
              "biases": "none", "positions": "rope", "rope_theta": 500.0, "tied_embeddings": False},
    "qwen2": {"heads": 4, "kv_heads": 1, "head_width": 12, "norm": "rms", "activation": "swiglu", "biases": "qkv",
              "positions": "rope"},
    "paper": {"norm_placement": "post", "activation": "relu", "positions": "sinusoidal"},
    "alibi": {"heads": 6, "kv_heads": 6, "head_width": 8, "activation": "gelu", "positions": "alibi", "window": 5},
    "window": {"activation": "silu", "window": 4, "tied_embeddings": False, "positions": "none"},
    "geglu": {"norm_placement": "post", "norm": "rms", "activation": "geglu", "biases": "none"},
    "looped": LOOPED,
    "looped_paper": LOOPED | {"norm_placement": "post", "activation": "relu", "positions": "sinusoidal"},
    "halting": LOOPED | {"loops": 5, "halting": True, "halting_threshold": 0.74},
    "halting_paper": LOOPED | {"halting": True, "norm_placement": "post", "positions": "sinusoidal",
                               "halting_threshold": 0.8},
}
# Rope's frequencies as `transformers` stretches them: cases of make_rope_frequencies.py.
with open(os.path.join(os.path.dirname(__file__), "rope_frequencies.json")) as file:
    FREQUENCIES = json.load(file)
for case in ("linear", "llama3_bounds", "yarn_bounds"):
    MODELS[case] = MODELS["llama"] | FREQUENCIES[case]["options"] | {"stretched": case}
# Rows of documents that know nothing of one another.
for case in ("gpt2", "llama", "paper", "alibi"):
    MODELS["packed_" + case] = MODELS[case] | {"is_packed": True}
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


def make_parameters(o):
    """In the order of the model."""
    out_stddev = INIT_STDDEV / math.sqrt(2.0 * LAYERS * o.get("loops", 1))
    parameters = {"embedding.token": normal("embedding.token", (VOCABULARY, WIDTH), INIT_STDDEV)}
    if o["positions"] == "learned":
        parameters["embedding.position"] = normal("embedding.position", (CONTEXT, WIDTH), INIT_STDDEV)

    def linear(name, outputs, inputs, stddev):
        parameters[name + ".weight"] = normal(name + ".weight", (outputs, inputs), stddev)
        if o["biases"] == "all" or o["biases"] == "qkv" and name.endswith(".qkv"):
            parameters[name + ".bias"] = constant((outputs,), 0.0)

    def norm(name):
        parameters[name + ".weight"] = constant((WIDTH,), 1.0)
        if o["norm"] == "layer":
            parameters[name + ".bias"] = constant((WIDTH,), 0.0)

    if o.get("halting"):
        add_halting_unit(parameters, "")
    gated = o["activation"] in ("swiglu", "geglu")
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        norm(block + "attention_norm")
        linear(block + "attention.qkv", (o["heads"] + 2 * o["kv_heads"]) * o["head_width"], WIDTH, INIT_STDDEV)
        linear(block + "attention.out", WIDTH, o["heads"] * o["head_width"], out_stddev)
        norm(block + "mlp_norm")
        linear(block + "mlp.in", (2 if gated else 1) * o["feed_forward"], WIDTH, INIT_STDDEV)
        linear(block + "mlp.out", WIDTH, o["feed_forward"], out_stddev)
    if o["norm_placement"] == "pre":
        norm("final_norm")
    if not o["tied_embeddings"]:
        parameters["output.weight"] = normal("output.weight", (VOCABULARY, WIDTH), INIT_STDDEV)
    return parameters


def documents_of(row):
    """Of each position of the row the number of its document; five tokens have each, but the first and the last."""
    return (torch.arange(CONTEXT) + 2 * row) // 5


def positions_of(o):
    """[B, T]: of a packed row they begin anew with each document."""
    positions = torch.arange(CONTEXT).repeat(BATCH, 1)
    if "is_packed" in o:
        positions = torch.stack([torch.minimum(p, (p + 2 * row) % 5) for row, p in enumerate(positions)])
    return positions


def add_halting_unit(parameters, prefix):
    parameters[prefix + "halting.weight"] = normal(prefix + "halting.weight", (1, WIDTH), INIT_STDDEV)
    parameters[prefix + "halting.bias"] = constant((1,), 1.0)


def sinusoids(first=0):
    position = first + torch.arange(CONTEXT, dtype=torch.float64)[:, None]
    angle = position / 10000.0 ** (torch.arange(0, WIDTH, 2, dtype=torch.float64) / WIDTH)
    return torch.stack((angle.sin(), angle.cos()), -1).reshape(CONTEXT, WIDTH)


def rotate(x, theta, stretched=None, positions=None):
    """RoPE of x [..., T, D], the first half of D with the second; by the frequencies of theta, or of another case."""
    half = x.shape[-1] // 2
    frequency, amplitude = theta ** (-torch.arange(half, dtype=torch.float64) / half), 1.0
    if stretched:
        frequency = torch.tensor(FREQUENCIES[stretched]["radians"], dtype=torch.float64)
        amplitude = FREQUENCIES[stretched]["amplitude"]
    if positions is None:
        positions = torch.arange(x.shape[-2])
    angle = positions[..., None] * frequency
    a, b = x[..., :half], x[..., half:]
    return amplitude * torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1)


def alibi_slopes(heads):
    power = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (h + 1) / power) for h in range(power)]
    between = [2.0 ** (-8 * (h + 1) / (2 * power)) for h in range(0, 2 * power, 2)]
    return torch.tensor((slopes + between)[:heads], dtype=torch.float64)


def activate(kind, x):
    if kind in ("swiglu", "geglu"):
        gate, up = x.chunk(2, -1)
        return (F.silu(gate) if kind == "swiglu" else F.gelu(gate)) * up
    if kind == "gelu_tanh":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
    return {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}[kind](x)


def run_loops(o, p, prefix, x, positions, blocks):
    """The state after the loops of a Universal Transformer, and the sum over positions of loops + remainder.

    `positions`, if any, are added to what enters every loop but the first, in which they are already."""
    loops = o.get("loops", 1)
    if loops == 1:
        return blocks(x), 0.0
    signals = sinusoids(first=1)
    if not o["halting"]:
        for loop in range(loops):
            x = blocks(x + signals[loop] + (positions if loop > 0 and positions is not None else 0.0))
        return x, 0.0
    mean, before = 0.0, torch.zeros(x.shape[:-1], dtype=torch.float64)
    running = torch.ones(x.shape[:-1], dtype=torch.bool)
    ponder = 0.0
    for loop in range(loops):
        entering = x + signals[loop] + (positions if loop > 0 and positions is not None else 0.0)
        probability = torch.sigmoid(F.linear(entering, p[prefix + "halting.weight"], p[prefix + "halting.bias"]))[..., 0]
        x = torch.where(running[..., None], blocks(entering), x)
        halts = running & ((before + probability > o["halting_threshold"]) | (loop + 1 == loops))
        remainder = 1.0 - before
        weight = torch.where(halts, remainder, probability) * running
        mean = mean + weight[..., None] * x
        ponder = ponder + running.sum() + (remainder * halts).sum()
        before = before + probability * (running & ~halts)
        running = running & ~halts
    return mean, ponder


def forward_loss(o, p, tokens, targets):
    heads, kv_heads, head_width = o["heads"], o["kv_heads"], o["head_width"]
    epsilon = o["norm_epsilon"]

    def linear(name, x):
        return F.linear(x, p[name + ".weight"], p.get(name + ".bias"))

    def norm(name, x):
        if o["norm"] == "layer":
            return F.layer_norm(x, (WIDTH,), p[name + ".weight"], p.get(name + ".bias"), epsilon)
        return x * torch.rsqrt((x ** 2).mean(-1, keepdim=True) + epsilon) * p[name + ".weight"]

    def attention(name, x):
        qkv = linear(name + ".qkv", x).view(BATCH, CONTEXT, heads + 2 * kv_heads, head_width).transpose(1, 2)
        q, k, v = qkv.split((heads, kv_heads, kv_heads), 1)
        if o["positions"] == "rope":
            q, k = (rotate(x, o["rope_theta"], o.get("stretched"), positions_of(o)[:, None]) for x in (q, k))
        k, v = (kv.repeat_interleave(heads // kv_heads, 1) for kv in (k, v))
        distance = torch.arange(CONTEXT)[:, None] - torch.arange(CONTEXT)
        scores = q @ k.transpose(-1, -2) / math.sqrt(head_width)
        if o["positions"] == "alibi":
            scores = scores - alibi_slopes(heads)[:, None, None] * distance
        hidden = distance < 0
        if o["window"] > 0:
            hidden = hidden | (distance >= o["window"])
        if "is_packed" in o:
            documents = torch.stack([documents_of(row) for row in range(BATCH)])[:, None]
            hidden = hidden | (documents[..., :, None] != documents[..., None, :])
        out = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
        return linear(name + ".out", out.transpose(1, 2).reshape(BATCH, CONTEXT, heads * head_width))

    def mlp(name, x):
        return linear(name + ".out", activate(o["activation"], linear(name + ".in", x)))

    def blocks(x):
        for layer in range(LAYERS):
            for sublayer, f in (("attention", attention), ("mlp", mlp)):
                name = f"blocks.{layer}.{sublayer}"
                if o["norm_placement"] == "pre":
                    x = x + f(name, norm(name + "_norm", x))
                else:
                    x = norm(name + "_norm", x + f(name, x))
        return x

    x = p["embedding.token"][tokens]
    positions = None
    if o["positions"] == "learned":
        positions = p["embedding.position"][positions_of(o)]
    if o["positions"] == "sinusoidal":
        x = x * math.sqrt(WIDTH)
        positions = sinusoids()[positions_of(o)]
    if positions is not None:
        x = x + positions
    x, ponder = run_loops(o, p, "", x, positions, blocks)
    if o["norm_placement"] == "pre":
        x = norm("final_norm", x)
    logits = x @ p["embedding.token" if o["tied_embeddings"] else "output.weight"].T
    return F.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1)) + PONDER_COST * ponder / targets.numel()


def token(step, row, position):
    """Two batches in turn: arithmetic progressions that depend on the row, with a disturbance."""
    return ((row + 2) * (position + step % 2) + position * position // 5) % VOCABULARY


def learning_rate(step):
    if step < WARMUP:
        return LEARNING_RATE * (step + 1) / WARMUP
    done = min(1.0, (step - WARMUP) / (STEPS - 1 - WARMUP))
    return MIN_LEARNING_RATE + (LEARNING_RATE - MIN_LEARNING_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def train(o):
    parameters = make_parameters(o)
    decaying = [v for v in parameters.values() if v.dim() > 1]
    others = [v for v in parameters.values() if v.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decaying, "weight_decay": WEIGHT_DECAY},
                                   {"params": others, "weight_decay": 0.0}],
                                  lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPSILON)
    losses, norms = [], []
    for step in range(STEPS):
        rows = torch.tensor([[token(step, r, t) for t in range(CONTEXT + 1)] for r in range(BATCH)])
        loss = forward_loss(o, parameters, rows[:, :-1], rows[:, 1:])
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
        # Adam makes steps of that noise.  It is left out.  (RoPE turns it, and softmax does see it.)
        if o["positions"] != "rope":
            keys = o["heads"] * o["head_width"]
            for name, v in parameters.items():
                if name.endswith("qkv.bias"):
                    v[keys:keys + o["kv_heads"] * o["head_width"]] = 0
        sums = {name: v.abs().sum().item() for name, v in parameters.items()}
    return {"options": o, "losses": losses, "gradient_norms": norms, "sums_of_magnitudes": sums}


def main():
    print(json.dumps({name: train(GPT2 | options) for name, options in MODELS.items()}, indent=1))


if __name__ == "__main__":
    main()
