#include "trainer/tensorboard.h"

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include <unistd.h>

#include "data/file.h"

namespace trireme {
namespace {

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Little-endian bytes of an unsigned number.
template <typename Number>
std::string bytes_of(Number number) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof number; ++i) bytes += static_cast<char>(number >> (8 * i) & 0xff);
  return bytes;
}

// CRC-32C (Castagnoli), reflected.
constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}();

// The checksum as TFRecord stores it: rotated and shifted, so that a checksum of data that holds checksums
// stays a good one.
std::uint32_t masked_crc(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffu;
  for (const char byte : bytes) crc = kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xff] ^ (crc >> 8);
  return std::rotr(crc ^ 0xffffffffu, 15) + 0xa282ead8u;
}

std::string tf_record(const std::string& data) {
  const std::string length = bytes_of(static_cast<std::uint64_t>(data.size()));
  return length + bytes_of(masked_crc(length)) + data + bytes_of(masked_crc(data));
}

// Protobuf's wire format: a field is (number << 3 | wire type), then the value.
enum WireType : std::uint64_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes += static_cast<char>(value);
}
std::string field_key(int number, WireType type) {
  return varint(static_cast<std::uint64_t>(number) << 3 | type);
}
std::string integer_field(int number, std::int64_t value) {
  return field_key(number, kVarint) + varint(static_cast<std::uint64_t>(value));
}
std::string double_field(int number, double value) {
  return field_key(number, kFixed64) + bytes_of(std::bit_cast<std::uint64_t>(value));
}
std::string float_field(int number, float value) {
  return field_key(number, kFixed32) + bytes_of(std::bit_cast<std::uint32_t>(value));
}
std::string bytes_field(int number, std::string_view bytes) {
  return field_key(number, kLengthDelimited) + varint(bytes.size()) + std::string(bytes);
}

// tensorflow.Event, whose payload is one of the fields below.
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;

std::string event(std::int64_t step, const std::string& payload) {
  return tf_record(double_field(kWallTime, seconds_since_1970()) + integer_field(kStep, step) + payload);
}

// TensorBoard takes every file with "tfevents" in its name, in the order of names.
std::string new_file(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw_system_error(directory, "make the folder", error.value());
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  for (int attempt = 0;; ++attempt) {
    std::array<char, 512> name;
    std::snprintf(name.data(), name.size(), "events.out.tfevents.%010lld.%s.%d.%d",
                  static_cast<long long>(seconds_since_1970()), host.data(), static_cast<int>(::getpid()),
                  attempt);
    const std::filesystem::path path = std::filesystem::path(directory) / name.data();
    if (!std::filesystem::exists(path, error)) return path.string();
  }
}

}  // namespace

TensorboardWriter::TensorboardWriter(const std::string& directory, std::int64_t start_step)
    : file_(new_file(directory)) {
  constexpr int kStatus = 1, kStart = 1;
  file_.append(event(0, bytes_field(kFileVersion, "brain.Event:2")));
  // The start of a session at a step makes readers drop that step and later ones of earlier files.
  file_.append(event(start_step + 1, bytes_field(kSessionLog, integer_field(kStatus, kStart))));
}

void TensorboardWriter::add(std::int64_t step, std::span<const TensorboardScalar> scalars) {
  constexpr int kValue = 1, kTag = 1, kSimpleValue = 2;
  std::string summary;
  for (const auto& scalar : scalars) {
    summary += bytes_field(
        kValue, bytes_field(kTag, scalar.tag) + float_field(kSimpleValue, static_cast<float>(scalar.value)));
  }
  file_.append(event(step, bytes_field(kSummary, summary)));
}

}  // namespace trireme
