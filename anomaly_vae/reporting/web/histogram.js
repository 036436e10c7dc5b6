// The scores, and the threshold that can be dragged.

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
  const good = known.good.length ? `; bars: these images; dashed: ${known.good.length} held-out good ones` : "";
  $("histogram").replaceChildren(svg, make("p", {}, `Square roots of counts${good}`));
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
