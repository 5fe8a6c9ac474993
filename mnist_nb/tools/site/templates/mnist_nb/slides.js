// Show the deck as slides where there is room for them, and for printing if the address ends in
// ?print-pdf. On a phone it stays what it is without JavaScript: one slide below the other, in
// letters that can be read.
const deck = document.querySelector(".deck");
const printed = location.search === "?print-pdf";
// Letters are as large as fits, within limits: fonts differ between machines, and code of the
// package has longer lines than cells.
const below = (part) => part.offsetTop + part.offsetHeight > 680; // there is the slide's number
const tooLarge = (slide) => [...slide.children].some(below)
  || [...slide.querySelectorAll("pre, .scroll")].some((box) => box.scrollWidth > box.clientWidth);
function fit(slide) {
  for (let size = 118; size > 54; size -= 4) {
    slide.style.fontSize = `${size}%`;
    if (!tooLarge(slide)) break;
  }
}
if (printed) {
  deck.classList.add("sized");
  document.fonts.ready.then(() => deck.querySelectorAll("section").forEach(fit));
} else if (innerWidth >= 640) {
  deck.classList.add("sized", "reveal");
  deck.firstElementChild.classList.add("slides");
  Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, display: "flex", hash: true,
    slideNumber: "c/t", transition: "none", scrollActivationWidth: null, plugins: [RevealNotes],
  });
  Reveal.on("ready", () => fit(Reveal.getCurrentSlide()));
  Reveal.on("slidechanged", (event) => fit(event.currentSlide));
  // the overview shows the slides nearby; show all, and to a screen reader, too
  const showAll = () => Reveal.isOverview() && deck.querySelectorAll("section").forEach((slide) => {
    slide.removeAttribute("aria-hidden");
    slide.removeAttribute("hidden");
    slide.style.display = "flex";
  });
  Reveal.on("overviewshown", showAll);
  Reveal.on("slidechanged", showAll);
}
