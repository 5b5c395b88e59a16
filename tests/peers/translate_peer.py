#!/usr/bin/python3
"""PyTorch's nn.Transformer, trained on what `trireme train` trains an encoder_decoder on: to set beside it.

    translate_peer.py CONFIG [--data DATA] [--steps N] [--output FOLDER]

Of the config it takes the size, dropout, batches, optimizer, schedule, smoothing and number of updates.  It reads the
same shards and deals out the same batches in the same order, draws first values of the same spread, and translates
the validation split with the same beam and length penalty.  What nn.Transformer doesn't have, it has in its own way:
LayerNorm and biases, ReLU in place of a gated activation, with as many weights, and sines for positions.  Writes
FOLDER/{hypotheses,references}.txt and, where there is a `sacrebleu` command, prints its BLEU.

Needs torch, numpy, h5py: Debian's python3-torch, python3-h5py, and libopenblas0-pthread, for over the plain libblas3
torch is some twenty times as slow: the speed of its matrix products is measured and printed, so that nobody compares
with that.  Memory that malloc gives back costs it time, too: set MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ to
8589934592.
"""
import argparse
import json
import math
import pathlib
import shutil
import subprocess
import time
import tomllib

import h5py
import numpy
import torch
import torch.nn.functional as F

MASK = (1 << 64) - 1
ALPHA, MAX_RATIO = 0.6, 2.0  # of the beam: `trireme translate`'s defaults
IGNORED = -100


# --- Data: the shards, and PairEpoch's batches (data/pair_epoch.cpp, data/random.h).

class Pairs:
    """One split: sources and targets without ends."""

    def __init__(self, folder, split):
        manifest = json.loads((folder / "manifest.json").read_text())
        self.pairs = []
        for shard in manifest["splits"][split]["shards"]:
            with h5py.File(folder / shard["file"]) as file:
                tokens = file["tokens"][:].astype(numpy.int64)
                lengths = numpy.stack([file["source_lengths"][:], file["target_lengths"][:]], 1).astype(numpy.int64)
            parts = numpy.split(tokens, numpy.cumsum(lengths.reshape(-1))[:-1])
            self.pairs += list(zip(parts[::2], parts[1::2]))

    def longer_side(self, i):
        return 1 + max(len(self.pairs[i][0]), len(self.pairs[i][1]))

    def target_tokens(self, rows):
        return sum(len(self.pairs[i][1]) + 1 for i in rows)

    def batch(self, rows, end):
        """sources [B, S], inputs and outputs of the decoder [B, T]; padded sources are -1."""
        def padded(sequences, value):
            return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(s) for s in sequences], True, value)
        e = numpy.array([end])
        pairs = [self.pairs[i] for i in rows]
        return (padded([numpy.concatenate([s, e]) for s, _ in pairs], -1),
                padded([numpy.concatenate([e, t]) for _, t in pairs], end),
                padded([numpy.concatenate([t, e]) for _, t in pairs], IGNORED))


