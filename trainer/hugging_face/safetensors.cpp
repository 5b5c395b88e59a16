#include "trainer/hugging_face/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include <glog/logging.h>

#include "data/json.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kLongestHeader = 100'000'000;  // the format's own limit
constexpr std::int64_t kPieceElements = 1 << 18;
constexpr const char* kMetadataKey = "__metadata__";

struct TypeRow {
  const char* name;
  std::int64_t size_bytes;
  StoredType type = StoredType::kOther;
};
constexpr std::array<TypeRow, 15> kTypes = {{{"F32", 4, StoredType::kFloat32},
                                             {"BF16", 2, StoredType::kBFloat16},
                                             {"F16", 2, StoredType::kFloat16},
                                             {"F64", 8},
                                             {"I64", 8},
                                             {"I32", 4},
                                             {"I16", 2},
                                             {"I8", 1},
                                             {"U64", 8},
                                             {"U32", 4},
                                             {"U16", 2},
                                             {"U8", 1},
                                             {"BOOL", 1},
                                             {"F8_E4M3", 1},
                                             {"F8_E5M2", 1}}};

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw UserError(where, what, "fetch or write it again");
}

const TypeRow& row_of(StoredType type) {
  return *std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeRow& row) { return row.type == type; });
}

const TypeRow& row_of(const std::string& name, const std::string& where) {
  const auto found =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeRow& row) { return row.name == name; });
  if (found == kTypes.end()) fail(where, "has elements of an unknown type, " + name);
  return *found;
}

// A product that may not be one: shapes come from a file.
std::optional<std::int64_t> num_elements_of(const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (const std::int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(product, dim, &product)) return std::nullopt;
  }
  return product;
}

float float_of_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

float float_of_float16(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
  const std::uint32_t exponent = half >> 10 & 0x1F;
  const std::uint32_t fraction = half & 0x3FF;
  if (exponent == 0) {  // zero, or a multiple of 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  const std::uint32_t wide = exponent == 0x1F ? 0xFF : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

std::uint16_t bfloat16_of(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000)
    return static_cast<std::uint16_t>(bits >> 16 | 0x40);  // NaN stays one
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

std::vector<std::int64_t> numbers(const LargeJson& json, const char* key, const std::string& where) {
  std::vector<std::int64_t> result;
  for (const LargeJson& number : json_value<LargeJson>(json, key, where)) {
    if (!number.is_number_integer())
      fail(where, "has a '" + std::string(key) + "' that is no list of numbers");
    result.push_back(number.get<std::int64_t>());
  }
  return result;
}

// What a header says of one tensor, whose place it counts from the header's end.
SafetensorsFile::Entry entry_of(const LargeJson& json, const std::string& where, std::int64_t header_end) {
  const TypeRow& row = row_of(json_value<std::string>(json, "dtype", where), where);
  const std::vector<std::int64_t> shape = numbers(json, "shape", where);
  const std::vector<std::int64_t> place = numbers(json, "data_offsets", where);
  const auto count = num_elements_of(shape);
  std::int64_t size = 0;
  std::int64_t end = 0;
  if (!count || __builtin_mul_overflow(*count, row.size_bytes, &size) || place.size() != 2 || place[0] < 0 ||
      __builtin_add_overflow(place[0], size, &end) || place[1] != end ||
      __builtin_add_overflow(header_end, end, &end)) {
    fail(where, "has a shape, " + to_string(shape) + ", that its place in the file doesn't fit");
  }
  return {.type = row.type, .shape = shape, .num_elements = *count, .begin = end - size, .end = end};
}

// Without gap and overlap, to the end of the file.
void check_places(const std::map<std::string, SafetensorsFile::Entry>& tensors, std::int64_t begin,
                  const File& file) {
  std::vector<std::pair<std::int64_t, std::int64_t>> places;
  for (const auto& [name, entry] : tensors) places.emplace_back(entry.begin, entry.end);
  std::sort(places.begin(), places.end());
  std::int64_t done = begin;
  for (const auto& [place, end] : places) {
    if (place != done) fail(file.path().string(), "has tensors that overlap or leave a gap");
    done = end;
  }
  if (done != file.size_bytes()) {
    fail(file.path().string(), "has " + std::to_string(file.size_bytes()) + " bytes instead of the " +
                                   std::to_string(done) + " that its header describes");
  }
}

}  // namespace

std::string to_string(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t dim : shape) text += (text.empty() ? "" : ", ") + std::to_string(dim);
  return "[" + text + "]";
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(File::open(path)) {
  std::array<std::uint8_t, kLengthBytes> length_bytes{};
  if (file_.read_some(0, std::as_writable_bytes(std::span(length_bytes))) != length_bytes.size())
    fail(path.string(), "is too short for a safetensors file");
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < length_bytes.size(); ++i) length |= std::uint64_t{length_bytes[i]} << (8 * i);
  const std::int64_t most = std::min(kLongestHeader, file_.size_bytes() - kLengthBytes);
  if (length > static_cast<std::uint64_t>(most))
    fail(path.string(),
         "has a header of " + std::to_string(length) + " bytes: it is no whole safetensors file");
  std::string header(length, '\0');
  file_.read_at(kLengthBytes, std::as_writable_bytes(std::span(header)));
  const auto json = parse_json<LargeJson>(header, path.string());
  if (!json.is_object()) fail(path.string(), "has a header that is no object");
  const std::int64_t header_end = kLengthBytes + static_cast<std::int64_t>(length);
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadataKey) continue;
    tensors_.emplace(name, entry_of(value, path.string() + ": " + name, header_end));
  }
  check_places(tensors_, header_end, file_);
}

