// What a page can do beyond being read, apart from its live parts. All of it is added here, so a
// page without JavaScript has no button that does nothing. Only the search loads a file,
// search.js, and only when someone searches.
const root = document.documentElement.dataset.root; // the way to the index: "" or "../"
const narrow = matchMedia("(max-width: 71.99rem)"); // as in page.css
const contents = document.querySelector(".contents details");
const tools = document.querySelector(".tools");
document.documentElement.classList.add("scripted"); // for page.css

// Make an element: make("button", {type: "button"}, "Copy").
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}
function button(text, act, className = "") {
  const made = make("button", {type: "button", className}, text);
  made.addEventListener("click", act);
  return made;
}

// What a screen reader says when something has happened that only eyes would notice.
const status = make("p", {className: "unseen", role: "status"});
document.body.append(status);
function say(text) {
  status.textContent = text;
}

// The contents: open beside the text, and closed above it after a choice.
if (contents) {
  const fit = () => (contents.open = !narrow.matches);
  narrow.addEventListener("change", fit);
  fit();
  contents.addEventListener("click", (event) => {
    if (event.target.closest("a") && narrow.matches) contents.open = false;
  });
  const links = new Map();
  for (const link of contents.querySelectorAll(".sections a")) {
    links.set(document.getElementById(link.getAttribute("href").slice(1)), link);
  }
  // The section being read is the last one whose heading has passed the upper third.
  const mark = () => {
    let now = null;
    for (const [heading, link] of links) {
      link.removeAttribute("aria-current");
      if (heading.getBoundingClientRect().top < innerHeight / 3) now = link;
    }
    now?.setAttribute("aria-current", "true");
  };
  addEventListener("scroll", mark, {passive: true});
  mark();
}

// What scrolls has a shadow at the edges beyond which it goes on, as phones show no scroll bars.
function shade(box) {
  const across = box.scrollWidth - box.clientWidth, down = box.scrollHeight - box.clientHeight;
  box.classList.toggle("on-left", box.scrollLeft > 1);
  box.classList.toggle("on-right", across - box.scrollLeft > 1);
  // formulas of some fonts reach below their boxes, with nothing to see there
  box.classList.toggle("on-below", !box.matches(".scroll") && down - box.scrollTop > 1);
}
const sizes = new ResizeObserver((changed) => changed.forEach(({target}) => shade(target)));
const boxes = [...document.querySelectorAll("pre, main .scroll")];
for (const box of contents ? [...boxes, contents] : boxes) {
  box.addEventListener("scroll", () => shade(box), {passive: true});
  sizes.observe(box);
}
document.fonts.ready.then(() => boxes.forEach(shade)); // a formula grows with its font, its box does not
contents?.addEventListener("toggle", () => shade(contents), true); // a group of pages in it

// Code can be copied.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // some browsers refuse this for files
    const area = make("textarea", {value: text});
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
for (const code of document.querySelectorAll(".highlight")) {
  const text = code.textContent.trimEnd();
  const copied = button("Copy", async () => {
    await copy(text);
    copied.textContent = "Copied";
    say("The code is copied");
    setTimeout(() => (copied.textContent = "Copy"), 2000);
  }, "copy");
  copied.setAttribute("aria-label", "Copy this code");
  code.append(copied);
}

// A dialog that Escape, its button and a click beside it close.
function dialog(name, className, ...children) {
  const made = make("dialog", {className, ariaLabel: name}, ...children);
  made.append(button("Close", () => made.close(), "close"));
  made.addEventListener("click", (event) => {
    if (event.target === made) made.close();
  });
  document.body.append(made);
  return made;
}

// A live part in use is printed as it is now; page.css has the rest.
for (const part of document.querySelectorAll(".mnist-nb-live")) {
  for (const event of ["pointerdown", "click", "input"]) {
    part.addEventListener(event, () => part.classList.add("used"));
  }
}

// Figures can be enlarged: to the window, and to at least 1.7 times their width on the page.
const large = make("img");
const frame = make("div", {className: "frame", tabIndex: 0}, large);
const wider = make("p", {className: "wider"}, "Swipe or scroll sideways to see all.");
const enlarged = dialog("Enlarged figure", "enlarged", wider, frame);
function enlarge(image) {
  enlarged.showModal();
  large.src = image.src;
  large.alt = image.alt;
  const [width, height] = [frame.clientWidth, frame.clientHeight];
  const whole = Math.min(width, (height * image.naturalWidth) / image.naturalHeight);
  large.style.width = `${Math.max(whole, 1.7 * image.clientWidth)}px`;
  wider.hidden = large.clientWidth <= width;
  frame.focus();
}
for (const image of document.querySelectorAll("figure > img:not(.paper img)")) {
  image.addEventListener("click", () => enlarge(image));
  const larger = button("Enlarge", () => enlarge(image), "enlarge");
  larger.setAttribute("aria-label", "Enlarge this figure");
  image.after(larger);
}

