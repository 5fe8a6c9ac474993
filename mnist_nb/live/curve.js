// The losses of a run while it trains, beside the published ones, as a drawing in SVG. The axis of
// the losses is logarithmic: the same distance is always the same ratio.

const WIDTH = 640, HEIGHT = 360, LEFT = 68, RIGHT = 12, TOP = 10, BOTTOM = 46;
const GUESSING = Math.log(10);

// epochs: of the whole run. batches: [[epochs passed, loss], ...]. history: a row per epoch, with
// train_loss and val_loss. published: lists of both. Gives the inside of an <svg>.
export function curve({ epochs, batches, history, published }) {
  const losses = [...batches.map(([, loss]) => loss), ...published.train_loss, ...published.val_loss,
    ...history.flatMap((row) => [row.train_loss, row.val_loss])].filter((v) => v > 0 && v < Infinity);
  const low = Math.min(0.1, ...losses), high = Math.max(3, ...losses);
  const last = Math.max(epochs, published.train_loss.length);
  const x = (epoch) => LEFT + (WIDTH - LEFT - RIGHT) * epoch / last;
  const y = (loss) => TOP + (HEIGHT - TOP - BOTTOM) * Math.log(high / loss) / Math.log(high / low);
  const line = (points, look) => {
    const inside = points.filter(([, loss]) => loss > 0 && loss < Infinity);
    const places = inside.map(([epoch, loss]) => `${x(epoch).toFixed(1)},${y(loss).toFixed(1)}`);
    return `<polyline class="${look}" points="${places.join(" ")}"/>`
      + (look.includes("batches") ? "" : places.map((at) => marker(look, at)).join(""));
  };
  const rows = (name) => history.map((row) => [row.epoch, row[name]]);
  const printed = (name) => published[name].map((loss, n) => [n + 1, loss]);
  return axes(last, low, high, x, y)
    + `<line class="guessing" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(GUESSING)}" `
    + `y2="${y(GUESSING)}"/>`
    + line(batches, "batches")
    + line(printed("train_loss"), "training printed") + line(printed("val_loss"), "validation printed")
    + line(rows("train_loss"), "training") + line(rows("val_loss"), "validation");
}

export const VIEW = `0 0 ${WIDTH} ${HEIGHT}`;

// What the marks mean, as pictures of them with their words.
export function legend() {
  const mark = (look, words) => `<span><svg viewBox="0 0 36 12" width="36" height="12" `
    + `aria-hidden="true"><polyline class="${look}" points="0,6 36,6"/>`
    + `${look === "guessing" || look === "batches" ? "" : marker(look, "18,6")}</svg> ${words}</span>`;
  return mark("training", "training, this run") + mark("validation", "validation, this run")
    + mark("training printed", "training, as published")
    + mark("validation printed", "validation, as published")
    + mark("batches", "batches of this run") + mark("guessing", "guessing: ln 10");
}

function marker(look, at) {
  const [x, y] = at.split(",").map(Number);
  return look.startsWith("training") ? `<circle class="${look}" cx="${x}" cy="${y}" r="4.5"/>`
    : `<rect class="${look}" x="${x - 4}" y="${y - 4}" width="8" height="8"/>`;
}

function axes(last, low, high, x, y) {
  const text = (at, height, words, anchor) =>
    `<text x="${at.toFixed(1)}" y="${height.toFixed(1)}" text-anchor="${anchor}">${words}</text>`;
  const every = Math.ceil(last / 10);
  let drawn = "";
  for (let epoch = 0; epoch <= last; epoch += every)
    drawn += text(x(epoch), HEIGHT - BOTTOM + 20, epoch, "middle");
  for (const loss of ticks(low, high))
    drawn += `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(loss)}" y2="${y(loss)}"/>`
      + text(LEFT - 6, y(loss) + 5, loss < 1e4 ? `${loss}` : loss.toExponential().replace("+", ""),
        "end");
  const middle = TOP + (HEIGHT - TOP - BOTTOM) / 2;
  return `${drawn}${text(x(last / 2), HEIGHT - 6, "epochs", "middle")}`
    + `<text text-anchor="middle" transform="translate(14 ${middle}) rotate(-90)">loss (nats)</text>`;
}

// 0.1, 0.2, 0.5, 1, 2 and so on; over many powers of ten, only some of these.
function ticks(low, high) {
  const powers = Math.log10(high / low), found = [];
  const step = Math.max(1, Math.ceil(powers / 6));
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += step)
    for (const factor of powers < 3 ? [1, 2, 5] : [1]) found.push(Number(`${factor}e${power}`));
  return found.filter((loss) => loss >= low * 0.999 && loss <= high);
}
