#include "data/document_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/byte_stream.h"
#include "data/durable_file.h"
#include "data/utf8.h"
#include "tests/data/archives.h"
#include "tests/support/damage.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class Collector final : public DocumentSink {
 public:
  void add_bytes(std::string_view bytes) override {
    document_ += bytes;
    largest_piece = std::max(largest_piece, bytes.size());
  }
  void end_document() override {
    documents.push_back(document_);
    document_.clear();
  }
  void report_progress(std::int64_t bytes_read) override {
    EXPECT_GE(bytes_read, progress);
    progress = bytes_read;
  }

  std::vector<std::string> documents;
  std::size_t largest_piece = 0;
  std::int64_t progress = 0;

 private:
  std::string document_;
};

std::vector<std::string> documents_of(const std::vector<std::string>& names,
                                      const DocumentOptions& options = {}) {
  Collector collector;
  read_documents(list_text_files(names), options, collector);
  return collector.documents;
}

TEST(DocumentReader, AFileIsADocument) {
  const TempDir dir;
  const std::string long_text = made_up_prose(3 * kPieceBytes + 17, 1);
  write_durably(dir / "a.txt", "one\ntwo");
  write_durably(dir / "b.txt", "");
  write_durably(dir / "c.txt", long_text);
  EXPECT_THAT(documents_of({dir / "a.txt", dir / "b.txt", dir / "c.txt"}),
              ElementsAre("one\ntwo", long_text));
}

TEST(DocumentReader, SeparatorsPartDocuments) {
  const TempDir dir;
  DocumentOptions options;
  options.separator = "%";
  write_durably(dir / "a.txt", "%\none\n%\n%\r\ntwo %\n%%\n%\n\n%");
  EXPECT_THAT(documents_of({dir / "a.txt"}, options), ElementsAre("one\n", "two %\n%%\n", "\n"));
  // Lines and documents longer than the buffers, with a separator across their borders.
  for (const std::size_t size :
       {kPieceBytes - 3, kPieceBytes - 2, kPieceBytes - 1, kPieceBytes, 2 * kPieceBytes + 1}) {
    const std::string line(size, 'x');
    write_durably(dir / "b.txt", line + "%\n%\n" + line + "\n%", IfExists::kReplace);
    EXPECT_THAT(documents_of({dir / "b.txt"}, options), ElementsAre(line + "%\n", line + "\n")) << size;
  }
}

TEST(DocumentReader, ArchivesAreUnpacked) {
  const TempDir dir;
  const std::string text = made_up_prose(2 * kPieceBytes + 5, 2);
  const std::string zeros(5 * kPieceBytes, '\0');  // packs to a few bytes
  for (const auto& content : {text, zeros, std::string("x")}) {
    for (const std::string& packed : {gzipped(content), zstandard(content)}) {
      write_durably(dir / "a", packed, IfExists::kReplace);
      EXPECT_EQ(documents_of({dir / "a"}), std::vector{content});
      write_durably(dir / "a", packed + packed, IfExists::kReplace);  // as `cat a.gz b.gz` makes
      EXPECT_EQ(documents_of({dir / "a"}), std::vector{content + content});
    }
  }
}

TEST(DocumentReader, DamagedArchivesAreRefusedByName) {
  const TempDir dir;
  const std::string text = made_up_prose(500000, 3);
  for (const std::string& packed : {gzipped(text), zstandard(text)}) {
    for (const std::size_t size : {std::size_t{5}, packed.size() / 2, packed.size() - 1}) {
      write_durably(dir / "short", packed.substr(0, size), IfExists::kReplace);
      EXPECT_THAT([&] { documents_of({dir / "short"}); },
                  ThrowsUserError(AllOf(HasSubstr("/short: "), HasSubstr("cut short"))));
    }
  }
  write_durably(dir / "flipped", gzipped(text));
  flip_bit(dir / "flipped", 1000);
  EXPECT_THAT([&] { documents_of({dir / "flipped"}); },
              ThrowsUserError(AllOf(HasSubstr("/flipped: "), HasSubstr("damaged"))));
}

