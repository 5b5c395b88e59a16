// What reading, writing and tokenizing cost.
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "data/durable_file.h"
#include "data/loader.h"
#include "data/prepare.h"
#include "data/token_dataset.h"
#include "data/tokenizer/bpe.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"

namespace trireme {
namespace {

constexpr std::int64_t kContext = 1024;

// 64 Mi tokens of bytes in four shards: uint16.
const std::string& prepared_folder() {
  static const TempDir dir;
  static const std::string folder = [] {
    const std::string piece = made_up_prose(std::size_t{1} << 22, 1);
    std::string text;
    for (int i = 0; i < 16; ++i) text += piece;
    write_durably(dir / "text.txt", text);
    PrepareOptions options;
    options.inputs = {dir / "text.txt"};
    options.output = dir / "prepared";
    options.tokenizer = "byte";
    options.shard_tokens = std::int64_t{1} << 24;
    prepare(options, [](const PrepareProgress&) {});
    return options.output;
  }();
  return folder;
}

void random_row(benchmark::State& state) {
  TokenDataset dataset(prepared_folder(), kTrainSplit);
  dataset.verify();
  std::mt19937_64 random(1);
  std::vector<std::int32_t> row(kContext + 1);
  for (auto _ : state) {
    dataset.read(static_cast<std::int64_t>(random() % (dataset.num_tokens() - kContext)), row);
    benchmark::DoNotOptimize(row.data());
  }
  state.SetBytesProcessed(state.iterations() * (kContext + 1) * 2);
}
BENCHMARK(random_row)->Unit(benchmark::kMicrosecond);

// With the checks of blocks touched for the first time.
void first_epoch(benchmark::State& state) {
  for (auto _ : state) {
    TokenDataset dataset(prepared_folder(), kTrainSplit);
    const Sampler sampler(dataset.num_tokens(), kContext, 1);
    std::vector<std::int32_t> row(kContext + 1);
    for (std::int64_t sample = 0; sample < sampler.num_windows(); ++sample)
      dataset.read(sampler.position(sample), row);
    state.SetItemsProcessed(state.items_processed() + sampler.num_windows());
  }
}
BENCHMARK(first_epoch)->Unit(benchmark::kMillisecond);

void next_microbatch(benchmark::State& state) {
  TokenDataset dataset(prepared_folder(), kTrainSplit);
  dataset.verify();
  Loader loader(
      dataset, {.tokens_per_sequence = kContext, .batch_sequences = 64, .microbatch_sequences = 8, .seed = 1},
      /*samples_consumed=*/0, /*prefetch=*/4);
  for (auto _ : state) benchmark::DoNotOptimize(loader.next().inputs.data());
  state.SetItemsProcessed(state.iterations() * 8);
}
BENCHMARK(next_microbatch)->Unit(benchmark::kMicrosecond)->UseRealTime();

void sample_position(benchmark::State& state) {
  const Sampler sampler((std::int64_t{1} << 31) + 7, kContext, 1);
  std::int64_t sample = state.range(0);
  for (auto _ : state) benchmark::DoNotOptimize(sampler.position(sample++));
}
BENCHMARK(sample_position)->Arg(0)->Arg(1000000000);

void bpe_training(benchmark::State& state) {
  const std::string text = made_up_prose(std::size_t{4} << 20, 1);
  for (auto _ : state) {
    BpeTrainer trainer;
    trainer.add(text);
    benchmark::DoNotOptimize(trainer.train(4096));
  }
}
BENCHMARK(bpe_training)->Unit(benchmark::kMillisecond);

void bpe_encoding(benchmark::State& state) {
  const std::string text = made_up_prose(std::size_t{4} << 20, 1);
  BpeTrainer trainer;
  trainer.add(text);
  BpeTokenizer tokenizer(trainer.train(4096));
  std::vector<std::int32_t> tokens;
  for (auto _ : state) {
    tokens.clear();
    tokenizer.encode(text, tokens);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(bpe_encoding)->Unit(benchmark::kMillisecond);

// The disk's own speed is in it: commit() waits for it.
void hdf5_writing(benchmark::State& state) {
  const TempDir dir;
  const std::vector<float> values(std::size_t{1} << 26, 1.0F);
  for (auto _ : state) {
    Hdf5Writer writer(dir / "values.h5");
    writer.write<float>("values", values);
    writer.commit(IfExists::kReplace);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(values.size() * sizeof(float)));
}
BENCHMARK(hdf5_writing)->Unit(benchmark::kMillisecond)->UseRealTime();

void hdf5_reading(benchmark::State& state) {
  const TempDir dir;
  std::vector<float> values(std::size_t{1} << 26, 1.0F);
  {
    Hdf5Writer writer(dir / "values.h5");
    writer.write<float>("values", values);
    writer.commit();
  }
  for (auto _ : state) Hdf5Reader(dir / "values.h5").read<float>("values", 0, values);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(values.size() * sizeof(float)));
}
BENCHMARK(hdf5_reading)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace trireme

BENCHMARK_MAIN();
