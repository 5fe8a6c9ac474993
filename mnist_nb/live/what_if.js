// What if? Sliders choose among runs that were really made, and the page shows how they ended.
// Nothing is simulated, and no value between two runs is made up: the number of a run comes from
// the table of runs, and means, gaps and errors are computed from such numbers as in chapter 08.

import { drawRuns } from "./runs_picture.js";

const LONG = 10;  // with more seeds than that, there is no row for each of them

export const mean = (numbers) => numbers.reduce((sum, n) => sum + n, 0) / numbers.length;

// The mean of the gaps b - a, seed by seed, and its standard error.
export function gap(a, b) {
  const gaps = a.map((value, i) => b[i] - value), middle = mean(gaps);
  const squares = gaps.reduce((sum, g) => sum + (g - middle) ** 2, 0);
  return [middle, Math.sqrt(squares / (gaps.length - 1) / gaps.length)];
}

// Numbers in their order, words in the order of the table.
function distinct(values) {
  const found = [...new Set(values)];
  return typeof found[0] == "number" ? found.sort((a, b) => a - b) : found;
}

const said = (value) => typeof value == "number" ? value.toLocaleString("en") : value;
const two = (number) => number.toFixed(2).replace("-", "−");
const signed = (number) => (number > 0 ? "+" : "") + two(number);

// One sweep: runs that differ in one setting, perhaps in a second one, and in their seeds.
// `lines[j][i]` has the results of the i-th value of the first setting with the j-th value of the
// second one, and `seeds` has their seeds, in the same order.
function read({ settings, columns: [along, by], at, seed, result }) {
  const first = distinct(along), second = by ? distinct(by) : [null];
  const where = (a, b) => [...along.keys()].filter((k) => along[k] == a && (!by || by[k] == b));
  const lines = second.map((b) => first.map((a) => where(a, b).map((k) => result[k])));
  const seeds = where(first[0], second[0]).map((k) => seed[k]);
  const [a, b] = [first, second].map((values, i) => Math.max(0, values.indexOf(at[i])));
  return { settings, first, second, lines, seeds, begin: [a, b] };
}

// A slider that stops at each of `values`, and nowhere else. Returns a function that gives the
// index of the chosen value.
function slider(box, label, values, at, mark, changed) {
  const line = document.createElement("label");
  line.innerHTML = `<span></span><input type="range" min="0" step="1"><b></b>`;
  line.className = mark;
  const [name, input, shown] = line.children;
  name.textContent = label;
  input.max = values.length - 1;
  input.value = at;
  const show = () => {
    shown.textContent = said(values[input.value]);
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => { show(); changed(); });
  show();
  box.append(line);
  return () => +input.value;
}

// data: {measure, limit, views}; each of `views` is what `read` takes. With a `limit`, two values
// of a setting are compared, and their gap counts beyond that many standard errors.
export function start(place, { measure, limit, views }) {
  const pair = limit != null;
  place.innerHTML = `<p class="choice"><label>What changes? <select></select></label></p>
    <div class="sliders"></div><div class="picture"></div><p role="status"></p>
    <div></div><p class="legend"></p>`;
  const [choice, sliders, picture, status, table, legend] = place.children;
  const select = choice.querySelector("select");
  choice.hidden = views.length < 2;
  for (const { name } of views) select.add(new Option(name));
  let view, chosen, which;

  function open() {
    view = read(views[select.selectedIndex]);
    const { first, second, settings: [one, other], begin: [a, b] } = view;
    const last = first.length - 1;
    sliders.replaceChildren();
    chosen = [slider(sliders, pair ? `A: ${one}` : one, first, a, "a", show)];
    if (pair) chosen.push(slider(sliders, `B: ${one}`, first, a < last ? last : 0, "b", show));
    which = second.length > 1 ? slider(sliders, other, second, b, "", show) : () => 0;
    show();
  }

  function show() {
    const line = view.lines[which()], places = chosen.map((at) => at());
    const [one, other] = view.settings;
    const common = other ? `, ${other} ${said(view.second[which()])}` : "";
    const names = places.map((at, i) =>
      `${pair ? `${"AB"[i]}, ` : ""}${one} ${said(view.first[at])}${common}`);
    legend.textContent = (view.seeds.length > LONG ? "" : "Each point is a run. ") +
      `The line joins the means of ${view.seeds.length} seeds; the band goes from the lowest run ` +
      "to the highest.";
    const runs = places.map((at) => line[at]);
    const parts = runs.map((each, i) => describe(names[i], each));
    if (pair) parts.push(verdict(...runs, places[0] == places[1], limit));
    status.textContent = parts.join(" ");
    fill(table, view.seeds, pair ? ["A", "B"] : [said(view.first[places[0]])], runs, measure);
    draw();
  }

  const draw = () => drawRuns(picture, view.lines.flat(2), view.lines[which()], {
    places: chosen.map((at) => at()), marks: view.first.map(said), measure,
    label: view.settings[0], means: view.lines[which()].map(mean) });
  select.addEventListener("change", open);
  open();
  new ResizeObserver(draw).observe(picture);
}

const describe = (name, runs) => `${name[0].toUpperCase()}${name.slice(1)}: ` +
  `on average ${two(mean(runs))}% right, from ${two(Math.min(...runs))}% to ${
    two(Math.max(...runs))}%.`;

function verdict(a, b, same, limit) {
  if (same) return "A and B are the same: move one of them.";
  const [middle, error] = gap(a, b), errors = Math.abs(middle) / error;
  const higher = a.filter((value, i) => b[i] > value).length;
  return `The gap, B minus A, is ${signed(middle)} percentage points, with a ` +
    `standard error of ${error.toFixed(error < 0.1 ? 3 : 2)}: ` +
    `${errors.toFixed(1)} standard errors from zero. ` +
    `It ${errors > limit ? "counts" : "does not count"}. ` +
    `B is higher with ${higher} of ${a.length} seeds.`;
}

// A column for each seed, so that every run can be read.
function fill(box, seeds, names, [a, b], measure) {
  box.hidden = seeds.length > LONG;
  if (box.hidden) return;
  const rows = names.map((name, i) => [name, ...[a, b][i].map(two)]);
  if (b) rows.push(["B − A", ...b.map((value, i) => signed(value - a[i]))]);
  const head = ["seed", ...seeds].map((seed) => `<th scope="col">${seed}</th>`).join("");
  box.innerHTML = `<table class="runs"><caption>${measure}</caption><thead><tr>${head}</tr></thead>
    <tbody>${rows.map(([name, ...numbers]) => `<tr><th scope="row">${name}</th>${
      numbers.map((number) => `<td>${number}</td>`).join("")}</tr>`).join("")}</tbody></table>`;
}