def mixed(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def random_at(key, place):
    return mixed(mixed(key) ^ mixed(~place & MASK))


def shuffle(things, key):
    for i in range(len(things), 1, -1):
        j = random_at(key, i) % i
        things[i - 1], things[j] = things[j], things[i - 1]


def cell_of(source, target):
    length = 1 + max(source, target)
    low_bits = max(0, length.bit_length() - 5)
    strip = low_bits * 16 + (length >> low_bits)
    difference = int((source - target) / (1 << low_bits))
    return (223 - strip) * 128 + 64 + (difference if strip % 2 == 0 else -difference)


def epoch_batches(data, batch_tokens, seed, epoch):
    key = random_at(seed, epoch)
    order = list(range(len(data.pairs)))
    shuffle(order, key)
    order.sort(key=lambda i: cell_of(len(data.pairs[i][0]), len(data.pairs[i][1])))  # stable
    begins, longest = [0], 0
    for i, pair in enumerate(order):
        length = data.longer_side(pair)
        longest = max(longest, length)
        if (i + 1 - begins[-1]) * longest > batch_tokens:
            begins.append(i)
            longest = length
    begins.append(len(order))
    if len(begins) > 2 and 2 * (begins[-1] - begins[-2]) < begins[-2] - begins[-3]:
        begins[-2] = (begins[-3] + begins[-1] + 1) // 2
    batches = [order[a:b] for a, b in zip(begins, begins[1:])]
    shuffle(batches, mixed(key))
    return batches


def batches_without_end(data, batch_tokens, seed):
    epoch = 0
    while True:
        yield from epoch_batches(data, batch_tokens, seed, epoch)
        epoch += 1


def like_lengths(data, tokens):
    """The whole split, in batches of at most so many tokens a side."""
    batches = [[]]
    for i in sorted(range(len(data.pairs)), key=lambda i: -data.longer_side(i)):
        if batches[-1] and (len(batches[-1]) + 1) * data.longer_side(batches[-1][0]) > tokens:
            batches.append([])
        batches[-1].append(i)
    return batches


class Tokenizer:
    """Tokens to text, of kinds `byte` and `bpe`."""

    def __init__(self, path):
        file = json.loads(path.read_text())
        if file["kind"] not in ("byte", "bpe"):
            raise SystemExit(f"{path}: a tokenizer of kind {file['kind']}; this script knows byte and bpe")
        self.end = file["end_of_document"]
        self.bytes = [bytes([i]) for i in range(256)] + [b""]
        for left, right in file.get("merges", []):
            self.bytes.append(self.bytes[left] + self.bytes[right])

    def text(self, tokens):
        return b"".join(self.bytes[t] for t in tokens).decode(errors="replace").replace("\n", " ")


# --- Model.

class Translator(torch.nn.Module):
    def __init__(self, model, vocabulary):
        super().__init__()
        width = self.width = model["width"]
        gated = model.get("activation") in ("swiglu", "geglu")
        feed_forward = model["feed_forward"] * 3 // 2 if gated else model["feed_forward"]
        encoder_layers = model.get("encoder_layers") or model["layers"]
        self.dropout = torch.nn.Dropout(model.get("dropout", 0.0))
        self.embedding = torch.nn.Embedding(vocabulary, width)  # of sources, targets and the output
        self.transformer = torch.nn.Transformer(
            width, model["heads"], encoder_layers, model["layers"], feed_forward, self.dropout.p, F.relu,
            batch_first=True, norm_first=model.get("norm_placement", "pre") == "pre")
        if model.get("norm_placement", "pre") == "post":  # the paper ends without
            self.transformer.encoder.norm = self.transformer.decoder.norm = None
        attention_dropout = model.get("attention_dropout", -1.0)
        for layer in (*self.transformer.encoder.layers, *self.transformer.decoder.layers):
            layer.dropout.p = 0.0  # amid the feed-forward network, where the config has none
            for attention in (layer.self_attn, getattr(layer, "multihead_attn", layer.self_attn)):
                attention.dropout = self.dropout.p if attention_dropout < 0 else attention_dropout
        self.initialize(model.get("init_stddev", 0.02), encoder_layers, model["layers"])
        position = torch.arange(model["context"])[:, None]
        rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        self.register_buffer("sines", torch.stack([(position * rate).sin(), (position * rate).cos()], 2).flatten(1))

    def initialize(self, stddev, encoder_layers, layers):
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                into_residual = name.endswith(("out_proj.weight", "linear2.weight"))
                branches = 2 * encoder_layers if ".encoder." in name else 3 * layers
                torch.nn.init.normal_(parameter, 0.0, stddev / math.sqrt(branches) if into_residual else stddev)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(parameter)

    def embed(self, tokens):
        return self.dropout(self.embedding(tokens) * math.sqrt(self.width) + self.sines[:tokens.shape[1]])

    def encode(self, sources):
        padding = sources < 0
        return self.transformer.encoder(self.embed(sources.clamp(min=0)), src_key_padding_mask=padding), padding

    def decode(self, inputs, memory, padding):
        causal = torch.full((inputs.shape[1],) * 2, -math.inf).triu(1)
        return self.transformer.decoder(self.embed(inputs), memory, causal, memory_key_padding_mask=padding)

    def logits(self, hidden):
        return F.linear(hidden, self.embedding.weight)

    def forward(self, sources, inputs):
        return self.logits(self.decode(inputs, *self.encode(sources)))


# --- Training.

def learning_rate_at(optim, step, steps):
    """trainer/optim/lr_schedule.cpp"""
    peak, warmup, schedule = optim["learning_rate"], optim.get("warmup_steps", 0), optim.get("schedule", "cosine")
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "inverse_sqrt":
        return peak * math.sqrt(max(1, warmup) / (step + 1))
    if schedule == "constant":
        return peak
    done = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    fall = peak - optim.get("min_learning_rate", 0.0)
    return peak - fall * (done if schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * done)))


