#!/usr/bin/python3
"""Writes rope_frequencies.json: the frequencies and amplitude that `transformers` makes of a config's rope_scaling.

Each case is named in the words of Trireme's config.  Needs torch and transformers (4.43 or later):
./make_rope_frequencies.py > rope_frequencies.json
"""
import json

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CASES = {
    "linear": {"rope_scaling": "linear", "rope_factor": 2.5, "rope_theta": 10000.0, "head_width": 20},
    "llama3_1": {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_context": 8192, "rope_theta": 500000.0,
                 "head_width": 128},
    "llama3_2": {"rope_scaling": "llama3", "rope_factor": 32.0, "rope_original_context": 8192, "rope_theta": 500000.0,
                 "head_width": 64},
    "llama3_bounds": {"rope_scaling": "llama3", "rope_factor": 3.0, "rope_original_context": 100, "rope_theta": 300.0,
                      "rope_low_frequency_factor": 0.5, "rope_high_frequency_factor": 9.5, "head_width": 14},
    "yarn_qwen2": {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_original_context": 32768, "rope_theta": 1000000.0,
                   "head_width": 128},
    "yarn_bounds": {"rope_scaling": "yarn", "rope_factor": 16.0, "rope_original_context": 2048, "rope_theta": 10000.0,
                    "rope_beta_fast": 20.5, "rope_beta_slow": 2.25, "rope_attention_factor": 0.75, "head_width": 18},
    # The ramp begins below the first pair, and ends beyond the last.
    "yarn_short": {"rope_scaling": "yarn", "rope_factor": 1.5, "rope_original_context": 16, "rope_theta": 20.0,
                   "head_width": 6},
    # It begins where it ends.
    "yarn_step": {"rope_scaling": "yarn", "rope_factor": 2.0, "rope_original_context": 6, "rope_theta": 10000.0,
                  "head_width": 16},
}
THEIRS = {"rope_factor": "factor", "rope_original_context": "original_max_position_embeddings",
          "rope_low_frequency_factor": "low_freq_factor", "rope_high_frequency_factor": "high_freq_factor",
          "rope_beta_fast": "beta_fast", "rope_beta_slow": "beta_slow", "rope_attention_factor": "attention_factor"}
LLAMA3_DEFAULTS = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


def frequencies(case):
    kind = case["rope_scaling"]
    scaling = (LLAMA3_DEFAULTS if kind == "llama3" else {}) | {THEIRS[k]: v for k, v in case.items() if k in THEIRS}
    # Before version 4.50 yarn takes the original context from that of the model.
    context = case.get("rope_original_context", 2048)
    config = LlamaConfig(hidden_size=4 * case["head_width"], num_attention_heads=4, rope_theta=case["rope_theta"],
                         max_position_embeddings=context, rope_scaling={"rope_type": kind} | scaling)
    radians, amplitude = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    return {"options": case, "radians": radians.tolist(), "amplitude": amplitude}


def main():
    print(json.dumps({name: frequencies(case) for name, case in CASES.items()}, indent=None).replace("}, ", "},\n"))


if __name__ == "__main__":
    main()
