// What the heads of a model look at: the maps, their figures, the page.

#include "trainer/attention_maps.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/file.h"
#include "data/tokenizer/base64.h"
#include "data/tokenizer/byte.h"
#include "data/user_error.h"
#include "tests/support/temp_dir.h"
#include "trainer/attention_file.h"
#include "trainer/attention_page.h"

namespace trireme {
namespace {

TEST(HeadFigures, OfAlikeKeys) {
  const std::vector<float> p(3 * 4, 0.25F);
  const HeadFigures figures = figures_of_head(p, 4);
  EXPECT_NEAR(figures.entropy, std::log(4.0), 1e-12);
  // Rows 0, 1, 2: (0 + 1 + 2 + 3) / 4, (1 + 0 + 1 + 2) / 4, (2 + 1 + 0 + 1) / 4.
  EXPECT_NEAR(figures.distance, (1.5 + 1.0 + 1.0) / 3.0, 1e-12);
}

TEST(HeadFigures, OfOneKeyEach) {
  // 0 -> 0, 1 -> 0, 2 -> 1.
  const std::vector<float> p = {1, 0, 0, 1, 0, 0, 0, 1, 0};
  const HeadFigures figures = figures_of_head(p, 3);
  EXPECT_EQ(figures.entropy, 0.0);
  EXPECT_FALSE(std::signbit(figures.entropy));
  EXPECT_NEAR(figures.distance, 2.0 / 3.0, 1e-12);
}

TEST(TokenLabel, IsWhatOneCanRead) {
  EXPECT_EQ(token_label("word"), "word");
  EXPECT_EQ(token_label(" the\n\tend"), "␣the↵⇥end");
  EXPECT_EQ(token_label("é"), "é");
  EXPECT_EQ(token_label("\xC3"), "⟨C3⟩");
  EXPECT_EQ(token_label("\x9F\x98"), "⟨9F 98⟩");
  EXPECT_EQ(token_label(std::string_view("a\0b", 3)), "⟨61 00 62⟩");
  EXPECT_EQ(token_label("\x7F"), "⟨7F⟩");
  EXPECT_EQ(token_label(""), "⟨end⟩");
}

// What the user is told.
template <typename Body>
std::string user_error_of(const Body& body) {
  try {
    body();
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

TransformerOptions small_options() {
  return {.layers = 3,
          .width = 16,
          .heads = 4,
          .kv_heads = 2,
          .head_width = 4,
          .feed_forward = 24,
          .context = 24,
          .vocabulary = 257,
          .positions = Positions::kRope,
          .init_stddev = 0.5F};
}

TrainedModel decoder() {
  TrainedModel trained;
  trained.model = std::make_unique<Transformer>(small_options());
  trained.model->parameters().initialize(3);
  trained.tokenizer = std::make_unique<ByteTokenizer>();
  return trained;
}

TrainedMaskedModel encoder() {
  TransformerOptions options = small_options();
  options.kind = ModelKind::kEncoder;
  options.vocabulary = 258;  // the bytes, the end, and the mask
  TrainedMaskedModel trained;
  trained.model = std::make_unique<MaskedLanguageModel>(options);
  trained.model->parameters().initialize(5);
  trained.tokenizer = std::make_unique<ByteTokenizer>();
  return trained;
}

TrainedTranslator translator() {
  TransformerOptions options = small_options();
  options.kind = ModelKind::kEncoderDecoder;
  options.encoder_layers = 2;
  TrainedTranslator trained;
  trained.model = std::make_unique<EncoderDecoder>(options);
  trained.model->parameters().initialize(4);
  trained.tokenizer = std::make_unique<ByteTokenizer>();
  return trained;
}

void expect_distributions(const AttentionMaps& maps) {
  for (const std::vector<float>& layer : maps.layers_HTS) {
    ASSERT_EQ(std::ssize(layer), maps.heads * maps.queries.size() * maps.keys.size());
    for (std::size_t row = 0; row < layer.size(); row += maps.keys.tokens.size()) {
      double sum = 0.0;
      for (std::size_t s = 0; s < maps.keys.tokens.size(); ++s) sum += static_cast<double>(layer[row + s]);
      EXPECT_NEAR(sum, 1.0, 1e-5);
    }
  }
}

TEST(AttentionReading, OfADecoder) {
  TrainedModel trained = decoder();
  const AttentionReading reading = read_attention(trained, "abc de");
  ASSERT_EQ(reading.maps.size(), 1U);
  const AttentionMaps& maps = reading.maps.front();
  EXPECT_EQ(maps.kind, AttentionKind::kDecoder);
  EXPECT_EQ(maps.heads, 4);
  EXPECT_EQ(maps.layers_HTS.size(), 3U);
  EXPECT_EQ(maps.queries.tokens, (std::vector<std::int32_t>{256, 'a', 'b', 'c', ' ', 'd', 'e'}));
  EXPECT_EQ(maps.queries.texts[0], "⟨end⟩");
  EXPECT_EQ(maps.queries.texts[4], "␣");
  expect_distributions(maps);
  for (std::int64_t t = 0; t < 7; ++t) {
    for (std::int64_t s = t + 1; s < 7; ++s)
      EXPECT_EQ(maps.head(2, 3)[static_cast<std::size_t>(t * 7 + s)], 0.0F) << "a key of the future";
  }
  EXPECT_TRUE(std::isfinite(reading.loss.value()));
}

// Layers of a looped model are named by their loops, in the page and in the file; others are not.
TEST(AttentionReading, NamesLoops) {
  TransformerOptions options = small_options();
  options.layers = 2;
  options.loops = 3;
  TrainedModel trained;
  trained.model = std::make_unique<Transformer>(options);
  trained.model->parameters().initialize(3);
  trained.tokenizer = std::make_unique<ByteTokenizer>();
  const AttentionReading reading = read_attention(trained, "abc");
  ASSERT_EQ(reading.maps.front().layers_HTS.size(), 6U);
  EXPECT_EQ(reading.maps.front().name_of_layer(3), "loop 1, layer 1");
  EXPECT_NE(attention_page(reading, {}).find("data-name=\"loop 2, layer 0\""), std::string::npos);
  TrainedModel unlooped = decoder();
  const TempDir dir;
  write_attention_file(dir / "looped.h5", reading, "run");
  write_attention_file(dir / "plain.h5", read_attention(unlooped, "abc"), "run");
  const std::string looped = read_whole_file(dir / "looped.h5"), plain = read_whole_file(dir / "plain.h5");
  EXPECT_NE(looped.find("loop_2_layer_1"), std::string::npos);
  EXPECT_EQ(plain.find("loop_"), std::string::npos);
  EXPECT_NE(plain.find("layer_2"), std::string::npos);
}

TEST(AttentionReading, OfAnEncoder) {
  TrainedMaskedModel trained = encoder();
  const AttentionReading reading = read_attention(trained, "a[MASK]c");
  ASSERT_EQ(reading.maps.size(), 1U);
  const AttentionMaps& maps = reading.maps.front();
  EXPECT_EQ(maps.kind, AttentionKind::kEncoder);
  EXPECT_EQ(maps.layers_HTS.size(), 3U);
  EXPECT_EQ(maps.queries.tokens, (std::vector<std::int32_t>{256, 'a', 257, 'c', 256}));
  EXPECT_EQ(maps.queries.texts[2], "[MASK]");
  expect_distributions(maps);
  EXPECT_GT(maps.head(0, 0)[4], 0.0F) << "the first sees the last";
  EXPECT_FALSE(reading.loss);
  EXPECT_NE(user_error_of([&] { read_attention(trained, ""); }).find("--text: is empty"), std::string::npos);
}

// A text is a beginning of another: what is common is looked at in the same way.
TEST(AttentionReading, DoesNotDependOnWhatFollows) {
  TrainedModel trained = decoder();
  const AttentionReading whole = read_attention(trained, "abcdefgh");
  const AttentionReading part = read_attention(trained, "abc");
  for (std::size_t layer = 0; layer < 3; ++layer) {
    for (std::size_t t = 0; t < 4; ++t) {
      for (std::size_t s = 0; s < 4; ++s) {
        EXPECT_NEAR(whole.maps[0].head(layer, 1)[t * 9 + s], part.maps[0].head(layer, 1)[t * 4 + s], 1e-5);
      }
    }
  }
}

TEST(AttentionReading, OfATranslator) {
  TrainedTranslator trained = translator();
  const AttentionReading reading = read_attention(trained, "ab c", "xyz");
  std::map<AttentionKind, const AttentionMaps*> by_kind;
  for (const AttentionMaps& maps : reading.maps) {
    by_kind[maps.kind] = &maps;
    expect_distributions(maps);
  }
  ASSERT_EQ(by_kind.size(), 3U);
  const std::vector<std::int32_t> source = {'a', 'b', ' ', 'c', 256}, target = {256, 'x', 'y', 'z'};
  EXPECT_EQ(by_kind[AttentionKind::kEncoder]->layers_HTS.size(), 2U);
  EXPECT_EQ(by_kind[AttentionKind::kEncoder]->queries.tokens, source);
  EXPECT_EQ(by_kind[AttentionKind::kEncoder]->keys.tokens, source);
  EXPECT_EQ(by_kind[AttentionKind::kDecoder]->layers_HTS.size(), 3U);
  EXPECT_EQ(by_kind[AttentionKind::kDecoder]->queries.tokens, target);
  EXPECT_EQ(by_kind[AttentionKind::kCross]->layers_HTS.size(), 3U);
  EXPECT_EQ(by_kind[AttentionKind::kCross]->queries.tokens, target);
  EXPECT_EQ(by_kind[AttentionKind::kCross]->keys.tokens, source);
}

TEST(AttentionReading, OfTheModelsOwnTranslation) {
  TrainedTranslator trained = translator();
  const AttentionReading own = read_attention(trained, "abc", std::nullopt);
  const std::vector<std::int32_t>& inputs = own.maps.front().queries.tokens;
  const std::string translation = trained.tokenizer->decode(std::span(inputs).subspan(1, inputs.size() - 1));
  const AttentionReading given = read_attention(trained, "abc", translation);
  for (std::size_t kind = 0; kind < 3; ++kind)
    EXPECT_EQ(own.maps[kind].layers_HTS, given.maps[kind].layers_HTS);
}

TEST(AttentionReading, RefusesWhatItCannotRead) {
  TrainedModel trained = decoder();
  EXPECT_EQ(user_error_of([&] { read_attention(trained, ""); }),
            "--text: is empty; give some text to look at");
  EXPECT_NO_THROW(read_attention(trained, std::string(23, 'x')));
  EXPECT_EQ(user_error_of([&] { read_attention(trained, std::string(24, 'x')); }),
            "--text: has 25 tokens with the end, and the model's context is 24; give a shorter text");
  TrainedTranslator other = translator();
  EXPECT_EQ(user_error_of([&] { read_attention(other, " \n", std::nullopt); }),
            "--text: is empty; give a sentence to translate");
  EXPECT_EQ(user_error_of([&] { read_attention(other, std::string(24, 'x'), std::nullopt); }),
            "--text: has 25 tokens with the end, and the model's context is 24; give a shorter text");
  EXPECT_EQ(user_error_of([&] { read_attention(other, "x", std::string(30, 'x')); }),
            "--target: has 31 tokens with the end, and the model's context is 24; give a shorter text");
}

TEST(AttentionReading, RefusesMoreMapsThanOnePageHolds) {
  TrainedModel trained = decoder();
  TransformerOptions options = small_options();
  options.context = 2400;
  trained.model = std::make_unique<Transformer>(options);
  EXPECT_EQ(
      user_error_of([&] { read_attention(trained, std::string(2399, 'x')); }),
      "--text: has maps of 69 million numbers in all layers and heads, of which 67 million are the most; "
      "give a shorter text");
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// What the page's script is given about each kind.
std::vector<nlohmann::json> data_in(const std::string& html) {
  std::vector<nlohmann::json> data;
  const std::string opening = "<script type=\"application/json\">";
  for (std::size_t at = html.find(opening); at != std::string::npos; at = html.find(opening, at + 1)) {
    const std::size_t begin = at + opening.size();
    data.push_back(nlohmann::json::parse(html.substr(begin, html.find("</script>", begin) - begin)));
  }
  return data;
}

TEST(AttentionPage, HasEachHeadAndNeedsNothingElse) {
  TrainedTranslator trained = translator();
  const AttentionReading reading = read_attention(trained, "ab c", "xyz");
  const std::string html = attention_page(
      reading,
      {.title = "run", .subtitle = "step 7", .text = "ab c", .target = "xyz", .raw_file = "my page.h5"});
  EXPECT_EQ(occurrences(html, "<button data-layer="), 4U * (2 + 3 + 3));
  EXPECT_EQ(occurrences(html, "<button data-layer=2 data-head=3 "), 2U);  // no encoder layer 2
  EXPECT_NE(html.find("<a href=\"my%20page.h5\" download>my page.h5</a>"), std::string::npos);
  EXPECT_EQ(occurrences(html, "href="), 1U);
  for (const std::string outside :
       {"http:", "https:", "//cdn", "src=", "<link", "@import", "url(", "fetch("}) {
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
  }
}

TEST(AttentionPage, EscapesTextAndTokens) {
  TrainedModel trained = decoder();
  const std::string text = "</script><b>&\"";
  const std::string html =
      attention_page(read_attention(trained, text),
                     {.title = "<i>", .subtitle = "s", .text = text, .target = "", .raw_file = "a.h5"});
  EXPECT_NE(html.find("<h1>&lt;i&gt;</h1>"), std::string::npos);
  EXPECT_NE(html.find("<blockquote>&lt;/script&gt;&lt;b&gt;&amp;&quot;</blockquote>"), std::string::npos);
  EXPECT_EQ(occurrences(html, "<script"), 2U);
  EXPECT_EQ(occurrences(html, "</script>"), 2U);
  const auto data = data_in(html);
  ASSERT_EQ(data.size(), 1U);
  std::string tokens;
  for (const auto& token : data[0]["rows"]) tokens += token;
  EXPECT_EQ(tokens, "⟨end⟩" + text);
}

TEST(AttentionPage, ItsBytesAreTheProbabilities) {
  TrainedTranslator trained = translator();
  const AttentionReading reading = read_attention(trained, "ab c", "xyz");
  const auto data = data_in(attention_page(reading, {}));
  ASSERT_EQ(data.size(), reading.maps.size());
  for (std::size_t kind = 0; kind < data.size(); ++kind) {
    const AttentionMaps& maps = reading.maps[kind];
    const std::int64_t queries = maps.queries.size(), keys = maps.keys.size();
    const bool triangular = data[kind]["triangular"];
    EXPECT_EQ(triangular, maps.kind == AttentionKind::kDecoder);
    ASSERT_EQ(data[kind]["layers"].size(), maps.layers_HTS.size());
    for (std::size_t layer = 0; layer < maps.layers_HTS.size(); ++layer) {
      const auto bytes = from_base64(data[kind]["layers"][layer].get<std::string>());
      ASSERT_TRUE(bytes.has_value());
      std::size_t next = 0;
      for (std::int64_t row = 0; row < maps.heads * queries; ++row) {
        for (std::int64_t s = 0; s < (triangular ? row % queries + 1 : keys); ++s) {
          const double root = static_cast<unsigned char>(bytes->at(next++)) / 255.0;
          EXPECT_NEAR(root * root, maps.layers_HTS[layer][static_cast<std::size_t>(row * keys + s)], 4e-3);
        }
      }
      EXPECT_EQ(next, bytes->size());
    }
  }
}

}  // namespace
}  // namespace trireme
