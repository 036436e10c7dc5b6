"use strict";
// The page of a report: no library, no network. `data` is what page.py has put into the file.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const SIGN = { fail: "✕", review: "?", pass: "✓", error: "!" };
const VERDICTS = ["fail", "review", "pass", "error"];
const FIELDS = ["path", "verdict", "score", "error_part", "kl", "p", "width", "height", "quality", "trouble"];
const images = data.images.map((row, index) => {
  const image = Object.fromEntries(FIELDS.map((name, i) => [name, row[i]]));
  image.index = index;
  image.regions = data.regions[index];
  image.area = image.regions.reduce((sum, region) => sum + region[4], 0);
  image.largest = Math.max(0, ...image.regions.map((region) => region[4]));
  image.folder = image.path.includes("/") ? image.path.slice(0, image.path.lastIndexOf("/")) : ".";
  return image;
});
const known = data.limit;
const state = { limit: known.score, verdict: null, folder: "", area: 0, text: "", order: "worst", current: -1 };
let shown = []; // the images of the gallery, in its order

// ---------------------------------------------------------------- small helpers

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "path", "line", "text", "circle", "clipPath"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  return String(Number(value.toPrecision(digits)));
}

const percent = (share) => `${number(100 * share, share < 0.01 ? 1 : 3)} %`;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** How many of ascending `values` are above `limit`. */
function above(values, limit) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] > limit) high = middle; else low = middle + 1;
  }
  return values.length - low;
}

// ---------------------------------------------------------------- verdicts

const edited = () => state.limit !== known.score;

/** The rule of inspection: above the limit fails; above the lower one, or a bad photograph, is for review. */
function judge(image) {
  if (image.verdict === "error") return "error";
  if (image.score > state.limit) return "fail";
  const review = known.review !== null && image.score > known.review;
  return review || image.quality ? "review" : "pass";
}

function countVerdicts() {
  const counts = Object.fromEntries(VERDICTS.map((name) => [name, data.others[name] || 0]));
  for (const image of images) counts[(image.now = judge(image))] += 1;
  return counts;
}

function showCounts(counts) {
  const total = VERDICTS.reduce((sum, name) => sum + counts[name], 0);
  for (const node of document.querySelectorAll("[data-count]")) node.textContent = counts[node.dataset.count];
  $("yield").textContent = percent(counts.pass / Math.max(1, total));
}

function showRates() {
  const sentences = [];
  const say = (count, rates, what) => {
    const of = rates.length - 1;
    if (!of) return;
    const [low, high] = rates[count].map(percent);
    sentences.push(`${count} of ${of} ${what}: ${percent(count / of)} [${low}, ${high}]`);
  };
  say(above(known.good, state.limit), known.good_rates, "held-out good images would be rejected");
  const defective = known.defective.length;
  say(defective - above(known.defective, state.limit), known.defective_rates, "known defects would not fail");
  const marked = images.filter((image) => marks[image.path]);
  const wrong = (mark, verdict) => {
    const all = marked.filter((image) => marks[image.path] === mark);
    const missed = all.filter((image) => (image.now === "fail") !== (verdict === "fail"));
    if (all.length) sentences.push(`${missed.length} of ${all.length} images marked as ${mark} would ${verdict === "fail" ? "not fail" : "fail"}`);
  };
  wrong("defect", "fail");
  wrong("good", "pass");
  $("rates").textContent = `${edited() ? "With this threshold" : "With the model's threshold"}: ${sentences.join("; ") || "no good images are known to compare with"}.`;
}

// ---------------------------------------------------------------- marks

const store = `anomaly-vae ${data.key}`;
const marks = (() => {
  try { return JSON.parse(localStorage.getItem(store)) || {}; } catch { return {}; }
})();

function mark(image, as) {
  if (marks[image.path] === as) delete marks[image.path]; else marks[image.path] = as;
  try { localStorage.setItem(store, JSON.stringify(marks)); } catch { /* private windows keep nothing */ }
  showMarks();
  showRates();
  drawGallery(true);
  focus();
  if ($("viewer").open) view(image);
}

