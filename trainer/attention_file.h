// The raw numbers of a reading, as HDF5.
//
//   KIND/layer_N        [H, T, S] float32: probabilities, by head, query and key
//   KIND/query_tokens   [T] int32, and KIND/query_texts [T] UTF-8 text
//   KIND/key_tokens     [S] int32, and KIND/key_texts [S]
//   KIND/entropy        [L, H] float32: mean over the queries, in nats
//   KIND/distance       [L, H] float32: mean distance of query and key, in tokens
//   loss                [1] float32: of the text, or the target, in nats per token
//
// for each KIND of encoder, decoder and cross that the model has; layers are numbered from 0.  Beside each
// array stands its checksum, NAME_xxh3 (data/hdf5_file.h).  Attributes of the file: format, checkpoint.
#pragma once

#include <filesystem>
#include <string>

#include "trainer/attention_maps.h"

namespace trireme {

// Whole or not at all; replaces an earlier file.
void write_attention_file(const std::filesystem::path& path, const AttentionReading& reading,
                          const std::string& checkpoint);

}  // namespace trireme
