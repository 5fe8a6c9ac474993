// A drawing, prepared as MNIST's makers prepared their scanned digits: the ink is scaled to fit
// 20 x 20 pixels, and its centre of mass moves to row 14, column 14 of 28 x 28, or as near as
// fits. pad.py does the same in Python, for chapter 06.

// drawing: side x side numbers from 0 (black) to 1 (white), row after row. No ink: a black image.
export function centred(drawing, side) {
  const image = new Float32Array(28 * 28);
  const box = boxOfInk(drawing, side);
  if (!box) return image;
  const longest = Math.max(box.rows, box.columns);
  const height = Math.max(1, rounded(20 * box.rows / longest));
  const width = Math.max(1, rounded(20 * box.columns / longest));
  const ink = shrunk(drawing, side, box, height, width);
  const rowSums = new Float64Array(height), columnSums = new Float64Array(width);
  ink.forEach((value, i) => {
    rowSums[Math.floor(i / width)] += value;
    columnSums[i % width] += value;
  });
  const top = startOf(rowSums), left = startOf(columnSums);
  for (let row = 0; row < height; row++) {
    const line = ink.subarray(row * width, (row + 1) * width);
    image.set(line, (top + row) * 28 + left);
  }
  return image;
}

// The smallest rectangle that has all the ink in it.
function boxOfInk(drawing, side) {
  let top = side, left = side, bottom = -1, right = -1;
  drawing.forEach((value, i) => {
    if (!(value > 0)) return;
    const row = Math.floor(i / side), column = i % side;
    top = Math.min(top, row);
    bottom = Math.max(bottom, row);
    left = Math.min(left, column);
    right = Math.max(right, column);
  });
  return bottom >= 0 && { top, left, rows: bottom - top + 1, columns: right - left + 1 };
}

// The box in height x width pixels; each is the mean of the pixels that it covers.
function shrunk(drawing, side, box, height, width) {
  const ink = new Float32Array(height * width);
  for (let row = 0; row < height; row++) {
    const [top, bottom] = covered(row, box.rows, height);
    for (let column = 0; column < width; column++) {
      const [left, right] = covered(column, box.columns, width);
      let sum = 0;
      for (let y = top; y < bottom; y++)
        for (let x = left; x < right; x++) sum += drawing[(box.top + y) * side + box.left + x];
      ink[row * width + column] = sum / ((bottom - top) * (right - left));
    }
  }
  return ink;
}

// Which of n pixels the new pixel number i covers, if m new ones take their place: [from, to).
const covered = (i, n, m) => [Math.floor(i * n / m), Math.ceil((i + 1) * n / m)];

// Where ink with these sums of its rows (or columns) begins, so that their centre is at 14.
function startOf(sums) {
  let mass = 0, moment = 0;
  sums.forEach((sum, i) => { mass += sum; moment += i * sum; });
  return Math.min(Math.max(rounded(14 - moment / mass), 0), 28 - sums.length);
}

// The nearest whole number; of two equally near, the even one, as in Python.
function rounded(x) {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + below % 2 : Math.round(x);
}