function showMarks() {
  const count = Object.keys(marks).length;
  $("marked").textContent = count;
  $("download").disabled = !count;
}

function cell(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download() {
  const rows = [["path", "mark", "score", "verdict"]];
  const scores = new Map(images.map((image) => [image.path, image]));
  for (const [path, as] of Object.entries(marks)) {
    const image = scores.get(path);
    rows.push([path, as, image?.score, image?.verdict]);
  }
  const text = rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: url, download: "marks.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

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
  const [photo, map] = line.split(" ");
  return { photo: `data:image/jpeg;base64,${photo}`, map: map && `data:image/png;base64,${map}` };
}

// ---------------------------------------------------------------- histogram

const BINS = 70;
// Scores of defects lie far out: asinh is straight near 0 and a logarithm beyond.
const squeeze = Math.asinh;
const scores = images.filter((image) => image.score !== null).map((image) => image.score).sort((a, b) => a - b);
const ends = (() => {
  const all = [scores[0], scores.at(-1), known.good[0], known.good.at(-1), known.score].filter((v) => v !== undefined);
  const [low, high] = [squeeze(Math.min(...all)), squeeze(Math.max(...all))];
  const room = 0.04 * (high - low || 1);
  return [low - room, high + room];
})();
const histogram = { width: 0, height: 160 };

const across = (score) => ((squeeze(score) - ends[0]) / (ends[1] - ends[0])) * histogram.width;
const scoreAt = (x) => Math.sinh(ends[0] + (x / histogram.width) * (ends[1] - ends[0]));

function binned(values) {
  const counts = new Array(BINS).fill(0);
  for (const value of values) {
    const place = (squeeze(value) - ends[0]) / (ends[1] - ends[0]);
    counts[clamp(Math.floor(place * BINS), 0, BINS - 1)] += 1;
  }
  return counts;
}

function drawHistogram() {
  const { height } = histogram;
  const width = (histogram.width = $("histogram").clientWidth);
  const svg = make("svg", { viewBox: `0 0 ${width} 190`, role: "slider", tabindex: 0, "aria-label": "Threshold", id: "slider" });
  const step = width / BINS;
  const counts = binned(scores);
  // Few images in a bin must be seen beside many: heights are square roots.
  const top = Math.sqrt(Math.max(1, ...counts));
  const bars = counts.map((count, i) => {
    const tall = (Math.sqrt(count) / top) * height;
    return count ? `M${i * step + 0.5} ${height}v${-tall}h${Math.max(0.5, step - 1)}v${tall}z` : "";
  }).join("");
  for (const name of ["pass", "review", "fail"]) {
    svg.append(make("clipPath", { id: `only-${name}` }, make("rect", { id: `clip-${name}`, y: 0, height: 200 })));
    svg.append(make("path", { d: bars, class: `bars ${name}`, "clip-path": `url(#only-${name})` }));
  }
  if (known.good.length) {
    const good = binned(known.good);
    const most = Math.sqrt(Math.max(1, ...good));
    const steps = good.map((count, i) => `V${height - (Math.sqrt(count) / most) * height}H${(i + 1) * step}`);
    svg.append(make("path", { d: `M0 ${height}${steps.join("")}V${height}`, class: "good-scores" }));
  }
  svg.append(make("line", { x1: 0, x2: width, y1: height, y2: height, class: "axis" }));
  drawTicks(svg, width, height);
  svg.append(make("line", { id: "review-line", y1: 0, y2: height, class: "line review-line" }));
  svg.append(make("line", { id: "line", y1: -4, y2: height, class: "line" }));
  svg.append(make("path", { id: "grip", class: "grip" }));
  svg.append(make("text", { x: width, y: 10, "text-anchor": "end" },
    known.good.length ? `bars: these images; dashed: ${known.good.length} held-out good ones (square roots of counts)` : "square roots of counts"));
  $("histogram").replaceChildren(svg);
  moveLine();
}

function drawTicks(svg, width, height) {
  let last = -Infinity;
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6];
  for (const value of [...steps.map((v) => -v).reverse(), 0, ...steps]) {
    const x = across(value);
    if (x < 8 || x > width - 8 || x - last < 44) continue;
    last = x;
    svg.append(make("text", { x, y: height + 16, "text-anchor": "middle" }, String(value)));
    svg.append(make("line", { x1: x, x2: x, y1: height, y2: height + 4, class: "axis" }));
  }
  svg.append(make("text", { x: width / 2, y: height + 30, "text-anchor": "middle" }, "score"));
}

