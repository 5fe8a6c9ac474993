// Train the network in this page: settings, a curve that grows, and at last the pad with the
// network. A worker does the training, with the same network.js, so that the page keeps answering.
import { VIEW, curve, legend } from "./curve.js";
import { loadImages } from "./images.js";
import { newNetwork, train } from "./network.js";
import { start as startPad } from "./pad.js";

const SLICE = 100;  // milliseconds between two messages of the worker
const PIXELS = 784;
const POINTS = 300;  // of the curve of the batches' losses, each a mean of several
const count = (n) => n.toLocaleString("en");
const shown = (loss) => (Number.isFinite(loss) && loss < 1e4 ? loss.toFixed(2) : loss.toPrecision(2));
const percent = (part) => `${(100 * part).toFixed(1)}%`;

// ---- In the worker.

// Waits for {images, labels, settings}, then trains, and sends what `train` of network.js yields.
// {pause: true} makes it rest after this slice, {pause: false} go on.
export function work(worker) {
  let network, reports, timer, spent = 0;
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
    worker.postMessage(epochs.length || next.done ? { ...message, network } : message);
    if (!next.done) timer = setTimeout(slice);  // between two slices, messages arrive
  }
  worker.onmessage = ({ data: { images, labels, settings, pause } }) => {
    clearTimeout(timer);
    if (settings) {
      network = newNetwork(settings);
      reports = train({ images, labels }, { ...settings, network });
    }
    if (pause) worker.postMessage({ network }); else slice();
  };
}

// ---- In the page.

