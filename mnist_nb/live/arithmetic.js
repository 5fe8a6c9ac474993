// Compute with numbers so that every machine and every browser gets the same bits. Additions,
// multiplications, divisions and square roots of doubles have one result, by the standard
// IEEE 754. Nothing else here rounds: whole numbers and Math.floor are exact.
// mnist_nb/arithmetic.py does the same in Python.

// ---- Random numbers: Philox4x32-10 (Salmon and others, 2011) turns a counter of four words of
// ---- 32 bits into four random words. The key is the seed.

function high(a, b) { // the upper 32 bits of a * b; Math.imul(a, b) gives the lower ones
  const low = (a & 0xffff) * (b & 0xffff);
  const left = (a >>> 16) * (b & 0xffff) + (low >>> 16);
  const right = (a & 0xffff) * (b >>> 16) + (left & 0xffff);
  return (a >>> 16) * (b >>> 16) + (left >>> 16) + (right >>> 16);
}

export function philox(counter, key) {
  let [a, b, c, d] = counter, [k, l] = key;
  for (let round = 0; round < 10; round++) {
    const ha = high(0xd2511f53, a), la = Math.imul(0xd2511f53, a);
    const hc = high(0xcd9e8d57, c), lc = Math.imul(0xcd9e8d57, c);
    a = hc ^ b ^ k; b = lc; c = ha ^ d ^ l; d = la;
    k = (k + 0x9e3779b9) | 0; l = (l + 0xbb67ae85) | 0;
  }
  return [a >>> 0, b >>> 0, c >>> 0, d >>> 0];
}

export function randomWords(count, seed, purpose, which = 0) {
  const words = new Uint32Array(count);
  for (let n = 0; n < count; n += 4) words.set(
    philox([n / 4, which, purpose, 0], [seed, 0]).slice(0, count - n), n);
  return words;
}

// ---- exp and log.

const LN2 = 0.6931471805599453;
const LN2_HIGH = 0.693147180369123816490, LN2_LOW = 1.90821492927058770002e-10;
const HALVES = [1]; // 1, 1/2, 1/4, ...
while (HALVES.length < 1023) HALVES.push(HALVES.at(-1) / 2);

// e^x for x up to 0: x is -k ln 2 + r, so e^x is e^r, a short series, halved k times.
export function exp(x) {
  if (!(x > -700)) return x <= -700 ? 0 : NaN;
  const k = Math.floor(0.5 - x / LN2);
  const r = (x + k * LN2_HIGH) + k * LN2_LOW;
  let sum = 1;
  for (let n = 14; n > 0; n--) sum = 1 + r * sum / n;
  return sum * HALVES[k];
}

// ln x for x from 1 on: x is m doubled k times, and ln m a short series in (m - 1) / (m + 1).
export function log(x) {
  let k = 0;
  while (x > 1.4142135623730951) { x /= 2; k++; }
  const f = (x - 1) / (x + 1), square = f * f;
  let sum = 0;
  for (let n = 23; n > 0; n -= 2) sum = sum * square + 1 / n;
  return k * LN2 + 2 * f * sum;
}
