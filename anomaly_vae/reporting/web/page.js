// Keys, light and dark, paper; and the start.

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]):not([type=range]), select")) return;
  const open = $("viewer").open;
  const { columns } = layout();
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const image = images[state.current];
  if (event.key in moves && !event.target.matches("[type=range]")) {
    const next = step(open ? Math.sign(moves[event.key]) : moves[event.key]);
    if (open && next) view(next);
  } else if (event.key === "Enter" && image && !event.target.matches("button:not(.card), summary")) view(image);
  else if (event.key === "f" && image) mark(image, "defect");
  else if (event.key === "p" && image) mark(image, "good");
  else if (event.key === "o" && open) { $("show-map").click(); } else if (event.key === "r" && open) { $("show-boxes").click(); } else if (event.key === "e" && open) { $("show-expected").click(); } else return;
  event.preventDefault();
}

function listenToTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (theme) => { document.documentElement.dataset.theme = theme; };
  set(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => set(dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => set(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
}

/** On paper: what did not pass, as it is filtered now; the worst hundred of it. */
function fillPrint() {
  const printed = shown.filter((image) => image.now !== "pass").slice(0, 100);
  $("print").replaceChildren(...printed.map((image) => {
    const found = pictures(image);
    return make("figure", {}, ...(found ? [make("img", { src: found.photo, alt: "" })] : []),
      make("figcaption", {}, `${SIGN[image.now]} ${image.now} ${number(image.score)} ${image.path} ${image.trouble || ""}`));
  }));
}

listenToTheme();
listenToThreshold();
listenToFilters();
listenToViewer();
showMarks();
showKinds();
drawHistogram();
update();
document.addEventListener("keydown", onKey);
addEventListener("scroll", () => drawGallery(), { passive: true });
addEventListener("resize", () => { drawHistogram(); drawGallery(true); if ($("viewer").open) view(images[state.current]); });
addEventListener("beforeprint", fillPrint);
