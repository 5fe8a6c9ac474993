// The five steps of chapter 05, one press at a time, on one batch: what each has read, and what it
// has changed. Steps 3, 4 and 5 can be left out, as in the chapter's table.
import { begin, busiest, ofNeuron, press, rightAnswers, STEPS } from "./five_steps.js";
import { drawActivations, drawLosses, drawNeuron, drawShares } from "./stepper_pictures.js";

const CARDS = { activations: "Activations", loss: "Loss J", gradients: "Gradients",
                weights: "Weights" };
const MAY_BE_MISSING = [2, 3, 4]; // clear, backward and step
const MANY = 5, ROWS = 6; // rounds at a press, and presses in the table

const four = (number) => (Number.isFinite(number) ? number.toFixed(4) : String(number))
  .replace("-", "−").replace("Infinity", "∞").replace("NaN", "nan");
const named = (k) => `step ${k + 1}, ${STEPS[k].name}`;

const item = ({ name }, k) => `<li><span>${k + 1}. ${name}</span>${MAY_BE_MISSING.includes(k)
  ? "<label><input type='checkbox'> leave it out</label>" : ""}</li>`;
const card = ([key, name]) => `<section class="${key}" aria-label="${name}">
  <div><b>${name}</b> <em></em></div><canvas aria-hidden="true"></canvas><p></p></section>`;
const button = (name) => `<button type="button">${name}</button>`;
const PARTS = `<ol class="steps">${STEPS.map(item).join("")}</ol>
  <div class="bar"><p class="row">${["Next step", "Finish the round", `${MANY} rounds`,
    "Start again"].map(button).join("")}</p>
  <p role="status"></p></div><div class="cards">${Object.entries(CARDS).map(card).join("")}</div>
  <figure class="losses"><div></div><figcaption>The loss of this batch, measured after each press.
    Dashed: with all five steps. Dotted: ln 10, the loss of guessing. Losses above 3 are drawn at
    3.</figcaption></figure>
  <table class="readings"><caption>The last presses</caption><thead><tr>
    ${["round", "step", "loss", "gradient norm", "moved"].map((name) =>
      `<th scope="col">${name}</th>`).join("")}</tr></thead><tbody></tbody></table>`;

