#include "data/hdf5_file.h"

#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/user_error.h"
#include "tests/support/damage.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<float> random_floats(std::size_t size) {
  std::mt19937 random(7);
  std::vector<float> values(size);
  for (float& value : values) value = static_cast<float>(random());
  return values;
}

TEST(Hdf5File, ReadsBackWhatWasWrittenInPieces) {
  const TempDir dir;
  const std::vector<float> values = random_floats(700001);  // whole blocks and a short one
  const std::vector<std::uint16_t> empty;
  {
    Hdf5Writer writer(dir / "a.h5");
    writer.set_attribute("format", std::string("words with\nlines"));
    writer.set_attribute("nothing", std::string());
    writer.set_attribute("count", std::int64_t{-5});
    writer.begin_array("values", ElementType::kFloat32, 700001);
    for (std::size_t begin = 0, piece = 1; begin < values.size(); begin += piece, piece = piece * 3 + 1)
      writer.append(std::span(values).subspan(begin, std::min(piece, values.size() - begin)));
    writer.write<std::uint16_t>("empty", empty);
    writer.write<float>("again", values);
    writer.commit();
  }
  const Hdf5Reader reader(dir / "a.h5");
  EXPECT_EQ(reader.text_attribute("format"), "words with\nlines");
  EXPECT_EQ(reader.text_attribute("nothing"), "");
  EXPECT_EQ(reader.integer_attribute("count"), -5);
  EXPECT_FALSE(reader.has_attribute("other"));
  EXPECT_EQ(reader.array("values").size, 700001);
  EXPECT_EQ(reader.array("values").offset % 4096, 0);
  EXPECT_EQ(reader.checksums("values").size(), static_cast<std::size_t>(num_checksum_blocks(700001 * 4)));
  EXPECT_EQ(reader.read_all<float>("values"), values);
  EXPECT_EQ(reader.read_all<float>("again"), values);
  EXPECT_TRUE(reader.read_all<std::uint16_t>("empty").empty());
  std::vector<float> part(300000);
  reader.read<float>("values", 262140, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), values.begin() + 262140));
}

TEST(Hdf5File, NothingIsLeftOfAWriterThatGaveUp) {
  const TempDir dir;
  {
    Hdf5Writer writer(dir / "a.h5");
    writer.begin_array("values", ElementType::kFloat32, 10);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Hdf5File, NeverOverwritesUnasked) {
  const TempDir dir;
  write_durably(dir / "a.h5", "precious");
  Hdf5Writer writer(dir / "a.h5");
  EXPECT_THAT([&] { writer.commit(); }, ThrowsUserError(AllOf(HasSubstr("a.h5"), HasSubstr("exists"))));
  EXPECT_EQ(read_whole_file(dir / "a.h5"), "precious");
}

TEST(Hdf5File, RefusesDamagedFilesByName) {
  const TempDir dir;
  const std::vector<float> values = random_floats(1000000);
  {
    Hdf5Writer writer(dir / "good.h5");
    writer.write<float>("values", values);
    writer.commit();
  }
  const std::int64_t offset = Hdf5Reader(dir / "good.h5").array("values").offset;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(dir / "good.h5"));

  std::filesystem::copy_file(dir / "good.h5", dir / "short.h5");
  std::filesystem::resize_file(dir / "short.h5", static_cast<std::uintmax_t>(size / 2));
  EXPECT_THAT([&] { Hdf5Reader reader(dir / "short.h5"); },
              ThrowsUserError(AllOf(HasSubstr("short.h5"), HasSubstr("cut short"))));

  std::filesystem::copy_file(dir / "good.h5", dir / "flipped.h5");
  flip_bit(dir / "flipped.h5", offset + 2 * kChecksumBlockBytes + 77);
  const Hdf5Reader flipped(dir / "flipped.h5");
  const auto refusal = AllOf(HasSubstr("flipped.h5"), HasSubstr("block 2 of 'values'"));
  EXPECT_THAT([&] { flipped.verify("values"); }, ThrowsUserError(refusal));
  EXPECT_THAT([&] { flipped.read_all<float>("values"); }, ThrowsUserError(refusal));
  std::vector<float> out(10);
  flipped.read<float>("values", 5, out);  // another block: sound
  EXPECT_EQ(out[0], values[5]);
  EXPECT_THAT([&] { flipped.read<float>("values", 2 * kChecksumBlockBytes / 4, out); },
              ThrowsUserError(refusal));

  write_durably(dir / "text.h5", "To be, or not to be");
  EXPECT_THAT([&] { Hdf5Reader reader(dir / "text.h5"); },
              ThrowsUserError(AllOf(HasSubstr("text.h5"), HasSubstr("not a readable HDF5 file"))));
  write_durably(dir / "empty.h5", "");
  EXPECT_THAT([&] { Hdf5Reader reader(dir / "empty.h5"); },
              ThrowsUserError(AllOf(HasSubstr("empty.h5"), HasSubstr("is empty"))));
  EXPECT_THAT([&] { Hdf5Reader reader(dir / "none.h5"); },
              ThrowsUserError(AllOf(HasSubstr("none.h5"), HasSubstr("No such file"))));

  const Hdf5Reader good(dir / "good.h5");
  EXPECT_THAT([&] { good.array("other"); }, ThrowsUserError(HasSubstr("no array 'other'")));
  EXPECT_THAT([&] { good.read_all<std::int32_t>("values"); },
              ThrowsUserError(HasSubstr("elements of float32 instead of int32")));
  EXPECT_THAT([&] { good.text_attribute("other"); }, ThrowsUserError(HasSubstr("no attribute 'other'")));
}

