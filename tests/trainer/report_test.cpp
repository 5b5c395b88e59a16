#include "trainer/report.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/user_error.h"
#include "tests/support/temp_dir.h"
#include "trainer/config.h"
#include "trainer/metrics_file.h"
#include "trainer/report_chart.h"

namespace trireme {
namespace {

std::string read_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

StepMetrics metrics_at(std::int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.steps = 60;
  metrics.loss = 4.0 - 0.02 * static_cast<double>(step);
  metrics.learning_rate = 6e-4;
  metrics.grad_norm = 0.5;
  metrics.tokens_per_second = 12345;
  metrics.share_of_peak = 0.714;
  metrics.tokens = 4096 * step;
  metrics.elapsed_s = 2.0 * static_cast<double>(step);
  return metrics;
}

class Report : public testing::Test {
 protected:
  void write_run(const std::string& run) {
    std::filesystem::create_directories(run);
    std::ofstream lines(run + "/metrics.jsonl");
    lines << metrics_line(AttemptMetrics{0, 0, 0});
    for (const std::int64_t step : {10, 20, 30}) lines << metrics_line(metrics_at(step));
    lines << metrics_line(ValidationMetrics{30, {.loss = 3.6}});
    lines << metrics_line(AttemptMetrics{30, 7, 60});
    for (const std::int64_t step : {40, 50, 60}) lines << metrics_line(metrics_at(step));
    lines << metrics_line(ValidationMetrics{60, {.loss = 3.7}});
  }

  TempDir folder_;
};

TEST_F(Report, ShowsTheFiguresOfTheRun) {
  const std::string run = folder_ / "first run";
  write_run(run);
  EXPECT_EQ(write_report(run), run + "/report.html");
  const std::string html = read_file(run + "/report.html");
  for (const std::string shown :
       {"<h1>first run</h1>", "All 60 steps done", "Training loss</dt><dd>2.800</dd>",
        "Validation loss</dt><dd>3.600</dd><dd class=note>perplexity 36.6, best at step 30</dd>",
        "Tokens</dt><dd>246k</dd>", "Throughput</dt><dd>12.3k</dd>", "Share of peak</dt><dd>71%</dd>",
        "Time</dt><dd>2m 00s</dd>", "Interruptions</dt><dd>1</dd><dd class=note>7 steps done again</dd>",
        "Resumed after step 30"}) {
    EXPECT_NE(html.find(shown), std::string::npos) << shown;
  }
  EXPECT_EQ(occurrences(html, "<figure"), 4u);
  EXPECT_EQ(occurrences(html, "class=config"), 0u);
}

TEST_F(Report, ShowsTheBleuOfTranslations) {
  const std::string run = folder_ / "run";
  write_run(run);
  {
    std::ofstream lines(run + "/metrics.jsonl", std::ios::app);
    lines << metrics_line(ValidationMetrics{70, {.loss = 3.4, .bleu = 12.5}})
          << metrics_line(ValidationMetrics{80, {.loss = 3.3, .bleu = 17.5}});
  }
  const std::string html = read_file(write_report(run));
  EXPECT_NE(html.find("BLEU</dt><dd>17.5</dd><dd class=note>of validation, at step 80"), std::string::npos);
  EXPECT_EQ(occurrences(html, "<figure"), 5u);
  const std::size_t chart = html.find("BLEU of validation");
  ASSERT_NE(chart, std::string::npos);
  EXPECT_NE(html.find("\"x\":[70,80],\"y\":[12.5,17.5]", chart), std::string::npos);
}

// No address, no link, no file: what the page shows is in the page.
TEST_F(Report, IsSelfContained) {
  const std::string run = folder_ / "run";
  write_run(run);
  const std::string html = read_file(write_report(run));
  for (const std::string outside :
       {"http:", "https:", "//cdn", "src=", "href=", "<link", "@import", "url(", "fetch("}) {
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
  }
}

TEST_F(Report, ElementsAreClosed) {
  const std::string run = folder_ / "run";
  write_run(run);
  const std::string html = read_file(write_report(run));
  std::vector<std::string> open;
  const std::regex tag("<(/?)([a-z0-9]+)[^>]*>");
  const std::string body = html.substr(html.find("<body>"), html.rfind("<script>") - html.find("<body>"));
  for (auto it = std::sregex_iterator(body.begin(), body.end(), tag); it != std::sregex_iterator(); ++it) {
    const std::string name = (*it)[2];
    if (name == "input") continue;
    if ((*it)[1] == "") {
      open.push_back(name);
    } else {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), name);
      open.pop_back();
    }
  }
  EXPECT_EQ(open, std::vector<std::string>{"body"});
}

