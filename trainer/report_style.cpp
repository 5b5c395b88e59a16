#include "trainer/report_style.h"

namespace trireme {

const char* const kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --edge: #e3e6eb; --text: #1b1f27; --soft: #667085; --grid: #eceef2;
  --first: #2f6bdc; --second: #e0762b; --mark: #98a1b0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111419; --card: #191d24; --edge: #2a303a; --text: #e7eaf0; --soft: #96a0b0; --grid: #262b34;
    --first: #6ea3ff; --second: #f5a15b; --mark: #5d6777;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 40px 24px 56px; max-width: 1180px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
header { margin-bottom: 24px; }
h1 { margin: 0; font-size: 28px; font-weight: 650; letter-spacing: -.02em; overflow-wrap: anywhere; }
header p { margin: 4px 0 0; color: var(--soft); }
h2 { margin: 0; font-size: 15px; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 12px; }
.tiles div, figure, .config { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; }
.tiles div { padding: 14px 16px; display: flex; flex-direction: column; }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 0; font-size: 24px; font-weight: 600; letter-spacing: -.01em; line-height: 1.35; white-space: nowrap; }
.tiles dd.note { font-size: 13px; font-weight: 400; letter-spacing: 0; color: var(--soft); white-space: normal; }
.charts { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px; margin-bottom: 12px; }
figure { margin: 0; padding: 14px 16px 8px; min-width: 0; }
figure:first-child { grid-column: 1 / -1; }
figcaption { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 12px; min-height: 26px; margin-bottom: 4px; }
.legend, output, label { font-size: 13px; color: var(--soft); }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin: 0 5px 0 4px; }
i.first { background: var(--first); } i.second { background: var(--second); }
output { margin-left: auto; text-align: right; }
output b { font-weight: 600; margin-left: 10px; } b.first { color: var(--first); } b.second { color: var(--second); }
label { cursor: pointer; padding: 0 9px; border: 1px solid var(--edge); border-radius: 99px; user-select: none; }
figure > input { position: absolute; opacity: 0; pointer-events: none; }
figure > input:focus-visible ~ figcaption label { outline: 2px solid var(--first); }
figure > input:checked ~ figcaption label { background: var(--first); border-color: var(--first); color: var(--card); }
svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
figure > input:checked ~ svg.linear, figure > input:not(:checked) ~ svg.log { display: none; }
.grid { stroke: var(--grid); }
.tick { fill: var(--soft); font-size: 12px; }
path { fill: none; stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke; }
path.line { stroke-width: 2; } path.faint { stroke-width: 1; opacity: .45; }
path.first { stroke: var(--first); } path.second { stroke: var(--second); }
circle.first { fill: var(--first); } circle.second { fill: var(--second); }
.mark { stroke: var(--mark); stroke-dasharray: 3 4; }
.pointer { stroke: var(--soft); visibility: hidden; }
.config { padding: 14px 16px 16px; }
.config summary { cursor: pointer; font-weight: 600; }
.config summary span { font-weight: 400; color: var(--soft); margin-left: 8px; font-size: 13px; }
.sections { columns: 300px; column-gap: 36px; margin-top: 12px; }
.sections section { break-inside: avoid; padding-bottom: 14px; }
.sections h3 { margin: 0 0 4px; font-size: 13px; font-weight: 600; color: var(--soft); }
table { width: 100%; border-collapse: collapse; font-size: 13px; }
td { padding: 3px 0; border-top: 1px solid var(--grid); vertical-align: top; }
td:last-child { text-align: right; padding-left: 16px; color: var(--soft); overflow-wrap: anywhere; }
tr.set td:last-child { color: var(--text); font-weight: 600; }
details + details { margin-top: 12px; }
.entropies { overflow-x: auto; }
.entropies h3 { margin: 12px 0 4px; font-size: 13px; font-weight: 600; color: var(--soft); }
.entropies td { padding: 3px 8px; white-space: nowrap; color: var(--soft); }
.entropies td:first-child { width: 9ch; padding-left: 0; }
.entropies td + td, .entropies td:last-child {
  padding: 3px 8px; text-align: left; color: var(--text); border-left: 3px solid var(--card);
  background: linear-gradient(90deg, var(--edge) calc(var(--share) * 100%), transparent 0);
}
footer { margin-top: 20px; color: var(--soft); font-size: 13px; }
@media (max-width: 860px) { .charts { grid-template-columns: 1fr; } body { padding: 24px 14px; } }
@media (min-width: 861px) { .scored figure:first-child { grid-column: span 2; } }
@media (max-width: 600px) { figure:first-child .tick { font-size: 24px; } }
@media print { body { background: none; } }
)css";

const char* const kReportScript = R"js(
const readable = (value, unit) => {
  if (value === null) return "not finite";
  const size = Math.abs(value);
  if (size >= 1e4) {
    const power = Math.min(4, Math.floor(Math.log10(size) / 3));
    return Number((value / 1000 ** power).toPrecision(4)) + " kMGT"[power] + unit;
  }
  return (size !== 0 && size < 1e-3 ? value.toExponential(2) : Number(value.toPrecision(4))) + unit;
};
const nearest = (xs, x) => {
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle; else high = middle;
  }
  return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
};
for (const figure of document.querySelectorAll("figure")) {
  const series = JSON.parse(figure.querySelector("script").textContent).filter((one) => one.x.length);
  const output = figure.querySelector("output");
  for (const svg of figure.querySelectorAll("svg")) {
    const [low, high, left, right] = svg.dataset.x.split(" ").map(Number);
    const pointer = svg.querySelector(".pointer");
    svg.addEventListener("pointermove", (event) => {
      if (!series.length) return;
      const box = svg.getBoundingClientRect();
      const way = ((event.clientX - box.left) / box.width * svg.viewBox.baseVal.width - left) / (right - left);
      const wanted = low + Math.min(1, Math.max(0, way)) * (high - low);
      const step = series[0].x[nearest(series[0].x, wanted)];
      output.replaceChildren("step " + step);
      for (const one of series) {
        const value = document.createElement("b");
        value.className = one.colour;
        value.textContent = readable(one.y[nearest(one.x, step)], one.unit);
        output.append(value);
      }
      const at = high > low ? left + (step - low) / (high - low) * (right - left) : (left + right) / 2;
      pointer.setAttribute("x1", at);
      pointer.setAttribute("x2", at);
      pointer.style.visibility = "visible";
    });
    svg.addEventListener("pointerleave", () => {
      pointer.style.visibility = "hidden";
      output.replaceChildren();
    });
  }
}
)js";

}  // namespace trireme
