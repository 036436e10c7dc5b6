// One image, large: where it is unusual, and why it was judged as it was.

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
  $("mark-defect").setAttribute("aria-pressed", String(marks[image.id] === "defect"));
  $("mark-good").setAttribute("aria-pressed", String(marks[image.id] === "good"));
  $("name-kind").hidden = marks[image.id] !== "defect";
  $("kind-name").value = kinds[image.id] || "";
  $("details").textContent = [
    image.width ? `${image.width} × ${image.height} pixels${data.slices ? `, ${data.slices[0]} slices` : ""}` : "",
    image.p === null ? "" : `p-value among good images ${number(image.p, 3)}`,
    image.quality ? `photograph: ${image.quality}` : "",
  ].filter(Boolean).join("; ");
  if (!viewer.open) viewer.showModal();
  fitStage(image);
  shownPictures = found;
  $("show-expected").disabled = !found?.expected;
  showPhoto();
  ink.clearRect(0, 0, ink.canvas.width, ink.canvas.height);
  if (found?.map) overlay(found.map, image);
  $("boxes").replaceChildren(...(image.regions.length ? [boxes(image, "none")] : []));
  showLayers();
}

let shownPictures = null;

/** Show the photograph, or what the model expected to see instead. */
function showPhoto() {
  const expected = $("show-expected").checked && shownPictures?.expected;
  if (shownPictures) $("photo").src = expected || shownPictures.photo; else $("photo").removeAttribute("src");
}

function why(image) {
  if (image.verdict === "error") return image.trouble;
  const limit = `the ${edited() ? "chosen " : ""}threshold ${number(state.limit)}`;
  const [first] = image.regions;
  const slice = first && data.slices ? ` slice ${first[6]},` : "";
  const where = first ? ` It is most unusual around${slice} x ${number(first[0] + first[2] / 2, 4)}, y ${number(first[1] + first[3] / 2, 4)}.` : "";
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

/** What a region is, and how probable that is among the kinds the model knows. */
function kindOf([, , , , , , kind, probability]) {
  return probability === null ? kind : `${kind} ${number(probability, 2)}`;
}

function regionTable(image) {
  if (!image.regions.length) return [];
  const head = make("tr", {}, ...["region", "x", "y", "width", "height", "area px²", "peak", ...(data.slices ? ["slice", "slices"] : data.kinds.length ? ["kind"] : [])].map((name) => make("th", {}, name)));
  const told = (region) => data.kinds.length ? [...region.slice(0, 6).map((value) => number(value)), kindOf(region)] : region.map((value) => number(value));
  const rows = image.regions.slice(0, 12).map((region, i) => make("tr", {}, make("td", {}, String(i + 1)), ...told(region).map((value) => make("td", {}, value))));
  const rest = image.regions.length - rows.length;
  return [make("table", {}, head, ...rows), ...(rest > 0 ? [make("small", { class: "quiet" }, `and ${rest} more`)] : [])];
}

function fitStage(image) {
  const room = $("stage").parentElement.clientWidth;
  const [width, height] = image.width ? pictureSize(image) : [4, 3];
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
  const rects = image.regions.map((region) => {
    const [x, y] = pictureCorner(image, region);
    return make("rect", { x, y, width: region[2], height: region[3] });
  });
  return make("svg", { class: "boxes", viewBox: `0 0 ${pictureSize(image).join(" ")}`, preserveAspectRatio: fit }, ...rects);
}

/** The picture shows a photograph, or all slices of a stack: rows of so many of them. */
function pictureSize(image) {
  if (!data.slices) return [image.width, image.height];
  const [slices, columns] = data.slices;
  return [columns * image.width, Math.ceil(slices / columns) * image.height];
}

function pictureCorner(image, [x, y, , , , , slice]) {
  if (!data.slices) return [x, y];
  const [, columns] = data.slices;
  return [x + ((slice - 1) % columns) * image.width, y + Math.floor((slice - 1) / columns) * image.height];
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
  $("kind-name").addEventListener("change", (event) => nameKind(images[state.current], event.target.value));
  $("show-expected").addEventListener("input", showPhoto);
  for (const id of ["show-map", "opacity", "show-boxes"]) $(id).addEventListener("input", showLayers);
  drawScale();
}