TEST_F(Report, DataUnderThePointerIsWhatWasLogged) {
  const std::string run = folder_ / "run";
  write_run(run);
  const std::string html = read_file(write_report(run));
  const std::string opening = "<script type=\"application/json\">";
  const std::size_t begin = html.find(opening) + opening.size();
  const auto series = nlohmann::json::parse(html.substr(begin, html.find("</script>", begin) - begin));
  ASSERT_EQ(series.size(), 2u);
  EXPECT_EQ(series[0]["name"], "training");
  EXPECT_EQ(series[0]["x"], (std::vector<double>{10, 20, 30, 40, 50, 60}));
  EXPECT_EQ(series[0]["y"], (std::vector<double>{3.8, 3.6, 3.4, 3.2, 3.0, 2.8}));
  EXPECT_EQ(series[1]["x"], (std::vector<double>{30, 60}));
  EXPECT_EQ(series[1]["y"], (std::vector<double>{3.6, 3.7}));
}

TEST_F(Report, ShowsTheConfigAndWhatIsSetInIt) {
  const std::string run = folder_ / "run";
  write_run(run);
  std::ofstream(run + "/config.toml") << to_toml(parse_config(
      "run.directory = '</td><script>'\ndata.path = 'd'\ntrain.batch_sequences = 8\nmodel.layers = 3", "test",
      {}));
  const std::string html = read_file(write_report(run));
  EXPECT_NE(html.find("<tr class=set><td>layers</td><td>3</td></tr>"), std::string::npos);
  EXPECT_NE(html.find("<tr><td>width</td><td>768</td></tr>"), std::string::npos);
  EXPECT_NE(html.find("<td>&quot;&lt;/td&gt;&lt;script&gt;&quot;</td>"), std::string::npos);
}

TEST_F(Report, NamesAreEscapedAndAnEarlierReportIsReplaced) {
  const std::string run = folder_ / "a<b>&\"c";
  write_run(run);
  std::ofstream(run + "/report.html") << "old";
  const std::string html = read_file(write_report(run + "/."));
  EXPECT_NE(html.find("<h1>a&lt;b&gt;&amp;&quot;c</h1>"), std::string::npos);
}

TEST_F(Report, ARunWithoutAFiniteValueHasAReport) {
  const std::string run = folder_ / "run";
  std::filesystem::create_directories(run);
  StepMetrics metrics = metrics_at(10);
  metrics.loss = metrics.grad_norm = metrics.tokens_per_second = metrics.share_of_peak = NAN;
  std::ofstream(run + "/metrics.jsonl") << metrics_line(metrics);
  const std::string html = read_file(write_report(run));
  EXPECT_NE(html.find("Step 10 of 60"), std::string::npos);
  EXPECT_NE(html.find("Training loss</dt><dd>nan</dd>"), std::string::npos);
  EXPECT_EQ(html.find("=nan"), std::string::npos);
  EXPECT_EQ(html.find("=null"), std::string::npos);
}

