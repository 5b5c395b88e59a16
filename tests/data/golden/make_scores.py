#!/usr/bin/env python3
"""Makes scores.json, which tests/data/scores_test.cpp reads: corpora scored by sacrebleu.

    pip install sacrebleu==2.6.0
    python3 tests/data/golden/make_scores.py
"""
import json
import pathlib
import random

import sacrebleu

WORDS = """the of and a to in is it that was for on are as with his they at be this from I have or by one had not but what all
der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie
größer Übung naïve café Ωμέγα привет мир 日本語 学习 שלום 😀 👩‍👧 é""".split()
MARKS = list("""!"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~""") + ["&quot;", "&amp;", "&lt;", "&gt;", "&amp;lt;", "<skipped>", "-\n",
         "...", "--", "„", "“", "…", "–", "«", "½", "٣", "１"]
SPACES = [" "] * 12 + ["  ", "\t", "\n", "\u00a0", "\u2009", "\u3000", "\u0085", "\u2028", "\u200b", "\u001c", "\r"]
NUMBERS = ["1", "42", "3.14", "1,000.50", "2-3", "10.", ".5", "1990-", "7,", "v1.2.3"]

PROSE = [
    ("The cat sat on the mat.", "A cat was sitting on the mat."),
    ("It costs 1,299.50 dollars, doesn't it?", "It costs $1,299.50, does it not?"),
    ("Die Übung dauert von 10-12 Uhr.", "Die Übung dauert 10–12 Uhr."),
    ("He said: \"No!\" and left ...", "He said \"no\", and left..."),
    ("Press Ctrl+Alt+Del, then choose 'Restart' (or 'Shut down').", "Press Ctrl+Alt+Del and choose 'Restart' or 'Shut down'."),
    ("日本語の文 は 空白 が少ない。", "日本語の文は空白が少ない。"),
    ("Well-known state-of-the-art e-mail address: a.b@c.de/x_y", "Well known, state-of-the-art e-mail: a.b@c.de/x_y"),
    ("", "An empty hypothesis."),
    ("An empty reference.", ""),
    ("one", "one"),
]


def fuzzed(rng, words):
    text = ""
    for _ in range(words):
        kind = rng.random()
        text += rng.choice(WORDS) if kind < 0.7 else rng.choice(NUMBERS) if kind < 0.8 else rng.choice(MARKS)
        if rng.random() < 0.85:
            text += rng.choice(SPACES)
    return text


def changed(rng, text):
    """A hypothesis for the text: some of its words dropped, swapped, replaced."""
    words = text.split(" ")
    for _ in range(rng.randrange(1 + len(words) // 3)):
        place = rng.randrange(len(words))
        words[place] = rng.choice([words[rng.randrange(len(words))], "", fuzzed(rng, 1)])
    return " ".join(words)


def case_of(name, pairs):
    hypotheses, references = map(list, zip(*pairs))
    bleu = sacrebleu.BLEU()
    chrf = sacrebleu.CHRF()
    score = bleu.corpus_score(hypotheses, [references])
    return {
        "name": name,
        "hypotheses": hypotheses,
        "references": references,
        "tokenized": [bleu.tokenizer(text.rstrip()) for text in hypotheses],
        "bleu": score.score,
        "precisions": score.precisions,
        "brevity_penalty": score.bp,
        "hypothesis_tokens": score.sys_len,
        "reference_tokens": score.ref_len,
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
    }


def fuzzed_pairs(rng, count, words):
    references = [fuzzed(rng, rng.randrange(words + 1)) for _ in range(count)]
    return [(changed(rng, text) if rng.random() < 0.9 else text, text) for text in references]


def main():
    rng = random.Random(4)
    cases = [case_of("prose", PROSE)]
    cases += [case_of(f"prose {i}", [pair]) for i, pair in enumerate(PROSE)]
    cases += [case_of(f"fuzzed {i}", fuzzed_pairs(rng, 1 + i, 4 + 2 * i)) for i in range(12)]
    cases += [case_of(f"one short sentence {i}", fuzzed_pairs(rng, 1, 6)) for i in range(25)]
    cases += [case_of("nothing in common", [("aa bb cc dd ee", "ff gg hh ii jj")])]
    cases += [case_of("smoothed twice", [("the of and to in a", "the of xx to yy zz")])]
    path = pathlib.Path(__file__).with_name("scores.json")
    path.write_text(json.dumps(cases, indent=0) + "\n")
    print(path, path.stat().st_size, "bytes,", len(cases), "corpora")


main()
