#include "trainer/attention_page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include "data/json.h"
#include "data/tokenizer/base64.h"
#include "trainer/attention_page_style.h"
#include "trainer/readable.h"
#include "trainer/report_chart.h"
#include "trainer/report_style.h"

namespace trireme {
namespace {

struct KindWords {
  std::string_view heading;
  std::string_view sentence;
};
constexpr std::array<KindWords, kNumAttentionKinds> kWords = {
    {{"Encoder", "Each token (a row) looks at all of its text (columns)."},
     {"Decoder", "Each token (a row) looks at itself and those before it (columns)."},
     {"Cross-attention", "Each token of the target (a row) looks at all of the source (columns)."}}};

// By layer, then head.
using Figures = std::vector<std::vector<HeadFigures>>;

Figures figures_of(const AttentionMaps& maps) {
  Figures figures;
  for (std::size_t layer = 0; layer < maps.layers_HTS.size(); ++layer) {
    std::vector<HeadFigures>& row = figures.emplace_back();
    for (std::int64_t head = 0; head < maps.heads; ++head)
      row.push_back(figures_of_head(maps.head(layer, head), maps.keys.size()));
  }
  return figures;
}

// A decoder's query sees no later key: only what is seen goes into the page.
bool is_triangular(const AttentionMaps& maps) {
  return maps.kind == AttentionKind::kDecoder;
}

// A layer's probabilities, row after row, as bytes that give small ones more room.
std::string bytes_of_layer(const AttentionMaps& maps, std::size_t layer) {
  const std::int64_t queries = maps.queries.size(), keys = maps.keys.size();
  std::string bytes;
  for (std::int64_t row = 0; row < maps.heads * queries; ++row) {
    const std::int64_t seen = is_triangular(maps) ? row % queries + 1 : keys;
    const float* const p = maps.layers_HTS[layer].data() + row * keys;
    for (std::int64_t s = 0; s < seen; ++s) {
      // Written so that a NaN is a 0.
      const float level = p[s] > 0.0F ? 255.0F * std::sqrt(p[s]) : 0.0F;
      bytes += static_cast<char>(static_cast<unsigned char>(std::lround(std::min(level, 255.0F))));
    }
  }
  return bytes;
}

// What the page's script reads.  No "<", lest it end the element that it stands in.
std::string data_of(const AttentionMaps& maps) {
  Json json = {{"heads", maps.heads},
               {"triangular", is_triangular(maps)},
               {"rows", maps.queries.texts},
               {"columns", maps.keys.texts}};
  Json& layers = json["layers"] = Json::array();
  for (std::size_t layer = 0; layer < maps.layers_HTS.size(); ++layer)
    layers.push_back(to_base64(bytes_of_layer(maps, layer)));
  std::string text;
  for (const char c : json.dump()) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

// A button for each head, in a row for each layer.
std::string overview(const AttentionMaps& maps, const Figures& figures) {
  std::string html = "<div class=heads style=\"--heads:" + std::to_string(maps.heads) + "\"><span></span>";
  for (std::int64_t head = 0; head < maps.heads; ++head)
    html += "<span class=column>" + std::to_string(head) + "</span>";
  html += "\n";
  for (std::size_t layer = 0; layer < figures.size(); ++layer) {
    const std::string name = maps.name_of_layer(layer);
    html += "<span class=layer>" + (maps.layers_per_loop > 0 ? name : std::to_string(layer)) + "</span>";
    for (std::int64_t head = 0; head < maps.heads; ++head) {
      const HeadFigures& one = figures[layer][static_cast<std::size_t>(head)];
      const std::string entropy = readable_number(one.entropy, 3),
                        distance = readable_number(one.distance, 3);
      html += "<button data-layer=" + std::to_string(layer) + " data-head=" + std::to_string(head) +
              " data-name=\"" + name + "\" data-entropy=" + entropy + " data-distance=" + distance +
              "><canvas></canvas><span class=entropy>" + entropy + "</span><span class=distance>" + distance +
              "</span></button>";
    }
    html += "\n";
  }
  return html + "</div>\n";
}

std::string section(const AttentionMaps& maps) {
  const KindWords& words = kWords[static_cast<std::size_t>(maps.kind)];
  const std::string kind(kAttentionKindNames[static_cast<std::size_t>(maps.kind)]);
  return "<section class=stack id=" + kind + ">\n<h2>" + std::string(words.heading) + "</h2><p class=about>" +
         std::string(words.sentence) +
         " Layers from top to bottom, heads from left to right; below each map its entropy in nats, and its "
         "mean distance in tokens.</p>\n<div class=panes>\n" +
         overview(maps, figures_of(maps)) +
         "<div class=detail hidden><div class=bar><h3></h3><span class=figures></span>"
         "<label>zoom <input type=range class=zoom min=1 max=28 step=1></label></div>"
         "<div class=view><div class=inner><canvas></canvas><i class=across></i><i "
         "class=down></i></div></div>"
         "<p class=readout></p></div>\n</div>\n<script type=\"application/json\">" +
         data_of(maps) + "</script>\n</section>\n";
}

// Of a file name, in a link.
std::string url_escaped(std::string_view name) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '_' || c == '.';
    if (plain) {
      out += c;
    } else {
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

std::string tile(const std::string& name, const std::string& value, const std::string& note) {
  return "<div><dt>" + name + "</dt><dd>" + value + "</dd><dd class=note>" + note + "</dd></div>\n";
}

// The most and the least focused head of all kinds, and the one that looks farthest.
std::string tiles(const AttentionReading& reading, const AttentionPage& page) {
  struct Found {
    double value = std::nan("");
    std::string where;
  };
  Found sharpest, widest, farthest;
  std::int64_t heads = 0;
  for (const AttentionMaps& maps : reading.maps) {
    const Figures figures = figures_of(maps);
    for (std::size_t layer = 0; layer < figures.size(); ++layer) {
      for (std::size_t head = 0; head < figures[layer].size(); ++head) {
        const HeadFigures& one = figures[layer][head];
        const std::string where = std::string(kWords[static_cast<std::size_t>(maps.kind)].heading) + ", " +
                                  maps.name_of_layer(layer) + ", head " + std::to_string(head);
        const auto keep = [&](Found& found, double value, bool better) {
          if (better || std::isnan(found.value)) found = {value, where};
        };
        keep(sharpest, one.entropy, one.entropy < sharpest.value);
        keep(widest, one.entropy, one.entropy > widest.value);
        keep(farthest, one.distance, one.distance > farthest.value);
        ++heads;
      }
    }
  }
  return "<dl class=tiles>\n" +
         (reading.loss ? tile("Loss", readable_number(*reading.loss, 4),
                              "nats per token, perplexity " + readable_number(std::exp(*reading.loss), 3))
                       : "") +
         tile("Heads", std::to_string(heads), "in all layers") +
         tile("Sharpest", readable_number(sharpest.value, 3), "nats: " + sharpest.where) +
         tile("Widest", readable_number(widest.value, 3), "nats: " + widest.where) +
         tile("Farthest", readable_number(farthest.value, 3), "tokens: " + farthest.where) +
         "<div><dt>Raw numbers</dt><dd class=file><a href=\"" + url_escaped(page.raw_file) + "\" download>" +
         html_escaped(page.raw_file) + "</a></dd><dd class=note>HDF5, float32</dd></div>\n</dl>\n";
}

}  // namespace

std::string attention_page(const AttentionReading& reading, const AttentionPage& page) {
  std::string html =
      "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
      "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n<title>" +
      html_escaped(page.title) + " – attention – Trireme</title>\n<style>" + kReportStyle + kAttentionStyle +
      "</style>\n</head>\n<body>\n<header><h1>" + html_escaped(page.title) + "</h1><p>" +
      html_escaped(page.subtitle) + "</p>\n<blockquote>" + html_escaped(page.text) + "</blockquote>";
  if (!page.target.empty()) html += "\n<blockquote>" + html_escaped(page.target) + "</blockquote>";
  html += "</header>\n" + tiles(reading, page) + kAttentionLegend;
  for (const AttentionMaps& maps : reading.maps) html += section(maps);
  return html + "<footer>Written by trireme attention.</footer>\n<script>" + kAttentionScript +
         "</script>\n</body>\n</html>\n";
}

}  // namespace trireme
