"use strict";
// The page of a report: no library, no network. The files of this folder are put together in the
// order that page.py gives; `data` is what it has put into the page. First: what is known of each
// image, how it is judged, and how it was marked.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const SIGN = { fail: "✕", review: "?", pass: "✓", error: "!" };
const VERDICTS = ["fail", "review", "pass", "error"];
const FIELDS = ["path", "verdict", "score", "error_part", "kl", "p", "width", "height", "quality", "trouble", "id", "sha256"];
const images = data.images.map((row, index) => {
  const image = Object.fromEntries(FIELDS.map((name, i) => [name, row[i]]));
  image.index = index;
  image.regions = data.regions[index];
  image.area = image.regions.reduce((sum, region) => sum + region[4], 0);
  image.kinds = new Set(data.kinds.length ? image.regions.map((region) => region[6]) : []);
  image.largest = Math.max(0, ...image.regions.map((region) => region[4]));
  image.folder = image.path.includes("/") ? image.path.slice(0, image.path.lastIndexOf("/")) : ".";
  return image;
});
const known = data.limit;
const state = { limit: known.score, verdict: null, folder: "", kind: "", area: 0, text: "", order: "worst", current: -1 };
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
  const marked = images.filter((image) => marks[image.id]);
  const wrong = (mark, verdict) => {
    const all = marked.filter((image) => marks[image.id] === mark);
    const missed = all.filter((image) => (image.now === "fail") !== (verdict === "fail"));
    if (all.length) sentences.push(`${missed.length} of ${all.length} images marked as ${mark} would ${verdict === "fail" ? "not fail" : "fail"}`);
  };
  wrong("defect", "fail");
  wrong("good", "pass");
  $("rates").textContent = `${edited() ? "With this threshold" : "With the model's threshold"}: ${sentences.join("; ") || "no good images are known to compare with"}.`;
}

// ---------------------------------------------------------------- marks

// By row of this very report: in another one, the same name may be another photograph.
const store = `anomaly-vae ${data.key}`;
const kept = (name) => {
  try { return JSON.parse(localStorage.getItem(name)) || {}; } catch { return {}; }
};
const keep = (name, what) => {
  try { localStorage.setItem(name, JSON.stringify(what)); } catch { /* private windows keep nothing */ }
};
const marks = kept(store);
const kinds = kept(`${store} kinds`); // of what is marked as defect: what a person calls it

function mark(image, as) {
  if (marks[image.id] === as) delete marks[image.id]; else marks[image.id] = as;
  keep(store, marks);
  showMarks();
  showRates();
  drawGallery(true);
  focus();
  if ($("viewer").open) view(image);
}

function nameKind(image, name) {
  if (name.trim()) kinds[image.id] = name.trim(); else delete kinds[image.id];
  keep(`${store} kinds`, kinds);
  showKinds();
  drawGallery(true);
}

/** Offer the names that were given so far, and those that the model knows. */
function showKinds() {
  const names = [...new Set([...data.kinds, ...Object.values(kinds)])].sort();
  $("kind-names").replaceChildren(...names.map((name) => make("option", { value: name })));
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
  const rows = [["path", "mark", "score", "verdict", "id", "sha256", "kind"]];
  const known = new Map(images.map((image) => [image.id, image]));
  for (const [id, as] of Object.entries(marks)) {
    const image = known.get(id);
    const kind = as === "defect" ? kinds[id] : "";
    if (image) rows.push([image.path, as, image.score, image.verdict, id, image.sha256, kind]);
  }
  const text = rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: url, download: "marks.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
