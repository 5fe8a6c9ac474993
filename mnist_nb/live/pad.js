// A pad to draw a digit on. The network reads it in this page, each time the ink has changed.
import { centred } from "./digit.js";
import { readDigit } from "./network.js";

const PAD = 280, SIDE = 140, PEN = 20;  // pixels: of the pad, of what is read of it, of the pen
const REST = 400;  // milliseconds; a screen reader is told the answer once pen and ink rest
const EMPTY = "Draw a digit above, or take one from the test set, further down.";

// bytes: one per pixel of a square, 0 (black) to 255 (white)
function canvasOf(bytes) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.sqrt(bytes.length);
  const image = new ImageData(canvas.width, canvas.height);
  bytes.forEach((b, i) => image.data.set([b, b, b, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function sentence(p, best) {
  if (!p.every(Number.isFinite))
    return "The network's output is nan or inf; train it again with a smaller lr.";
  return `The network reads ${best}, with a probability of ${Math.round(100 * p[best])}%.`;
}

// network: as in network.js. examples: images of the test set, as bytes, with their labels.
// Returns a function that takes another network, and lets it read what is on the pad.
export function start(place, { network, examples, labels }) {
  place.innerHTML = `<div class="row"><figure class="drawn">
      <canvas class="pad" width="${PAD}" height="${PAD}" role="img" aria-label="Drawing area for
        mouse, pen or finger. With the keyboard, take a digit from the test set below."></canvas>
      <figcaption><button type="button" class="clear">Clear</button><p role="status"></p>
      </figcaption></figure>
    <figure class="small"><canvas class="seen" width="28" height="28" role="img"
        aria-label="The image that the network sees"></canvas>
      <figcaption>What the network sees: 28&nbsp;×&nbsp;28 pixels, centred</figcaption></figure>
    <table class="answers"><caption>How probable is each digit?</caption><tbody></tbody></table>
    </div><p class="from">Or take a digit from the test set:</p>
    <div class="row examples" role="group" aria-label="Digits of the test set"></div>`;
  const [pad, seen, rows, status, group, clear] =
    [".pad", ".seen", "tbody", "p", ".examples", ".clear"].map((s) => place.querySelector(s));
  for (let d = 0; d < 10; d++) rows.insertAdjacentHTML("beforeend",
    `<tr><th scope="row">${d}</th><td class="track"><div></div></td><td class="share"></td></tr>`);
  const ink = pad.getContext("2d");
  Object.assign(ink, { lineCap: "round", lineJoin: "round", lineWidth: PEN, strokeStyle: "#fff",
    imageSmoothingEnabled: false });
  const small = document.createElement("canvas");
  small.width = small.height = SIDE;
  const smallInk = small.getContext("2d", { willReadFrequently: true });
  let last = null, chosen = "", waiting = null, settling = null;

  function read() {
    waiting = null;
    smallInk.drawImage(pad, 0, 0, SIDE, SIDE);
    const { data } = smallInk.getImageData(0, 0, SIDE, SIDE);  // red, green, blue, alpha
    const drawing = Float32Array.from({ length: SIDE ** 2 }, (_, i) => data[4 * i] / 255);
    const image = centred(drawing, SIDE), bytes = Uint8Array.from(image, (v) => Math.round(255 * v));
    seen.getContext("2d").drawImage(canvasOf(bytes), 0, 0);
    show(image.some((v) => v > 0) ? [...readDigit(network, image)] : []);
  }
  function show(p) {
    const best = p.indexOf(Math.max(...p)), finite = p.length > 0 && p.every(Number.isFinite);
    [...rows.rows].forEach((row, d) => {
      row.classList.toggle("first", finite && d === best);
      row.title = finite ? `${p[d]}` : "";
      row.querySelector("div").style.width = `${finite ? 100 * p[d] : 0}%`;
      row.querySelector(".share").textContent = finite ? `${Math.round(100 * p[d])}%` : "–";
    });
    clearTimeout(settling);
    const text = p.length ? chosen + sentence(p, best) : EMPTY;
    settling = setTimeout(() => {
      if (!last && status.textContent !== text) status.textContent = text;
    }, REST);
  }
  const soon = () => { waiting ??= requestAnimationFrame(read); };
  // The ink: all black at first, then strokes, or a picture from below.
  const wipe = () => { ink.fillRect(0, 0, PAD, PAD); chosen = ""; };
  function line(event) {
    const box = pad.getBoundingClientRect(), scale = PAD / box.width;
    const to = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    ink.beginPath();
    ink.moveTo(...(last ?? to));
    ink.lineTo(...to);
    ink.stroke();
    last = to;
    soon();
  }
  pad.onpointerdown = (event) => {
    if (!event.isPrimary || event.button) return;
    pad.setPointerCapture(event.pointerId);
    chosen = "";
    line(event);
  };
  pad.onpointermove = (event) => {  // a browser may hold back points, and hand over several
    if (last && event.isPrimary) [...(event.getCoalescedEvents?.() ?? []), event].forEach(line);
  };
  pad.onpointerup = pad.onpointercancel = () => { last = null; soon(); };
  clear.onclick = () => { wipe(); soon(); };
  labels.forEach((label, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `Test digit ${label}`);
    button.append(canvasOf(examples.subarray(784 * i, 784 * (i + 1))));
    button.onclick = () => {
      ink.drawImage(button.firstChild, 0, 0, PAD, PAD);
      chosen = `Test digit ${label}. `;
      soon();
    };
    group.append(button);
  });
  wipe();
  read();
  return (other) => { network = other; soon(); };
}
