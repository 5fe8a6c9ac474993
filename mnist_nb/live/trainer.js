// Train the network in this page: settings, a curve that grows, and at last the pad with the
// network. A worker does the training, with the same network.js, so that the page keeps answering.
import { VIEW, curve, legend } from "./curve.js";
import { loadImages } from "./images.js";
import { newNetwork, train } from "./network.js";
import { start as startPad } from "./pad.js";

const SLICE = 100;  // milliseconds between two messages of the worker
const POINTS = 300;  // of the curve of the batches' losses, each a mean of several
const count = (n) => n.toLocaleString("en");
const shown = (loss) => (Number.isFinite(loss) && loss < 1e4 ? loss.toFixed(2) : loss.toPrecision(2));
const percent = (part) => `${(100 * part).toFixed(1)}%`;

// ---- In the worker.

// Waits for {images, labels, settings}, then trains, and sends what `train` of network.js yields.
// {pause: true} makes it rest after this slice, {pause: false} go on.
export function work(worker) {
  let network, reports, paused = false, spent = 0;
  function slice() {
    const begun = performance.now(), batches = [], epochs = [];
    let next, now;
    do {
      next = reports.next();
      if (!next.done) (next.value.step ? batches : epochs).push(next.value);
      now = performance.now();
    } while (!next.done && now - begun < SLICE);
    spent += now - begun;
    const message = { batches, epochs, seconds: spent / 1000, done: next.done };
    worker.postMessage(epochs.length || next.done || paused ? { ...message, network } : message);
    if (!next.done && !paused) setTimeout(slice);
  }
  worker.onmessage = ({ data: { images, labels, settings, pause } }) => {
    if (settings) {
      network = newNetwork(settings);
      reports = train({ images, labels }, { ...settings, network });
    }
    paused = pause === true;
    if (!paused) slice();
  };
}

// ---- In the page.

// fields: the settings, with what each takes. published: the losses to compare with. images: see
// images.js. examples, labels: for the pad. program: see start.js.
export function start(place, { fields, published, images, examples, labels }, program) {
  place.innerHTML = layout(fields, images.count);
  const part = (name) => place.querySelector(`.${name}`);
  const [form, button, stop, bar, where, status, drawing, table] =
    ["settings", "train", "stop", "bar", "where", "said", "curve", "losses"].map(part);
  let loaded = null, worker = null, run = null, paused = false, swap = null;

  const say = (text) => { status.textContent = text; };
  const label = (text) => { button.textContent = text; };
  function draw() {
    drawing.innerHTML = curve({ published, ...run });
    drawing.setAttribute("aria-label", inWords(run, published));
    table.tBodies[0].innerHTML = rowsOf(run, published);
  }
  function end(text) {
    worker?.terminate();
    worker = null;
    form.querySelectorAll("input, select").forEach((input) => { input.disabled = false; });
    stop.disabled = true;
    label("Train");
    say(text);
  }
  async function begin() {
    const settings = read(form, fields, images.count);
    if (typeof settings === "string") return say(settings);
    form.querySelectorAll("input, select").forEach((input) => { input.disabled = true; });
    stop.disabled = false;
    paused = false;
    label("Pause");
    const mine = run = { settings, epochs: settings.epochs, batches: [], history: [], bin: [] };
    draw();
    bar.value = 0;
    where.textContent = "";
    try {
      if (!loaded) say("Unpacking the images …");
      loaded ??= await loadImages(images);
    } catch (error) {
      return run === mine && end(error.message);
    }
    if (run !== mine) return;
    say("Training …");
    worker = newWorker(program);
    worker.onmessage = ({ data }) => hear(data);
    worker.onerror = ({ message }) => end(`The training has stopped (${message}). If memory is `
      + "short here, take a tenth of the images, a smaller hidden or a smaller batch_size.");
    worker.postMessage({ settings, images: loaded.images.slice(0, 784 * settings.size),
                         labels: loaded.labels.slice(0, settings.size), pause: paused });
  }
  function hear({ batches, epochs, seconds, network, done }) {
    batches.forEach((report) => collect(run, report));
    run.history.push(...epochs.filter((row) => row.val_loss !== undefined));
    run.seconds = seconds;
    const { epoch, step, steps } = run.last;
    bar.value = (epoch - 1 + step / steps) / run.epochs;
    where.textContent = `Epoch ${count(epoch)} of ${count(run.epochs)}, batch ${count(step)} of `
      + `${count(steps)}, ${seconds.toFixed(1)} s`;
    draw();
    if (network) feed(network);
    if (done) end(ending(run, [...batches, ...epochs].at(-1), published));
    else if (epochs.length && !paused) say(afterEpoch(run));
  }
  function feed(network) {
    part("try").hidden = false;
    swap ??= startPad(part("pad-place"), { network, examples, labels });
    swap(network);
  }
  function rest() {
    paused = !paused;
    label(paused ? "Continue" : "Pause");
    say(paused ? "Paused. The pad below has the network as it is now." : "Training …");
    worker?.postMessage({ pause: paused });
  }
  form.onsubmit = (event) => {
    event.preventDefault();
    if (stop.disabled) begin(); else rest();
  };
  stop.onclick = () => {
    const { last } = run;
    run = { ...run };  // what is still being loaded is for no one
    button.focus();
    end(last ? `Stopped in epoch ${count(last.epoch)}, after batch ${count(last.step)}.` : "Stopped.");
  };
  run = { epochs: published.train_loss.length, batches: [], history: [] };
  draw();
}

