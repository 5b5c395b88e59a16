#include "trainer/layout_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <sstream>
#include <utility>

#include "data/user_error.h"
#include "kernels/threads.h"
#include "parallel/replica_drift.h"
#include "trainer/checkpoint/agreement.h"
#include "trainer/device_of_rank.h"
#include "trainer/layout.h"

namespace trireme {
namespace {

constexpr double kLeastEpsilon = 1e-5;  // of AdamW, see the header
constexpr std::size_t kMostNamed = 5;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::int64_t size_of(const std::vector<float>& values) {
  return static_cast<std::int64_t>(values.size());
}

Tensor tensor_of(std::vector<float>& values) {
  return {values.data(), DType::kFloat32, {size_of(values)}};
}

// Of each number the largest on any rank; a NaN is larger than all.
void take_largest(std::vector<float>& numbers, Communicator& group) {
  group.wait(group.all_reduce(tensor_of(numbers), ReduceOp::kMax, {}), {});
}

double relative_difference(double actual, double expected) {
  if (!std::isfinite(actual) || !std::isfinite(expected)) return kInfinity;
  if (actual == expected) return 0.0;
  return std::abs(actual - expected) / std::abs(expected);
}

double root_mean_square(const std::vector<float>& values) {
  double sum = 0.0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// The largest difference of the elements that this rank has; NaN if there is one.
double largest_difference(const Parameter& parameter, const float* values,
                          const std::vector<float>& expected) {
  double largest = 0.0;
  for_each_piece(parameter.part, [&](const Piece& piece) {
    for (std::int64_t i = 0; i < piece.size; ++i) {
      const double actual = values[parameter.offset + piece.own + i];
      const double difference = std::abs(actual - expected[static_cast<std::size_t>(piece.whole + i)]);
      // A NaN is not above anything, nor is anything above a NaN.
      if (difference > largest || std::isnan(difference)) largest = difference;
    }
  });
  return largest;
}

SeriesDifference worse(const SeriesDifference& a, const SeriesDifference& b) {
  SeriesDifference both{.first = std::max(a.first, b.first), .largest = std::max(a.largest, b.largest)};
  both.step = a.step && b.step ? std::min(a.step, b.step) : a.step ? a.step : b.step;
  return both;
}

double relative_to(double scale, double difference) {
  if (difference == 0.0) return 0.0;
  return scale > 0.0 ? difference / scale : kInfinity;
}

}  // namespace

bool LayoutCheck::Course::same_numbers(const Course& other) const {
  return losses == other.losses && objectives == other.objectives && grad_norms == other.grad_norms;
}

LayoutCheck::LayoutCheck(const Config& config, const LayoutCheckOptions& options, Process& process)
    : options_(options), process_(process), threads_of_node_(num_threads()) {
  const auto alone = process.world().split(process.rank() == 0 ? 0 : 1, process.rank(), "one rank");
  if (process.rank() != 0) return;
  const auto engine = train(for_check(on_one_rank(config)), *alone, expected_);
  const auto is_finite = [](double x) { return std::isfinite(x); };
  if (!std::all_of(expected_.losses.begin(), expected_.losses.end(), is_finite) ||
      !std::all_of(expected_.grad_norms.begin(), expected_.grad_norms.end(), is_finite)) {
    throw UserError("one rank", "a loss or gradient is not a finite number", "lower optim.learning_rate");
  }
  const std::vector<float> values = engine->gather_values();
  for (const Parameter& parameter : engine->task().parameters().parameters()) {
    const float* begin = values.data() + parameter.offset;
    expected_values_.push_back({parameter.name, {begin, begin + parameter.shape.num_elements()}});
  }
}

Config LayoutCheck::for_check(const Config& config) const {
  Config checked = config;
  checked.train.init_from = "";
  checked.train.steps = std::max(config.train.steps, options_.steps);
  checked.optim.warmup_steps = std::min(config.optim.warmup_steps, options_.steps);
  checked.optim.epsilon = std::max(config.optim.epsilon, kLeastEpsilon);
  return checked;
}

LayoutReport LayoutCheck::compare(const Config& layout) {
  const Config config = for_check(layout);
  const bool takes_part = process_.rank() < num_ranks(config, process_.num_ranks());
  LayoutReport report;
  {
    const auto group = process_.world().split(takes_part ? 0 : 1, process_.rank(), "layout");
    if (takes_part) report = compare(config, *group);
  }
  report.passes = gather_numbers({report.passes ? 1U : 0U}, process_.world()).front() != 0;
  return report;
}

LayoutReport LayoutCheck::compare(const Config& config, Communicator& group) const {
  LayoutReport report;
  Course course;
  auto engine = train(config, group, course);
  Comparison comparison = compare_parameters(*engine, group);
  report.parameters = std::move(comparison.parameters);
  report.drifted = std::move(comparison.drifted);
  report.traffic = course.traffic;
  if (options_.repeat) {
    const std::vector<float> values = engine->gather_values();
    engine.reset();
    report.repeats = repeats(config, group, course, values);
  }
  if (group.rank() != 0) return report;
  const double tolerance = options_.tolerance;
  report.loss = worse(difference(course.losses, expected_.losses, tolerance / 100),
                      difference(course.objectives, expected_.objectives, tolerance / 100));
  report.grad_norm = difference(course.grad_norms, expected_.grad_norms, tolerance);
  report.passes = !report.loss.step && !report.grad_norm.step && report.drifted.empty() &&
                  report.parameters.front().largest <= tolerance && report.repeats.value_or(true);
  return report;
}

std::unique_ptr<TrainingEngine> LayoutCheck::train(const Config& config, Communicator& group,
                                                   Course& course) const {
  const int neighbours = std::min(group.size(), process_.num_local_ranks());
  set_num_threads(config.run.threads > 0 ? static_cast<int>(config.run.threads)
                                         : std::max(1, threads_of_node_ / neighbours));
  const Device device = device_of_rank(config.run.device, process_);
  auto engine = std::make_unique<TrainingEngine>(config, group, device);
  engine->initialize();
  engine->start(0, 0, 0);
  TrafficMeter meter(engine->mesh());
  meter.resume();
  for (std::int64_t step = 0; step < options_.steps; ++step) {
    engine->step(step);
    meter.count_step();
    const StepOutcome outcome = engine->outcome();
    course.losses.push_back(outcome.loss);
    course.objectives.push_back(outcome.objective);
    course.grad_norms.push_back(outcome.grad_norm);
  }
  course.traffic = meter.take(group);
  return engine;
}

bool LayoutCheck::repeats(const Config& config, Communicator& group, const Course& course,
                          const std::vector<float>& values) const {
  Course again;
  const auto engine = train(config, group, again);
  const std::vector<float> values_again = engine->gather_values();
  const bool same = again.same_numbers(course) &&
                    std::memcmp(values.data(), values_again.data(), values.size() * sizeof(float)) == 0;
  std::vector<float> differs = {same ? 0.0F : 1.0F};
  take_largest(differs, group);
  return differs.front() == 0.0F;
}

LayoutCheck::Comparison LayoutCheck::compare_parameters(TrainingEngine& engine, Communicator& group) const {
  std::ostringstream listed;
  for (const auto& [name, values] : expected_values_) listed << values.size() << ' ' << name << '\n';
  std::istringstream list(broadcast_text(listed.str(), 0, group));
  std::map<std::string, const Parameter*> own;
  for (const Parameter& parameter : engine.task().parameters().parameters()) own[parameter.name] = &parameter;
  std::size_t num_found = 0;
  std::vector<float> values = engine.gather_values();

  Comparison comparison;
  std::map<std::string, std::size_t> places;
  std::vector<float> largest;  // below 0: this rank has nothing of it
  std::vector<float> expected;
  std::size_t size = 0;
  for (std::string name; list >> size >> name;) {
    expected.resize(size);
    if (group.rank() == 0) expected = expected_values_[places.size()].values;
    group.wait(group.broadcast(tensor_of(expected), 0, {}), {});
    const auto found = own.find(name);
    largest.push_back(-1.0F);
    if (found != own.end() && found->second->part.whole.num_elements() == size_of(expected)) {
      ++num_found;
      largest.back() = static_cast<float>(relative_to(
          root_mean_square(expected), largest_difference(*found->second, values.data(), expected)));
    }
    places.emplace(name, places.size());
    comparison.parameters.push_back({.name = name});
  }
  if (num_found != own.size()) {
    throw UserError("parameters", "are not those of one rank", "let the layout leave [model] as it is");
  }
  take_largest(largest, group);
  std::vector<float> drifts(places.size(), 0.0F);
  for (const std::string& name :
       find_drift(engine.task().parameters(), tensor_of(values), engine.mesh().data())) {
    drifts[places.at(name)] = 1.0F;
  }
  take_largest(drifts, group);
  for (std::size_t i = 0; i < largest.size(); ++i) {
    ParameterDifference& parameter = comparison.parameters[i];
    parameter.largest = largest[i] >= 0.0F ? largest[i] : kInfinity;
    if (drifts[i] != 0.0F) comparison.drifted.push_back(parameter.name);
  }
  auto& parameters = comparison.parameters;
  std::stable_sort(parameters.begin(), parameters.end(),
                   [](const auto& a, const auto& b) { return a.largest > b.largest; });
  parameters.resize(std::min(parameters.size(), kMostNamed));
  return comparison;
}

SeriesDifference LayoutCheck::difference(const std::vector<double>& actual,
                                         const std::vector<double>& expected, double first_tolerance) const {
  SeriesDifference found;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double step = relative_difference(actual[i], expected[i]);
    found.largest = std::max(found.largest, step);
    const double tolerance = i == 0 ? first_tolerance : options_.tolerance;
    if (!found.step && step > tolerance) found.step = static_cast<std::int64_t>(i) + 1;
    if (i == 0) found.first = step;
  }
  return found;
}

}  // namespace trireme
