"use strict";
const at = id => document.getElementById(id);
const { discs, studies, heat } = JSON.parse(at("data").textContent);
discs.forEach((disc, place) => { disc.number = place + 1; });
const orders = {
  listed: () => 0,
  high: (a, b) => b.probability - a.probability,
  low: (a, b) => a.probability - b.probability,
  wrong: (a, b) => b.error - a.error,
};
const filters = ["outcome", "level", "patient"];
let chosen = [], disc, shown, playing;

/* Choosing */

function fits(name) {
  return disc => !at(name).value || disc[name] === at(name).value;
}

/* Each list counts what the others leave. */
function offer(name) {
  const left = filters.filter(other => other !== name).reduce((kept, other) => kept.filter(fits(other)), discs);
  const kept = at(name).value, add = (text, value) => at(name).add(new Option(text, value));
  at(name).replaceChildren();
  add(`all (${left.length})`, "");
  for (const value of [...new Set(discs.map(disc => disc[name]))].sort()) {
    add(`${value} (${left.filter(disc => disc[name] === value).length})`, value);
  }
  at(name).value = kept;
}

function choose() {
  chosen = filters.reduce((kept, name) => kept.filter(fits(name)), discs).sort(orders[at("order").value]);
  filters.forEach(offer);
  at("slider").max = Math.max(1, chosen.length);
  at("slider").value = Math.max(0, chosen.indexOf(disc)) + 1;
  at("disc").hidden = !chosen.length;
  at("nothing").hidden = Boolean(chosen.length);
  show();
}

function move(step) {
  at("slider").value = Number(at("slider").value) + step;
  show();
}

function play(on) {
  clearInterval(playing);
  playing = on && setInterval(() => {
    if (Number(at("slider").value) >= chosen.length) play(false);
    else move(1);
  }, 700);
  at("play").textContent = on ? "Pause" : "Play";
}