TEST(DocumentReader, RowsOfJsonLines) {
  const TempDir dir;
  const std::string rows =
      "{\"text\": \"one\\n\\u00e9\", \"id\": 1}\n\n{\"text\": \"\"}\r\n{\"id\": 2, \"text\": \"two\"}";
  write_durably(dir / "a.jsonl", rows);
  write_durably(dir / "b.jsonl.gz", gzipped(rows));
  write_durably(dir / "c.txt", rows);
  EXPECT_THAT(documents_of({dir / "a.jsonl", dir / "b.jsonl.gz"}),
              ElementsAre("one\né", "two", "one\né", "two"));
  EXPECT_THAT(documents_of({dir / "c.txt"}), ElementsAre(rows));
  DocumentOptions options;
  options.format = TextFormat::kJsonl;
  EXPECT_THAT(documents_of({dir / "c.txt"}, options), ElementsAre("one\né", "two"));
  options.field = "body";
  write_durably(dir / "d.jsonl", "{\"body\": \"" + std::string(2 * kPieceBytes, 'y') + "\"}");
  EXPECT_EQ(documents_of({dir / "d.jsonl"}, options).at(0).size(), 2 * kPieceBytes);
}

TEST(DocumentReader, BadRowsAreNamedByFileAndNumber) {
  const TempDir dir;
  const auto refuse = [&](const std::string& bad_row, const std::string& what) {
    write_durably(dir / "a.jsonl", "{\"text\": \"good\"}\n\n" + bad_row + "\n", IfExists::kReplace);
    EXPECT_THAT([&] { documents_of({dir / "a.jsonl"}); },
                ThrowsUserError(AllOf(HasSubstr("/a.jsonl:3: "), HasSubstr(what))));
  };
  refuse("{\"text\": ", "not valid JSON");
  refuse("{\"text\": \"\xff\"}", "not valid JSON");
  refuse("{\"txt\": \"x\"}", "no key 'text'");
  refuse("{\"text\": 5}", "wrong type");
  refuse("[1]", "no key 'text'");
}

TEST(DocumentReader, FoldersAreWalkedInOrder) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "in/b/c");
  std::filesystem::create_directories(dir / "in/.git");
  write_durably(dir / "in/z.txt", "z");
  write_durably(dir / "in/b/c/a.txt", "bca");
  write_durably(dir / "in/b/b.txt", "bb");
  write_durably(dir / "in/.git/config", "hidden");
  write_durably(dir / "in/.hidden", "hidden");
  std::filesystem::create_symlink(dir / "in/z.txt", dir / "in/link.txt");
  std::filesystem::create_directory_symlink(dir / "in", dir / "in/b/around");
  EXPECT_THAT(documents_of({dir / "in/z.txt", dir / "in"}), ElementsAre("z", "bb", "bca", "z"));
}

TEST(DocumentReader, MissingAndUnreadableFilesAreNamed) {
  const TempDir dir;
  EXPECT_THAT([&] { list_text_files({dir / "none.txt"}); },
              ThrowsUserError(AllOf(HasSubstr("/none.txt: "), HasSubstr("No such file"))));
  EXPECT_THAT([&] { list_text_files({dir.path().string()}); }, ThrowsUserError(HasSubstr("holds no file")));
  EXPECT_THAT([&] { list_text_files({"/dev/null"}); },
              ThrowsUserError(AllOf(HasSubstr("/dev/null"), HasSubstr("not a regular file"))));
}

TEST(Utf8Checker, KnowsUtf8) {
  const auto is_utf8 = [](std::string_view text) {
    bool whole = false;
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {  // the same wherever the pieces meet
      Utf8Checker checker;
      checker.update(text.substr(0, cut));
      checker.update(text.substr(cut));
      const bool valid = checker.finish();
      if (cut == 0) whole = valid;
      EXPECT_EQ(valid, whole) << text << " cut at " << cut;
    }
    return whole;
  };
  for (const char* good : {"", "plain ASCII of some length", "é", "日本語, and more", "🚢", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80", "\xe0\xa0\x80"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad :
       {"\x80", "\xff", "caf\xe9", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe6\x97", "é\xa9 and text"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
}

}  // namespace
}  // namespace trireme
