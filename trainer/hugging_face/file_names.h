// What the files of a Hugging Face folder are called.
#pragma once

namespace trireme {

inline constexpr const char* kModelConfigFile = "config.json";
inline constexpr const char* kWeightsFile = "model.safetensors";
inline constexpr const char* kWeightsIndexFile = "model.safetensors.index.json";
inline constexpr const char* kTokenizerConfigFile = "tokenizer_config.json";
inline constexpr const char* kFastTokenizerFile = "tokenizer.json";
inline constexpr const char* kSentencePieceFile = "tokenizer.model";
inline constexpr const char* kVocabularyFile = "vocab.txt";  // of BERT

}  // namespace trireme