def make_optimizer(model, optim):
    parameters, decay = list(model.parameters()), optim.get("weight_decay", 0.1)
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
              {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(optim.get("beta1", 0.9), optim.get("beta2", 0.95)),
                             eps=optim.get("epsilon", 1e-8))


def validation_loss(model, data, end):
    model.eval()
    total = 0.0
    with torch.no_grad():
        for rows in like_lengths(data, 4096):
            sources, inputs, outputs = data.batch(rows, end)
            total += F.cross_entropy(model(sources, inputs).flatten(0, 1), outputs.flatten(), reduction="sum").item()
    model.train()
    return total / data.target_tokens(range(len(data.pairs)))


def train(model, config, training, validation, end, steps, average):
    """Returns the parameters of the last `average` checkpoints that the config would save."""
    optim, train_config = config["optim"], config["train"]
    optimizer = make_optimizer(model, optim)
    smoothing, clip = train_config.get("label_smoothing", 0.0), optim.get("grad_clip", 1.0)
    every = config.get("checkpoint", {}).get("every", 100)
    log_every, eval_every = train_config.get("log_every", 10), train_config.get("eval_every", 100)
    batches = batches_without_end(training, train_config["batch_tokens"], config["run"].get("seed", 0))
    saved, seconds, logged_seconds, logged_step = [], 0.0, 0.0, 0
    model.train()
    for step in range(1, steps + 1):
        begin = time.perf_counter()
        sources, inputs, outputs = training.batch(next(batches), end)
        logits = model(sources, inputs).flatten(0, 1)
        objective = F.cross_entropy(logits, outputs.flatten(), label_smoothing=smoothing)
        optimizer.zero_grad()
        objective.backward()
        if clip > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(optim, step - 1, steps)
        optimizer.step()
        seconds += time.perf_counter() - begin
        if step % log_every == 0 or step == steps:
            with torch.no_grad():
                loss = F.cross_entropy(logits, outputs.flatten()).item()
            print(f"step {step}/{steps}  loss {loss:.4f}  objective {objective.item():.4f}  "
                  f"{(seconds - logged_seconds) / (step - logged_step):.3f} s per update", flush=True)
            logged_seconds, logged_step = seconds, step
        if step % every == 0 or step == steps:
            saved = (saved + [{k: v.clone() for k, v in model.state_dict().items()}])[-average:]
        if (eval_every > 0 and step % eval_every == 0) or step == steps:
            print(f"step {step}  validation loss {validation_loss(model, validation, end):.4f}", flush=True)
    print(f"{steps} updates in {seconds:.1f} s, {seconds / steps:.3f} s per update")
    return saved


def matmul_gflops():
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begin)
    return 2 * 1024 ** 3 / best / 1e9


# --- Translation.

