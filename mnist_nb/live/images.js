// The images of MNIST, from one file beside the page. The file is a script, because a page that is
// opened from a folder may load scripts and pictures from there, and nothing else.

const PIXELS = 784;

// about: {file, count, sha256, crc32}, the file and what its unpacked bytes have to be. Gives the
// images (bytes, row after row), then the labels. An error's message is a sentence for readers.
export async function loadImages(about) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("This browser cannot unpack the images. Browsers from 2023 on can.");
  const packed = await loadPacked(about.file);
  try {
    const gzip = bytesOf(packed), bytes = await unpacked(gzip);
    if (!await passes(bytes, gzip, about)) throw new Error("its checksum is wrong");
    const labels = about.count * PIXELS;
    return { images: bytes.subarray(0, labels), labels: bytes.subarray(labels) };
  } catch (error) {
    if (error instanceof RangeError)
      throw new Error("There is not enough memory for the images. Close other pages, then "
        + "press the button again.");
    throw new Error(`${about.file} is not the file that belongs to this page, or it is damaged: `
      + "its images do not pass their check. Copy it again from where you got this page.");
  }
}

// The file sets one global variable, to base64.
function loadPacked(file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = file;
    script.onload = () => {
      resolve(globalThis.MNIST_NB_IMAGES);
      delete globalThis.MNIST_NB_IMAGES; // 13 MB
      script.remove();
    };
    script.onerror = () => {
      reject(new Error(`The images are missing. Copy ${file} into the folder of this page, from `
        + "where you got the page, and press the button again."));
      script.remove();
    };
    document.head.append(script);
  });
}

function bytesOf(base64) {
  const letters = atob(base64), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

async function unpacked(gzip) {
  const stream = new Blob([gzip]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Browsers compute SHA-256 for pages from a file or by https. For others there is the CRC-32 in
// the last eight bytes of the gzip, which the browser has compared with what it unpacked.
async function passes(bytes, gzip, { count, sha256, crc32 }) {
  if (bytes.length !== count * (PIXELS + 1)) return false;
  if (!globalThis.crypto?.subtle)
    return new DataView(gzip.buffer).getUint32(gzip.length - 8, true) === crc32;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}
