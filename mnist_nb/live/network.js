// The network of chapter 05 and its five steps, in a page. mnist_nb/exact.py does the same in
// Python, to the last bit: sums are made in double precision, in one fixed order, and stored in
// single; what else it takes stands in arithmetic.js.
// Images are rows of 784 pixels from 0 to 1 (or bytes, from 0 to 255); labels are from 0 to 9.

import { exp, log, randomWords } from "./arithmetic.js";

const PIXELS = 784, CLASSES = 10;
const WEIGHTS = 0, BIASES = 1, SPLIT = 2, DROPOUT = 3; // uses of random numbers; no two share any

// ---- The network: three layers, weight[i * outputs + o] leads from input i to output o.

export function newNetwork({ seed = 0, hidden = 64 } = {}) {
  const sizes = [PIXELS, hidden, hidden, CLASSES];
  const draw = (count, inputs, purpose, l) => Float32Array.from(
    randomWords(count, seed, purpose, l), word => (word / 2 ** 31 - 1) / Math.sqrt(inputs));
  return { layers: [0, 1, 2].map(l => {
    const inputs = sizes[l], outputs = sizes[l + 1];
    return { inputs, outputs, weight: draw(inputs * outputs, inputs, WEIGHTS, l),
             bias: draw(outputs, inputs, BIASES, l) };
  }) };
}

// Everything that the five steps read and write, for batches of up to `size` images.
export function newState(network, { size = 1, dropout = 0, seed = 0 } = {}) {
  const each = make => network.layers.map(make);
  return {
    network, size, dropout, seed, n: 0, passes: 0, loss: NaN, finite: true,
    labels: new Uint8Array(size),
    activations: [new Float32Array(size * PIXELS), // the images, then what each layer gives
                  ...each(l => new Float32Array(size * l.outputs))], // and at last the logits
    probabilities: new Float64Array(size * CLASSES),
    deltas: each(l => new Float32Array(size * l.outputs)), // dJ/d(sums before ReLU)
    gradients: each(l => ({ weight: new Float32Array(l.weight.length),
                            bias: new Float32Array(l.outputs) })),
  };
}

// Put the images with these numbers into the state, as its batch.
export function takeBatch(state, { images, labels }, numbers) {
  const x = state.activations[0], most = images instanceof Uint8Array ? 255 : 1;
  state.n = numbers.length;
  numbers.forEach((image, r) => {
    for (let i = 0; i < PIXELS; i++) x[r * PIXELS + i] = images[image * PIXELS + i] / most;
    state.labels[r] = labels[image];
  });
}

function applyLayer({ inputs, outputs, weight, bias }, x, y, n, relu) {
  const sums = new Float64Array(outputs);
  for (let r = 0; r < n; r++) {
    sums.fill(0);
    for (let i = 0; i < inputs; i++) {
      const value = x[r * inputs + i], from = i * outputs;
      if (value !== 0) // four of five pixels are 0, and change no sum
        for (let o = 0; o < outputs; o++) sums[o] += value * weight[from + o];
    }
    for (let o = 0; o < outputs; o++) {
      const sum = sums[o] + bias[o];
      y[r * outputs + o] = relu && sum < 0 ? 0 : sum;
    }
  }
}

function softmax(logits, probabilities, r) { // gives ln of the sum, for the loss
  let most = -Infinity, sum = 0;
  for (let o = r; o < r + CLASSES; o++) most = Math.max(most, logits[o]);
  for (let o = r; o < r + CLASSES; o++) sum += probabilities[o] = exp(logits[o] - most);
  for (let o = r; o < r + CLASSES; o++) probabilities[o] /= sum;
  return most + log(sum);
}

export function readDigit(network, image) {
  const probabilities = new Float64Array(CLASSES);
  let x = image, y;
  network.layers.forEach((layer, l) => {
    y = new Float32Array(layer.outputs);
    applyLayer(layer, x, y, 1, l < 2);
    x = y;
  });
  softmax(x, probabilities, 0);
  return probabilities;
}

// ---- The five steps.

// 1. Forward pass. Dropout stands after the second ReLU: each value is set to 0 with the
// probability `dropout`; the others grow, so that their sum stays about the same.
export function forward(state) {
  const { network, activations, n, dropout } = state, kept = 1 / (1 - dropout);
  network.layers.forEach((layer, l) => {
    const y = activations[l + 1];
    applyLayer(layer, activations[l], y, n, l < 2);
    if (l !== 1 || dropout === 0) return;
    const words = randomWords(n * layer.outputs, state.seed, DROPOUT, state.passes++);
    words.forEach((word, k) => { y[k] = word < dropout * 2 ** 32 ? 0 : y[k] * kept; });
  });
  return activations[3];
}

// 2. The loss: the mean of -ln(probability of the right class).
export function loss(state) {
  const { activations: { 3: logits }, probabilities, labels, n } = state;
  let sum = 0;
  for (let r = 0; r < n; r++)
    sum += softmax(logits, probabilities, r * CLASSES) - logits[r * CLASSES + labels[r]];
  return state.loss = sum / n;
}