// Search: search.js hands over the sections of all pages, and is loaded when it is needed.
const MOST = 30; // results
let sections = null;
const field = make("input", {autocomplete: "off", spellcheck: false, enterKeyHint: "search"});
const found = make("ol", {className: "found"});
const count = make("p", {role: "status", className: "count"});
const label = make("label", {}, "Search all pages ", field);
const results = dialog("Search", "search", label, count, found);
window.sectionsToSearch = (all) => {
  sections = all.map(([page, title, id, heading, text]) => ({
    address: `${root}${page}.html${id && "#" + encodeURIComponent(id)}`, title, heading, text,
    low: {title: title.toLowerCase(), heading: heading.toLowerCase(), text: text.toLowerCase()},
  }));
  show();
};
function openSearch() {
  if (!sections) {
    const script = make("script", {src: `${root}search.js`});
    script.onerror = () => (count.textContent =
      "No search here: search.js is missing. Copy it from where you got this page.");
    document.head.append(script);
  }
  results.showModal();
  field.select();
}
// How well a section answers: every word has to begin a word of it. A heading says more than the
// text below it, and a text that repeats a word more than one that mentions it.
function score({low}, words, phrase) {
  let sum = low.heading === phrase ? 40 : low.text.includes(phrase) ? 4 : 0;
  for (const word of words) {
    const times = (text) => (text.match(word) ?? []).length;
    const points = 10 * times(low.heading) + 3 * times(low.title) + Math.min(times(low.text), 6);
    if (!points) return 0;
    sum += points;
  }
  return sum;
}
function search(typed) {
  const escaped = typed.map((word) => word.replace(/[\^$\\.*+?()[\]{}|/]/g, "\\$&"));
  const words = escaped.map((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word}`, "gu"));
  const scored = sections.map((section) => [score(section, words, typed.join(" ")), section]);
  return scored.filter(([points]) => points).sort((a, b) => b[0] - a[0]).map((pair) => pair[1]);
}
// Some of the text around the first word, which is marked.
function excerpt({text, low}, word) {
  const at = low.text.indexOf(word);
  if (at < 0) return [text.slice(0, 200), " …"];
  const from = at < 60 ? 0 : text.indexOf(" ", at - 60) + 1;
  const [before, after] = [text.slice(from, at), text.slice(at + word.length, from + 200)];
  return [from ? "… " : "", before, make("mark", {}, text.slice(at, at + word.length)), after, " …"];
}
function show() {
  const typed = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const best = sections && typed.length ? search(typed) : [];
  found.replaceChildren(...best.slice(0, MOST).map((section) => {
    const where = [make("strong", {}, section.heading), " ", make("span", {}, section.title)];
    const text = make("small", {}, ...excerpt(section, typed[0]));
    return make("li", {}, make("a", {href: section.address}, ...where, text));
  }));
  const more = best.length > MOST ? `; here are the best ${MOST}` : "";
  const sum = best.length === 1 ? "Found in 1 section" : `Found in ${best.length} sections${more}`;
  count.textContent = !typed.length ? "" : !sections ? "Loading …" : best.length ? sum : "Not found";
}
field.addEventListener("input", show);
found.addEventListener("click", () => results.close()); // a link may lead to this very page
results.addEventListener("keydown", (event) => {
  const stops = [field, ...found.querySelectorAll("a")];
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  const at = stops.indexOf(document.activeElement);
  if (event.key === "Enter" && at === 0) stops[1]?.click();
  else if (!step || at < 0) return;
  else stops[Math.min(Math.max(at + step, 0), stops.length - 1)].focus();
  event.preventDefault();
});
tools.append(button("Search", openSearch));

// Keys: the arrows turn pages, unless something that uses them has the focus. Whoever speaks to
// their computer may want no keys that do things by themselves, so there is a switch.
const switched = make("input", {type: "checkbox", checked: true});
try {
  switched.checked = localStorage.getItem("mnist-nb keys") !== "off";
  switched.addEventListener("change", () =>
    localStorage.setItem("mnist-nb keys", switched.checked ? "on" : "off"));
} catch { /* this browser keeps nothing for files */ }
(contents ?? tools).append(make("label", {className: "keys"}, switched,
  contents ? " Keys: ← and → turn pages, / searches" : " Key: / searches"));
addEventListener("keydown", (event) => {
  const busy = document.querySelector("dialog[open]") || event.defaultPrevented
    || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey
    || document.activeElement.closest("input:not([type=checkbox]), textarea, select, [tabindex], "
      + "[contenteditable], .mnist-nb-live");
  if (busy || !switched.checked) return;
  const turn = {ArrowLeft: "prev", ArrowRight: "next"}[event.key];
  if (turn) document.querySelector(`footer a[rel=${turn}]`)?.click();
  if (event.key === "/") {
    event.preventDefault(); // else it is typed into the field
    openSearch();
  }
});
