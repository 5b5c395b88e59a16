#include "data/hdf5_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <utility>

#include <glog/logging.h>
#include <hdf5.h>

#include "data/user_error.h"

static_assert(std::endian::native == std::endian::little, "numbers go to the file as they lie in memory");

namespace trireme {
namespace {

constexpr const char* kChecksumSuffix = "_xxh3";
constexpr const char* kBlockBytesAttribute = "checksum_block_bytes";
constexpr std::int64_t kAlignmentBytes = 4096;    // of large arrays, for those who map the file
constexpr std::int64_t kMetadataBytes = 1 << 16;  // kept free for HDF5's own bookkeeping
constexpr std::int64_t kWritebackBytes = std::int64_t{32} << 20;

static_assert(sizeof(hid_t) == sizeof(std::int64_t));

// One HDF5 object, closed by the function that its kind asks for.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  operator hid_t() const { return id_; }  // NOLINT: stands for the id wherever HDF5 wants one
  bool ok() const { return id_ >= 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// While it lives, HDF5 prints nothing on this thread; what went wrong is then found in its error stack.
class QuietHdf5 {
 public:
  QuietHdf5() {
    // A file that couldn't be closed on a full disk must not be tried again, in a loop, as the process exits.
    static const herr_t no_exit_handler = H5dont_atexit();
    static_cast<void>(no_exit_handler);
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~QuietHdf5() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }
  QuietHdf5(const QuietHdf5&) = delete;
  QuietHdf5& operator=(const QuietHdf5&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

herr_t keep_description(unsigned, const H5E_error2_t* error, void* text) {
  if (error->desc != nullptr) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

// What HDF5 said about its last failure, at the place where it arose.
std::string hdf5_message() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_description, &text);
  return text.empty() ? "no reason given" : text;
}

struct ElementFacts {
  ElementType type;
  std::int64_t size_bytes;
  const char* name;
};
constexpr std::array<ElementFacts, 6> kElements = {{{ElementType::kUInt8, 1, "uint8"},
                                                    {ElementType::kUInt16, 2, "uint16"},
                                                    {ElementType::kUInt32, 4, "uint32"},
                                                    {ElementType::kUInt64, 8, "uint64"},
                                                    {ElementType::kInt32, 4, "int32"},
                                                    {ElementType::kFloat32, 4, "float32"}}};

const ElementFacts& facts_of(ElementType type) {
  return kElements.at(static_cast<std::size_t>(type));
}

// HDF5's types are made when its library starts: no constants.
hid_t file_type(ElementType type) {
  const std::array<hid_t, kElements.size()> types = {H5T_STD_U8LE,  H5T_STD_U16LE, H5T_STD_U32LE,
                                                     H5T_STD_U64LE, H5T_STD_I32LE, H5T_IEEE_F32LE};
  return types.at(static_cast<std::size_t>(type));
}

// Of UTF-8 texts of up to so many bytes.
Handle text_type(std::size_t size) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, std::max<std::size_t>(size, 1));
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return {type, H5Tclose};
}

// Files are opened without HDF5's own lock, which some cluster file systems don't have: a reader never sees
// an unfinished file, as it has no name yet.
hid_t access_properties() {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  CHECK_GE(access, 0) << hdf5_message();
  H5Pset_file_locking(access, false, true);
  H5Pset_alignment(access, kAlignmentBytes, kAlignmentBytes);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  return access;
}

[[noreturn]] void fail_writing(const std::filesystem::path& path, const std::string& what) {
  const std::string message = hdf5_message();
  if (message.find("errno = " + std::to_string(ENOSPC)) != std::string::npos)
    throw_system_error(path, what, ENOSPC);
  throw UserError(path.string(), "cannot " + what + ": HDF5 says: " + message,
                  "check the disk and its permissions");
}

std::int64_t create(File& file) {
  file.reserve(kMetadataBytes);
  const QuietHdf5 quiet;
  const Handle access(access_properties(), H5Pclose);
  const hid_t id = H5Fcreate(file.path().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  if (id < 0) fail_writing(file.path(), "create it");
  return id;
}

std::int64_t open(const File& file) {
  const std::string where = file.path().string();
  const char* const remedy = "check the name, bring back a good copy or write it again";
  if (file.size_bytes() == 0) throw UserError(where, "is empty", remedy);
  const QuietHdf5 quiet;
  const Handle access(access_properties(), H5Pclose);
  const hid_t id = H5Fopen(file.path().c_str(), H5F_ACC_RDONLY, access);
  if (id >= 0) return id;
  const std::string message = hdf5_message();
  const bool is_short = message.find("truncated") != std::string::npos;
  throw UserError(
      where, (is_short ? "was cut short" : "is not a readable HDF5 file") + (" (HDF5 says: " + message + ")"),
      remedy);
}

}  // namespace

Hdf5Handle::~Hdf5Handle() {
  const QuietHdf5 quiet;
  if (id_ >= 0) H5Fclose(id_);
}

std::int64_t size_bytes(ElementType type) {
  return facts_of(type).size_bytes;
}

const char* to_string(ElementType type) {
  return facts_of(type).name;
}

void throw_corrupt_block(const std::filesystem::path& file, const std::string& name, std::int64_t block) {
  throw UserError(
      file.string(),
      "is corrupt: block " + std::to_string(block) + " of '" + name + "' doesn't have its checksum",
      "bytes changed since it was written: bring back a good copy or write it again");
}

// ---- writing

// The space for HDF5's bookkeeping is taken before HDF5 sees the file, as it can't let go of a file for which
// the disk is too full; and once more after, as it begins by giving back what the file has.
Hdf5Writer::Hdf5Writer(const std::filesystem::path& path)
    : file_(path), hdf5_file_(create(file_.contents())) {
  file_.contents().reserve(kMetadataBytes);
  set_attribute(kBlockBytesAttribute, kChecksumBlockBytes);
}

void Hdf5Writer::set_attribute(const std::string& name, const std::string& value) {
  const QuietHdf5 quiet;
  const Handle type = text_type(value.size());
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle attribute(H5Acreate2(hdf5_file_.id(), name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose);
  if (!attribute.ok() || H5Awrite(attribute, type, value.empty() ? "" : value.data()) < 0)
    fail_writing(file_.path(), "write attribute " + name);
}

void Hdf5Writer::set_attribute(const std::string& name, std::int64_t value) {
  const QuietHdf5 quiet;
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle attribute(
      H5Acreate2(hdf5_file_.id(), name.c_str(), H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (!attribute.ok() || H5Awrite(attribute, H5T_NATIVE_INT64, &value) < 0)
    fail_writing(file_.path(), "write attribute " + name);
}

void Hdf5Writer::begin_array(const std::string& name, ElementType type, std::span<const std::int64_t> shape) {
  finish_array();
  create_dataset(name, file_type(type), shape);
  name_ = name;
  type_ = type;
  array_is_open_ = true;
}

void Hdf5Writer::write_texts(const std::string& name, std::span<const std::string> texts) {
  finish_array();
  std::size_t longest = 1;
  for (const std::string& text : texts) longest = std::max(longest, text.size());
  {
    const QuietHdf5 quiet;
    const Handle type = text_type(longest);
    const std::int64_t count = std::ssize(texts);
    create_dataset(name, type, std::span(&count, 1));
  }
  name_ = name;
  type_ = ElementType::kUInt8;
  array_is_open_ = true;
  for (std::string text : texts) {
    text.resize(longest);
    append_bytes(ElementType::kUInt8, std::as_bytes(std::span(text)));
  }
}

// Places the array in the file, and leaves its bytes to append_bytes().
void Hdf5Writer::create_dataset(const std::string& name, std::int64_t hdf5_type,
                                std::span<const std::int64_t> shape) {
  std::int64_t size = 1;
  std::vector<hsize_t> dims;
  for (const std::int64_t dim : shape) {
    CHECK_GE(dim, 0);
    size *= dim;
    dims.push_back(static_cast<hsize_t>(dim));
  }
  const QuietHdf5 quiet;
  const Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
  const Handle link(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(link, 1);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_layout(creation, H5D_CONTIGUOUS);
  H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(creation, false);  // the same contents make the same file
  const Handle dataset(
      H5Dcreate2(hdf5_file_.id(), name.c_str(), hdf5_type, space, link, creation, H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) fail_writing(file_.path(), "create array " + name);
  offset_ = size == 0 ? 0 : static_cast<std::int64_t>(H5Dget_offset(dataset));
  end_ = offset_ + size * static_cast<std::int64_t>(H5Tget_size(hdf5_type));
  const std::int64_t checksum_bytes = num_checksum_blocks(end_ - offset_) * 8;
  file_.contents().reserve(end_ + checksum_bytes + kMetadataBytes);
}

void Hdf5Writer::append_bytes(ElementType type, std::span<const std::byte> bytes) {
  CHECK(array_is_open_ && type == type_) << "append() of another type than array " << name_ << " has";
  CHECK_LE(offset_ + static_cast<std::int64_t>(bytes.size()), end_) << "array " << name_ << " is full";
  while (!bytes.empty()) {  // in pieces that stay in the cache between checksum and write
    const auto piece = bytes.first(std::min(bytes.size(), static_cast<std::size_t>(kChecksumBlockBytes)));
    checksums_.update(piece);
    file_.contents().write_at(offset_, piece);
    const std::int64_t next = offset_ + static_cast<std::int64_t>(piece.size());
    if (offset_ / kWritebackBytes != next / kWritebackBytes)
      file_.contents().start_writeback(0, next / kWritebackBytes * kWritebackBytes);
    offset_ = next;
    bytes = bytes.subspan(piece.size());
  }
}

void Hdf5Writer::finish_array() {
  if (!array_is_open_) return;
  CHECK_EQ(offset_, end_) << "array " << name_ << " is not complete";
  array_is_open_ = false;
  const std::vector<std::uint64_t> checksums = checksums_.finish();
  const std::int64_t count = std::ssize(checksums);
  create_dataset(name_ + kChecksumSuffix, file_type(ElementType::kUInt64), std::span(&count, 1));
  file_.contents().write_at(offset_, std::as_bytes(std::span(checksums)));
}

void Hdf5Writer::commit(IfExists if_exists) {
  finish_array();
  const QuietHdf5 quiet;
  if (H5Fclose(hdf5_file_.release()) < 0) fail_writing(file_.path(), "close it");
  file_.commit(if_exists);
}

// ---- reading

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path)
    : file_(File::open(path)), hdf5_file_(open(file_)) {}

void Hdf5Reader::fail(const std::string& what, const std::string& remedy) const {
  throw UserError(file_.path().string(), what, remedy);
}

bool Hdf5Reader::has_attribute(const std::string& name) const {
  const QuietHdf5 quiet;
  return H5Aexists(hdf5_file_.id(), name.c_str()) > 0;
}

std::string Hdf5Reader::text_attribute(const std::string& name) const {
  const QuietHdf5 quiet;
  const Handle attribute(H5Aopen(hdf5_file_.id(), name.c_str(), H5P_DEFAULT), H5Aclose);
  if (!attribute.ok()) fail("has no attribute '" + name + "'", "it was written by another program");
  const Handle type(H5Aget_type(attribute), H5Tclose);
  if (H5Tget_class(type) != H5T_STRING) fail("has an attribute '" + name + "' that is no text", "correct it");
  if (H5Tis_variable_str(type) > 0) {  // as h5py writes them
    char* text = nullptr;
    if (H5Aread(attribute, type, &text) < 0 || text == nullptr)
      fail("attribute '" + name + "' cannot be read: " + hdf5_message(), "write the file again");
    std::string copy(text);
    H5free_memory(text);
    return copy;
  }
  std::string text(H5Tget_size(type), '\0');
  if (H5Aread(attribute, type, text.data()) < 0)
    fail("attribute '" + name + "' cannot be read: " + hdf5_message(), "write the file again");
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

std::int64_t Hdf5Reader::integer_attribute(const std::string& name) const {
  const QuietHdf5 quiet;
  const Handle attribute(H5Aopen(hdf5_file_.id(), name.c_str(), H5P_DEFAULT), H5Aclose);
  if (!attribute.ok()) fail("has no attribute '" + name + "'", "it was written by another program");
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const Handle space(H5Aget_space(attribute), H5Sclose);
  std::int64_t value = 0;
  if (H5Tget_class(type) != H5T_INTEGER || H5Sget_simple_extent_npoints(space) != 1 ||
      H5Aread(attribute, H5T_NATIVE_INT64, &value) < 0)
    fail("has an attribute '" + name + "' that is no integer", "correct it");
  return value;
}

bool Hdf5Reader::has_array(const std::string& name) const {
  const QuietHdf5 quiet;
  return H5Lexists(hdf5_file_.id(), name.c_str(), H5P_DEFAULT) > 0;
}

Hdf5Reader::Array Hdf5Reader::array(const std::string& name) const {
  const QuietHdf5 quiet;
  const Handle dataset(H5Dopen2(hdf5_file_.id(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) fail("has no array '" + name + "'", "it was written by another program");
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  if (!space.ok() || H5Sget_simple_extent_ndims(space) != 1)
    fail("array '" + name + "' has not one dimension", "write it as a flat array");
  Array array;
  array.size = H5Sget_simple_extent_npoints(space);
  const auto found = std::find_if(kElements.begin(), kElements.end(), [&](const ElementFacts& known) {
    return H5Tequal(type, file_type(known.type)) > 0;
  });
  if (found == kElements.end())
    fail("array '" + name + "' has a type of elements that Trireme doesn't read",
         "write it as little-endian uint8, uint16, uint32, uint64, int32 or float32");
  array.type = found->type;
  if (array.size == 0) return array;
  const haddr_t offset = H5Dget_offset(dataset);
  if (H5Pget_layout(creation) != H5D_CONTIGUOUS || offset == HADDR_UNDEF)
    fail("array '" + name + "' is not stored in one piece",
         "write it without chunks, compression or maximum size");
  array.offset = static_cast<std::int64_t>(offset);
  if (array.offset + array.size_bytes() > file_.size_bytes())
    fail("was cut short: array '" + name + "' goes beyond its end",
         "bring back a good copy or write it again");
  return array;
}

std::vector<std::uint64_t> Hdf5Reader::checksums(const std::string& name) const {
  const std::string checksum_name = name + kChecksumSuffix;
  if (!has_array(checksum_name)) return {};
  if (has_attribute(kBlockBytesAttribute) && integer_attribute(kBlockBytesAttribute) != kChecksumBlockBytes)
    fail("has checksums of blocks of " + std::to_string(integer_attribute(kBlockBytesAttribute)) + " bytes",
         "write it again with blocks of " + std::to_string(kChecksumBlockBytes));
  const Array checksum_array = array(checksum_name);
  if (checksum_array.type != ElementType::kUInt64 ||
      checksum_array.size != num_checksum_blocks(array(name).size_bytes()))
    fail("array '" + checksum_name + "' doesn't fit '" + name + "'", "write the file again");
  std::vector<std::uint64_t> checksums(static_cast<std::size_t>(checksum_array.size));
  file_.read_at(checksum_array.offset, std::as_writable_bytes(std::span(checksums)));
  return checksums;
}

void Hdf5Reader::read_bytes(const std::string& name, ElementType type, std::int64_t begin,
                            std::span<std::byte> out) const {
  const Array found = array(name);
  if (found.type != type)
    fail("array '" + name + "' has elements of " + to_string(found.type) + " instead of " + to_string(type),
         "write it again with the right type");
  const std::int64_t first = begin * size_bytes(type);
  const std::int64_t last = first + static_cast<std::int64_t>(out.size());
  CHECK(begin >= 0 && last <= found.size_bytes()) << "read of " << name << " beyond its end";
  const std::vector<std::uint64_t> expected = checksums(name);
  if (expected.empty()) return file_.read_at(found.offset + first, out);

  std::vector<std::byte> edge;  // a block of which only a part is wanted
  for (std::int64_t block = first / kChecksumBlockBytes; block * kChecksumBlockBytes < last; ++block) {
    const std::int64_t block_begin = block * kChecksumBlockBytes;
    const std::int64_t block_end = std::min(block_begin + kChecksumBlockBytes, found.size_bytes());
    const std::int64_t from = std::max(first, block_begin);
    const std::int64_t to = std::min(last, block_end);
    const auto target =
        out.subspan(static_cast<std::size_t>(from - first), static_cast<std::size_t>(to - from));
    const bool whole = from == block_begin && to == block_end;
    if (!whole) edge.resize(static_cast<std::size_t>(block_end - block_begin));
    const std::span<std::byte> bytes = whole ? target : std::span(edge);
    file_.read_at(found.offset + block_begin, bytes);
    if (checksum_of(bytes) != expected[static_cast<std::size_t>(block)])
      throw_corrupt_block(file_.path(), name, block);
    if (!whole) std::copy_n(edge.begin() + (from - block_begin), to - from, target.begin());
  }
}

void Hdf5Reader::verify(const std::string& name) const {
  const Array found = array(name);
  const std::vector<std::uint64_t> expected = checksums(name);
  std::vector<std::byte> bytes;
  for (std::size_t block = 0; block < expected.size(); ++block) {
    const std::int64_t begin = static_cast<std::int64_t>(block) * kChecksumBlockBytes;
    bytes.resize(static_cast<std::size_t>(std::min(kChecksumBlockBytes, found.size_bytes() - begin)));
    file_.read_at(found.offset + begin, bytes);
    if (checksum_of(bytes) != expected[block])
      throw_corrupt_block(file_.path(), name, static_cast<std::int64_t>(block));
  }
}

}  // namespace trireme
