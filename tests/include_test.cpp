// Every #include of ours, against the directions that the folders may look in; and the cages of third-party
// headers.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace {

namespace fs = std::filesystem;

const fs::path kRoot = TRIREME_SOURCE_DIR;

// Folder -> folders whose headers it may include.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"kernels", {"kernels"}},
    {"parallel", {"parallel", "kernels"}},
    {"data", {"data"}},
    {"trainer", {"trainer", "parallel", "kernels", "data"}},
    {"launch", {"launch", "trainer", "parallel", "kernels", "data"}},
};

// Beginning of a third-party header's name -> the only places (prefixes of paths) that may include it.
const std::vector<std::pair<std::string, std::vector<std::string>>> kCages = {
    {"mpi.h", {"parallel/mpi_", "parallel/process"}},
    {"hdf5", {"data/hdf5_file"}},
    {"toml++", {"trainer/config"}},
    {"nlohmann", {"data/json.h"}},
    {"pcre2", {"data/tokenizer/split_pattern"}},
    {"sentencepiece", {"data/tokenizer/sentencepiece.cpp"}},
    {"utf8proc", {"data/tokenizer/nfc", "data/tokenizer/bert_words.cpp"}},
    {"CLI/", {"launch/"}},
    {"cuda", {"kernels/cuda/"}},
    {"cublas", {"kernels/cuda/"}},
    {"cudnn", {"kernels/cuda/"}},
    {"nccl.h", {"parallel/nccl_lane.h"}},
};

struct Include {
  std::string file;  // relative to the root
  int line;
  std::string header;
  bool quoted;
};

// What a line includes, if it does.
std::optional<Include> parse(const std::string& file, int line, const std::string& text) {
  const std::size_t hash = text.find_first_not_of(" \t");
  if (hash == std::string::npos || text[hash] != '#' || text.find("include", hash) == std::string::npos)
    return {};
  const std::size_t open = text.find_first_of("<\"", hash);
  const std::size_t close = text.find_first_of(">\"", open + 1);
  if (open == std::string::npos || close == std::string::npos) return {};
  return Include{file, line, text.substr(open + 1, close - open - 1), text[open] == '"'};
}

std::vector<Include> all_includes() {
  std::vector<Include> includes;
  for (const auto& [folder, unused] : kMayInclude) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") continue;
      std::ifstream file(entry.path());
      std::string text;
      for (int line = 1; std::getline(file, text); ++line) {
        if (auto include = parse(fs::relative(entry.path(), kRoot), line, text)) includes.push_back(*include);
      }
    }
  }
  return includes;
}

TEST(Includes, LookInOneDirection) {
  const auto includes = all_includes();
  ASSERT_GT(includes.size(), 100U) << "the sources were not found";
  for (const Include& include : includes) {
    if (!include.quoted) continue;
    const std::string from = include.file.substr(0, include.file.find('/'));
    const std::string to = include.header.substr(0, include.header.find('/'));
    EXPECT_TRUE(kMayInclude.at(from).contains(to))
        << include.file << ":" << include.line << ": " << from << " may not include " << include.header;
    EXPECT_TRUE(fs::exists(kRoot / include.header))
        << include.file << ":" << include.line << ": includes are written from the root: " << include.header;
  }
}

TEST(Includes, ThirdPartyHeadersStayInTheirCages) {
  for (const Include& include : all_includes()) {
    if (include.quoted) continue;
    for (const auto& [name, places] : kCages) {
      if (!include.header.starts_with(name)) continue;
      const bool inside = std::any_of(places.begin(), places.end(), [&](const std::string& place) {
        return include.file.starts_with(place);
      });
      EXPECT_TRUE(inside) << include.file << ":" << include.line << ": " << include.header
                          << " has its own place";
    }
  }
}

}  // namespace
