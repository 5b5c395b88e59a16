#include "trainer/checkpoint/agreement.h"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "data/user_error.h"

namespace trireme {
namespace {

// Bytes travel as int32, of which memory holds a whole number.
constexpr std::size_t kWord = sizeof(std::int32_t);

Tensor tensor_of(std::vector<std::int32_t>& words) {
  return {words.data(), DType::kInt32, {static_cast<std::int64_t>(words.size())}};
}

}  // namespace

std::vector<std::uint64_t> gather_numbers(const std::vector<std::uint64_t>& numbers,
                                          Communicator& communicator) {
  const std::size_t size_bytes = numbers.size() * sizeof(std::uint64_t);
  const auto num_ranks = static_cast<std::size_t>(communicator.size());
  std::vector<std::int32_t> mine(size_bytes / kWord);
  std::vector<std::int32_t> all(mine.size() * num_ranks);
  std::vector<std::uint64_t> result(numbers.size() * num_ranks);
  if (numbers.empty()) return result;
  std::memcpy(mine.data(), numbers.data(), size_bytes);
  communicator.wait(communicator.all_gather(tensor_of(all), tensor_of(mine), {}), {});
  std::memcpy(result.data(), all.data(), size_bytes * num_ranks);
  return result;
}

std::string broadcast_text(const std::string& text, int root, Communicator& communicator) {
  const std::size_t size = gather_numbers({text.size()}, communicator)[static_cast<std::size_t>(root)];
  if (size == 0) return "";
  std::vector<std::int32_t> words((size + kWord - 1) / kWord);
  if (communicator.rank() == root) std::memcpy(words.data(), text.data(), size);
  communicator.wait(communicator.broadcast(tensor_of(words), root, {}), {});
  std::string result(size, '\0');
  std::memcpy(result.data(), words.data(), size);
  return result;
}

std::optional<std::string> failure_of(const std::function<void()>& action, const Communicator& communicator) {
  const std::string rank =
      communicator.size() == 1 ? "" : "rank " + std::to_string(communicator.rank()) + ": ";
  try {
    action();
  } catch (const UserError& error) {
    return rank + error.what();
  } catch (const std::system_error& error) {
    return rank + error.what();
  }
  return std::nullopt;
}

std::optional<std::string> agree_on(const std::optional<std::string>& failure, Communicator& communicator) {
  const std::vector<std::uint64_t> failed = gather_numbers({failure ? 1UL : 0UL}, communicator);
  const auto first = std::find(failed.begin(), failed.end(), 1UL);
  if (first == failed.end()) return std::nullopt;
  return broadcast_text(failure.value_or(""), static_cast<int>(first - failed.begin()), communicator);
}

std::optional<std::string> attempt(const std::function<void()>& action, Communicator& communicator) {
  return agree_on(failure_of(action, communicator), communicator);
}

}  // namespace trireme
