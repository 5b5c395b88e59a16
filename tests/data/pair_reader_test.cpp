#include "data/pair_reader.h"

#include <fstream>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/archives.h"
#include "tests/data/catalogs.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text.h"
#include "tests/support/throws.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

class Collector final : public PairSink {
 public:
  void add_pair(std::string_view source, std::string_view target) override {
    pairs.emplace_back(source, target);
  }
  void report_progress(std::int64_t bytes_read) override {
    EXPECT_GE(bytes_read, progress);
    progress = bytes_read;
  }

  std::vector<std::pair<std::string, std::string>> pairs;
  PairCounts counts;
  std::int64_t progress = 0;
};

Collector read(const PairInputs& inputs) {
  Collector collector;
  const PairFiles files = list_pair_files(inputs);
  collector.counts = read_pairs(files.files, collector);
  EXPECT_EQ(collector.progress, files.total_bytes);
  EXPECT_EQ(collector.counts.read, static_cast<std::int64_t>(collector.pairs.size()));
  return collector;
}

Collector read_file(const std::string& input) {
  return read({.inputs = {input}});
}

void put(const std::string& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary) << contents;
}

TEST(PairReader, LinesOfTwoFiles) {
  const TempDir dir;
  put(dir / "en", "\xEF\xBB\xBFone\r\ntwo \n\n \u00a0\nfive");
  put(dir / "de", "eins\n\tzwei\ndrei\nvier\nfünf\n");
  const Collector result = read({.sources = {dir / "en"}, .targets = {dir / "de"}});
  EXPECT_THAT(result.pairs, ElementsAre(Pair("one", "eins"), Pair("two", "zwei"), Pair("five", "fünf")));
  EXPECT_EQ(result.counts.empty, 2);
}

TEST(PairReader, SeveralFilesAndArchives) {
  const TempDir dir;
  std::string source;
  std::string target;
  for (int i = 0; i < 100000; ++i) {
    source += "a sentence, number " + std::to_string(i) + "\n";
    target += "Satz " + std::to_string(i) + "\n";
  }
  put(dir / "1.en", gzipped(source));
  put(dir / "1.de", zstandard(target));
  put(dir / "2.en", "last\n");
  put(dir / "2.de", "letzter\n");
  const Collector result =
      read({.sources = {dir / "1.en", dir / "2.en"}, .targets = {dir / "1.de", dir / "2.de"}});
  ASSERT_EQ(result.pairs.size(), 100001u);
  EXPECT_THAT(result.pairs[77777], Pair("a sentence, number 77777", "Satz 77777"));
  EXPECT_THAT(result.pairs.back(), Pair("last", "letzter"));
}

TEST(PairReader, UnequalNumbersOfLinesAreBothNamed) {
  const TempDir dir;
  put(dir / "en", "1\n2\n3\n4\n5\n");
  put(dir / "de", "1\n2\n3");
  EXPECT_THAT([&] { read({.sources = {dir / "en"}, .targets = {dir / "de"}}); },
              ThrowsUserError(AllOf(HasSubstr("/en: has 5 lines"), HasSubstr("/de has 3"))));
  EXPECT_THAT([&] { read({.sources = {dir / "de"}, .targets = {dir / "en"}}); },
              ThrowsUserError(AllOf(HasSubstr("/de: has 3 lines"), HasSubstr("/en has 5"))));
  EXPECT_THAT(
      [&] {
        read({.sources = {dir / "en", dir / "en"}, .targets = {dir / "de"}});
      },
      ThrowsUserError(AllOf(HasSubstr("--source: names 2 files"), HasSubstr("--target names 1"))));
}

TEST(PairReader, RowsOfTables) {
  const TempDir dir;
  put(dir / "a.tsv", "one\teins\r\n\n \ntwo\t\n\tdrei\nfour\t vier ");
  const Collector result = read_file(dir / "a.tsv");
  EXPECT_THAT(result.pairs, ElementsAre(Pair("one", "eins"), Pair("four", "vier")));
  EXPECT_EQ(result.counts.empty, 4);
  put(dir / "b.tsv", "one\teins\nno tabulator\n");
  EXPECT_THAT([&] { read_file(dir / "b.tsv"); },
              ThrowsUserError(HasSubstr("b.tsv:2: has 1 columns, not two")));
  put(dir / "b.tsv", "one\teins\nthree\tdrei\ttrois\n");
  EXPECT_THAT([&] { read_file(dir / "b.tsv"); },
              ThrowsUserError(HasSubstr("b.tsv:2: has 3 columns, not two")));
}

