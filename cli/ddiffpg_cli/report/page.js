"use strict";
// Draws the report: no libraries, nothing loaded. All times are seconds since the first decision.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const movers = []; // called with the time whenever it changes
let time = 0;

function add(parent, tag, attributes = {}, text) {
  const svg = parent.namespaceURI === SVG || tag === "svg";
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function setTime(t) {
  time = Math.min(Math.max(t, 0), data.duration);
  byId("time").value = time;
  byId("time").setAttribute("aria-valuetext", `${time.toFixed(2)} seconds`);
  byId("now").textContent = `${time.toFixed(2)} / ${data.duration.toFixed(1)} s`;
  for (const move of movers) move(time);
}

function last(list, t, timeOf) { // index of the last entry that is not after t
  let low = 0, high = list.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (timeOf(list[middle]) <= t) low = middle; else high = middle - 1;
  }
  return low;
}
const spanAt = (lane, t) => data.lanes[lane][last(data.lanes[lane], t, (span) => span.start)];

// ---- colours -----------------------------------------------------------------------------------
const modeColor = (mode) => mode === "" || Number(mode) < 0 ? "var(--none)" : `var(--m${Number(mode) % 5})`;
function laneColor(lane, value) {
  if (lane === "mode") return modeColor(value);
  if (value === "" || value === "0" || value === "False") return "var(--none)";
  const values = [...new Set(data.lanes[lane].map((span) => span.value))];
  return `var(--s${values.indexOf(value) % 7})`;
}

const bright = (lane, value) => lane === "mode" || laneColor(lane, value) === "var(--none)"; // needs dark text in the dark

// ---- map ---------------------------------------------------------------------------------------
function bounds() {
  const s = data.scene;
  const points = [...s.track.map((p) => [p[1], p[2]]), ...Object.values(s.modes).flat(), ...s.solids.map((o) => [o.x, o.y])];
  const near = points.length ? points : [[0, 0]];
  const xs = near.map((p) => p[0]), ys = near.map((p) => p[1]);
  const box = { x0: Math.min(...xs) - 1, x1: Math.max(...xs) + 1, y0: Math.min(...ys) - 1, y1: Math.max(...ys) + 1 };
  for (const [x, y] of s.cells) { // walls, but not what is far away
    if (x > box.x0 - 2 && x < box.x1 + 2) { box.y0 = y > box.y0 - 2 && y < box.y0 ? y - 0.2 : box.y0; box.y1 = y < box.y1 + 2 && y > box.y1 ? y + 0.2 : box.y1; }
  }
  box.y0 -= 0.07 * (box.y1 - box.y0); // for the scale
  return box;
}

const line = (points) => points.map((p, i) => `${i ? "L" : "M"}${p[0]} ${-p[1]}`).join("");

function drawMap() {
  const s = data.scene, svg = byId("map"), box = bounds();
  const width = box.x1 - box.x0, height = box.y1 - box.y0, unit = Math.max(width, height) / 600;
  svg.setAttribute("viewBox", `${box.x0} ${-box.y1} ${width} ${height}`);
  const h = s.cell / 2;
  add(svg, "path", { d: s.cells.map(([x, y]) => `M${x - h} ${-y - h}h${s.cell}v${s.cell}h${-s.cell}z`).join(""), fill: "var(--wall)" });
  for (const [mode, points] of Object.entries(s.modes)) {
    const path = add(svg, "path", { d: line(points), fill: "none", stroke: modeColor(mode), "stroke-width": 3 * unit, "stroke-dasharray": `${7 * unit} ${6 * unit}`, opacity: 0.75 });
    add(path, "title", {}, `the way of mode ${mode}`);
  }
  const way = add(svg, "path", { fill: "none", stroke: "var(--ink)", "stroke-width": 9 * unit, opacity: 0.16, "stroke-linecap": "round", "stroke-linejoin": "round" });
  const solids = s.solids.map((solid) => drawSolid(svg, solid, unit));
  drawTrack(svg, unit);
  const robot = add(svg, "circle", { r: Math.max(s.radius, 6 * unit), fill: "var(--ink)", "fill-opacity": 0.25, stroke: "var(--ink)", "stroke-width": 2.5 * unit });
  drawScale(svg, box, unit);
  movers.push((t) => {
    const chosen = s.ways.length && s.ways[0][0] <= t + 0.2 ? s.ways[last(s.ways, t + 0.2, (w) => w[0])][1] : [];
    way.setAttribute("d", line(chosen));
    s.solids.forEach((solid, i) => solids[i].setAttribute("opacity", t >= solid.start && t <= solid.end ? 0.85 : 0.2));
    const place = s.track.length ? s.track[last(s.track, t, (p) => p[0])] : [0, 0, 0];
    robot.setAttribute("cx", place[1]); robot.setAttribute("cy", -place[2]);
  });
  drawLegend();
}