TEST(Hdf5File, AFullDiskIsNamedAndLeavesNothing) {
  const TempDir dir;
  const SmallDisk disk(dir.path(), 4);
  if (!disk.mounted()) GTEST_SKIP() << "mounting a small file system is not permitted here";
  const std::vector<float> values = random_floats(2000000);
  const auto refusal = AllOf(HasSubstr("b.h5"), HasSubstr("No space left"), HasSubstr("MiB free"));
  {
    Hdf5Writer writer(dir / "a.h5");
    writer.write<float>("values", std::span(values).first(100000));
    writer.commit();
  }
  EXPECT_THAT(
      [&] {
        Hdf5Writer writer(dir / "b.h5");
        writer.write<float>("values", values);
        writer.commit();
      },
      ThrowsUserError(refusal));
  // Full to the last page: HDF5's own bookkeeping is what finds no place.
  write_durably(dir / "small", "x");
  const auto space = std::filesystem::space(dir.path());
  {
    File filler = File::create(dir / "filler");
    filler.reserve(static_cast<std::int64_t>(space.available));
    EXPECT_THAT(
        [&] {
          Hdf5Writer writer(dir / "b.h5");
          writer.set_attribute("format", std::string("x"));
          writer.commit();
        },
        ThrowsUserError(refusal));
    EXPECT_THAT([&] { write_durably(dir / "b.h5", std::string(100000, 'x')); }, ThrowsUserError(refusal));
  }
  int num_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path())) ++num_files;
  EXPECT_EQ(num_files, 3);
  EXPECT_EQ(Hdf5Reader(dir / "a.h5").array("values").size, 100000);
}

TEST(DurableFile, KnowsItsOwnTemporaries) {
  EXPECT_TRUE(is_temporary_name(temporary_name("folder/a.h5")));
  EXPECT_NE(temporary_name("a.h5"), temporary_name("a.h5"));
  EXPECT_FALSE(is_temporary_name("a.tmp"));
  EXPECT_FALSE(is_temporary_name(".tmp.0123456789abcdef"));
  EXPECT_FALSE(is_temporary_name("a.tmp.0123456789abcdeg"));
  EXPECT_FALSE(is_temporary_name("notes.tmp.txt"));
}

TEST(BlockChecksums, DoNotDependOnThePieces) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(2 * kChecksumBlockBytes + 5));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 >> 3);
  BlockChecksums checksums;
  for (std::size_t begin = 0; begin < bytes.size(); begin += 4097)
    checksums.update(std::span(bytes).subspan(begin, std::min<std::size_t>(4097, bytes.size() - begin)));
  const auto found = checksums.finish();
  ASSERT_EQ(found.size(), 3u);
  for (std::size_t block = 0; block < 3; ++block) {
    const auto begin = block * kChecksumBlockBytes;
    const auto size = std::min<std::size_t>(kChecksumBlockBytes, bytes.size() - begin);
    EXPECT_EQ(found[block], checksum_of(std::span(bytes).subspan(begin, size)));
  }
  EXPECT_TRUE(checksums.finish().empty());
  EXPECT_EQ(to_hex(0x0123456789abcdef), "0123456789abcdef");
}

}  // namespace
}  // namespace trireme