const std::vector<Message> kMessages = {
    {"", "Content-Type: text/plain; charset=UTF-8\n"},
    {"Open", "Öffnen"},
    {std::string("menu|file\x04") + "Close", "Schließen"},
    {std::string("%d file\0%d files", 15), std::string("%d Datei\0%d Dateien", 19)},
    {"two\n lines\n", "zwei\nZeilen\n"},
    {"untranslated", ""},
    {std::string("context\x04"), "only a context"},
};

void expect_messages(const Collector& result) {
  EXPECT_THAT(result.pairs, ElementsAre(Pair("Open", "Öffnen"), Pair("Close", "Schließen"),
                                        Pair("%d file", "%d Datei"), Pair("two lines", "zwei Zeilen")));
  EXPECT_EQ(result.counts.empty, 2);
}

TEST(PairReader, BinaryCatalogsOfBothByteOrders) {
  const TempDir dir;
  for (const bool swapped : {false, true}) {
    put(dir / "a.mo", binary_catalog(kMessages, swapped));
    expect_messages(read_file(dir / "a.mo"));
    put(dir / "b.gmo.gz", gzipped(binary_catalog(kMessages, swapped)));
    expect_messages(read_file(dir / "b.gmo.gz"));
  }
}

TEST(PairReader, DamagedBinaryCatalogsAreRefused) {
  const TempDir dir;
  const auto refuse = [&](const std::string& bytes, const std::string& what) {
    put(dir / "a.mo", bytes);
    EXPECT_THAT([&] { read_file(dir / "a.mo"); },
                ThrowsUserError(AllOf(HasSubstr("a.mo: "), HasSubstr(what))));
  };
  for (const bool swapped : {false, true}) {
    const std::string good = binary_catalog(kMessages, swapped);
    for (std::size_t size = 0; size < good.size(); ++size)
      refuse(good.substr(0, size), size < 28 ? "is no .mo file" : "is damaged");
    const auto with_number = [&](std::size_t offset, std::uint32_t number) {
      std::string bytes = good;
      put_number(bytes, offset, number, swapped);
      return bytes;
    };
    refuse(with_number(0, 0x12345678), "is no .mo file");
    refuse(with_number(4, 0x00020000), "unknown version 2");
    refuse(with_number(8, 0xFFFFFFFF), "a table of 4294967295 strings");
    refuse(with_number(12, 0xFFFFFFF0), "strings at byte 4294967280");
    refuse(with_number(16, 0x10000), "strings at byte 65536");
    refuse(with_number(28 + 8, 0xFFFFFFFF), "string 1 of 4294967295 bytes");
    refuse(with_number(28 + 8 + 4, 0xFFFFFFFF), "string 1 of 4 bytes at byte 4294967295");
    refuse(with_number(28 + 8, 3), "string 1 of 3 bytes");  // no zero follows
  }
}

TEST(PairReader, TextCatalogs) {
  const TempDir dir;
  put(dir / "a.po", R"(# A comment.
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"

#: file.c:1
#, c-format
msgid "Open"
msgstr "Öffnen"

#, fuzzy, c-format
#| msgid "Guess"
msgid "Guessed"
msgstr "Geraten"
msgctxt "menu|file"
msgid   "Cl"
  "ose"
msgstr ""
"Schließen"
msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Datei"
msgstr[1] "%d Dateien"

msgid "two\n"
" lines\n"
msgstr "zwei\nZeilen\n"

msgid "untranslated"
msgstr ""

msgctxt "context"
msgid ""
msgstr "only a context"

#, fuzzy
#~ msgid "old"
#~ msgstr "alt"

#~ msgid "older"
#~ msgid_plural "the older"
#~ msgstr[0] "älter"

msgid "quoted \"text\" \\ \101\x42\t\303\274"
msgstr "«Text»"
)");
  Collector result = read_file(dir / "a.po");
  EXPECT_THAT(result.pairs.back(), Pair("quoted \"text\" \\ AB\tü", "«Text»"));
  result.pairs.pop_back();
  expect_messages(result);
  EXPECT_EQ(result.counts.fuzzy, 1);
  EXPECT_EQ(result.counts.obsolete, 2);
}

