#include "trainer/attention_page_style.h"

namespace trireme {

const char* const kAttentionStyle = R"css(
:root { --none: #eef0f4; --low: #ffffff; --middle: #5b8ff0; --high: #0a1f57; --cross: rgba(224, 118, 43, .28); }
@media (prefers-color-scheme: dark) {
  :root { --none: #11151b; --low: #1d232c; --middle: #3f78dd; --high: #f2f6ff; --cross: rgba(245, 161, 91, .30); }
}
body { max-width: 1560px; }
blockquote {
  margin: 10px 0 0; padding: 2px 0 2px 14px; border-left: 3px solid var(--edge); max-height: 8em; overflow: auto;
  max-width: 110ch; white-space: pre-wrap; overflow-wrap: anywhere;
}
blockquote + blockquote { border-color: var(--first); }
.tiles dd.file { font-size: 15px; line-height: 2.15; overflow: hidden; text-overflow: ellipsis; }
a { color: var(--first); }
.legend-bar { display: flex; align-items: center; gap: 10px; margin: 0 0 12px; color: var(--soft); font-size: 13px; }
.legend-bar i {
  width: 220px; height: 12px; border-radius: 3px; border: 1px solid var(--edge);
  background: linear-gradient(90deg, var(--low), var(--middle), var(--high));
}
.legend-bar div { width: 220px; }
.legend-bar ol { display: flex; justify-content: space-between; list-style: none; margin: 0; padding: 0; font-size: 12px; }
.stack { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; padding: 16px 18px; margin-bottom: 12px; }
.about { margin: 2px 0 12px; color: var(--soft); font-size: 13px; }
.panes { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 7fr); gap: 22px; align-items: start; }
.heads {
  display: grid; grid-template-columns: 2ch repeat(var(--heads), minmax(38px, 132px)); gap: 7px; overflow-x: auto;
  padding: 3px; align-items: center;
}
.column, .layer { color: var(--soft); font-size: 12px; text-align: center; }
.heads button {
  all: unset; box-sizing: border-box; cursor: pointer; display: flex; flex-wrap: wrap; justify-content: space-between;
  column-gap: 4px; padding: 3px 3px 1px; border-radius: 7px; font-size: 11px; line-height: 1.45; border: 1px solid transparent;
}
.heads button:hover { border-color: var(--mark); }
.heads button:focus-visible { outline: 2px solid var(--first); }
.heads button.chosen { border-color: var(--first); background: var(--grid); }
.heads canvas {
  flex: 0 0 100%; width: 100%; aspect-ratio: 1; border-radius: 3px; background: var(--none);
  border: 1px solid var(--edge); box-sizing: border-box;
}
.distance { color: var(--soft); }
.detail { position: sticky; top: 12px; min-width: 0; }
.bar { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: center; margin-bottom: 8px; }
.bar h3 { margin: 0; font-size: 15px; font-weight: 600; }
.figures { color: var(--soft); font-size: 13px; }
.bar label { margin-left: auto; display: flex; align-items: center; gap: 6px; border: 0; padding: 0; }
.zoom { width: 110px; accent-color: var(--first); }
.view { overflow: auto; max-height: 78vh; }
.inner { position: relative; width: max-content; }
.inner canvas { display: block; touch-action: pan-x pan-y; }
.inner i { position: absolute; pointer-events: none; background: var(--cross); visibility: hidden; }
.readout { min-height: 3em; margin: 8px 0 0; font-size: 13px; color: var(--soft); overflow-wrap: anywhere; }
.readout b { color: var(--text); font-weight: 600; }
.readout em { font-style: normal; color: var(--text); background: var(--grid); border-radius: 4px; padding: 0 4px; }
@media (max-width: 980px) { .panes { grid-template-columns: 1fr; } .detail { position: static; } }
)css";

// Colours go by the root of the probability, so that its quarter is the colour's half.
const char* const kAttentionLegend = R"html(<div class=legend-bar><span>probability</span>
<div><i style="display:block"></i><ol><li>0</li><li>.06</li><li>.25</li><li>.56</li><li>1</li></ol></div>
<span>Choose a map to see its tokens; arrow keys go from head to head.</span></div>
<noscript><p>The maps are drawn by a script, which is turned off here; the figures below their places stand without it.</p></noscript>
)html";