function moveLine() {
  const width = histogram.width;
  const x = clamp(across(state.limit), 0, width);
  const lower = known.review === null ? x : Math.min(x, clamp(across(known.review), 0, width));
  for (const [name, begin, end] of [["pass", 0, lower], ["review", lower, x], ["fail", x, width]]) {
    $(`clip-${name}`).setAttribute("x", begin);
    $(`clip-${name}`).setAttribute("width", Math.max(0, end - begin));
  }
  for (const [id, at] of [["line", x], ["review-line", known.review === null ? -99 : lower]]) {
    $(id).setAttribute("x1", at);
    $(id).setAttribute("x2", at);
  }
  $("grip").setAttribute("d", `M${x - 7} -4h14l-7 9z`);
  $("slider").setAttribute("aria-valuenow", state.limit);
  $("slider").setAttribute("aria-valuetext", number(state.limit));
}

// ---------------------------------------------------------------- threshold

let due = 0;
// Images that are not shown all have lower scores than those that are: below them nothing is known.
const lowest = Object.keys(data.others).length && scores.length ? scores[0] : -Infinity;

function setLimit(value) {
  state.limit = Math.max(value, lowest);
  if (!due) due = requestAnimationFrame(() => { due = 0; update(); });
}

function update() {
  const box = $("limit");
  if (document.activeElement !== box) box.value = number(state.limit, 9);
  $("reset").disabled = !edited();
  showCounts(countVerdicts());
  showRates();
  moveLine();
  filter();
}

function listenToThreshold() {
  const area = $("histogram");
  const follow = (event) => setLimit(scoreAt(clamp(event.clientX - area.getBoundingClientRect().left, 0, histogram.width)));
  area.addEventListener("pointerdown", (event) => { area.setPointerCapture(event.pointerId); follow(event); });
  area.addEventListener("pointermove", (event) => { if (area.hasPointerCapture(event.pointerId)) follow(event); });
  area.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    setLimit(scoreAt(across(state.limit) + by * (event.shiftKey ? 10 : 1)));
  });
  $("limit").addEventListener("input", (event) => {
    const value = event.target.valueAsNumber;
    if (Number.isFinite(value)) setLimit(value);
  });
  $("reset").addEventListener("click", () => setLimit(known.score));
  $("given").textContent = number(known.score);
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
    (!state.folder || image.folder === state.folder) && image.largest >= state.area && image.path.toLowerCase().includes(text));
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
  on("area", "area", (box) => box.valueAsNumber || 0);
  on("order", "order", (box) => box.value);
  on("search", "text", (box) => box.value);
  $("download").addEventListener("click", download);
}

// ---------------------------------------------------------------- gallery: only what is in view exists

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
  if (marks[image.path]) node.append(make("span", { class: "mark" }, marks[image.path]));
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

// ---------------------------------------------------------------- one image, large

const ink = $("map").getContext("2d", { willReadFrequently: true });