TEST_F(Report, RunsWithoutMetricsAreRefused) {
  const auto error = [](const std::string& run) -> std::string {
    try {
      write_report(run);
    } catch (const UserError& caught) {
      return caught.what();
    }
    return "accepted";
  };
  const std::string run = folder_ / "run";
  EXPECT_EQ(error(run), run + ": there is no such folder; give the run.directory of a run");
  std::filesystem::create_directories(run);
  EXPECT_EQ(error(run), run + ": holds no metrics.jsonl; give the run.directory of a run");
  std::ofstream(run + "/metrics.jsonl") << metrics_line(AttemptMetrics{});
  EXPECT_EQ(error(run), run + "/metrics.jsonl: no training step is logged yet; wait for the first one");
  EXPECT_FALSE(std::filesystem::exists(run + "/report.html"));
}

ChartSeries series_of(std::vector<double> x, std::vector<double> y) {
  return {.name = "name", .colour = "first", .x = std::move(x), .y = std::move(y)};
}

// The path of the first curve.
std::string path_in(const std::string& html) {
  const std::size_t begin = html.find(" d=\"") + 4;
  return html.substr(begin, html.find('"', begin) - begin);
}

TEST(ReportChart, PointsLieWhereTheyShould) {
  // The drawing goes from x 52 to 342 and from y 204 up to 10, with 4 % of the range left free at either end.
  const std::string html = chart_html({.title = "t", .series = {series_of({0, 50, 100}, {0, 5, 10})}}, "id");
  EXPECT_EQ(path_in(html), "M52 204L197 110.73L342 17.462");
}

TEST(ReportChart, WhatIsNotFiniteIsAGap) {
  const std::string html =
      chart_html({.title = "t", .series = {series_of({0, 1, 2, 3, 4}, {1, 2, NAN, 3, INFINITY})}}, "id");
  EXPECT_EQ(occurrences(path_in(html), "M"), 2u);
  EXPECT_EQ(occurrences(path_in(html), "L"), 1u);
}

TEST(ReportChart, LogAxisLeavesOutWhatItCannotShow) {
  const std::string html = chart_html(
      {.title = "t", .offers_log = true, .series = {series_of({0, 1, 2, 3}, {0, 1, 10, 100})}}, "id");
  const std::string log = html.substr(html.find("<svg class=log"));
  EXPECT_EQ(occurrences(path_in(log), "M"), 1u);
  EXPECT_EQ(occurrences(path_in(log), "L"), 2u);
  // A tenfold rise is as high everywhere.
  std::smatch ys;
  const std::string path = path_in(log);
  ASSERT_TRUE(std::regex_match(path, ys, std::regex("M\\S+ ([0-9.]+)L\\S+ ([0-9.]+)L\\S+ ([0-9.]+)")))
      << path;
  EXPECT_NEAR(std::stod(ys[1]) - std::stod(ys[2]), std::stod(ys[2]) - std::stod(ys[3]), 0.02);
}

TEST(ReportChart, LongRunsKeepTheirOutline) {
  ChartSeries series = series_of({}, {});
  for (int i = 0; i < 200000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 123457 ? 50 : 1 + 1e-3 * (i % 7));
  }
  const std::string html = chart_html({.title = "t", .series = {series}}, "id");
  EXPECT_LT(html.size(), 100'000u);
  EXPECT_NE(html.find("123457"), std::string::npos) << "the peak is gone";
}

TEST(ReportChart, OddDataDrawsSomething) {
  for (const auto& series : {series_of({}, {}), series_of({5}, {3}), series_of({5, 6}, {0, 0}),
                             series_of({0, 1}, {-1, -2}), series_of({1, 2}, {1e-300, 1e300})}) {
    const std::string html = chart_html({.title = "t", .offers_log = true, .series = {series}}, "id");
    EXPECT_EQ(occurrences(html, "<svg"), 2u);
    EXPECT_EQ(html.find("=null"), std::string::npos);
    EXPECT_EQ(html.find("Mnull"), std::string::npos);
  }
}

}  // namespace
}  // namespace trireme
