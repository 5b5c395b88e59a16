"""Makes the golden files of tokenizer_huggingface_test.cpp and tokenizer_sentencepiece_test.cpp.

    python make_tokenizers.py FOLDER [NUMBER-OF-STRINGS [SEED]]

Trains small tokenizers, NAME.json and NAME.model, and writes NAME_cases.json: pairs of a string and the tokens that
Hugging Face's `tokenizers` (without special tokens) or Google's `sentencepiece` give for it.  The files beside this
script are made by `python make_tokenizers.py .` with tokenizers 0.23.3 and sentencepiece 0.2.3.  Other numbers and seeds
give as much to compare as one likes.
"""

import io
import json
import pathlib
import random
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + REST
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + REST

WORDS = """the of and sea ship oar row trireme don't can't we'll they've I'm she'd it's its THE IT'S DON'T rowers'
naïve café cafe\u0301 Zürich schön straße Ελλάδα τριήρης корабль море 日本語 東京 中文 船 한국어 바다 שלום مرحبا
नमस्ते สวัสดี 2024 1984 3.14159 1,000,000 ١٢٣ Ⅷ ½ ² 🚢 👩‍👩‍👧 🇩🇪 👍🏽 e\u0301\u0323 ﬁ Å Å ŉ ſ K https://a.b/c?d=e x=y+z;
""".split()
SPACES = [" ", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n  ", "\u00a0", "\u3000", "\u2003", "\u0085",
          "\u180e", "\u200b", "\x0b", "\x1c"]
MARKS = list(".,;:!?'\"()[]{}<>|/\\@#$%^&*-_=+~`") + ["...", "--", "''", "<|", "|>", "—", "…", "«", "。", "、", "'S", "'lL", "'ſ"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|pad|>", "  <|mask|>  ", "<|mask|>", "word<|one|>", "<|one|>", " <|one|> ", "<|two|>",
           "<|two|>é", "<|endof", "text|>", "né\u0301e"]


def any_character(rng):
    while True:
        limit = rng.choice([0x80, 0x250, 0x3000, 0x10000, 0x32400, 0x110000])
        code = rng.randrange(limit)
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)


def string(rng):
    """Words, white space, digits, marks, emoji, added tokens, and characters from all of Unicode."""
    parts = []
    chaos = rng.random()
    for _ in range(rng.choice([1, 3, 10, 30])):
        draw = rng.random()
        if draw < 0.3 * chaos:
            parts.append(any_character(rng))
        elif draw < 0.5:
            parts.append(rng.choice(WORDS))
        elif draw < 0.75:
            parts.append(rng.choice(SPACES))
        elif draw < 0.85:
            parts.append(rng.choice(MARKS))
        elif draw < 0.92:
            parts.append(str(rng.randrange(10 ** rng.randrange(1, 9))))
        elif draw < 0.95:
            parts.append(rng.choice(SPECIAL))
        else:
            parts.append(rng.choice(WORDS)[:2] * rng.randrange(1, 60))
    return "".join(parts)


def corpus():
    rng = random.Random(1)
    return ["".join(rng.choice(WORDS) + rng.choice(SPACES[:12]) for _ in range(50)) for _ in range(400)]


def trained(normalizer, pre_tokenizer, vocab_size, special, added, ignore_merges):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(added)
    if not ignore_merges:
        return tokenizer
    model = json.loads(tokenizer.to_str())
    # A token that no merges make: without "ignore_merges" it is never found.
    model["model"]["ignore_merges"] = True
    model["model"]["merges"] = [merge for merge in model["model"]["merges"] if "".join(merge) != "Ġtrireme"]
    return Tokenizer.from_str(json.dumps(model))


def tokenizers():
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def split(pattern):
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])

    mask = AddedToken("<|mask|>", lstrip=True, rstrip=True, special=True)
    one = AddedToken("<|one|>", single_word=True, normalized=False)
    two = AddedToken("<|two|>", normalized=True)
    composed = AddedToken("n\u00e9e", normalized=True)
    yield "gpt2", trained(None, pre_tokenizers.ByteLevel(add_prefix_space=False), 800, ["<|endoftext|>"],
                          [mask, one, two], False)
    yield "llama3", trained(None, split(LLAMA3), 900, ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>"], [one], True)
    yield "qwen2", trained(normalizers.NFC(), split(QWEN2), 800, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                           [two, composed], False)
    yield "digits", trained(None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                            pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                            600, ["<|endoftext|>"], [], False)


def train_sentencepiece(folder, name, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_writer=model, vocab_size=400,
                                             hard_vocab_limit=False, minloglevel=2, **options)
    (folder / f"{name}.model").write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def sentencepiece_models(folder):
    """As T5 has them, with three rules in place of NFKC's; and as Llama 2 has them."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write("FB01\t66 69\nA\t20\nA0\t20\n")
        rules.flush()
        yield "unigram", train_sentencepiece(folder, "unigram", normalization_rule_tsv=rules.name)
    yield "llama2", train_sentencepiece(folder, "llama2", model_type="bpe", normalization_rule_name="identity",
                                        remove_extra_whitespaces=False, byte_fallback=True)
    yield "joined", train_sentencepiece(folder, "joined", split_by_whitespace=False, normalization_rule_name="identity")


def write_cases(folder, name, strings, encode):
    lines = ",\n".join(json.dumps([text, encode(text)], separators=(",", ":")) for text in strings)
    (folder / f"{name}_cases.json").write_text("[\n" + lines + "\n]\n")


def main():
    folder = pathlib.Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    for name, tokenizer in tokenizers():
        text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n")
        write_cases(folder, name, [string(rng) for _ in range(count)],
                    lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
    for name, model in sentencepiece_models(folder):
        write_cases(folder, name, [string(rng) for _ in range(count)], model.encode)


if __name__ == "__main__":
    main()