TEST(PairReader, BrokenTextCatalogsAreRefusedByLine) {
  const TempDir dir;
  const auto refuse = [&](const std::string& text, const std::string& what) {
    put(dir / "a.po", "msgid \"a\"\nmsgstr \"b\"\n" + text);
    EXPECT_THAT([&] { read_file(dir / "a.po"); }, ThrowsUserError(HasSubstr(what)));
  };
  refuse("\nmsgid \"c\"\n", "a.po:5: an entry has no msgstr");
  refuse("msgid \"c\"\nmsgid \"d\"\n", "a.po:4: the entry has two of the same keyword");
  refuse("msgstr \"c\"\n", "a.po:3: the entry has two of the same keyword");
  refuse("# comment\nmsgstr \"c\"\n", "a.po:4: msgstr follows no msgid");
  refuse("msgid_plural \"c\"\n", "a.po:3: msgid_plural follows no msgid");
  refuse("# comment\n\"c\"\n", "a.po:4: a string follows no keyword");
  refuse("msgid c\n", "a.po:3: a string is not in quotes");
  refuse("msgid \"c\n", "a.po:3: a string is not in quotes");
  refuse("msgid \"c\\\"\n", "a.po:3: a string is not closed");
  refuse("msgid \"c\"d\"\n", "a.po:3: a quote inside a string");
  refuse("msgid \"\\q\"\n", "a.po:3: the escape \\q is unknown");
  refuse("msgid \"\\x\"\n", "a.po:3: the escape \\x lacks its digits");
  refuse("hello \"c\"\n", "a.po:3: 'hello' is no keyword");
}

TEST(PairReader, FoldersAreWalked) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "in/sub");
  put(dir / "in/b.mo", binary_catalog({{"b", "B"}}, false));
  put(dir / "in/sub/a.po", "msgid \"a\"\nmsgstr \"A\"\n");
  put(dir / "in/a.tsv.gz", gzipped("t\tT\n"));
  put(dir / "in/README", "no pairs");
  put(dir / "in/.hidden.tsv", "h\tH\n");
  const PairFiles files = list_pair_files({.inputs = {dir / "in"}});
  EXPECT_EQ(files.files.size(), 3u);
  EXPECT_EQ(files.num_passed_over, 1);
  EXPECT_THAT(read_file(dir / "in").pairs, ElementsAre(Pair("t", "T"), Pair("b", "B"), Pair("a", "A")));
  // A file that is named must be understood; --format says how.
  put(dir / "rows.txt", "one\teins\n");
  EXPECT_THAT(
      [&] { read_file(dir / "rows.txt"); },
      ThrowsUserError(AllOf(HasSubstr("rows.txt: "), HasSubstr("unknown format"), HasSubstr("--format"))));
  EXPECT_THAT(read({.inputs = {dir / "rows.txt"}, .format = PairFormat::kTsv}).pairs,
              ElementsAre(Pair("one", "eins")));
  std::filesystem::create_directory(dir / "none");
  put(dir / "none/README", "no pairs");
  EXPECT_THAT([&] { read_file(dir / "none"); }, ThrowsUserError(HasSubstr("none: holds no parallel text")));
  EXPECT_THAT([&] { read_file(dir / "absent.po"); }, ThrowsUserError(HasSubstr("absent.po: cannot open")));
  EXPECT_THAT([&] { read(PairInputs{}); }, ThrowsUserError(HasSubstr("no parallel text")));
}

TEST(PairReader, EmptyFilesHaveNoPairs) {
  const TempDir dir;
  put(dir / "a.po", "");
  put(dir / "a.tsv", "");
  put(dir / "a.mo", binary_catalog({}, true));
  for (const char* name : {"a.po", "a.tsv", "a.mo"})
    EXPECT_THAT(read_file(dir / name).pairs, IsEmpty()) << name;
}

}  // namespace
}  // namespace trireme
