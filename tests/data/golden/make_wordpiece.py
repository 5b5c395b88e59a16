"""Makes the golden files of tokenizer_wordpiece_test.cpp: bert.json and bert_cased.json, small WordPiece tokenizers, and
NAME_cases.json as make_tokenizers.py has them, whose strings these are.

    python make_wordpiece.py FOLDER [NUMBER-OF-STRINGS [SEED]]

The files beside this script are made by `python make_wordpiece.py .` with tokenizers 0.23.3.
"""
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from make_tokenizers import corpus, string, write_cases

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def trained(normalizer, size):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def main():
    folder = pathlib.Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 5)
    tokenizers = {"bert": trained(normalizers.BertNormalizer(), 400),
                  "bert_cased": trained(normalizers.BertNormalizer(lowercase=False), 400)}
    for name, tokenizer in tokenizers.items():
        text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n")
        texts = [string(rng) for _ in range(count)]
        texts[:3] = ["[CLS] A [MASK] sails. [SEP]", "a" * 101 + " " + "a" * 100, "\u0130stanbul \u4e00\u4e8c \ufffdx\u0000y"]
        write_cases(folder, name, texts, lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


if __name__ == "__main__":
    main()
