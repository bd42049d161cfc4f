// Where tickets are shown: pages of equal cells, of which a long ticket takes several.

/**
 * Places tickets on pages, in their order. Each `{ parts, frames }` has the heights of the parts of its
 * contents in one column, and that of all around them, by the number of columns less one. The grid has
 * `columns` and `rows` of cells with the height `cell`, and a `gap` between them.
 *
 * Each ticket gets the smallest free block of cells that is large enough, after the ticket before it: further to the
 * right or below, or else on the next page. So people who work page by page, and row by row, keep the order; what a
 * larger ticket leaves free before it stays free. A ticket that is larger than a page continues on the next.
 *
 * Returns the `places` of the tickets, each the first `page` and `blocks` of cells, one on each page that it
 * takes; with several, the `height` of its contents on a whole page, by which they flow. Returns also how
 * many `pages` all need, at least one.
 */
export function place(sizes, { columns, rows, cell, gap }) {
  const all = shapes(columns, rows);
  const pages = [];
  const add = () => pages[pages.push(new Page(pages.length, columns, rows)) - 1];
  const take = (candidates) => pages[pages.length - 1]?.take(candidates) ?? add().take(candidates);
  const whole = all[all.length - 1];
  const places = sizes.map(({ parts, frames }) => {
    const inside = (shape) => shape.rows * (cell + gap) - gap - frames[shape.columns - 1];
    const fitting = all.filter((shape) => fits(parts, shape.columns, inside(shape)));
    if (fitting.length > 0) return placed([take(fitting)]);
    const height = Math.max(1, inside(whole));
    const flow = flowOf(parts, height);
    const before = Math.ceil(flow.columns / columns) - 1; // pages that are taken whole
    const rest = flow.columns - before * columns;
    const needed = rest === 1 ? flow.used : height;
    const last = all.filter((shape) => shape.columns >= rest && inside(shape) >= needed);
    return placed([...Array.from({ length: before }, () => add().take([whole])), add().take([...last, whole])], height);
  });
  return { places, pages: Math.max(1, pages.length) };
}

/** Tells whether parts, which are not broken, fit into columns of this height. */
function fits(parts, columns, height) {
  return parts.every((part) => part <= height) && flowOf(parts, height).columns <= columns;
}

/**
 * Returns how many columns of this height the parts need, and how much of the last one; only a part that is
 * higher is broken.
 */
function flowOf(parts, height) {
  let [columns, used] = [1, 0];
  for (const part of parts) {
    if (used > 0 && used + part > height) [columns, used] = [columns + 1, 0];
    used += part;
    for (; used > height; used -= height) columns += 1;
  }
  return { columns, used };
}

function placed(found, height) {
  return { page: found[0].page, height, blocks: found };
}

/** Returns all blocks of cells, the smallest first, and of equal ones the narrowest. */
function shapes(columns, rows) {
  const found = [];
  for (let width = 1; width <= columns; width++) {
    for (let height = 1; height <= rows; height++) found.push({ columns: width, rows: height });
  }
  return found.sort((one, other) => area(one) - area(other) || one.columns - other.columns);
}

function area({ columns, rows }) {
  return columns * rows;
}

class Page {
  constructor(number, columns, rows) {
    this.number = number;
    this._taken = Array.from({ length: rows }, () => Array(columns).fill(false));
    this._free = columns * rows;
    this._last = { row: 0, column: 0 }; // where the last block begins
  }

  /** Takes the first free block after the last one that has one of these shapes; returns undefined if there is none. */
  take(candidates) {
    for (const shape of candidates) {
      if (area(shape) > this._free) return; // the next ones are larger
      const at = this._find(shape);
      if (at) return this._take({ page: this.number, ...at, ...shape });
    }
  }

  _find({ columns, rows }) {
    for (let { row } = this._last; row + rows <= this._taken.length; row++) {
      for (let column = row === this._last.row ? this._last.column : 0; column + columns <= this._taken[0].length; column++) {
        if (this._isFree(row, column, row + rows, column + columns)) return { row, column };
      }
    }
  }

  _isFree(top, left, bottom, right) {
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) if (this._taken[row][column]) return false;
    }
    return true;
  }

  _take(cells) {
    const { row, column, columns, rows } = cells;
    for (const taken of this._taken.slice(row, row + rows)) taken.fill(true, column, column + columns);
    this._free -= area(cells);
    this._last = { row, column };
    return cells;
  }
}