const char* const kAttentionScript = R"js(
// The palette: one colour for each byte, which stands for (byte / 255)^2.
const palette = () => {
  const style = getComputedStyle(document.documentElement);
  const stops = ["--low", "--middle", "--high"].map((name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
  });
  return Array.from({ length: 256 }, (_, byte) => {
    const way = byte / 255 * 2, from = Math.min(1, Math.floor(way));
    return stops[from].map((value, i) => Math.round(value + (stops[from + 1][i] - value) * (way - from)));
  });
};
let colours = palette();
const probability = (byte) => (byte / 255) ** 2;
const shown = (p) => p >= 0.0995 ? p.toFixed(2) : p.toPrecision(1);

class Stack {
  constructor(section) {
    Object.assign(this, JSON.parse(section.querySelector("script").textContent));
    this.bytes = [];
    this.section = section;
    this.detail = section.querySelector(".detail");
    this.canvas = this.detail.querySelector("canvas");
    this.zoom = this.detail.querySelector(".zoom");
    this.buttons = [...section.querySelectorAll(".heads button")];
    for (const button of this.buttons) button.addEventListener("click", () => this.choose(button));
    section.querySelector(".heads").addEventListener("keydown", (event) => this.step(event));
    this.zoom.addEventListener("input", () => this.draw());
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.unpoint());
  }

  // Bytes of a layer, and where in them a head's row begins.
  layer(number) {
    if (!this.bytes[number]) {
      const text = atob(this.layers[number]);
      this.bytes[number] = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    }
    return this.bytes[number];
  }
  row(head, t) {
    const rows = this.rows.length;
    if (!this.triangular) return (head * rows + t) * this.columns.length;
    return head * rows * (rows + 1) / 2 + t * (t + 1) / 2;
  }
  seen(t) { return this.triangular ? t + 1 : this.columns.length; }

  // A picture of one head with `size` pixels at most on a side, each the largest of what it stands for.
  picture(layer, head, size) {
    const rows = this.rows.length, columns = this.columns.length;
    const every = Math.max(1, Math.ceil(Math.max(rows, columns) / size));
    const width = Math.ceil(columns / every), height = Math.ceil(rows / every);
    const most = new Int16Array(width * height).fill(-1);
    const bytes = this.layer(layer);
    for (let t = 0; t < rows; ++t) {
      const begin = this.row(head, t), seen = this.seen(t), line = Math.floor(t / every) * width;
      for (let s = 0; s < seen; ++s) {
        const at = line + Math.floor(s / every);
        if (bytes[begin + s] > most[at]) most[at] = bytes[begin + s];
      }
    }
    const image = new ImageData(width, height);
    most.forEach((byte, i) => { if (byte >= 0) image.data.set([...colours[byte], 255], 4 * i); });
    return image;
  }

  thumbnails(layer) {
    for (const button of this.buttons.filter((one) => Number(one.dataset.layer) === layer)) {
      const image = this.picture(layer, Number(button.dataset.head), 128);
      const canvas = button.querySelector("canvas");
      canvas.width = image.width;
      canvas.height = image.height;
      canvas.style.aspectRatio = image.width + " / " + image.height;
      canvas.style.imageRendering = Math.max(image.width, image.height) < 64 ? "pixelated" : "auto";
      canvas.getContext("2d").putImageData(image, 0, 0);
      button.title = button.dataset.name + ", head " + button.dataset.head;
    }
  }

  choose(button) {
    const first = !this.chosen;
    for (const other of this.buttons) other.classList.toggle("chosen", other === button);
    this.chosen = { name: button.dataset.name, layer: Number(button.dataset.layer), head: Number(button.dataset.head) };
    this.detail.hidden = false;
    this.detail.querySelector("h3").textContent = this.chosen.name[0].toUpperCase() + this.chosen.name.slice(1) + ", head " + this.chosen.head;
    const entropy = Number(button.dataset.entropy);
    this.detail.querySelector(".figures").textContent = "entropy " + button.dataset.entropy + " nats (as of " +
      Math.exp(entropy).toPrecision(2) + " tokens alike) · distance " + button.dataset.distance + " tokens";
    if (first) {
      const room = this.detail.clientWidth - 120;
      this.zoom.value = Math.max(2, Math.min(22, Math.floor(room / this.columns.length)));
    }
    this.draw();
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.heads, ArrowDown: this.heads }[event.key];
    const next = this.buttons[this.buttons.indexOf(document.activeElement) + by];
    if (by === undefined || !next) return;
    event.preventDefault();
    next.focus();
    this.choose(next);
  }

  draw() {
    if (!this.chosen) return;
    this.unpoint();
    const cell = Number(this.zoom.value), labelled = cell >= 9;
    const brush = this.canvas.getContext("2d");
    brush.font = this.font(cell);
    const margin = labelled ? this.margin(brush) : 4;
    const width = margin + cell * this.columns.length, height = margin + cell * this.rows.length;
    const ratio = Math.min(window.devicePixelRatio || 1, 8192 / Math.max(width, height));
    this.geometry = { cell, margin };
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = width + "px";
    this.canvas.style.height = height + "px";
    brush.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    brush.fillStyle = style.getPropertyValue("--none");
    brush.fillRect(margin, margin, cell * this.columns.length, cell * this.rows.length);
    const image = this.picture(this.chosen.layer, this.chosen.head, Infinity);
    const small = document.createElement("canvas");
    small.width = image.width;
    small.height = image.height;
    small.getContext("2d").putImageData(image, 0, 0);
    brush.imageSmoothingEnabled = false;
    brush.drawImage(small, margin, margin, cell * this.columns.length, cell * this.rows.length);
    if (labelled) this.label(brush, style);
  }

  font(cell) { return Math.min(13, cell) + "px system-ui, 'Noto Sans', 'Liberation Sans', sans-serif"; }
  // Room for the longest label, or for the most of it.
  margin(brush) {
    const widths = [...this.rows, ...this.columns].map((text) => brush.measureText(text).width);
    return Math.ceil(Math.min(112, Math.max(...widths)) + 10);
  }

  label(brush, style) {
    const { cell, margin } = this.geometry;
    brush.fillStyle = style.getPropertyValue("--text");
    brush.font = this.font(cell);
    brush.textBaseline = "middle";
    const cut = (text) => {
      while (brush.measureText(text).width > margin - 9) text = [...text].slice(0, -2).join("") + "…";
      return text;
    };
    brush.textAlign = "right";
    this.rows.forEach((text, t) => brush.fillText(cut(text), margin - 5, margin + (t + 0.5) * cell));
    brush.textAlign = "left";
    this.columns.forEach((text, s) => {
      brush.save();
      brush.translate(margin + (s + 0.5) * cell, margin - 5);
      brush.rotate(-Math.PI / 2);
      brush.fillText(cut(text), 0, 0);
      brush.restore();
    });
  }

  point(event) {
    const { cell, margin } = this.geometry;
    const s = Math.floor((event.offsetX - margin) / cell), t = Math.floor((event.offsetY - margin) / cell);
    if (t < 0 || t >= this.rows.length || s >= this.columns.length) return this.unpoint();
    const place = (name, box) => {
      const style = this.detail.querySelector(name).style;
      for (const side in box) style[side] = box[side] + "px";
      style.visibility = "visible";
    };
    place(".across", { left: margin, top: margin + t * cell, width: cell * this.columns.length, height: cell });
    if (s >= 0)
      place(".down", { left: margin + s * cell, top: margin, width: cell, height: cell * this.rows.length });
    this.read(t, s);
  }
  unpoint() {
    for (const mark of this.detail.querySelectorAll("i")) mark.style.visibility = "hidden";
    this.detail.querySelector(".readout").textContent = "Point at a row to see what its token looks at.";
  }

  // What the query looks at most, and how much at the key under the pointer, if there is one.
  read(t, s) {
    const bytes = this.layer(this.chosen.layer), begin = this.row(this.chosen.head, t);
    const keys = Array.from({ length: this.seen(t) }, (_, key) => key);
    keys.sort((a, b) => bytes[begin + b] - bytes[begin + a] || a - b);
    const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });
    const parts = [element("b", this.rows[t]), " (" + t + ")"];
    if (s >= 0) {
      parts.push(" → ", element("b", this.columns[s]), " (" + s + "): ",
                 s < keys.length ? shown(probability(bytes[begin + s])) : "not seen", document.createElement("br"));
    } else {
      parts.push(" → ");
    }
    parts.push("most: ");
    for (const key of keys.slice(0, 6))
      parts.push(element("em", this.columns[key]), " " + shown(probability(bytes[begin + key])) + "  ");
    this.detail.querySelector(".readout").replaceChildren(...parts);
  }
}

const stacks = [...document.querySelectorAll(".stack")].map((section) => new Stack(section));
const drawAll = () => {
  for (const stack of stacks) stack.draw();
  const layers = stacks.flatMap((stack) => stack.layers.map((_, layer) => () => stack.thumbnails(layer)));
  const next = () => { if (layers.length) { layers.shift()(); setTimeout(next); } };
  next();
};
for (const stack of stacks) stack.choose(stack.buttons[0]);
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours = palette(); drawAll(); });
)js";

}  // namespace trireme
