#include "trainer/probes/probe_run.h"

#include <algorithm>

#include "data/user_error.h"
#include "trainer/load_model.h"
#include "trainer/metrics_file.h"
#include "trainer/translate.h"

namespace trireme {
namespace {

constexpr const char* kMetricsFile = "metrics.jsonl";
// That are answered at once, on either side.
constexpr std::int64_t kTokensAtOnce = 4096;

std::int64_t longest_length(const ProbeData& data) {
  return probe_lengths(data).back();
}

// Of this rank's questions, how many the model answers exactly.
std::int32_t count_exact(TrainedTranslator& trained, const std::vector<ProbePair>& tests, std::int64_t tokens,
                         const Communicator& ranks) {
  std::vector<std::vector<std::int32_t>> sources;
  std::vector<std::string_view> answers;
  for (auto i = static_cast<std::size_t>(ranks.rank()); i < tests.size();
       i += static_cast<std::size_t>(ranks.size())) {
    trained.tokenizer->encode(tests[i].source, sources.emplace_back());
    answers.push_back(tests[i].target);
  }
  const BeamOptions greedy{.beam = 1, .alpha = 0.0};
  const auto given = translate(*trained.model, sources, trained.tokenizer->end_of_document(), greedy, tokens);
  std::int32_t exact = 0;
  for (std::size_t i = 0; i < given.size(); ++i)
    exact += trained.tokenizer->decode(given[i].tokens) == answers[i] ? 1 : 0;
  return exact;
}

}  // namespace

std::vector<std::int64_t> probe_lengths(const ProbeData& data) {
  return {data.length, 2 * data.length, 4 * data.length};
}

ProbeCell make_probe_cell(const std::filesystem::path& config_file, const std::vector<std::string>& overrides,
                          const ProbeData& data, std::int64_t tests, const std::filesystem::path& output) {
  ProbeCell cell{.data = data, .model = config_file.stem(), .tests = tests};
  const std::string task(name_of(data.task));
  const std::int64_t context = probe_source_size(data.task, longest_length(data)) + 1;
  std::vector<std::string> all = overrides;
  all.push_back("run.directory=" + (output / "runs" / (task + "_" + cell.model)).string());
  all.push_back("data.path=" + (output / "data" / data.name()).string());
  all.push_back("model.context=" + std::to_string(context));
  all.push_back("run.seed=" + std::to_string(data.seed));
  cell.config = load_config(config_file, all);
  if (cell.config.model.kind != "encoder_decoder") {
    throw UserError(config_file, "model.kind is " + cell.config.model.kind + ", and probes ask pairs",
                    "set model.kind = \"encoder_decoder\"");
  }
  return cell;
}

void check_same_config(const ProbeCell& cell) {
  const std::filesystem::path directory = cell.config.run.directory;
  if (!std::filesystem::exists(directory / kConfigFile)) return;
  Config begun = load_config(directory / kConfigFile, {});
  begun.run.threads = cell.config.run.threads;  // neither changes what is learned
  begun.parallel = cell.config.parallel;
  if (to_toml(begun) == to_toml(cell.config)) return;
  throw UserError(directory, "was begun with another config, length, number of pairs or seed",
                  "choose another --output, or start with those again");
}

RunEnd train_probe(const ProbeCell& cell, Process& process) {
  const std::filesystem::path folder = cell.config.data.path;
  if (process.rank() == 0 && !std::filesystem::exists(folder)) write_probe_data(cell.data, folder);
  process.world().barrier();
  Trainer trainer(cell.config, process);
  return trainer.run();
}

ProbeResult score_probe(const ProbeCell& cell, Process& process) {
  const std::filesystem::path directory = cell.config.run.directory;
  Communicator& ranks = process.world();
  TrainedTranslator trained = load_translator(directory, /*average=*/1, ranks);
  const std::int64_t tokens = std::max(kTokensAtOnce, trained.model->options().context);
  trained.model->allocate({.source_tokens = tokens, .target_tokens = tokens});
  ProbeResult result{.task = std::string(name_of(cell.data.task)),
                     .model = cell.model,
                     .steps = trained.state.step,
                     .seed = cell.config.run.seed,
                     .parameters = trained.model->parameters().num_parameters(),
                     .seconds = read_metrics(directory / kMetricsFile).elapsed_s()};
  for (const std::int64_t length : probe_lengths(cell.data)) {
    const std::vector<ProbePair> tests = probe_tests(cell.data, length, cell.tests);
    std::int32_t exact = count_exact(trained, tests, tokens, ranks);
    ranks.wait(ranks.all_reduce({&exact, DType::kInt32, {1}}, ReduceOp::kSum, Stream()), Stream());
    result.scores.push_back(
        {.length = length, .questions = static_cast<std::int64_t>(tests.size()), .exact = exact});
  }
  return result;
}

}  // namespace trireme