function drawSolid(svg, solid, unit) {
  const style = { fill: "var(--obstacle)", stroke: "var(--obstacle)", "stroke-width": unit };
  const shape = solid.kind === "cylinder"
    ? add(svg, "circle", { ...style, cx: solid.x, cy: -solid.y, r: solid.length / 2 })
    : add(svg, "rect", { ...style, x: -solid.length / 2, y: -solid.width / 2, width: solid.length, height: solid.width,
        transform: `translate(${solid.x} ${-solid.y}) rotate(${-solid.yaw * 180 / Math.PI})` });
  add(shape, "title", {}, `obstacle, from ${solid.start.toFixed(1)} s to ${solid.end.toFixed(1)} s`);
  return shape;
}

function drawTrack(svg, unit) {
  const track = data.scene.track;
  const stroke = { fill: "none", "stroke-width": 5 * unit, "stroke-linejoin": "round", "stroke-linecap": "round" };
  let points = [], mode = null;
  const end = () => { if (points.length > 1) add(svg, "path", { ...stroke, d: line(points), stroke: modeColor(mode) }); };
  for (const [t, x, y] of track) {
    const now = spanAt("mode", t).value;
    if (now !== mode) { points.push([x, y]); end(); points = []; mode = now; }
    points.push([x, y]);
  }
  end();
  if (!track.length) return;
  add(svg, "circle", { cx: track[0][1], cy: -track[0][2], r: 6 * unit, fill: "var(--card)", stroke: "var(--ink)", "stroke-width": 2.5 * unit });
}

function drawScale(svg, box, unit) {
  const length = [0.1, 0.2, 0.5, 1, 2, 5, 10, 50, 100].find((l) => l > (box.x1 - box.x0) / 8) || 500;
  const x = box.x0 + 14 * unit, y = -box.y0 - 14 * unit;
  add(svg, "path", { d: `M${x} ${y - 6 * unit}v${6 * unit}h${length}v${-6 * unit}`, fill: "none", stroke: "var(--ink)", "stroke-width": 1.5 * unit });
  add(svg, "text", { x: x + length + 8 * unit, y, style: `font-size:${15 * unit}px` }, `${length} m`);
}

function drawLegend() {
  const legend = byId("legend"), s = data.scene;
  const entry = (color, text, block) => {
    const span = add(legend, "span");
    add(span, "i", { style: `background:${color}`, class: block ? "block" : "" });
    span.append(text);
  };
  for (const mode of Object.keys(s.modes)) entry(modeColor(mode), `mode ${mode} (dashed: its way)`);
  if (data.lanes.mode.some((span) => Number(span.value) < 0 && span.end > span.start)) entry("var(--none)", "no mode");
  if (s.solids.length) entry("var(--obstacle)", "obstacle (faint: not at this time)", true);
  if (s.cells.length) entry("var(--wall)", "seen by scan or map", true);
  add(legend, "span", {}, "○ start");
}

// ---- lanes -------------------------------------------------------------------------------------
const LABELS = { state: "state", mode: "mode", free_modes: "free modes", limited_by: "limited by", mode_asked: "mode asked for", enabled_asked: "enabled" };
const words = (key) => LABELS[key] || key.replaceAll("_", " ");

