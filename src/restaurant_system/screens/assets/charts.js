// Charts as inline SVG, drawn for the current width, so that text keeps its size.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 220; // px
const EDGE = { top: 20, right: 4, bottom: 26, left: 34 };
const MAX_GRID_LINES = 4; // above the base line
const LABEL_WIDTH = 46; // px for the label of an hour, with its margin
const DIGIT_WIDTH = 9; // px

/** A bar chart with a label below each bar and its value above it. */
export class BarChart {
  /** Draws into `container`; `title` names the chart for screen readers. */
  constructor(container, title) {
    this._title = draw("title", { id: "chart-title" }, title);
    this._description = draw("desc", { id: "chart-description" });
    const named = { "aria-labelledby": this._title.id, "aria-describedby": this._description.id };
    this._svg = draw("svg", { role: "img", height: HEIGHT, ...named }, this._title, this._description);
    this._container = container;
    this._bars = [];
    container.append(this._svg);
    new ResizeObserver(() => this._draw()).observe(container);
  }

  /**
   * Shows bars, `{ label, value, usual, isOpen }`; an open one is not complete yet, and drawn hollow. A line over
   * a bar is at its usual value, unless that is undefined; a value that is null is not there yet.
   */
  show(bars, description) {
    this._bars = bars;
    this._description.textContent = description;
    this._draw();
  }

  _draw() {
    const width = this._container.clientWidth;
    if (!width || !this._bars.length) return;
    const most = Math.max(1, ...this._bars.flatMap(({ value, usual }) => [value ?? 0, usual ?? 0]));
    const step = stepFor(most);
    const lines = Math.ceil(most / step);
    const ground = HEIGHT - EDGE.bottom;
    const scale = (ground - EDGE.top) / (lines * step);
    this._svg.setAttribute("width", width);
    this._svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this._svg.replaceChildren(
      this._title,
      this._description,
      ...gridLines(width, lines, step, (value) => ground - value * scale),
      ...this._bars.flatMap(barsOf(this._bars, width, ground, scale)),
    );
  }
}

/** Draws a bar from the median to the 99th percentile, a dot at the 90th, and a line at `late`. */
export function range({ p50, p90, p99 }, late, longest) {
  const at = (seconds) => `${(Math.min(seconds / longest, 1) * 100).toFixed(2)}%`;
  const length = `${(((p99 - p50) / longest) * 100).toFixed(2)}%`;
  return draw("svg", { class: "range", height: 16, width: "100%", "aria-hidden": "true" },
    draw("line", { class: "track", x1: 0, x2: "100%", y1: 8, y2: 8 }),
    draw("rect", { class: "spread", x: at(p50), y: 4, width: length, height: 8, rx: 3 }),
    draw("circle", { class: "mark", cx: at(p90), cy: 8, r: 5 }),
    draw("line", { class: "limit", x1: at(late), x2: at(late), y1: 0, y2: 16 }),
  );
}

function gridLines(width, lines, step, y) {
  return Array.from({ length: lines + 1 }, (_, index) => index * step).flatMap((value) => [
    draw("line", { class: value ? "grid" : "ground", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
    draw("text", { class: "axis", x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, String(value)),
  ]);
}

function barsOf(bars, width, ground, scale) {
  const room = (width - EDGE.left - EDGE.right) / bars.length;
  const thickness = Math.min(room * 0.72, 56);
  const every = Math.ceil(LABEL_WIDTH / room);
  const digits = Math.max(...bars.map(({ value }) => String(value ?? "").length));
  const hasRoom = room >= digits * DIGIT_WIDTH + 3;
  return ({ label, value, usual, isOpen }, index) => {
    const middle = EDGE.left + room * (index + 0.5);
    const height = value * scale;
    const isLabelled = (bars.length - 1 - index) % every === 0; // counted back from the last bar
    return [
      value === null ? "" : draw("rect", {
        class: isOpen ? "bar open" : "bar",
        x: middle - thickness / 2,
        y: ground - height,
        width: thickness,
        height,
        rx: Math.min(4, height / 2),
      }),
      usual === undefined ? "" : usualLine(middle, thickness, ground - usual * scale),
      value && hasRoom ? text("value", middle, ground - height - 6, String(value)) : "",
      isLabelled ? text("axis", middle, HEIGHT - 6, label) : "",
    ];
  };
}

function usualLine(middle, thickness, y) {
  const reach = thickness / 2 + 3;
  return draw("line", { class: "usual", x1: middle - reach, x2: middle + reach, y1: y, y2: y });
}

/** Returns the distance of the grid lines: 1, 2 or 5 times a power of ten. */
function stepFor(most) {
  for (let power = 1; ; power *= 10) {
    const fitting = [1, 2, 5].find((digit) => most / (digit * power) <= MAX_GRID_LINES);
    if (fitting) return fitting * power;
  }
}

function text(kind, x, y, content) {
  return draw("text", { class: kind, x, y, "text-anchor": "middle" }, content);
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
