
const SIDE = 140, PEN = 20;
function canvasOf(view) {  // bytes, 0 black to 255 white -> a square canvas
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.sqrt(bytes.length);
  const image = new ImageData(canvas.width, canvas.height);
  bytes.forEach((b, i) => image.data.set([b, b, b, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
function render({ model, el }) {
  el.classList.add("digit-pad");
  // else JupyterLab would handle Enter and Space itself, and the buttons would not react to them
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  el.innerHTML = `<div class="row"><figure>
      <canvas class="pad" width="280" height="280" role="img" aria-label="Drawing area for mouse,
        pen or finger. With the keyboard, take a digit from the test set below."></canvas>
      <figcaption><button class="clear">Clear</button></figcaption></figure>
    <figure><canvas class="seen" width="28" height="28" role="img"
        aria-label="The image that the network sees"></canvas>
      <figcaption>What the network sees:<br>28 × 28 pixels, centred</figcaption></figure>
    <table><caption>How probable is each digit?</caption><tbody></tbody></table></div>
    <p role="status"></p>
    <div class="row" role="group" aria-label="Digits of the test set"></div>`;
  const [pad, seen, tbody, status, group, clear] =
    [".pad", ".seen", "tbody", "p", "[role=group]", ".clear"].map((s) => el.querySelector(s));
  const ink = pad.getContext("2d");
  Object.assign(ink, { lineCap: "round", lineJoin: "round", lineWidth: PEN, strokeStyle: "#fff" });
  ink.imageSmoothingEnabled = false;
  for (let d = 0; d < 10; d++) tbody.insertAdjacentHTML("beforeend",
    `<tr><th scope="row">${d}</th><td class="track"><div></div></td><td class="share"></td></tr>`);
  const small = document.createElement("canvas");
  small.width = small.height = SIDE;
  const smallInk = small.getContext("2d", { willReadFrequently: true });
  let sending = null, settling = null, last = null, chosen = "";

  const put = (canvas) => ink.drawImage(canvas, 0, 0, pad.width, pad.height);
  const wipe = () => { ink.fillRect(0, 0, pad.width, pad.height); chosen = ""; };  // with black
  const send = () => {
    sending = null;
    smallInk.drawImage(pad, 0, 0, SIDE, SIDE);
    const grey = smallInk.getImageData(0, 0, SIDE, SIDE).data.filter((_, i) => i % 4 == 0);
    model.set({ drawing: new DataView(new Uint8Array(grey).buffer), turn: model.get("turn") + 1 });
    model.save_changes();
  };
  const soon = () => { sending ??= setTimeout(send, 50); };
  const settle = () => {  // a screen reader is told once, when pen and answer rest
    clearTimeout(settling);
    settling = setTimeout(() => {
      const text = chosen + model.get("message");
      const waiting = model.get("answered") != model.get("turn");
      if (!last && !sending && !waiting && status.textContent != text) status.textContent = text;
    }, 400);
  };
  const show = () => {
    const p = model.get("probabilities");
    seen.getContext("2d").drawImage(canvasOf(model.get("picture")), 0, 0);
    [...tbody.rows].forEach((row, d) => {
      row.classList.toggle("first", p.length > 0 && p[d] == Math.max(...p));
      row.querySelector("div").style.width = `${100 * (p[d] ?? 0)}%`;
      row.querySelector(".share").textContent = p.length ? `${Math.round(100 * p[d])} %` : "–";
    });
    settle();
  };
  const line = (event) => {
    const box = pad.getBoundingClientRect(), scale = pad.width / box.width;
    const to = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    ink.beginPath();
    ink.moveTo(...(last ?? to));
    ink.lineTo(...to);
    ink.stroke();
    last = to;
    soon();
  };
  pad.onpointerdown = (event) => {
    if (!event.isPrimary || event.button) return;
    pad.setPointerCapture(event.pointerId);
    chosen = "";
    line(event);
  };
  pad.onpointermove = (event) => {
    if (last && event.isPrimary) event.getCoalescedEvents().concat(event).forEach(line);
  };
  pad.onpointerup = pad.onpointercancel = () => { last = null; settle(); };
  clear.onclick = () => { wipe(); soon(); };
  const examples = model.get("examples");
  model.get("labels").forEach((label, i) => {
    const button = document.createElement("button");
    button.ariaLabel = `Test digit ${label}`;
    button.append(canvasOf(new DataView(examples.buffer, examples.byteOffset + 784 * i, 784)));
    button.onclick = () => { put(button.firstChild); chosen = `${button.ariaLabel}. `; soon(); };
    group.append(button);
  });
  wipe();
  put(canvasOf(model.get("drawing")));
  const answers = "change:picture change:probabilities change:message change:answered";
  model.on(answers, show);
  show();
  return () => model.off(answers, show);
}
export default { render };
