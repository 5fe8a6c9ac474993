// The picture of `what_if.js`: a point for each run, a line through the means, a band around all.

const HEIGHT = 300, LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 44;  // pixels
const FULL = 10;  // up to so many runs at a value are drawn as points

// Round numbers from low to high, two to eight of them.
function ticks(low, high) {
  const rough = (high - low) / 7, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((n) => n * power >= rough) * power;
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({ length: count }, (_, i) => (Math.ceil(low / step) + i) * step);
}

// all: the numbers that the axis has room for. line[i]: the runs at the i-th of the `marks` along
// the other axis, and means[i] their mean. `places` are up to two of these, A and B.
export function drawRuns(box, all, line, { places, marks, means, measure, label }) {
  const width = Math.max(260, box.clientWidth), low = Math.min(...all), high = Math.max(...all);
  const x = (i) => LEFT + (i + 0.5) * (width - LEFT - RIGHT) / marks.length;
  const y = (n) => TOP + (HEIGHT - TOP - BOTTOM) * (high - n) / (high - low);
  const path = (points) => points.map(([i, n]) => `${x(i).toFixed(1)},${y(n).toFixed(1)}`);
  const top = line.map((runs, i) => [i, Math.max(...runs)]);
  const bottom = line.map((runs, i) => [i, Math.min(...runs)]).reverse();
  const few = line[0].length <= FULL, longest = Math.max(...marks.map((mark) => mark.length));
  const size = Math.min(13, 1.5 * (x(1) - x(0)) / longest); // of the marks' letters
  const parts = ticks(low, high).map((n) => `<line class="grid" x1="${LEFT}" x2="${width - RIGHT}"
      y1="${y(n)}" y2="${y(n)}"/><text class="end" x="${LEFT - 8}" y="${y(n) + 4}">${
      +n.toFixed(6)}</text>`);
  parts.push(`<polygon class="band" points="${path([...top, ...bottom]).join(" ")}"/>
    <polyline class="mean" points="${path([...means.entries()]).join(" ")}"/>`);
  marks.forEach((mark, i) => {
    const at = places.indexOf(i), which = ["a", "b"][at] ?? "";
    parts.push(`<text class="middle ${which}" x="${x(i)}" y="${HEIGHT - BOTTOM + 18}"
      style="font-size: ${size}px">${mark}</text>`);
    if (at >= 0) parts.push(`<line class="chosen ${which}" x1="${x(i)}" x2="${x(i)}" y1="${TOP}"
      y2="${HEIGHT - BOTTOM}"/>`);
    for (const run of few ? line[i] : []) parts.push(which == "b"
      ? `<rect class="b" x="${x(i) - 4.5}" y="${y(run) - 4.5}" width="9" height="9"/>`
      : `<circle class="${which}" cx="${x(i)}" cy="${y(run)}" r="${which ? 5 : 3}"/>`);
  });
  // the text below the picture says the same, so a screen reader skips the picture
  box.innerHTML = `<svg width="${width}" height="${HEIGHT}" aria-hidden="true">${parts.join("")}
    <text class="middle" x="${(LEFT + width) / 2}" y="${HEIGHT - 6}">${label}</text>
    <text class="middle" transform="translate(13 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">${
    measure}</text></svg>`;
}