function view(image) {
  const viewer = $("viewer");
  const found = pictures(image);
  const place = shown.indexOf(image);
  $("place").textContent = place < 0 ? "" : `${place + 1} of ${shown.length}`;
  $("name").textContent = image.path;
  $("verdict").className = image.now;
  $("verdict").textContent = `${SIGN[image.now]} ${image.now}${image.score === null ? "" : `, score ${number(image.score)}`}`;
  $("why").textContent = why(image);
  $("parts").replaceChildren(...parts(image));
  $("regions").replaceChildren(...regionTable(image));
  $("mark-defect").setAttribute("aria-pressed", String(marks[image.path] === "defect"));
  $("mark-good").setAttribute("aria-pressed", String(marks[image.path] === "good"));
  $("details").textContent = [
    image.width ? `${image.width} × ${image.height} pixels` : "",
    image.p === null ? "" : `p-value among good images ${number(image.p, 3)}`,
    image.quality ? `photograph: ${image.quality}` : "",
  ].filter(Boolean).join("; ");
  if (!viewer.open) viewer.showModal();
  fitStage(image);
  if (found) $("photo").src = found.photo; else $("photo").removeAttribute("src");
  ink.clearRect(0, 0, ink.canvas.width, ink.canvas.height);
  if (found?.map) overlay(found.map, image);
  $("boxes").replaceChildren(...(image.regions.length ? [boxes(image, "none")] : []));
  showLayers();
}

function why(image) {
  if (image.verdict === "error") return image.trouble;
  const limit = `the ${edited() ? "chosen " : ""}threshold ${number(state.limit)}`;
  const [first] = image.regions;
  const where = first ? ` It is most unusual around x ${number(first[0] + first[2] / 2, 4)}, y ${number(first[1] + first[3] / 2, 4)}.` : "";
  const start = {
    fail: `Rejected: its score is above ${limit}.`,
    review: image.quality ? "For review: the photograph itself is unlike all good ones." : `For review: its score is above ${number(known.review)}, but not above ${limit}.`,
    pass: `Passes: its score is not above ${limit}.`,
  }[image.now];
  return start + contribution(image) + where;
}

/** What the two parts of the score add to it, counted from the median of good images. */
function contribution(image) {
  if (!known.kl.length) return "";
  const middle = (values) => values[values.length >> 1];
  const error = (image.error_part - middle(known.reconstruction_error)) / known.scale;
  const kl = (known.kl_weight * (image.kl - middle(known.kl))) / known.scale;
  return ` Compared with a usual good part, the reconstruction error adds ${number(error, 3)} to the score and the KL divergence ${number(kl, 3)}.`;
}

function parts(image) {
  if (image.score === null || !known.kl.length) return [];
  return [
    ["Reconstruction error", image.error_part, known.reconstruction_error],
    ["KL divergence", image.kl, known.kl],
    ["Score", image.score, known.good],
  ].map(([name, value, good]) => {
    const higher = above(good, value);
    const rank = higher ? `${higher} of ${good.length} good images have more` : `more than all ${good.length} good images`;
    return make("div", { class: "part" }, make("b", {}, name), ` ${number(value)} `, make("small", { class: "quiet" }, rank), strip(value, good));
  });
}

/** The value of an image among those of good images, a line for each. */
function strip(value, good) {
  const [low, high] = [Math.min(good[0], value), Math.max(good.at(-1), value)].map(squeeze);
  const at = (each) => `${2 + (96 * (squeeze(each) - low)) / (high - low || 1)}%`;
  const svg = make("svg", {}, make("line", { x1: "0", x2: "100%", y1: 18, y2: 18, class: "axis" }));
  const every = Math.ceil(good.length / 300);
  good.forEach((each, i) => { if (i % every === 0) svg.append(make("line", { x1: at(each), x2: at(each), y1: 10, y2: 26 })); });
  svg.append(make("circle", { cx: at(value), cy: 18, r: 6, class: "here" }));
  return svg;
}

function regionTable(image) {
  if (!image.regions.length) return [];
  const head = make("tr", {}, ...["region", "x", "y", "width", "height", "area px²", "peak"].map((name) => make("th", {}, name)));
  const rows = image.regions.slice(0, 12).map((region, i) => make("tr", {}, make("td", {}, String(i + 1)), ...region.map((value) => make("td", {}, number(value)))));
  const rest = image.regions.length - rows.length;
  return [make("table", {}, head, ...rows), ...(rest > 0 ? [make("small", { class: "quiet" }, `and ${rest} more`)] : [])];
}

