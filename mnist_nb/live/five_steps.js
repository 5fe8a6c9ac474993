// One batch and one network, to which the five steps of chapter 05 are applied one at a time. The
// steps themselves are those of network.js; here is what they leave behind, in numbers.
import { backward, clear, forward, loss, newNetwork, newState,
         step, takeBatch } from "./network.js";

const PIXELS = 784;

// Steps 1 to 5: what each reads, what it changes, and how to do it.
export const STEPS = [
  { name: "forward pass", reads: ["weights"], changes: "activations", act: forward },
  { name: "objective", reads: ["activations"], changes: "loss", act: loss },
  { name: "clear", reads: [], changes: "gradients", act: clear },
  { name: "backward", reads: ["activations", "loss", "weights"], changes: "gradients", act: backward },
  { name: "step", reads: ["gradients"], changes: "weights", act: step },
];

const all = (parts) => parts.flatMap(({ weight, bias }) => [weight, bias]);

// The length of a vector that is stored in several arrays.
function norm(arrays, minus) {
  let sum = 0;
  arrays.forEach((array, a) => array.forEach((value, k) => {
    sum += (value - (minus ? minus[a][k] : 0)) ** 2;
  }));
  return Math.sqrt(sum);
}

// A new network, and the batch that all steps are about. `probe` is a second set of activations
// for the same weights, so that measuring the loss disturbs nothing.
export function begin({ images, labels, seed }) {
  const network = newNetwork({ seed }), numbers = [...labels.keys()];
  const [state, probe] = [0, 1].map(() => newState(network, { size: labels.length }));
  for (const each of [state, probe]) takeBatch(each, { images, labels }, numbers);
  const session = { state, probe, start: all(network.layers).map((array) => array.slice()) };
  return Object.assign(session, { history: [look(session)] });
}

// The three readings of chapter 05.
function look({ state, probe, start }) {
  forward(probe);
  return { loss: loss(probe), gradientNorm: norm(all(state.gradients)),
    moved: norm(all(state.network.layers), start) };
}

// Do step `number`, from 0, in round `round`, from 1; note what it has left behind.
export function press(session, number, round, lr) {
  STEPS[number].act(session.state, lr);
  session.history.push({ round, number, ...look(session) });
}

// The change of one neuron's 784 weights since the start, or their gradients: a picture.
export function ofNeuron({ weight, outputs }, neuron, minus) {
  return Float64Array.from({ length: PIXELS }, (_, i) => {
    const k = i * outputs + neuron;
    return weight[k] - (minus ? minus[k] : 0);
  });
}

// The neuron of the first layer with the longest gradient, which its picture shows best.
export function busiest({ gradients: [first] }) {
  const neurons = [...first.bias.keys()], outputs = first.bias.length;
  const lengths = neurons.map((o) => norm([ofNeuron({ weight: first.weight, outputs }, o)]));
  return lengths.indexOf(Math.max(...lengths));
}

export function rightAnswers({ activations: { 3: logits }, labels }) {
  return [...labels].filter((label, r) => {
    const row = logits.subarray(10 * r, 10 * r + 10);
    return row[label] == Math.max(...row);
  }).length;
}
