#include "trainer/tensorboard.h"

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

// CRC-32C straight from its definition: division of polynomials, a bit at a time, most significant first.
std::uint32_t crc32c(const std::string& bytes) {
  const auto reversed = [](std::uint32_t x) {
    std::uint32_t y = 0;
    for (int i = 0; i < 32; ++i) y = y << 1 | (x >> i & 1);
    return y;
  };
  std::uint32_t remainder = 0xffffffff;
  for (const char byte : bytes) {
    remainder ^= reversed(static_cast<unsigned char>(byte));
    for (int bit = 0; bit < 8; ++bit) {
      const bool divides = (remainder & 0x80000000u) != 0;
      remainder = remainder << 1 ^ (divides ? 0x1edc6f41u : 0);
    }
  }
  return ~reversed(remainder);
}

// A field of a protobuf message: a number, or bytes.
struct Field {
  std::uint64_t number = 0;
  std::string bytes;
};

// Reads values off the front of bytes.
class Decoder {
 public:
  explicit Decoder(std::string bytes) : bytes_(std::move(bytes)) {}
  bool done() const { return at_ == bytes_.size(); }

  std::string take(std::size_t size) {
    if (size > bytes_.size() - at_) throw std::runtime_error("ends too early");
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  template <typename Number>
  Number number() {
    static_assert(std::endian::native == std::endian::little);
    Number value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = number<std::uint8_t>();
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw std::runtime_error("endless varint");
  }
  std::multimap<int, Field> message() {
    std::multimap<int, Field> fields;
    while (!done()) {
      const std::uint64_t key = varint();
      Field field;
      switch (key & 7) {
        case 0:
          field.number = varint();
          break;
        case 1:
          field.number = number<std::uint64_t>();
          break;
        case 2:
          field.bytes = take(varint());
          break;
        case 5:
          field.number = number<std::uint32_t>();
          break;
        default:
          throw std::runtime_error("unknown wire type");
      }
      fields.emplace(static_cast<int>(key >> 3), field);
    }
    return fields;
  }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

std::string unframed(Decoder& file) {
  const auto masked = [](const std::string& bytes) {
    const std::uint32_t crc = crc32c(bytes);
    return static_cast<std::uint32_t>(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
  };
  const std::string length = file.take(8);
  EXPECT_EQ(file.number<std::uint32_t>(), masked(length));
  const std::string data = file.take(Decoder(length).number<std::uint64_t>());
  EXPECT_EQ(file.number<std::uint32_t>(), masked(data));
  return data;
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

Decoder contents(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return Decoder(text.str());
}

TEST(Tensorboard, TheTestsChecksumIsCrc32c) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
}

TEST(Tensorboard, EventsReadBack) {
  TempDir folder;
  const auto directory = folder.path() / "a/b";
  {
    TensorboardWriter writer(directory.string(), 40);
    const TensorboardScalar scalars[] = {{"train/loss", 3.25}, {"speed/tokens_per_second", 1e6}};
    writer.add(50, scalars);
    const TensorboardScalar validation[] = {{"validation/loss", 3.5}};
    writer.add(3'000'000'000, validation);
  }
  const auto files = files_in(directory);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].filename().string().rfind("events.out.tfevents.", 0), 0u);

  Decoder file = contents(files[0]);
  auto version = Decoder(unframed(file)).message();
  EXPECT_EQ(version.find(3)->second.bytes, "brain.Event:2");
  const double wall_time = std::bit_cast<double>(version.find(1)->second.number);
  EXPECT_GT(wall_time, 1.7e9);
  EXPECT_LT(wall_time, 1e11);

  auto start = Decoder(unframed(file)).message();
  EXPECT_EQ(start.find(2)->second.number, 41u);
  EXPECT_EQ(Decoder(start.find(7)->second.bytes).message().find(1)->second.number, 1u);

  auto step = Decoder(unframed(file)).message();
  EXPECT_EQ(step.find(2)->second.number, 50u);
  std::map<std::string, float> values;
  for (const auto& [number, field] : Decoder(step.find(5)->second.bytes).message()) {
    EXPECT_EQ(number, 1);
    auto value = Decoder(field.bytes).message();
    values[value.find(1)->second.bytes] =
        std::bit_cast<float>(static_cast<std::uint32_t>(value.find(2)->second.number));
  }
  EXPECT_EQ(values, (std::map<std::string, float>{{"train/loss", 3.25f}, {"speed/tokens_per_second", 1e6f}}));

  auto late = Decoder(unframed(file)).message();
  EXPECT_EQ(late.find(2)->second.number, 3'000'000'000u);
  EXPECT_TRUE(file.done());
}

TEST(Tensorboard, EachAttemptHasAFileOfItsOwnInOrder) {
  TempDir folder;
  for (const std::int64_t start : {0, 10, 20}) TensorboardWriter(folder.path().string(), start);
  const auto files = files_in(folder.path());
  ASSERT_EQ(files.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    Decoder file = contents(files[i]);
    unframed(file);
    EXPECT_EQ(Decoder(unframed(file)).message().find(2)->second.number, 10 * i + 1);
  }
}

// What TensorBoard itself makes of two attempts, where it is installed.
TEST(Tensorboard, TensorboardReadsTheCurveOfAResumedRun) {
  if (std::system("python3 -c 'import tensorboard' 2> /dev/null") != 0) GTEST_SKIP() << "no python package";
  TempDir folder;
  {
    TensorboardWriter writer(folder.path().string(), 0);
    for (const std::int64_t step : {10, 20, 30}) {
      const TensorboardScalar scalars[] = {{"train/loss", 1.0 * static_cast<double>(step)}};
      writer.add(step, scalars);
    }
  }
  {
    TensorboardWriter writer(folder.path().string(), 20);
    const TensorboardScalar scalars[] = {{"train/loss", 31.0}};
    writer.add(30, scalars);
  }
  const std::string script = folder / "read.py";
  std::ofstream(script)
      << "import sys\n"
         "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
         "events = EventAccumulator(sys.argv[1]); events.Reload()\n"
         "got = [(e.step, e.value) for e in events.Scalars('train/loss')]\n"
         "assert got == [(10, 10), (20, 20), (30, 31)], got\n";
  EXPECT_EQ(std::system(("python3 " + script + " " + folder.path().string()).c_str()), 0);
}

}  // namespace
}  // namespace trireme
