// The end of each part's script. Before it, `program` holds all files of the part, one behind the
// other; called, it returns what the part's own file exports. A worker can run the text of it.
const script = document.currentScript;
const stored = script.previousElementSibling, place = stored.previousElementSibling;
const data = JSON.parse(stored.text, (_, value) => {  // base64 -> the typed array that it was
  if (!value?.base64) return value;
  const bytes = Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0));
  return new globalThis[`${value.array}Array`](bytes.buffer);
});
const still = [...place.childNodes];
place.replaceChildren();
// JupyterLab leaves the keys to the element that has the focus only if it is marked itself
place.addEventListener("focusin", ({ target }) => {
  target.dataset.lmSuppressShortcuts = "true";
});
try {
  program().start(place, data, program);
} catch (error) {  // such as a browser that is too old
  place.replaceChildren(...still);
  throw error;
}