function fitStage(image) {
  const room = $("stage").parentElement.clientWidth;
  const [width, height] = [image.width || 4, image.height || 3];
  const scale = Math.min(room / width, (0.8 * innerHeight) / height);
  $("stage").style.width = `${width * scale}px`;
  $("stage").style.height = `${height * scale}px`;
}

/** Colours of a map value from 0 to 1: perceptually uniform, clear where it is normal. */
function heat(value, pixels, at) {
  const { stations, clear, fade, opaque } = data.heat;
  const place = clamp(value, 0, 1) * (stations.length - 1);
  const low = Math.min(Math.floor(place), stations.length - 2);
  for (let i = 0; i < 3; i += 1) pixels[at + i] = stations[low][i] + (place - low) * (stations[low + 1][i] - stations[low][i]);
  pixels[at + 3] = 255 * opaque * clamp((value - clear) / fade, 0, 1);
}

function overlay(source, image) {
  const { canvas } = ink;
  const picture = new Image();
  picture.onload = () => {
    if (images[state.current] !== image) return;
    const { clientWidth, clientHeight } = $("stage");
    canvas.width = Math.max(1, clientWidth);
    canvas.height = Math.max(1, clientHeight);
    ink.imageSmoothingQuality = "high";
    ink.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const area = ink.getImageData(0, 0, canvas.width, canvas.height);
    color(area);
    ink.putImageData(area, 0, 0);
  };
  picture.src = source;
}

/** Turn grey into colours, and outline what is above the threshold of the map (half of the scale). */
function color({ data: pixels, width }) {
  const values = new Float32Array(pixels.length / 4);
  for (let i = 0; i < values.length; i += 1) values[i] = pixels[4 * i] / 255;
  for (let i = 0; i < values.length; i += 1) {
    heat(values[i], pixels, 4 * i);
    const inside = values[i] > 0.5;
    const edge = (other) => other < values.length && values[other] > 0.5 !== inside;
    if (edge(i + width) || ((i + 1) % width && edge(i + 1))) {
      for (let k = 0; k < 3; k += 1) pixels[4 * i + k] = data.heat.outline[k];
      pixels[4 * i + 3] = 255;
    }
  }
}

/** The regions of an image as boxes, over its whole picture. */
function boxes(image, fit) {
  const rects = image.regions.map(([x, y, width, height]) => make("rect", { x, y, width, height }));
  return make("svg", { class: "boxes", viewBox: `0 0 ${image.width} ${image.height}`, preserveAspectRatio: fit }, ...rects);
}

function showLayers() {
  $("map").style.display = $("show-map").checked ? "" : "none";
  $("map").style.opacity = $("opacity").value;
  $("boxes").style.display = $("show-boxes").checked ? "" : "none";
}

function drawScale() {
  const context = $("scale").getContext("2d");
  const area = context.createImageData(120, 10);
  for (let i = 0; i < 1200; i += 1) heat((i % 120) / 119, area.data, 4 * i);
  context.putImageData(area, 0, 0);
}

function listenToViewer() {
  $("close").addEventListener("click", () => $("viewer").close());
  $("previous").addEventListener("click", () => view(step(-1)));
  $("next").addEventListener("click", () => view(step(1)));
  $("mark-defect").addEventListener("click", () => mark(images[state.current], "defect"));
  $("mark-good").addEventListener("click", () => mark(images[state.current], "good"));
  for (const id of ["show-map", "opacity", "show-boxes"]) $(id).addEventListener("input", showLayers);
  drawScale();
}

// ---------------------------------------------------------------- keys, light, print

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
  else if (event.key === "o" && open) { $("show-map").click(); } else if (event.key === "r" && open) { $("show-boxes").click(); } else return;
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
drawHistogram();
update();
document.addEventListener("keydown", onKey);
addEventListener("scroll", () => drawGallery(), { passive: true });
addEventListener("resize", () => { drawHistogram(); drawGallery(true); if ($("viewer").open) view(images[state.current]); });
addEventListener("beforeprint", fillPrint);
