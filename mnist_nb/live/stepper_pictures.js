// The small pictures of `stepper.js`. In `cells`, blue is below zero, white is zero, red is above.

const BLUE = [0, 114, 178], RED = [213, 94, 0], INK = "#1d2026"; // as in mnist_nb/figures
const SHOWN = 8, CELL = 30; // images of the batch that are drawn, and pixels for each
const HIDDEN = 1.5, LOGIT = 11; // pixels for a row of the last hidden layer, and for one of logits
const LN10 = Math.log(10), TOP = 3; // the axes of losses end at 3

// Square roots, so that small values show, too.
function colour(value, most) {
  const part = Math.min(1, Math.sqrt(Math.abs(value) / most)) || 0;
  return (value < 0 ? BLUE : RED).map((c) => Math.round(255 + part * (c - 255)));
}

// A canvas that is sharp on fine screens, and white in every theme, as the images are.
function paper(canvas, width, height) {
  Object.assign(canvas, { width: 2 * width, height: 2 * height });
  canvas.style.aspectRatio = `${width} / ${height}`;
  canvas.style.width = `${width}px`;
  const ink = canvas.getContext("2d");
  ink.scale(2, 2);
  ink.font = "13px system-ui, 'DejaVu Sans', sans-serif";
  ink.textAlign = "center";
  ink.fillStyle = "#fff";
  ink.fillRect(0, 0, width, height);
  ink.fillStyle = INK;
  return ink;
}

function cells(ink, rows, columns, valueAt, most, top, width, height, gap = 1) {
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      ink.fillStyle = `rgb(${colour(valueAt(r, c), most)})`;
      ink.fillRect(c * width, top + r * height, width - gap, height + 0.2);
    }
}

// Images with their labels; below each, the last hidden layer and the logits.
export function drawActivations(canvas, { activations: [x, , hidden, logits], labels }, ran) {
  const neurons = hidden.length / labels.length, top = CELL + 20, foot = top + neurons * HIDDEN + 8;
  const ink = paper(canvas, SHOWN * CELL, foot + 10 * LOGIT + 2);
  for (let r = 0; r < SHOWN; r++) ink.fillText(labels[r], (r + 0.5) * CELL, CELL + 14);
  const picture = new ImageData(28, 28), small = document.createElement("canvas");
  small.width = small.height = 28;
  for (let r = 0; r < SHOWN; r++) {
    for (let i = 0; i < 784; i++)
      picture.data.set([0, 0, 0].fill(255 - 255 * x[784 * r + i]).concat(255), 4 * i);
    small.getContext("2d").putImageData(picture, 0, 0);
    ink.drawImage(small, r * CELL, 0, CELL - 1, CELL - 1);
  }
  if (!ran) return;
  const most = (values) => values.subarray(0, SHOWN * values.length / labels.length)
    .reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
  cells(ink, neurons, SHOWN, (o, r) => hidden[r * neurons + o], most(hidden), top, CELL, HIDDEN);
  cells(ink, 10, SHOWN, (o, r) => logits[r * 10 + o], most(logits), foot, CELL, LOGIT);
  ink.strokeStyle = INK;
  for (let r = 0; r < SHOWN; r++)
    ink.strokeRect(r * CELL + 0.5, foot + labels[r] * LOGIT + 0.5, CELL - 2, LOGIT - 1);
}

// The loss of each image; J is the mean of those of the whole batch.
export function drawShares(canvas, { probabilities, labels, loss }) {
  const height = 110, ink = paper(canvas, SHOWN * CELL, height + 18);
  const y = (share) => height - height * Math.min(TOP, share) / TOP;
  for (let r = 0; r < SHOWN; r++) {
    ink.fillStyle = INK;
    ink.fillText(labels[r], (r + 0.5) * CELL, height + 14);
    if (!Number.isFinite(loss)) continue;
    const share = -Math.log(probabilities[10 * r + labels[r]]);
    ink.fillStyle = `rgb(${BLUE})`;
    ink.fillRect(r * CELL + 4, y(share), CELL - 8, height - y(share));
  }
  ink.fillStyle = INK;
  ink.fillRect(0, height, SHOWN * CELL, 1);
  for (let x = 0; x < SHOWN * CELL; x += 6) ink.fillRect(x, y(LN10), 2, 1);
}

// 784 numbers as 28 x 28.
export function drawNeuron(canvas, values, most) {
  const ink = paper(canvas, 140, 140);
  cells(ink, 28, 28, (r, c) => values[28 * r + c], most, 0, 5, 5, 0);
}

// Losses after each press; a press is a fifth of a round. `ordinary` is drawn as far as `history`.
export function drawLosses(box, history, ordinary) {
  const width = Math.max(260, box.clientWidth), height = width < 400 ? 130 : 190;
  const left = 34, right = 10, foot = 36;
  const at = ({ round = 1, number = -1 }) => round - 1 + (number + 1) / 5, now = history.at(-1);
  const last = Math.max(10, at(now)), x = (round) => left + (width - left - right) * round / last;
  const y = (loss) => 8 + (height - foot - 8) * (1 - Math.min(TOP, loss) / TOP);
  const across = (name, loss) => `<line class="${name}" x1="${left}" x2="${width - right}"
    y1="${y(loss)}" y2="${y(loss)}"/>`;
  const line = (name, rows) => `<polyline class="${name}" points="${rows.filter((row) =>
    at(row) <= at(now) && Number.isFinite(row.loss)).map((row) => `${x(at(row)).toFixed(1)},${
    y(row.loss).toFixed(1)}`).join(" ")}"/>`;
  const every = [2, 5, 10, 20, 50, 100].find((n) => last / n < 8) ?? 200;
  const marks = Array.from({ length: Math.floor(last / every) + 1 }, (_, i) => i * every);
  box.innerHTML = `<svg width="${width}" height="${height}" aria-hidden="true">
    ${[0, 1, 2, 3].map((n) => `${across("grid", n)}<text class="end" x="${left - 8}"
      y="${y(n) + 4}">${n}</text>`).join("")}${across("guess", LN10)}
    ${marks.map((n) => `<text class="middle" x="${x(n)}" y="${height - 18}">${n}</text>`).join("")}
    <text class="middle" x="${(left + width) / 2}" y="${height - 3}">rounds</text>
    ${line("ordinary", ordinary)}${line("yours", history)}
    <circle cx="${x(at(now))}" cy="${y(now.loss) || 0}" r="5"/></svg>`;
}