function drawLanes(host) {
  host.replaceChildren();
  const width = host.clientWidth, x = (t) => (data.duration ? t / data.duration : 0) * width;
  for (const [lane, spans] of Object.entries(data.lanes)) {
    add(host, "h3", {}, words(lane));
    const svg = add(host, "svg", { height: 28, viewBox: `0 0 ${width} 28`, role: "group", "aria-label": words(lane) });
    for (const span of spans) drawSpan(svg, lane, span, x);
    follow(svg, x, 28);
  }
  drawAxis(add(host, "svg", { height: 22, viewBox: `0 0 ${width} 22`, "aria-hidden": "true" }), x, 16);
}

function drawSpan(svg, lane, span, x) {
  const left = x(span.start), wide = Math.max(x(span.end) - left, 1.5), value = span.value || "none";
  const text = `${words(lane)} ${value}, ${span.start.toFixed(2)} to ${span.end.toFixed(2)} s`;
  const reasons = span.reasons.filter(Boolean);
  const full = [text, ...(lane === "state" || lane === "mode" ? reasons : [])].join("\n");
  const bar = add(svg, "rect", { x: left, y: 2, width: Math.max(wide - 1, 1), height: 24, rx: 3, fill: laneColor(lane, span.value), role: "img", "aria-label": full });
  if (lane === "state" || lane === "mode") bar.setAttribute("tabindex", 0);
  bar.addEventListener("pointerenter", (event) => tip(full, event.clientX, event.clientY));
  bar.addEventListener("pointerleave", () => tip());
  bar.addEventListener("focus", () => { const r = bar.getBoundingClientRect(); setTime(span.start); tip(full, Math.max(r.left, 10), r.bottom); });
  bar.addEventListener("blur", () => tip());
  if (wide > 9 * value.length + 12) add(svg, "text", { x: left + 8, y: 18, class: bright(lane, span.value) ? "on mode" : "on" }, value);
}

function tip(text, x, y) {
  const box = byId("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  box.style.left = `${Math.min(x + 12, innerWidth - box.offsetWidth - 8)}px`;
  box.style.top = `${y + 16 + box.offsetHeight > innerHeight ? y - box.offsetHeight - 30 : y + 14}px`;
}

// ---- curves ------------------------------------------------------------------------------------
function steps(low, high, count) { // round numbers between the two
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) found.push(Number(v.toPrecision(6)));
  return found;
}

function drawAxis(svg, x, y) {
  const width = x(data.duration);
  for (const t of steps(0, data.duration, Math.max(2, width / 110))) {
    const anchor = x(t) < 12 ? "start" : x(t) > width - 16 ? "end" : "middle";
    add(svg, "text", { x: x(t), y, "text-anchor": anchor }, `${t} s`);
  }
}

