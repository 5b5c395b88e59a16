#include "data/byte_stream.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <zlib.h>
#include <zstd.h>

#include "data/file.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::size_t kInputBytes = std::size_t{1} << 18;

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(File file) : file_(std::move(file)) {}

  std::size_t read(std::span<char> out) override {
    const std::size_t count = file_.read_some(position_, std::as_writable_bytes(out));
    position_ += static_cast<std::int64_t>(count);
    return count;
  }
  std::int64_t file_position() const override { return position_; }

 private:
  File file_;
  std::int64_t position_ = 0;
};

// What both archives share: packed bytes in, unpacked bytes out.
class ArchiveStream : public ByteStream {
 public:
  explicit ArchiveStream(File file) : path_(file.path()), stream_(std::move(file)), input_(kInputBytes) {}

  std::size_t read(std::span<char> out) final {
    std::size_t done = 0;
    while (done < out.size()) {
      if (pending_.empty()) {
        pending_ = std::span(input_).first(stream_.read(input_));
        if (pending_.empty() && !in_frame_) break;
      }
      const bool file_ends = pending_.empty();  // what has been unpacked already may still come
      const std::size_t count = unpack(out.subspan(done));
      if (file_ends && count == 0 && in_frame_) fail("was cut short");
      done += count;
    }
    return done;
  }
  std::int64_t file_position() const final {
    return stream_.file_position() - static_cast<std::int64_t>(pending_.size());
  }

 protected:
  // Takes bytes from pending_, returns how many it put into `out`, and keeps in_frame_ up to date.
  virtual std::size_t unpack(std::span<char> out) = 0;
  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(path_.string(), "is an archive that " + what, "bring back a good copy");
  }

  std::span<char> pending_;
  bool in_frame_ = false;  // between the beginning and the end of a gzip member or zstd frame

 private:
  std::filesystem::path path_;
  PlainStream stream_;
  std::vector<char> input_;
};

class GzipStream final : public ArchiveStream {
 public:
  explicit GzipStream(File file) : ArchiveStream(std::move(file)) {
    CHECK_EQ(inflateInit2(&state_, 15 + 16), Z_OK);  // the largest window; a gzip header
  }
  ~GzipStream() override { inflateEnd(&state_); }

 private:
  std::size_t unpack(std::span<char> out) override {
    state_.next_in = reinterpret_cast<Bytef*>(pending_.data());
    state_.avail_in = static_cast<uInt>(pending_.size());
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = static_cast<uInt>(std::min(out.size(), std::size_t{1} << 30));
    const uInt room = state_.avail_out;
    in_frame_ = true;
    const int result = inflate(&state_, Z_NO_FLUSH);
    pending_ = pending_.last(state_.avail_in);
    if (result == Z_STREAM_END) {  // another member may follow
      in_frame_ = false;
      CHECK_EQ(inflateReset(&state_), Z_OK);
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail(std::string("is damaged (zlib says: ") + (state_.msg != nullptr ? state_.msg : "no reason") + ")");
    }
    return room - state_.avail_out;
  }

  z_stream state_{};
};

class ZstdStream final : public ArchiveStream {
 public:
  explicit ZstdStream(File file) : ArchiveStream(std::move(file)), state_(ZSTD_createDStream()) {
    CHECK(state_ != nullptr);
  }
  ~ZstdStream() override { ZSTD_freeDStream(state_); }

 private:
  std::size_t unpack(std::span<char> out) override {
    ZSTD_inBuffer input{pending_.data(), pending_.size(), 0};
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    const std::size_t result = ZSTD_decompressStream(state_, &output, &input);
    if (ZSTD_isError(result)) fail(std::string("is damaged (zstd says: ") + ZSTD_getErrorName(result) + ")");
    pending_ = pending_.subspan(input.pos);
    in_frame_ = result != 0;
    return output.pos;
  }

  ZSTD_DStream* state_;
};

}  // namespace

std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path) {
  File file = File::open(path);
  std::array<unsigned char, 4> magic{};
  file.read_some(0, std::as_writable_bytes(std::span(magic)));
  if (magic[0] == 0x1F && magic[1] == 0x8B) return std::make_unique<GzipStream>(std::move(file));
  constexpr std::array<unsigned char, 4> kZstdMagic = {0x28, 0xB5, 0x2F, 0xFD};
  if (magic == kZstdMagic) return std::make_unique<ZstdStream>(std::move(file));
  return std::make_unique<PlainStream>(std::move(file));
}

}  // namespace trireme