// 3. Clear the gradients.
export function clear(state) {
  for (const { weight, bias } of state.gradients) { weight.fill(0); bias.fill(0); }
}

// 4. Gradients, from the last layer to the first, added to what is there.
export function backward(state) {
  const { network: { layers }, activations, deltas, gradients, probabilities, n } = state;
  const kept = 1 / (1 - state.dropout);
  for (let k = 0; k < n * CLASSES; k++) {
    const right = k % CLASSES === state.labels[Math.floor(k / CLASSES)];
    deltas[2][k] = (probabilities[k] - (right ? 1 : 0)) / n;
  }
  for (let l = 2; l >= 0; l--) {
    addGradients(layers[l], activations[l], deltas[l], gradients[l], n);
    if (l > 0) passBack(layers[l], activations[l], deltas[l], deltas[l - 1], n, l === 2 ? kept : 1);
  }
}

function addGradients({ inputs, outputs }, x, delta, gradient, n) {
  const sums = new Float64Array(inputs * outputs), biasSums = new Float64Array(outputs);
  for (let r = 0; r < n; r++) {
    const at = r * outputs;
    for (let o = 0; o < outputs; o++) biasSums[o] += delta[at + o];
    for (let i = 0; i < inputs; i++) {
      const value = x[r * inputs + i], from = i * outputs;
      if (value !== 0)
        for (let o = 0; o < outputs; o++) sums[from + o] += value * delta[at + o];
    }
  }
  for (let k = 0; k < sums.length; k++) gradient.weight[k] += sums[k];
  for (let o = 0; o < outputs; o++) gradient.bias[o] += biasSums[o];
}

// The gradient of J with respect to the sums of the layer before; 0 where ReLU or dropout gave 0.
function passBack({ inputs, outputs, weight }, x, delta, deltaBefore, n, kept) {
  for (let r = 0; r < n; r++)
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      if (x[r * inputs + i] > 0)
        for (let o = 0; o < outputs; o++) sum += weight[i * outputs + o] * delta[r * outputs + o];
      deltaBefore[r * inputs + i] = sum * kept;
    }
}

// 5. Step: every parameter moves against its gradient.
export function step(state, lr) {
  state.network.layers.forEach((layer, l) => {
    for (const name of ["weight", "bias"]) {
      const values = layer[name], gradient = state.gradients[l][name];
      for (let k = 0; k < values.length; k++) {
        values[k] -= lr * gradient[k];
        if (!Number.isFinite(values[k])) state.finite = false;
      }
    }
  });
}

// ---- Training.

// Split the numbers 0 to count - 1 at random: a twelfth for validation, 5,000 of 60,000.
export function split(count, seed) {
  const words = randomWords(count, seed, SPLIT);
  const order = Uint32Array.from(words.keys()).sort((a, b) => words[a] - words[b] || a - b);
  const val = Math.floor(count / 12);
  return { train: order.subarray(0, count - val), val: order.subarray(count - val) };
}

function rightAnswers({ activations: { 3: logits }, labels, n }) {
  let right = 0;
  for (let r = 0; r < n; r++) {
    const row = logits.subarray(r * CLASSES, (r + 1) * CLASSES);
    right += row.indexOf(row.reduce((a, b) => Math.max(a, b))) === labels[r];
  }
  return right;
}

// Train a new network. Yields {epoch, step, steps, loss} after each batch, and after each epoch
// {epoch, train_loss, val_loss, val_accuracy}: means of the batches' losses, as in chapter 05, and
// the fraction of right answers.
// `network`, if given, is trained instead. When a loss or a parameter is no longer a finite
// number, the last that it yields has `diverged: true`.
export function* train(data, { lr = 0.01, batch_size = 32, hidden = 64, dropout = 0.1, seed = 0,
                               epochs = 5, network = newNetwork({ seed, hidden }) } = {}) {
  const parts = split(data.labels.length, seed);
  const state = newState(network, { size: batch_size, dropout, seed });
  const steps = Math.ceil(parts.train.length / batch_size);
  const batches = function* (numbers) {
    for (let from = 0; from < numbers.length; from += batch_size) {
      takeBatch(state, data, numbers.subarray(from, from + batch_size));
      forward(state);
      yield loss(state);
    }
  };
  for (let epoch = 1; epoch <= epochs; epoch++) {
    let sum = 0, count = 0;
    for (const value of batches(parts.train)) {
      const report = { epoch, step: ++count, steps, loss: value };
      if (!Number.isFinite(value)) return yield { ...report, diverged: true };
      clear(state);
      backward(state);
      step(state, lr);
      if (!state.finite) return yield { ...report, diverged: true };
      sum += value;
      yield report;
    }
    const report = { epoch, train_loss: sum / count };
    let right = 0;
    sum = count = 0;
    for (const value of batches(parts.val)) {
      sum += value;
      count++;
      right += rightAnswers(state);
    }
    Object.assign(report, { val_loss: sum / count, val_accuracy: right / parts.val.length });
    if (!Number.isFinite(sum)) return yield { ...report, diverged: true };
    yield report;
  }
}
