// The proof of chapter 09: this browser trains the network on the images that Python has used, and
// sets each loss beside Python's.
import { newNetwork, train } from "./network.js";

export function start(place, { images, labels, settings, python, checksum }) {
  const button = element("button", "Train it in this browser");
  const said = element("p", "The last column is still empty.");
  said.setAttribute("role", "status");
  const body = element("tbody");
  const cells = python.map(({ epoch, train_loss }) => {
    const cell = element("td", "–"), row = element("tr");
    row.append(element("td", epoch), element("td", train_loss), cell);
    body.append(row);
    return cell;
  });
  const head = element("tr");
  for (const title of ["epoch", "training loss in Python", "in this browser"]) {
    const cell = element("th", title);
    cell.scope = "col";
    head.append(cell);
  }
  const table = element("table"), top = element("thead");
  top.append(head);
  table.append(top, body);
  place.append(button, table, said);

  button.onclick = () => {
    const network = newNetwork(settings);
    let different = 0;
    for (const report of train({ images, labels }, { ...settings, network })) {
      if ("step" in report) continue;
      const ours = python[report.epoch - 1];
      cells[report.epoch - 1].textContent = report.train_loss;
      for (const name of ["train_loss", "val_loss"]) different += report[name] !== ours[name];
    }
    const parameters = network.layers.flatMap(layer => [...layer.weight, ...layer.bias]);
    const found = crc32(new Uint8Array(Float32Array.from(parameters).buffer));
    said.textContent = different === 0 && found === checksum
      ? `All ${2 * python.length} losses, of training and validation, agree to the last bit, and `
        + `so does the checksum of all ${parameters.length.toLocaleString("en")} parameters: `
        + `${found.toString(16).padStart(8, "0")}.`
      : `${different} of ${2 * python.length} losses differ, and the checksum is `
        + `${found.toString(16).padStart(8, "0")}; Python's is `
        + `${checksum.toString(16).padStart(8, "0")}. That should not happen. Please tell `
        + "whoever gave you this page which browser you use.";
  };
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// The checksum that Python has as zlib.crc32.
function crc32(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let k = 0; k < 8; k++) sum = sum & 1 ? sum >>> 1 ^ 0xedb88320 : sum >>> 1;
  }
  return ~sum >>> 0;
}