// images: of one batch, a byte per pixel, with their labels; lr: of the steps; seed: of the
// network's first weights.
export function start(place, { images, labels, lr, seed }) {
  place.innerHTML = PARTS;
  const items = [...place.querySelectorAll("li")];
  const [status, chart, rows] = ["[role=status]", ".losses div", "tbody"].map(
    (which) => place.querySelector(which));
  const missing = (k) => items[k].querySelector("input")?.checked ?? false;
  // `ordinary` is the same loop with all five steps, to compare with. `next` is from 0, `round`
  // from 1; pictures show the neuron `drawn`; a gradient of size `most` or more is drawn darkest.
  let session, ordinary, next, round, drawn, most;

  function reset() {
    [session, ordinary] = [0, 1].map(() => begin({ images, labels, seed }));
    [next, round] = [0, 1];
    goAhead();
    drawn = busiest(ordinary.state);
    most = 4 * Math.max(...pictures(ordinary).gradients.map(Math.abs));
    show(`Nothing has been done yet. ${onwards()}`);
  }
  function goAhead() { // the ordinary loop, to the end of this round
    for (let r = (ordinary.history.length - 1) / 5 + 1; r <= round; r++)
      STEPS.forEach((_, k) => press(ordinary, k, r, lr));
  }
  function turn() {
    next = (next + 1) % STEPS.length;
    if (next === 0) round++;
  }
  function pressNext() { // steps that are left out are passed over
    while (missing(next)) turn();
    goAhead();
    press(session, next, round, lr);
    turn();
  }
  function finish(last) { // all presses up to the end of round `last`
    while (round <= last) {
      while (missing(next) && round <= last) turn();
      if (round <= last) pressNext();
    }
    show(`After ${last} ${last > 1 ? "rounds" : "round"}, the loss of this batch is ${
      four(session.history.at(-1).loss)}. With all five steps, it is ${
      four(ordinary.history[5 * last].loss)}.`);
  }

  const upcoming = () => [0, 1, 2, 3, 4].map((k) => (next + k) % 5).find((k) => !missing(k));
  const onwards = () => `Next: ${named(upcoming())}.` + MAY_BE_MISSING.filter(missing).map(
    (k) => ` Step ${k + 1} is left out.`).join("");
  const pictures = ({ state: { network, gradients }, start: [first] }) => {
    const { weight, outputs } = network.layers[0];
    return { weights: ofNeuron({ weight, outputs }, drawn, first),
             gradients: ofNeuron({ weight: gradients[0].weight, outputs }, drawn) };
  };

  function show(text) {
    const { state, history } = session, now = history.at(-1), { gradients, weights } =
      pictures(session);
    const ran = history.length > 1;
    status.textContent = text;
    items.forEach((each, k) => {
      each.classList.toggle("missing", missing(k));
      each.removeAttribute("aria-current");
    });
    items[upcoming()].setAttribute("aria-current", "step");
    fill("activations", (canvas) => drawActivations(canvas, state, ran), ran
      ? `Below: the last hidden layer, then the logits of 0 to 9, the right one outlined. It is the
         largest for ${rightAnswers(state)} of ${labels.length} images.`
      : `Eight of the batch's ${labels.length} images, and their labels. No forward pass yet.`);
    fill("loss", (canvas) => drawShares(canvas, state), Number.isNaN(state.loss)
      ? "Not computed yet." : `J = ${four(state.loss)}, the mean of ${labels.length} images.`);
    fill("gradients", (canvas) => drawNeuron(canvas, gradients, most),
      `Norm ${four(now.gradientNorm)}. Drawn: those of one neuron's 784 weights.`);
    fill("weights", (canvas) => drawNeuron(canvas, weights, most * lr),
      `Moved by ${four(now.moved)} so far. Drawn: the moves of that neuron's weights.`);
    redraw();
    rows.innerHTML = history.slice(-ROWS).map((row) => `<tr><td>${row.round ?? ""}</td>
      <th scope="row">${row.round ? `${row.number + 1}. ${STEPS[row.number].name}` : "before"}</th>
      ${[row.loss, row.gradientNorm, row.moved].map((value) =>
        `<td data-value="${value}">${four(value)}</td>`).join("")}</tr>`).join("");
  }
  function fill(key, draw, text) {
    const { reads = [], changes } = STEPS[session.history.at(-1).number] ?? {};
    const what = key === changes ? "changed" : reads.includes(key) ? "read" : "";
    const section = place.querySelector(`.${key}`);
    section.dataset.what = what;
    section.querySelector("em").textContent = what;
    section.querySelector("p").textContent = text;
    draw(section.querySelector("canvas"));
  }
  const redraw = () => drawLosses(chart, session.history, ordinary.history);

  // What the last press has done.
  function told() {
    const [before, { round, number, gradientNorm, loss }] = session.history.slice(-2);
    return `Round ${round}, ${named(number)}. ` + [
      () => "The activations follow from the weights as they are now.",
      () => `J is ${four(session.state.loss)}.`,
      () => `The gradients are 0. Their norm was ${four(before.gradientNorm)}.`,
      () => before.gradientNorm > 0
        ? `Added to the old gradients: their norm goes from ${four(before.gradientNorm)} to ${
          four(gradientNorm)}.` : `The gradients have the norm ${four(gradientNorm)}.`,
      () => `The loss of this batch goes from ${four(before.loss)} to ${four(loss)}.`,
    ][number]() + ` ${onwards()}`;
  }

  const [one, rest, many, again] = place.querySelectorAll("button");
  one.onclick = () => { pressNext(); show(told()); };
  rest.onclick = () => finish(round);
  many.onclick = () => finish(round + MANY - 1);
  again.onclick = reset;
  for (const k of MAY_BE_MISSING) items[k].querySelector("input").onchange = () => show(onwards());
  reset();
  new ResizeObserver(redraw).observe(chart);
}
