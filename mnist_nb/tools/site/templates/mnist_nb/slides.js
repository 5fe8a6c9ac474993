// Shrink slides that are too tall or too wide, as fonts differ between machines, and code of the
// package has longer lines than cells.
function tooLarge(slide) {
  const boxes = [...slide.querySelectorAll("pre, .scroll")];
  return slide.scrollHeight > slide.clientHeight
    || boxes.some((box) => box.scrollWidth > box.clientWidth);
}
function fit(slide) {
  for (let size = 100; size > 55 && tooLarge(slide); size -= 3) {
    slide.style.fontSize = `${size}%`;
  }
}
Reveal.initialize({
  width: 1280, height: 720, margin: 0, center: false, display: "flex", hash: true,
  slideNumber: "c/t", transition: "none", plugins: [RevealNotes],
});
Reveal.on("ready", () => fit(Reveal.getCurrentSlide()));
Reveal.on("slidechanged", (event) => fit(event.currentSlide));
Reveal.on("pdf-ready", () => Reveal.getSlides().forEach(fit));