function newWorker(program) {
  const source = `const live = (${program})();\nlive.work(self);\n`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  return worker;
}

function layout(fields, images) {
  const size = (n) => `${count(n)} images, ${count(Math.floor(n / 12))} of them to check with`;
  return `<form class="settings" novalidate><div class="fields">
      ${fields.map(field).join("")}
      <label>images <select name="size"><option value="${images}">all</option>
        <option value="${images / 10}">a tenth</option></select>
        <small>all: ${size(images)}; a tenth is enough for a phone</small></label></div>
    <div class="row"><button class="train">Train</button>
      <button type="button" class="stop" disabled>Stop</button>
      <progress class="bar" value="0" aria-label="Training"></progress>
      <span class="where"></span></div></form>
    <p role="status" class="said">Press Train. The images are loaded from a file beside this page.</p>
    <svg class="curve" viewBox="${VIEW}" role="img"></svg>
    <p class="legend">${legend()}</p>
    <div class="table" tabindex="0" role="group" aria-label="Losses of each epoch">
    <table class="losses"><thead><tr><th scope="col">epoch</th><th scope="col">training</th>
      <th scope="col">published</th><th scope="col">validation</th><th scope="col">published</th>
      <th scope="col">read right</th></tr></thead><tbody></tbody></table></div>
    <div class="try" hidden><p><strong>Try this network.</strong> It is the one that was trained
      here, and it reads what you draw.</p><div class="pad-place"></div></div>`;
}

function field({ name, meaning, value, low, high, whole }) {
  const steps = whole ? 1 : value;
  return `<label>${name} <input type="number" name="${name}" value="${value}" step="${steps}"
    min="${low}" max="${high}"><small>${meaning}</small></label>`;
}

// The settings, or a sentence about the first that cannot be: the one of mnist_nb/parameters.py.
function read(form, fields, images) {
  const size = Number(form.elements.size.value), settings = { size };
  for (const { name, words, low, high, whole } of fields) {
    const input = form.elements[name], value = Number(input.value);
    const most = name === "batch_size" ? size - Math.floor(size / 12) : Infinity;
    input.removeAttribute("aria-invalid");
    if (input.value !== "" && value >= low && value <= Math.min(high, most)
        && (!whole || Number.isInteger(value))) {
      settings[name] = value;
      continue;
    }
    input.setAttribute("aria-invalid", "true");
    input.focus();
    const takes = value > most && value <= high
      ? `a whole number from 1 to the number of images to learn from, which is ${count(most)}` : words;
    return `${name} is ${input.value || "not a number"}; it takes ${takes}.`;
  }
  return settings;
}

// Put the loss of a batch on the curve; so many of them become one point.
function collect(run, report) {
  run.last = report;
  run.bin.push(report.loss);
  if (run.bin.length < Math.ceil(report.steps * run.epochs / POINTS) && !report.diverged) return;
  const mean = run.bin.reduce((a, b) => a + b) / run.bin.length;
  run.batches.push([report.epoch - 1 + report.step / report.steps, mean]);
  run.bin = [];
}

function rowsOf({ history }, { train_loss, val_loss }) {
  const rows = Array.from({ length: Math.max(history.length, train_loss.length) }, (_, n) => {
    const row = history[n], cell = (value) => `<td>${value ?? "–"}</td>`;
    return `<tr><th scope="row">${n + 1}</th>${cell(row && shown(row.train_loss))}`
      + `${cell(train_loss[n]?.toFixed(2))}${cell(row && shown(row.val_loss))}`
      + `${cell(val_loss[n]?.toFixed(2))}${cell(row && percent(row.val_accuracy))}</tr>`;
  });
  return rows.join("");
}

function afterEpoch({ history }) {
  const { epoch, train_loss, val_loss, val_accuracy } = history.at(-1);
  return `Epoch ${count(epoch)}: training loss ${shown(train_loss)}, validation loss `
    + `${shown(val_loss)}, ${percent(val_accuracy)} read right.`;
}

function ending(run, last, published) {
  const took = `${run.seconds.toFixed(1)} s`;
  if (last.diverged) return `Diverged in epoch ${count(last.epoch)}, batch ${count(run.last.step)}: `
    + "the numbers have grown until they are nan or inf. lr is "
    + `${run.settings.lr}; predict what a smaller one does, and try it.`;
  const { val_loss } = run.history.at(-1);
  return `Finished in ${took}. ${afterEpoch(run)} `
    + (val_loss > Math.log(10) - 0.01 ? "Guessing has a loss of ln 10, which is 2.30: with these "
      + "settings the network has learned nothing."
      : `The last published losses are ${published.train_loss.at(-1).toFixed(2)} and `
      + `${published.val_loss.at(-1).toFixed(2)}.`);
}

function inWords({ history }, { train_loss, val_loss }) {
  const range = (losses) => `from ${shown(losses[0])} to ${shown(losses.at(-1))}`;
  const ours = history.length ? `This run: training ${range(history.map((row) => row.train_loss))}, `
    + `validation ${range(history.map((row) => row.val_loss))}. ` : "";
  return `Losses by epoch. ${ours}As published: training ${range(train_loss)}, `
    + `validation ${range(val_loss)}.`;
}
