// Fonts differ from machine to machine: a slide that comes out too tall here is drawn smaller.
function fit(slide) {
  for (let size = 100; size > 55 && slide.scrollHeight > slide.clientHeight; size -= 3) {
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
