// Which images are shown, and their cards: only what is in view exists.

// ---------------------------------------------------------------- pictures

const chunks = [...document.getElementsByClassName("pictures")];
const decoded = new Map(); // chunk -> its lines; the last few only

function pictures(image) {
  const chunk = Math.floor(image.index / data.chunk);
  if (!decoded.has(chunk)) {
    decoded.set(chunk, chunks[chunk].textContent.split("\n"));
    if (decoded.size > 12) decoded.delete(decoded.keys().next().value);
  }
  const line = decoded.get(chunk)[image.index % data.chunk];
  if (!line) return null;
  const [photo, map, expected] = line.split(" ");
  const source = (kind, bytes) => bytes && `data:image/${kind};base64,${bytes}`;
  return { photo: source("jpeg", photo), map: source("png", map), expected: source("jpeg", expected) };
}

// ---------------------------------------------------------------- filters

const ORDERS = {
  worst: (a, b) => (b.score ?? Infinity) - (a.score ?? Infinity) || a.index - b.index,
  best: (a, b) => (a.score ?? Infinity) - (b.score ?? Infinity) || a.index - b.index,
  path: (a, b) => (a.path < b.path ? -1 : 1),
  area: (a, b) => b.area - a.area || a.index - b.index,
};

function filter() {
  const text = state.text.toLowerCase();
  const before = images[state.current];
  const apart = images.filter((image) =>
    (!state.folder || image.folder === state.folder) && (!state.kind || image.kinds.has(state.kind)) && image.largest >= state.area && image.path.toLowerCase().includes(text));
  const counts = Object.fromEntries(VERDICTS.map((name) => [name, 0]));
  for (const image of apart) counts[image.now] += 1;
  for (const button of $("verdicts").children) {
    const name = button.dataset.verdict;
    button.setAttribute("aria-pressed", String((state.verdict ?? "") === name));
    button.textContent = name ? `${SIGN[name]} ${name} ${counts[name]}` : `all ${apart.length}`;
  }
  shown = apart.filter((image) => !state.verdict || image.now === state.verdict).sort(ORDERS[state.order]);
  if (!shown.includes(before)) state.current = -1;
  const others = Object.values(data.others).reduce((sum, count) => sum + count, 0);
  $("found").textContent = `${shown.length} of ${images.length} images${others ? `; ${others} more with lower scores are in the tables only` : ""}`;
  drawGallery(true);
}

function listenToFilters() {
  for (const name of ["", ...VERDICTS]) {
    const button = make("button", { "data-verdict": name, class: name });
    button.addEventListener("click", () => { state.verdict = name || null; filter(); });
    $("verdicts").append(button);
  }
  const folders = [...new Set(images.map((image) => image.folder))].sort();
  $("classes").hidden = folders.length < 2 || folders.length > 500;
  $("class").append(make("option", { value: "" }, "all"), ...folders.map((name) => make("option", { value: name }, name)));
  const on = (id, key, read) => $(id).addEventListener("input", (event) => { state[key] = read(event.target); filter(); });
  on("class", "folder", (box) => box.value);
  $("kinds").hidden = !data.kinds.length;
  $("kind").append(make("option", { value: "" }, "all"), ...[...data.kinds, "unknown"].map((name) => make("option", { value: name }, name)));
  on("kind", "kind", (box) => box.value);
  on("area", "area", (box) => box.valueAsNumber || 0);
  on("order", "order", (box) => box.value);
  on("search", "text", (box) => box.value);
  $("download").addEventListener("click", download);
}

const CARD = { width: 170, height: 190, gap: 12 };
const cards = new Map(); // index -> node

function layout() {
  const width = $("gallery").clientWidth;
  const columns = Math.max(1, Math.floor((width + CARD.gap) / (CARD.width + CARD.gap)));
  return { columns, width: (width - (columns - 1) * CARD.gap) / columns, row: CARD.height + CARD.gap };
}

function drawGallery(anew = false) {
  const gallery = $("gallery");
  const { columns, width, row } = layout();
  if (anew) {
    gallery.style.height = `${Math.ceil(shown.length / columns) * row}px`;
    cards.clear();
  }
  const top = -gallery.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / row) - 2) * columns;
  const last = Math.min(shown.length, (Math.ceil((top + innerHeight) / row) + 2) * columns);
  const wanted = new Map();
  for (let place = first; place < last; place += 1) {
    const image = shown[place];
    const node = cards.get(image.index) || card(image);
    node.style.width = `${width}px`;
    node.style.height = `${CARD.height}px`;
    node.style.left = `${(place % columns) * (width + CARD.gap)}px`;
    node.style.top = `${Math.floor(place / columns) * row}px`;
    wanted.set(image.index, node);
  }
  for (const [index, node] of cards) if (!wanted.has(index)) node.remove();
  if (anew) gallery.replaceChildren(...wanted.values());
  else for (const node of wanted.values()) if (!node.isConnected) gallery.append(node);
  cards.clear();
  for (const [index, node] of wanted) cards.set(index, node);
}

function card(image) {
  const frame = make("span", { class: "frame" });
  const found = pictures(image);
  frame.append(found ? make("img", { src: found.photo, alt: "", decoding: "async" }) : make("span", { class: "none" }, "no picture"));
  if (found && image.regions.length) frame.append(boxes(image, "xMidYMid meet"));
  const caption = make("span", { class: "caption" },
    make("span", {}, make("b", {}, `${SIGN[image.now]} ${image.now}`), make("b", {}, number(image.score))),
    make("small", { title: image.path }, make("bdi", {}, image.path)));
  const node = make("button", { class: `card ${image.now}${image.index === state.current ? " current" : ""}`, "aria-label": `${image.path}, ${image.now}, score ${number(image.score)}` }, frame, caption);
  if (marks[image.id]) node.append(make("span", { class: "mark" }, (marks[image.id] === "defect" && kinds[image.id]) || marks[image.id]));
  node.addEventListener("click", () => { select(image); view(image); });
  return node;
}

function select(image) {
  cards.get(state.current)?.classList.remove("current");
  state.current = image.index;
  cards.get(image.index)?.classList.add("current");
}

/** Give the keyboard to the card of the current image, where it is in view. */
function focus() {
  if (!$("viewer").open) cards.get(state.current)?.focus({ preventScroll: true });
}

function reveal(image) {
  const { columns, row } = layout();
  const top = Math.floor(shown.indexOf(image) / columns) * row + $("gallery").getBoundingClientRect().top;
  const bar = getComputedStyle(document.querySelector(".toolbar")).position === "sticky" ? document.querySelector(".toolbar").offsetHeight : 0;
  if (top < bar) scrollBy(0, top - bar - CARD.gap);
  else if (top + row > innerHeight) scrollBy(0, top + row - innerHeight);
}

/** Go on by so many places in the gallery; gives the image that is there. */
function step(by) {
  if (!shown.length) return null;
  const place = shown.indexOf(images[state.current]);
  const image = shown[place < 0 ? 0 : clamp(place + by, 0, shown.length - 1)];
  select(image);
  reveal(image);
  drawGallery();
  focus();
  return image;
}