void SafetensorsFile::read(const Entry& entry, std::int64_t first, std::span<float> out) const {
  const auto count = static_cast<std::int64_t>(out.size());
  CHECK(first >= 0 && first + count <= entry.num_elements);
  CHECK(entry.type != StoredType::kOther);
  const std::int64_t offset = entry.begin + first * row_of(entry.type).size_bytes;
  if (entry.type == StoredType::kFloat32) return file_.read_at(offset, std::as_writable_bytes(out));
  std::vector<std::uint16_t> piece(static_cast<std::size_t>(std::min(count, kPieceElements)));
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t step = std::min(count - done, kPieceElements);
    const std::span<std::uint16_t> bits(piece.data(), static_cast<std::size_t>(step));
    file_.read_at(offset + done * 2, std::as_writable_bytes(bits));
    std::transform(bits.begin(), bits.end(), out.begin() + done,
                   entry.type == StoredType::kBFloat16 ? float_of_bfloat16 : float_of_float16);
    done += step;
  }
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, const std::vector<Entry>& entries,
                                     StoredType type)
    : file_(path), type_(type) {
  CHECK(type == StoredType::kFloat32 || type == StoredType::kBFloat16);
  const TypeRow& row = row_of(type);
  Json header;
  header[kMetadataKey] = {{"format", "pt"}};  // without it `transformers` refuses the file
  std::int64_t offset = 0;
  for (const Entry& entry : entries) {
    const std::int64_t end = offset + num_elements_of(entry.shape).value() * row.size_bytes;
    header[entry.name] = {{"dtype", row.name}, {"shape", entry.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the elements are aligned
  std::array<std::uint8_t, kLengthBytes> length_bytes{};
  for (std::size_t i = 0; i < length_bytes.size(); ++i)
    length_bytes[i] = static_cast<std::uint8_t>(text.size() >> (8 * i));
  file_.contents().write_at(0, std::as_bytes(std::span(length_bytes)));
  file_.contents().write_at(kLengthBytes, std::as_bytes(std::span(text)));
  end_ = kLengthBytes + static_cast<std::int64_t>(text.size());
  size_ = end_ + offset;
}

void SafetensorsWriter::write(std::span<const float> elements) {
  std::span<const std::byte> bytes = std::as_bytes(elements);
  if (type_ == StoredType::kBFloat16) {
    converted_.resize(elements.size() * 2);
    for (std::size_t i = 0; i < elements.size(); ++i) {
      const std::uint16_t bits = bfloat16_of(elements[i]);
      std::memcpy(converted_.data() + 2 * i, &bits, 2);
    }
    bytes = converted_;
  }
  file_.contents().write_at(end_, bytes);
  end_ += static_cast<std::int64_t>(bytes.size());
}

void SafetensorsWriter::commit() {
  CHECK_EQ(end_, size_) << "elements are missing";
  file_.commit();
}

}  // namespace trireme
