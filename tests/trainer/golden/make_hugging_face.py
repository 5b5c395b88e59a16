"""Makes the folders of hugging_face/ beside this script: tiny models with random weights, as `transformers` saves them,
each with expected.json, the tokens of a text and the logits that the package gives for it in float32.

    python make_hugging_face.py [FOLDER]

The committed ones are made with transformers 5.23.0 and torch 2.15.0.
"""
import json
import pathlib
import sys

import torch
import transformers

VOCABULARY, TOKENS = 61, 9


def llama(**other):
    return transformers.LlamaConfig(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=20, num_hidden_layers=2,
                                    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32,
                                    rms_norm_eps=1e-5, pad_token_id=None, bos_token_id=None, eos_token_id=None, **other)


def qwen2(**other):
    return transformers.Qwen2Config(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                    num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=32,
                                    bos_token_id=None, eos_token_id=None, **other)


def bert(**other):
    return transformers.BertConfig(vocab_size=VOCABULARY, hidden_size=12, intermediate_size=20, num_hidden_layers=2,
                                   num_attention_heads=3, max_position_embeddings=16, pad_token_id=None, **other)


def gpt2(**other):
    return transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=12, n_layer=2, n_head=3,
                                   bos_token_id=None, eos_token_id=None, **other)


# Name: model, type of the stored weights, bytes of a shard.
MODELS = {
    "gpt2": lambda: (transformers.GPT2LMHeadModel(gpt2(activation_function="gelu_new")), torch.float32, None),
    # As the first GPT-2 files are: names without a prefix, which is the model without its output layer.
    "gpt2_bare": lambda: (transformers.GPT2Model(gpt2(activation_function="gelu", n_inner=20)), torch.float32, None),
    "bert": lambda: (transformers.BertForMaskedLM(bert(hidden_act="gelu")), torch.float32, None),
    # Of which only the hidden states are asked for, and the pooler is not kept.
    "bert_bare": lambda: (transformers.BertModel(bert(hidden_act="relu", type_vocab_size=1)), torch.float32, None),
    "llama": lambda: (transformers.LlamaForCausalLM(llama(head_dim=6, rope_theta=500000.0, tie_word_embeddings=False)),
                      torch.float32, 6000),
    "llama_biases": lambda: (transformers.LlamaForCausalLM(llama(attention_bias=True, mlp_bias=True, hidden_act="gelu",
                                                                 tie_word_embeddings=True)), torch.float16, None),
    "llama_stretched": lambda: (transformers.LlamaForCausalLM(llama(tie_word_embeddings=True, rope_parameters={
        "rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16})), torch.float32, None),
    "qwen2_yarn": lambda: (transformers.Qwen2ForCausalLM(qwen2(tie_word_embeddings=True, rope_parameters={
        "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 8})),
                           torch.float32, None),
    "qwen2": lambda: (transformers.Qwen2ForCausalLM(qwen2(tie_word_embeddings=True)), torch.bfloat16, None),
    "qwen2_window": lambda: (transformers.Qwen2ForCausalLM(qwen2(tie_word_embeddings=False, use_sliding_window=True,
                                                                 sliding_window=3, max_window_layers=0)),
                             torch.float32, None),
}


def randomize(model):
    """Biases and norms too, which a fresh model has at 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if "norm" in name.lower() or ".ln_" in name else 0.0
            mean = 0.0 if name.endswith("bias") else mean
            parameter.copy_(mean + 0.25 * torch.randn(parameter.shape, generator=generator))


def logits_of(kind, folder, tokens):
    """In float32, of the weights as they are stored.  Loaded anew: .to(dtype) rounds RoPE's frequencies, too."""
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        if isinstance(model, transformers.BertPreTrainedModel):
            out = model(input_ids=tokens)
            return out.last_hidden_state if isinstance(model, transformers.BertModel) else out.logits
        out = model(input_ids=tokens, use_cache=False)
        if isinstance(model, transformers.GPT2Model):
            return out.last_hidden_state @ model.wte.weight.T
        return out.logits


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "hugging_face")
    for name, make in MODELS.items():
        model, dtype, shard_bytes = make()
        randomize(model)
        model = model.to(dtype)
        model.save_pretrained(folder / name, max_shard_size=shard_bytes or "1GB")
        (folder / name / "generation_config.json").unlink(missing_ok=True)
        tokens = (torch.arange(TOKENS) ** 2 * 7 + 3)[None] % VOCABULARY
        logits = logits_of(type(model), folder / name, tokens)[0]
        rows = [[float(f"{x:.7g}") for x in row] for row in logits.tolist()]
        (folder / name / "expected.json").write_text(
            json.dumps({"tokens": tokens[0].tolist(), "logits": rows}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