function drawCurve(host, curve) {
  add(host, "h3", {}, curve.unit ? `${curve.name} [${curve.unit}]` : `component ${curve.name}`);
  const width = host.clientWidth, height = 120, left = 44;
  const known = [...curve.values, ...curve.wanted, curve.low, curve.high].filter((v) => v !== null);
  let low = Math.min(...known, 0), high = Math.max(...known, 0);
  if (low === high) high = low + 1;
  const room = 0.08 * (high - low);
  [low, high] = [low < 0 ? low - room : low, high + room];
  const x = (t) => left + (data.duration ? t / data.duration : 0) * (width - left - 4);
  const y = (v) => height - 22 - (v - low) / (high - low) * (height - 30);
  const svg = add(host, "svg", { height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": describe(curve) });
  for (const v of steps(low, high, 3)) {
    add(svg, "path", { d: `M${left} ${y(v)}H${width}`, stroke: "var(--line)" });
    add(svg, "text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, v);
  }
  for (const limit of [curve.low, curve.high]) {
    if (limit !== null) add(svg, "path", { d: `M${left} ${y(limit)}H${width}`, stroke: "var(--warn)", "stroke-dasharray": "5 4" });
  }
  const path = (values) => values.map((v, i) => v === null ? "" : `${i && values[i - 1] !== null ? "L" : "M"}${x(data.times[i]).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  if (curve.wanted.length) add(svg, "path", { d: path(curve.wanted), fill: "none", stroke: "var(--soft)", "stroke-width": 1.5, "stroke-dasharray": "2 3" });
  add(svg, "path", { d: path(curve.values), fill: "none", stroke: "var(--accent)", "stroke-width": 2, "stroke-linejoin": "round" });
  const axis = add(svg, "g");
  drawAxis({ namespaceURI: SVG, append: (node) => axis.append(node) }, x, height - 4);
  follow(svg, x, height - 20, left, width);
}

function describe(curve) {
  const known = curve.values.filter((v) => v !== null);
  const range = known.length ? `from ${Math.min(...known)} to ${Math.max(...known)}` : "not known";
  return `${curve.name} ${range} ${curve.unit}`;
}

function follow(svg, x, height, left = 0) { // a line at the time, and the time where one points
  const cursor = add(svg, "path", { stroke: "var(--ink)", "stroke-width": 1.5, "pointer-events": "none" });
  const move = (t) => cursor.setAttribute("d", `M${x(t)} 0V${height}`);
  svg.movers = move;
  move(time);
  const seek = (event) => {
    const r = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / r.width;
    const start = x(0), end = x(data.duration);
    setTime(((event.clientX - r.left) * scale - start) / (end - start || 1) * data.duration);
  };
  svg.addEventListener("pointerdown", seek);
  svg.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
}

function drawCurves(host, curves) {
  host.replaceChildren();
  for (const curve of curves) drawCurve(host, curve);
}

// ---- the moment --------------------------------------------------------------------------------
function showMoment(t) {
  const list = byId("moment"), i = last(data.times, t, (v) => v);
  list.replaceChildren();
  const row = (name, text, color) => {
    add(list, "dt", {}, name);
    const cell = add(list, "dd");
    if (color) add(cell, "span", { class: bright(name, text) ? "chip mode" : "chip", style: `background:${color}` }, text); else cell.textContent = text;
  };
  for (const lane of Object.keys(data.lanes)) {
    const value = spanAt(lane, t).value;
    const chip = lane === "state" || lane === "mode";
    row(words(lane), value || "none", chip && value !== "" ? laneColor(lane, value) : null);
    if (lane === "mode") row("reason", spanAt("state", t).reasons.length === 1 ? spanAt("state", t).reasons[0] : reasonAt(t));
  }
  const shown = (curve) => curve.values[i] === null ? "not known" : `${Number(curve.values[i].toPrecision(3))} ${curve.unit}`;
  for (const curve of data.commands.slice(0, 9)) row(curve.unit ? curve.name : `component ${curve.name}`, shown(curve));
  for (const curve of data.latency) row(curve.name, shown(curve));
}
const reasonAt = (t) => data.reasons[last(data.reasons, t, (r) => r[0])][1];

// ---- all of it ---------------------------------------------------------------------------------
function drawAll() {
  drawLanes(byId("lanes"));
  drawCurves(byId("commands"), data.commands);
  drawCurves(byId("latency"), data.latency);
}

function play(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  button.textContent = on ? "Pause" : "Play";
  if (!on) return;
  if (time >= data.duration) setTime(0);
  let before = performance.now();
  const pace = Math.max(1, data.duration / 120); // a long drive in two minutes
  requestAnimationFrame(function step(now) {
    if (button.getAttribute("aria-pressed") !== "true") return;
    setTime(time + pace * (now - before) / 1000);
    before = now;
    if (time < data.duration) requestAnimationFrame(step); else play(button);
  });
}

drawMap();
drawAll();
movers.push(showMoment, (t) => { for (const svg of document.querySelectorAll("svg")) if (svg.movers) svg.movers(t); });
byId("time").addEventListener("input", (event) => setTime(Number(event.target.value)));
byId("play").addEventListener("click", (event) => play(event.currentTarget));
for (const button of document.querySelectorAll("[data-time]")) button.addEventListener("click", () => setTime(Number(button.dataset.time)));
let drawn = innerWidth;
addEventListener("resize", () => { if (innerWidth !== drawn) { drawn = innerWidth; drawAll(); } });
setTime(Number(new URLSearchParams(location.hash.slice(1)).get("t")) || 0); // page.html#t=4.5 opens at that moment
document.documentElement.dataset.drawn = "yes";
