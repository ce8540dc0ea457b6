"use strict";
const at = id => document.getElementById(id);
const discs = JSON.parse(at("data").textContent);
const orders = {
  listed: () => 0,
  high: (a, b) => b.probability - a.probability,
  low: (a, b) => a.probability - b.probability,
  wrong: (a, b) => b.error - a.error,
};
let chosen = [], disc;

function offer(select, name) {
  const values = discs.map(disc => disc[name]), add = (text, value) => select.add(new Option(text, value));
  add(`all (${discs.length})`, "");
  for (const value of [...new Set(values)].sort()) add(`${value} (${values.filter(v => v === value).length})`, value);
}

function choose() {
  const keep = name => disc => !at(name).value || disc[name] === at(name).value;
  chosen = discs.filter(keep("outcome")).filter(keep("level")).sort(orders[at("order").value]);
  at("slider").max = Math.max(1, chosen.length);
  at("slider").value = Math.max(0, chosen.indexOf(disc)) + 1;
  at("disc").hidden = !chosen.length;
  at("nothing").hidden = Boolean(chosen.length);
  show();
}

function show() {
  const number = chosen.length && Number(at("slider").value), slices = "three cross-sections, cranial to caudal";
  at("place").value = `disc ${number} of ${chosen.length}`;
  at("slider").disabled = chosen.length < 2;
  at("previous").disabled = number <= 1;
  at("next").disabled = number >= chosen.length;
  if (!chosen.length) return;
  const moved = disc !== chosen[number - 1];
  disc = chosen[number - 1];
  at("slider").setAttribute("aria-valuetext", `${at("place").value}: ${disc.name}`);
  for (const id of ["input", "under"]) at(id).src = disc.slices;
  at("heat").src = disc.heat;
  at("input").alt = `${disc.name}: ${slices}.`;
  const drawn = disc.called === "abnormal" || at("always").checked;
  at("heated").textContent = drawn ? "Under the heat" : "No heat: the disc is called normal";
  at("heat").hidden = !drawn;
  at("heat").style.opacity = at("opacity").value / 100;
  at("heat").alt = `${disc.name}, called ${disc.called}: the same ${slices}, under the heat of the classifier.`;
  at("under").alt = drawn ? "" : `${disc.name}, called ${disc.called}: the same ${slices}, without heat.`;
  at("lesion").hidden = !(at("truth").checked && disc.lesion);
  if (disc.lesion) at("lesion").src = disc.lesion;
  at("lesion").alt = "Outline of the true lesion.";
  at("outlined").textContent = at("truth").checked && !disc.lesion ? "(this disc has none on these slices)" : "";
  if (moved) at("caption").innerHTML = disc.caption;
}

function move(step) {
  at("slider").value = Number(at("slider").value) + step;
  show();
}

offer(at("outcome"), "outcome");
offer(at("level"), "level");
if (discs.some(disc => disc.error === null)) at("order").querySelector("[value=wrong]").remove();
for (const id of ["outcome", "level"]) at(id).addEventListener("change", choose);
at("order").addEventListener("change", () => { disc = null; choose(); });
for (const id of ["slider", "opacity", "always", "truth"]) at(id).addEventListener("input", show);
at("previous").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
document.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && !event.altKey && !event.ctrlKey && !event.metaKey && !event.target.closest("input, select")) move(step);
});
choose();