def beam_search(model, sources, end, beam, context):
    """A sentence is done when no live hypothesis could become better than its best finished one."""
    memory, padding = model.encode(sources)
    batch = len(sources)
    memory, padding = memory.repeat_interleave(beam, 0), padding.repeat_interleave(beam, 0)
    longest = [min(context, int(MAX_RATIO * n + 10)) for n in (sources >= 0).sum(1).tolist()]
    tokens = torch.full((batch * beam, 1), end)
    scores = torch.full((batch, beam), -math.inf)
    scores[:, 0] = 0.0
    best = [(-math.inf, [])] * batch
    open_rows = list(range(batch))  # sentences that are not done, by their place in the tensors

    def penalty(n):
        return ((5.0 + n) / 6.0) ** ALPHA

    while open_rows:
        length = tokens.shape[1]  # with the next token, its end counted
        hidden = model.decode(tokens, memory, padding)[:, -1]
        log_p = F.log_softmax(model.logits(hidden), -1).view(len(open_rows), beam, -1)
        total = scores[:, :, None] + log_p
        # An end counts if it is among the best as many as the beam is wide, or must come.
        followed = total.flatten(1).topk(beam).values[:, -1:]
        must_end = torch.tensor([[length == longest[sentence]] for sentence in open_rows])
        ends = torch.where(must_end | (total[:, :, end] >= followed), total[:, :, end], torch.tensor(-math.inf))
        ended = (ends / penalty(length)).max(1)
        for place, sentence in enumerate(open_rows):
            if ended.values[place].item() > best[sentence][0]:
                row = place * beam + ended.indices[place].item()
                best[sentence] = (ended.values[place].item(), tokens[row, 1:].tolist())
        total[:, :, end] = -math.inf
        scores, flat = total.flatten(1).topk(beam)
        parents, words = flat // log_p.shape[2], flat % log_p.shape[2]
        rows = (parents + torch.arange(len(open_rows))[:, None] * beam).flatten()
        tokens = torch.cat([tokens[rows], words.view(-1, 1)], 1)
        hopes = [scores[place, 0].item() / penalty(longest[sentence]) for place, sentence in enumerate(open_rows)]
        keep = [place for place, sentence in enumerate(open_rows)
                if length < longest[sentence] and hopes[place] > best[sentence][0]]
        open_rows = [open_rows[place] for place in keep]
        kept = torch.tensor([place * beam + i for place in keep for i in range(beam)], dtype=torch.long)
        tokens, memory, padding, scores = tokens[kept], memory[kept], padding[kept], scores[keep]
    return [found for _, found in best]


def translate_all(model, data, end, beam, context):
    model.eval()
    found = [[]] * len(data.pairs)
    with torch.no_grad():
        for rows in like_lengths(data, 1024):
            for row, translation in zip(rows, beam_search(model, data.batch(rows, end)[0], end, beam, context)):
                found[row] = translation
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("config", type=pathlib.Path)
    arguments.add_argument("--data", type=pathlib.Path, help="data.path of the config, if not given")
    arguments.add_argument("--steps", type=int, help="train.steps of the config, if not given")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--average", type=int, default=1, help="average so many last checkpoints")
    arguments.add_argument("--beam", type=int, default=4)
    arguments.add_argument("--output", type=pathlib.Path, help="where translations go; without, none are made")
    arguments.add_argument("--warmup-steps", type=int, help="optim.warmup_steps of the config, if not given")
    options = arguments.parse_args()

    config = tomllib.loads(options.config.read_text())
    folder = options.data or pathlib.Path(config["data"]["path"])
    torch.set_num_threads(options.threads)
    torch.manual_seed(config["run"].get("seed", 0))
    tokenizer = Tokenizer(folder / "tokenizer.json")
    training, validation = Pairs(folder, "train"), Pairs(folder, "validation")
    model = Translator(config["model"], len(tokenizer.bytes))
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(training.pairs)} pairs, "
          f"{options.threads} threads, matrix products at {matmul_gflops():.0f} GFLOP/s", flush=True)
    steps = options.steps or config["train"].get("steps", 1000)
    if options.warmup_steps is not None:
        config["optim"]["warmup_steps"] = options.warmup_steps
    saved = train(model, config, training, validation, tokenizer.end, steps, options.average)
    if options.output is None:
        return
    model.load_state_dict({k: sum(state[k] for state in saved) / len(saved) for k in saved[-1]})
    print(f"average of {len(saved)}: validation loss {validation_loss(model, validation, tokenizer.end):.4f}")
    found = translate_all(model, validation, tokenizer.end, options.beam, config["model"]["context"])
    options.output.mkdir(parents=True, exist_ok=True)
    texts = {"hypotheses": found, "references": [target.tolist() for _, target in validation.pairs]}
    for name, lines in texts.items():
        (options.output / f"{name}.txt").write_text("".join(tokenizer.text(line) + "\n" for line in lines))
    command = ["sacrebleu", str(options.output / "references.txt"), "-i", str(options.output / "hypotheses.txt"),
               "-m", "bleu", "chrf"]
    print(" ".join(command), flush=True)
    if shutil.which(command[0]):
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