// fields: the settings, with what each takes. published: the losses to compare with. text: the last
// epoch of the notebook's own run, and on how many images, or null. images: see images.js.
// examples, labels: for the pad. program: see start.js.
export function start(place, { fields, published, text, images, examples, labels }, program) {
  place.innerHTML = layout(fields, images.count);
  const part = (name) => place.querySelector(`.${name}`);
  const [form, button, stop, bar, where, status, drawing, table] =
    ["settings", "train", "stop", "bar", "where", "said", "curve", "losses"].map(part);
  let loading = null, worker = null, run = null, swap = null;

  const say = (text) => { status.textContent = text; };
  const label = (text) => { button.textContent = text; };
  function draw() {
    drawing.innerHTML = curve({ published, ...run });
    drawing.setAttribute("aria-label", inWords(run, published));
    table.tBodies[0].innerHTML = rowsOf(run, published);
  }
  function able(training) {
    form.querySelectorAll("input, select").forEach((input) => { input.disabled = training; });
    stop.disabled = !training;
    label(training ? "Pause" : "Train");
  }
  function end(text) {
    worker?.terminate();
    worker = null;
    if (document.activeElement === stop) button.focus();  // a disabled one would lose it
    able(false);
    say(text);
  }
  async function begin() {
    const settings = read(form, fields, images.count);
    if (typeof settings === "string") return say(settings);
    button.focus();
    able(true);
    const mine = run = { settings, epochs: settings.epochs, batches: [], history: [], bin: [] };
    bar.value = 0;
    where.textContent = "";
    draw();
    say("Unpacking the images …");
    let all;
    try {
      all = await (loading ??= loadImages(images));  // once, whatever is pressed meanwhile
    } catch (error) {
      loading = null;
      return run === mine && end(error.message);
    }
    if (run !== mine) return;  // stopped in the meantime
    if (!run.paused) say("Training …");
    const ours = worker = newWorker(program);
    worker.onmessage = ({ data }) => worker === ours && hear(data);
    worker.onerror = ({ message }) => end(`The training has stopped (${message}). If memory is `
      + "short here, take a tenth of the images, a smaller hidden or a smaller batch_size.");
    const taken = all.images.slice(0, PIXELS * settings.size);
    worker.postMessage({ settings, images: taken, labels: all.labels.slice(0, settings.size),
                         pause: run.paused }, [taken.buffer]);  // moved, as a copy takes 47 MB more
  }
  function hear({ batches = [], epochs = [], seconds, network, done }) {
    batches.forEach((report) => collect(run, report));
    run.history.push(...epochs);
    run.seconds = seconds ?? run.seconds;
    if (run.last) {
      const { epoch, step, steps } = run.last;
      bar.value = (epoch - 1 + step / steps) / run.epochs;
      where.textContent = `Epoch ${count(epoch)} of ${count(run.epochs)}, batch ${count(step)} of `
        + `${count(steps)}, ${run.seconds.toFixed(1)} s`;
    }
    draw();
    if (network) feed(network);
    if (done) end(ending(run, published, text));
    else if (epochs.length && !run.paused) say(afterEpoch(run));
  }
  function feed(network) {
    part("try").hidden = false;
    swap ??= startPad(part("pad-place"), { network, examples, labels });
    swap(network);
  }
  function rest() {
    run.paused = !run.paused;
    label(run.paused ? "Continue" : "Pause");
    say(run.paused ? "Paused. The pad below the table has the network as it is now." : "Training …");
    worker?.postMessage({ pause: run.paused });
  }
  form.onsubmit = (event) => {
    event.preventDefault();
    if (stop.disabled) begin(); else rest();
  };
  stop.onclick = () => {
    const { last } = run;
    run = { ...run };  // so that images still on their way start nothing
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
  const epochs = 10 * fields.find(({ name }) => name === "epochs").value;
  return `<form class="settings" novalidate><div class="fields">
      ${fields.map(field).join("")}
      <label class="wide">images <select name="size"><option value="${images}">all</option>
        <option value="${images / 10}">a tenth</option></select>
        <small>all: ${count(images)} images, ${count(Math.floor(images / 12))} of them to check with.
        A tenth is quicker and learns less: ten of its epochs have about as many steps as one with all.
        For about as many steps as the text, set epochs to ${count(epochs)}.</small></label></div>
    <div class="row"><button class="train">Train</button>
      <button type="button" class="stop" disabled>Stop</button>
      <progress class="bar" value="0" aria-label="Training"></progress>
      <span class="where"></span></div></form>
    <p role="status" class="said">Press Train. The images are loaded from a file beside this page.</p>
    <svg class="curve" viewBox="${VIEW}" role="img"></svg>
    <p class="legend">${legend()}</p>
    <div class="table scroll" tabindex="0" role="group" aria-label="Losses of each epoch">
    <table class="losses"><thead><tr><th scope="col">epoch</th><th scope="col">train&shy;ing</th>
      <th scope="col">pub&shy;lished</th><th scope="col">vali&shy;dation</th>
      <th scope="col">pub&shy;lished</th><th scope="col">read right</th></tr></thead><tbody></tbody></table></div>
    <div class="try" hidden><p><strong>Try this network.</strong> It is the one that was trained
      here, and it reads what you draw.</p><div class="pad-place"></div></div>`;
}

function field({ name, meaning, value, low, high, whole }) {
  const steps = whole ? 1 : value;
  return `<label>${name} <input type="number" name="${name}" value="${value}" step="${steps}"
    min="${low}" max="${high}"><small>${meaning}</small></label>`;
}

// The settings, or a sentence about the first value not allowed, as in mnist_nb/parameters.py.
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

// Put the loss of a batch on the curve; the mean of several is one of its roughly POINTS points.
function collect(run, report) {
  run.last = report;
  run.bin.push(report.loss);
  run.diverged = report.diverged;
  if (run.bin.length < Math.ceil(report.steps * run.epochs / POINTS) && !report.diverged) return;
  const mean = run.bin.reduce((a, b) => a + b) / run.bin.length;
  run.batches.push([report.epoch - 1 + report.step / report.steps, mean]);
  run.bin = [];
}

// Our numbers are rounded; their titles have all digits.
function rowsOf({ history }, { train_loss, val_loss }) {
  const rows = Array.from({ length: Math.max(history.length, train_loss.length) }, (_, n) => {
    const row = history[n], printed = (value) => `<td>${value?.toFixed(2) ?? "–"}</td>`;
    const ours = (value, words) => (row ? `<td title="${value}">${words(value)}</td>` : "<td>–</td>");
    return `<tr><th scope="row">${n + 1}</th>${ours(row?.train_loss, shown)}`
      + `${printed(train_loss[n])}${ours(row?.val_loss, shown)}${printed(val_loss[n])}`
      + `${ours(row?.val_accuracy, percent)}</tr>`;
  });
  return rows.join("");
}

function afterEpoch({ history }) {
  const { epoch, train_loss, val_loss, val_accuracy } = history.at(-1);
  return `Epoch ${count(epoch)}: training loss ${shown(train_loss)}, validation loss `
    + `${shown(val_loss)}, ${percent(val_accuracy)} read right.`;
}

function ending(run, { train_loss, val_loss }, text) {
  const row = run.history.at(-1);
  if (run.diverged || row.diverged)
    return `Diverged in epoch ${count(run.last.epoch)}, after batch ${count(run.last.step)}: numbers `
      + `have grown until they are inf or nan. lr is ${run.settings.lr}; try a smaller one.`;
  return `Finished in ${run.seconds.toFixed(1)} s. ${afterEpoch(run)} `
    + (row.val_loss > Math.log(10) - 0.01
      ? "Guessing has a loss of ln 10, which is 2.30: this network has learned nothing."
      : `${ofText(text)}The last published losses are ${train_loss.at(-1).toFixed(2)} and `
        + `${val_loss.at(-1).toFixed(2)}.`);
}

function ofText(text) {
  return text ? `The run in the text, with ${count(text.images)} images to learn from, ended at `
    + `${shown(text.train_loss)} and ${shown(text.val_loss)}, ${percent(text.val_accuracy)} read right. `
    : "";
}

function inWords({ history }, { train_loss, val_loss }) {
  const range = (losses) => `from ${shown(losses[0])} to ${shown(losses.at(-1))}`;
  const ours = history.length ? `This run: training ${range(history.map((row) => row.train_loss))}, `
    + `validation ${range(history.map((row) => row.val_loss))}. ` : "";
  return `Losses by epoch. ${ours}As published: training ${range(train_loss)}, `
    + `validation ${range(val_loss)}.`;
}