/* "#disc=37" is the 37th disc as listed. */
function follow() {
  const asked = discs[Number(/^#disc=(\d+)$/.exec(location.hash)?.[1]) - 1];
  if (!asked || asked === disc) return;
  disc = asked;
  for (const name of filters) at(name).value = "";
  choose();
}

/* Drawing */

const bytes = text => Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
const colors = bytes(heat.colors);

/* The three slices' maps (cells x cells bytes each) as they lie on the slices: side rows of 3 x side values. */
function enlarged(maps) {
  const { side, cells, weights } = heat, values = new Float32Array(3 * side * side), half = new Float32Array(cells);
  for (let slice = 0; slice < 3; slice++) {
    for (let y = 0; y < side; y++) {
      half.fill(0);
      for (let i = 0; i < cells; i++) {
        for (let j = 0; j < cells; j++) half[j] += weights[y][i] * maps[(slice * cells + i) * cells + j] / 255;
      }
      for (let x = 0; x < side; x++) {
        let value = 0;
        for (let j = 0; j < cells; j++) value += half[j] * weights[x][j];
        values[(3 * y + slice) * side + x] = Math.min(1, Math.max(0, value));
      }
    }
  }
  return values;
}

function paint(values, asLines) {
  const { side } = heat, width = 3 * side, canvas = at("heat");
  canvas.width = width;
  canvas.height = side;
  const context = canvas.getContext("2d"), image = context.createImageData(width, side);
  const around = place => [place % side && place - 1, (place + 1) % side && place + 1, place - width, place + width]
    .filter(other => other > 0 && other < values.length);
  const put = (place, red, green, blue, alpha) => image.data.set([red, green, blue, alpha], 4 * place);
  values.forEach((value, place) => {
    if (!asLines) {
      const step = Math.round(255 * value);
      put(place, ...colors.subarray(3 * step, 3 * step + 3), 255 * value * value * (3 - 2 * value));
    }
    for (const level of asLines ? heat.levels : []) {
      const inside = value >= level;
      if (around(place).every(other => (values[other] >= level) === inside)) continue;
      if (inside) put(place, 255, 255, 255, 255);
      else if (!image.data[4 * place + 3]) put(place, 0, 0, 0, 255);
    }
  });
  context.putImageData(image, 0, 0);
}

function add(parent, name, attributes, text = "") {
  const node = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  parent.append(node);
}

/* Sides, place and scale of a picture in the box (left, top, width, height) of a drawing. */
function mark(parent, [left, right, place, bar, mm], [x, y, width, height], size, full = true) {
  const line = { y: y + height / 2 + size / 3 };
  add(parent, "text", { x: x + size / 3, ...line }, left);
  add(parent, "text", { x: x + width - size / 3, ...line, "text-anchor": "end" }, right);
  if (!full) return;
  if (place) add(parent, "text", { x: x + size / 3, y: y + 1.1 * size }, place);
  if (!bar) return;
  add(parent, "rect", { x: x + size / 3, y: y + height - size / 2, width: width * bar / mm, height: size / 6, class: "bar" });
  add(parent, "text", { x: x + size / 3, y: y + height - 0.7 * size }, `${bar} mm`);
}

function drawMarks(drawn) {
  for (const id of ["marks", "sides"]) {
    at(id).replaceChildren();
    (disc.marks ?? []).forEach((one, slice) => mark(at(id), one, [100 * slice, 0, 100, 100], 6.5, id === "marks"));
  }
  const [low, high] = heat.seen;
  for (const x of drawn && high - low < 1 ? [0, 100, 200] : []) {
    const width = 100 * (high - low);
    add(at("sides"), "rect", { x: x + 100 * low, y: 100 * low, width, height: width, class: "seen" });
  }
}

function drawSagittal() {
  const view = at("view"), study = studies[disc.study];
  at("sagittal").hidden = !study;
  if (!study) return;
  const [width, height] = study.size;
  view.replaceChildren();
  view.setAttribute("viewBox", `0 0 ${width + 50} ${height}`);
  view.setAttribute("aria-label", `Sagittal view with the slices of disc ${disc.level} as lines.`);
  add(view, "image", { href: study.picture, width, height });
  study.lines.forEach((lines, slab) => {
    lines.forEach(([x1, y1, x2, y2], place) => {
      const used = slab === disc.slab && disc.used.includes(place);
      add(view, "line", { x1, y1, x2, y2, class: used ? "used" : "" });
    });
    if (!lines.length) return;
    const place = { x: width + 4, y: study.heights[slab] + 4, class: slab === disc.slab ? "name used" : "name" };
    add(view, "text", place, study.names[slab]);
  });
  mark(view, study.marks, [0, 0, width, height], 13);
}

function show() {
  const number = chosen.length && Number(at("slider").value), slices = "three cross-sections, cranial to caudal";
  at("place").value = `disc ${number} of ${chosen.length}`;
  at("slider").disabled = chosen.length < 2;
  at("previous").disabled = number <= 1;
  at("next").disabled = number >= chosen.length;
  at("play").disabled = chosen.length < 2;
  if (!chosen.length) return;
  disc = chosen[number - 1];
  at("slider").setAttribute("aria-valuetext", `${at("place").value}: ${disc.name}`);
  const kind = at("kind").value, drawn = kind !== "none" && (disc.called === "abnormal" || at("always").checked);
  at("heated").textContent = drawn ? "Under the heat" : kind === "none" ? "Without heat" : "No heat: the disc is called normal";
  at("heat").hidden = !drawn;
  if (drawn) paint(enlarged(bytes(disc[kind])), at("lines").checked);
  at("heat").style.opacity = at("lines").checked ? 1 : at("opacity").value / 100;
  at("heat").ariaLabel = `${disc.name}, called ${disc.called}: the heat of the classifier on the same ${slices}.`;
  at("under").alt = drawn ? "" : `${disc.name}, called ${disc.called}: the same ${slices}, without heat.`;
  at("lesion").hidden = !(at("truth").checked && disc.lesion);
  if (disc.lesion) at("lesion").src = disc.lesion;
  at("lesion").alt = "Outline of the true lesion.";
  at("outlined").textContent = at("truth").checked && !disc.lesion ? "(none on these slices)" : "";
  drawMarks(drawn);
  if (disc === shown) return;
  shown = disc;
  for (const id of ["input", "under"]) at(id).src = disc.slices;
  at("input").alt = `${disc.name}: ${slices}.`;
  at("caption").innerHTML = disc.caption;
  drawSagittal();
  history.replaceState(null, "", `#disc=${disc.number}`);
}

if (discs.some(disc => disc.error === null)) at("order").querySelector("[value=wrong]").remove();
for (const name of filters) at(name).addEventListener("change", choose);
at("order").addEventListener("change", () => { disc = null; choose(); });
for (const id of ["slider", "opacity", "always", "lines", "truth", "kind"]) at(id).addEventListener("input", show);
at("previous").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
at("play").addEventListener("click", () => play(!playing));
window.addEventListener("hashchange", follow);
document.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && !event.altKey && !event.ctrlKey && !event.metaKey && !event.target.closest("input, select")) move(step);
});
filters.forEach(offer);
follow();
if (!disc) choose();
