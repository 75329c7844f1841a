// The browser of sampled rows. Text of corpora is put in as text, never as HTML.
// Sentences and offsets are those of the shards: an offset counts code points.
"use strict";

const CHUNK = 20; // rows that are made and unmade together
const ROW_HEIGHT = 150; // until a row was seen
const PHONE = matchMedia("(max-width: 40rem)");

const page = {};

function start() {
  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  source.remove();
  Object.assign(page, {
    data,
    rows: data.rows,
    rules: data.rules && { ...data.rules },
    outcome: data.thresholds && outcomes(data.thresholds),
    decided: data.rows,
    hues: Object.fromEntries(data.types.map((type, i) => [type, (212 + i * 137.5) % 360])),
  });
  aboutSample();
  makeSliders();
  makeFilters();
  showOutcome();
  refresh();
  addEventListener("hashchange", followLink);
  followLink();
}

// Small things

const byId = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const score = (value) => (value === null ? "–" : (value / FULL_SCORE).toFixed(3));
const sum = (counts) => counts.reduce((total, count) => total + count, 0);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// JavaScript counts letters beyond the basic plane, such as emoji, twice.
const isPlain = (text) => !/[\ud800-\udfff]/.test(text);
const sliced = (text, start, end) =>
  isPlain(text) ? text.slice(start, end) : Array.from(text).slice(start, end).join("");
const verdictOf = ({ status, reason }) => (reason ? `${status}: ${reason}` : status);
const isOwn = () => !page.rules || Object.entries(page.data.rules).every(
  ([name, value]) => page.rules[name] === value,
);

// Thresholds

const SLIDERS = {
  min_teacher_score: "Least score of the teacher",
  min_alignment_score: "Least score of the alignment",
  max_unplaced: "Mentions that may be unplaced",
  keep_mention_free: "Share of pairs without mention kept",
};

function aboutSample() {
  const { rows, num_rows } = page.data;
  const all = rows.length === num_rows;
  byId("about-sample").textContent =
    (all
      ? `All ${plural(num_rows, "pair")} of the run. `
      : `${plural(rows.length, "pair")} of ${number(num_rows)}, drawn at random: equally many of ` +
        "every verdict and language, as far as there are as many. ") +
    "A line leads from each name that the teacher found to the place that was found for it; " +
    "point at a name, or tap it, for scores and losing candidates.";
}

function makeSliders() {
  if (!page.outcome) {
    byId("thresholds").hidden = true;
    return;
  }
  const grid = page.data.thresholds.grid;
  for (const [name, title] of Object.entries(SLIDERS)) {
    const input = make("input", { type: "range", id: name, min: 0, max: grid[name].length - 1 });
    const output = make("output", { htmlFor: name });
    input.addEventListener("input", () => {
      page.rules[name] = grid[name][input.value];
      showOutcome();
      later(redecide);
    });
    byId("sliders").append(make("label", { className: "slider" }, title, output, input));
  }
  byId("reset").addEventListener("click", () => {
    page.rules = { ...page.data.rules };
    showOutcome();
    redecide();
  });
}

function showOutcome() {
  if (!page.outcome) return;
  const { thresholds, rules, errors } = page.data;
  for (const name of Object.keys(SLIDERS)) {
    const input = byId(name);
    const value = page.rules[name];
    input.value = thresholds.grid[name].indexOf(value);
    input.setAttribute("aria-valuetext", value);
    input.parentElement.querySelector("output").textContent = value;
    input.parentElement.classList.toggle("moved", value !== rules[name]);
  }
  const now = page.outcome(page.rules);
  const own = page.outcome(rules);
  const labels = [now, own].map((each) => sum(Object.values(each.labels)));
  byId("outcome").replaceChildren(
    make("b", {}, number(now.rows.ok)),
    ` of ${plural(page.data.num_rows, "pair")} stay`,
    change(now.rows.ok, own.rows.ok),
    make("br"),
    make("b", {}, number(labels[0])),
    labels[0] === 1 ? " label stays" : " labels stay",
    change(...labels),
  );
  const line = (name, count, before) =>
    make("tr", {}, make("th", { scope: "row" }, name),
      make("td", { className: "number" }, number(count)),
      make("td", { className: "number" }, change(count, before)));
  const { ok: _, ...refused } = now.rows;
  byId("by-reason").replaceChildren(
    make("tbody", {},
      ...Object.entries(now.labels).map(([type, n]) => line(`labels ${type}`, n, own.labels[type])),
      ...Object.entries(refused).map(([reason, n]) => line(reason, n, own.rows[reason])),
      ...Object.entries(errors).map(([reason, n]) => line(`error: ${reason}`, n, n))),
  );
  byId("recipe-box").hidden = isOwn();
  byId("recipe").textContent = ["[quality]", ...Object.entries(page.rules)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} = ${JSON.stringify(value)}`)].join("\n");
}

function change(now, before) {
  if (now === before) return "";
  const text = ` ${now > before ? "+" : "−"}${number(Math.abs(now - before))}`;
  return make("span", { className: now > before ? "more" : "less" }, text);
}

let waiting = 0;
function later(work) {
  clearTimeout(waiting);
  waiting = setTimeout(work, 80);
}

function redecide() {
  const { rows, rules } = page;
  // At the run's own thresholds the shards say it themselves.
  page.decided = isOwn() ? rows : rows.map((row) => decide(row, rules));
  byId("changed-box").hidden = isOwn();
  if (isOwn()) byId("changed").checked = false;
  refresh();
}

// Filters

function makeFilters() {
  const distinct = (values) => [...new Set(values)].sort();
  const options = (id, values) =>
    byId(id).replaceChildren(make("option", { value: "" }, "all"),
      ...values.map((value) => make("option", { value }, value)));
  options("type", page.data.types);
  options("corpus", distinct(page.rows.map((row) => row.corpus)));
  options("languages", distinct(page.rows.map(languagesOf)));
  for (const id of ["verdict", "type", "corpus", "languages", "order", "changed"]) {
    byId(id).addEventListener("change", refresh);
  }
  for (const id of ["text", "least", "most"]) {
    byId(id).addEventListener("input", () => later(refresh));
  }
  byId("clear").addEventListener("click", () => { clearFilters(); refresh(); });
  document.querySelector("form.side").addEventListener("submit", (event) => event.preventDefault());
  if (matchMedia("(max-width: 60rem)").matches) {
    byId("thresholds").open = byId("filters").open = false;
  }
}

const languagesOf = (row) => `${row.source_lang} → ${row.target_lang}`;

function clearFilters() {
  for (const id of ["text", "verdict", "type", "corpus", "languages"]) byId(id).value = "";
  byId("least").value = 0;
  byId("most").value = 1;
  byId("changed").checked = false;
}

function showVerdicts() {
  const counts = new Map();
  for (const each of page.decided) {
    const verdict = verdictOf(each);
    counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  }
  const select = byId("verdict");
  const chosen = select.value;
  if (chosen && !counts.has(chosen)) counts.set(chosen, 0);
  const known = [...counts.keys()].sort((one, other) =>
    (other === "ok") - (one === "ok") || one.localeCompare(other));
  select.replaceChildren(make("option", { value: "" }, "all"),
    ...known.map((each) =>
      make("option", { value: each }, `${each} (${number(counts.get(each))})`)));
  select.value = chosen;
}

// The numbers of the rows that the filters let through, in the order asked for.
function selected() {
  const { rows, decided } = page;
  const wanted = Object.fromEntries(
    ["verdict", "type", "corpus", "languages", "order"].map((id) => [id, byId(id).value]));
  // An accent may be a letter of its own, in what is typed or in the text.
  const comparable = (text) => text.normalize().toLowerCase();
  const text = comparable(byId("text").value).trim();
  const [least, most] = [["least", 0], ["most", 1]].map(
    ([id, open]) => byId(id).value === "" ? open : Number(byId(id).value));
  const onlyChanged = byId("changed").checked;
  if (text) page.texts ??= rows.map((row) => comparable(`${row.source}\n${row.target}`));
  const found = [];
  rows.forEach((row, i) => {
    const now = decided[i];
    if (
      (!wanted.verdict || verdictOf(now) === wanted.verdict) &&
      (!wanted.corpus || row.corpus === wanted.corpus) &&
      (!wanted.languages || languagesOf(row) === wanted.languages) &&
      (!wanted.type || [...row.mentions, ...now.labels].some((each) => each[2] === wanted.type)) &&
      now.weight >= least && now.weight <= most &&
      (!onlyChanged || isChanged(row, now)) &&
      (!text || page.texts[i].includes(text))
    ) found.push(i);
  });
  const sign = { random: 0, worst: 1, best: -1 }[wanted.order];
  return sign ? found.sort((i, j) => sign * (decided[i].weight - decided[j].weight)) : found;
}

const isChanged = (row, now) =>
  verdictOf(row) !== verdictOf(now) || JSON.stringify(row.labels) !== JSON.stringify(now.labels);

function refresh() {
  showVerdicts();
  page.shown = selected();
  const all = page.shown.length === page.rows.length;
  byId("count").textContent = all
    ? `All ${plural(page.rows.length, "pair")} of the sample.`
    : `${plural(page.shown.length, "pair")} of the sample’s ${number(page.rows.length)}.`;
  showList();
}

// The list: rows stand in chunks, and only chunks near the window have elements

const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) fill(target);
      else empty(target);
    }
  },
  { rootMargin: "900px 0px" },
);
const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => link(target)));

function showList() {
  hideTip();
  observer.disconnect();
  resized.disconnect();
  const chunks = [];
  for (let first = 0; first < page.shown.length; first += CHUNK) {
    const chunk = make("div", { className: "chunk" });
    chunk.first = first;
    chunk.style.height = `${Math.min(CHUNK, page.shown.length - first) * ROW_HEIGHT}px`;
    chunks.push(chunk);
  }
  byId("list").replaceChildren(...chunks);
  if (chunks.length) fill(chunks[0]);
  chunks.forEach((chunk) => observer.observe(chunk));
}

function fill(chunk) {
  if (chunk.firstChild) return;
  chunk.style.height = "";
  chunk.append(...page.shown.slice(chunk.first, chunk.first + CHUNK).map(makeRow));
  for (const sides of chunk.querySelectorAll(".sides")) resized.observe(sides);
}

function empty(chunk) {
  if (!chunk.firstChild || chunk.contains(document.activeElement)) return;
  chunk.style.height = `${chunk.offsetHeight}px`;
  for (const sides of chunk.querySelectorAll(".sides")) resized.unobserve(sides);
  chunk.replaceChildren();
}

function makeRow(i) {
  const row = page.rows[i];
  const now = page.decided[i];
  const verdict = make("span", { className: `verdict ${now.status}` }, verdictOf(now));
  const header = make("header", {}, verdict);
  if (verdictOf(now) !== verdictOf(row)) {
    header.append(make("span", { className: "was" }, `in the shards ${verdictOf(row)}`));
  }
  header.append(
    make("span", {}, row.corpus),
    make("span", {}, languagesOf(row)),
    make("span", {}, `weight ${now.weight.toFixed(3)}`),
    make("a", { href: `#row=${encodeURIComponent(row.pair_id)}`,
      ariaLabel: `Link to pair ${row.pair_id}` }, "link"),
  );
  const element = make("article",
    { className: "row", ariaLabel: `Pair ${row.pair_id}`, tabIndex: -1 }, header);
  element.dataset.id = row.pair_id;
  const why = [page.data.reasons[now.reason], row.error].filter(Boolean).join(" ");
  if (why) element.append(make("p", { className: "why" }, why));
  const sides = make("div", { className: "sides" }, ...makeSides(row, now));
  sides.row = row;
  sides.now = now;
  element.append(sides);
  const count = sum(row.candidates.map((each) => each.length));
  if (count) {
    const more = make("details", {}, make("summary", {}, plural(count, "candidate")));
    more.addEventListener("toggle", () => {
      if (more.open && !more.querySelector("table")) more.append(makeCandidates(row, now));
    });
    element.append(more);
  }
  if (page.linked === row.pair_id) element.classList.add("linked");
  return element;
}

function makeSides(row, now) {
  const placed = new Set(now.labels.map((label) => label[5]));
  const sources = row.mentions.map(([start, end, type], index) =>
    ({ start, end, type, index, unplaced: !placed.has(index) }));
  const targets = now.labels.map(([start, end, type, , , index], label) =>
    ({ start, end, type, index, label }));
  return [
    makeSentence(row.source, row.source_lang, sources, "source"),
    makeSentence(row.target, row.target_lang, targets, "target"),
    draw("svg", { "aria-hidden": "true" }),
  ];
}

function makeSentence(text, lang, spans, side) {
  const sentence = make("p", { lang: lang.replace("_", "-"), dir: "auto", className: side });
  let done = 0;
  for (const span of [...spans].sort((one, other) => one.start - other.start)) {
    const mark = make("mark", { tabIndex: 0 }, sliced(text, span.start, span.end));
    mark.dataset.label = span.type;
    if (span.unplaced) mark.classList.add("unplaced");
    mark.style.setProperty("--hue", page.hues[span.type]);
    mark.span = span;
    sentence.append(sliced(text, done, span.start), mark);
    done = span.end;
  }
  sentence.append(sliced(text, done));
  return make("div", {}, sentence);
}

function makeCandidates(row, now) {
  const head = ["mention", "candidate", "score", ...page.data.witnesses, "method", "verdict"];
  const body = row.mentions.flatMap(([start, end], index) => {
    const label = now.labels.find((each) => each[5] === index);
    return row.candidates[index].map((candidate) => {
      const [from, to, value, method, evidence] = candidate;
      const won = isPlaced(candidate, index, now.labels);
      return make("tr", {},
        make("td", { lang: row.source_lang.replace("_", "-"), dir: "auto" },
          sliced(row.source, start, end)),
        make("td", { lang: row.target_lang.replace("_", "-"), dir: "auto",
          className: won ? "won" : "" }, sliced(row.target, from, to)),
        make("td", { className: "number" }, score(value)),
        ...page.data.witnesses.map((_, n) =>
          make("td", { className: "number" }, evidence ? score(evidence[n]) : "–")),
        make("td", {}, method),
        make("td", {}, fate([from, to, value], won, label, now)));
    });
  });
  return make("div", { className: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...body)));
}

// In words, what became of a candidate.
function fate([start, end, value], won, label, now) {
  if (won) return "placed";
  const least = page.rules?.min_alignment_score ?? 0;
  if (value / FULL_SCORE < least) return "below the threshold";
  const chosen = label?.[4] ?? null;
  if (chosen !== null && chosen >= value) {
    return chosen > value ? "another is surer" : "another is as sure";
  }
  const blocked = now.labels.some(([from, to]) => start < to && from < end);
  return blocked ? "its place is taken" : "not projected";
}

// Lines from mentions to their places

function link(sides) {
  const picture = sides.querySelector("svg");
  const frame = sides.getBoundingClientRect();
  if (!frame.width) return;
  const [left, right] = sides.children;
  const marks = [left, right].map((side) => [...side.querySelectorAll("mark")]);
  const paths = [];
  marks[1].forEach((target) => {
    const source = marks[0].find((mark) => mark.span.index === target.span.index);
    if (!source) return;
    const order = paths.length % 3;
    const path = draw("path", { d: PHONE.matches
      ? downward(source, target, frame)
      : sideways(source, target, frame, left, right, order) });
    path.style.setProperty("--hue", page.hues[target.span.type]);
    path.index = target.span.index;
    paths.push(path);
  });
  picture.replaceChildren(...paths);
}

// Below the line of text to the gap between the sentences, across it, and below the other's line.
function sideways(source, target, frame, left, right, order) {
  const from = [...source.getClientRects()].at(-1);
  const to = [...target.getClientRects()].at(-1);
  const gap = [left.getBoundingClientRect().right, right.getBoundingClientRect().left]
    .map((x) => x - frame.left);
  const [y, z] = [from, to].map((box) => box.bottom - frame.top + 1.5 + 1.5 * order);
  const middle = (gap[0] + gap[1]) / 2;
  return `M${from.left - frame.left} ${y} H${gap[0]} C${middle} ${y} ${middle} ${z} ${gap[1]} ${z}` +
    ` H${to.right - frame.left}`;
}

function downward(source, target, frame) {
  const from = [...source.getClientRects()].at(-1);
  const to = target.getClientRects()[0];
  const [x, y] = [(from.left + from.right) / 2 - frame.left, from.bottom - frame.top];
  const [u, v] = [(to.left + to.right) / 2 - frame.left, to.top - frame.top];
  const middle = (y + v) / 2;
  return `M${x} ${y} C${x} ${middle} ${u} ${middle} ${u} ${v}`;
}

// What is said of a mention that is pointed at

function showTip(mark) {
  hideTip();
  const sides = mark.closest(".sides");
  const { row, now } = sides;
  const { index } = mark.span;
  const tip = byId("tip");
  tip.textContent = told(row, now, mark.span).join("\n");
  tip.hidden = false;
  mark.setAttribute("aria-describedby", "tip");
  sides.classList.add("chosen");
  const twins = [...sides.querySelectorAll("mark")].filter((each) =>
    index === null ? each === mark : each.span.index === index);
  twins.forEach((each) => each.classList.add("chosen"));
  for (const path of sides.querySelectorAll("path")) {
    path.classList.toggle("chosen", path.index === index);
  }
  showLosing(sides, index);
  const box = mark.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  const above = box.top - height - 8;
  const right = document.documentElement.clientWidth - width - 8;
  tip.style.left = `${Math.max(8, Math.min(box.left, right))}px`;
  tip.style.top = `${above > 0 ? above : box.bottom + 10}px`;
}

function told(row, now, { index, label, type }) {
  const placed = now.labels[label ?? now.labels.findIndex((each) => each[5] === index)];
  if (index === null) return [`${type}, found by the student: ${score(placed[3])}`];
  const lines = [`${type}, teacher ${score(row.mentions[index][3])}`];
  const candidates = row.candidates[index];
  if (!placed) {
    lines.push(candidates.length ? "not placed" : "not placed: no candidate");
  } else if (placed[4] !== null) {
    const chosen = candidates.find((each) => isPlaced(each, index, now.labels));
    lines.push(`alignment ${score(placed[4])}${chosen ? ` (${chosen[3]})` : ""}`);
    if (chosen?.[4]) {
      lines.push(page.data.witnesses.map((name, n) => `${name} ${score(chosen[4][n])}`).join(", "));
    }
  }
  const losing = candidates.length - (placed ? 1 : 0);
  if (losing > 0) lines.push(`${plural(losing, "losing candidate")}, dashed`);
  return lines;
}

// Dashed boxes around the candidates of a mention that did not get it.
function showLosing(sides, index) {
  const { row, now } = sides;
  if (index === null) return;
  const frame = sides.getBoundingClientRect();
  const picture = sides.querySelector("svg");
  for (const candidate of row.candidates[index]) {
    if (isPlaced(candidate, index, now.labels)) continue;
    const [start, end] = candidate;
    for (const box of rangeOf(sides.querySelector("p.target"), row.target, start, end)) {
      const rect = draw("rect", { x: box.left - frame.left - 1, y: box.top - frame.top,
        width: box.width + 2, height: box.height });
      rect.style.setProperty("--hue", page.hues[row.mentions[index][2]]);
      picture.append(rect);
    }
  }
}

function rangeOf(sentence, text, start, end) {
  const range = document.createRange();
  const ends = [sliced(text, 0, start).length, sliced(text, 0, end).length];
  const walker = document.createTreeWalker(sentence, NodeFilter.SHOW_TEXT);
  let before = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const after = before + node.length;
    if (ends[0] >= before && ends[0] < after) range.setStart(node, ends[0] - before);
    if (ends[1] > before && ends[1] <= after) range.setEnd(node, ends[1] - before);
    before = after;
  }
  return [...range.getClientRects()];
}

function hideTip() {
  const tip = byId("tip");
  if (tip.hidden) return;
  tip.hidden = true;
  document.querySelector("[aria-describedby=tip]")?.removeAttribute("aria-describedby");
  for (const each of document.querySelectorAll("#list .chosen")) each.classList.remove("chosen");
  for (const each of document.querySelectorAll(".sides rect")) each.remove();
}

// Links to a row

function followLink() {
  page.linked = new URLSearchParams(location.hash.slice(1)).get("row");
  for (const each of document.querySelectorAll(".row.linked")) each.classList.remove("linked");
  byId("missing").hidden = true;
  if (page.linked === null) return;
  const row = page.rows.findIndex((each) => each.pair_id === page.linked);
  if (row < 0) {
    byId("missing").textContent = `The pair ${page.linked} is not in this sample.`;
    byId("missing").hidden = false;
    byId("pairs").scrollIntoView();
    return;
  }
  if (!page.shown.includes(row)) {
    clearFilters();
    refresh();
  }
  const place = page.shown.indexOf(row);
  const chunk = byId("list").children[Math.floor(place / CHUNK)];
  fill(chunk);
  const element = chunk.children[place % CHUNK];
  element.classList.add("linked");
  const there = () => element.scrollIntoView({ block: "center", behavior: "instant" });
  there();
  // Rows above get their true height only now that they are near.
  requestAnimationFrame(() => requestAnimationFrame(there));
}

document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest?.("mark");
  if (mark) showTip(mark);
  else if (!document.activeElement?.matches("mark")) hideTip();
});
document.addEventListener("focusin", (event) =>
  event.target.matches("mark") ? showTip(event.target) : hideTip());
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
document.addEventListener("scroll", () => {
  // A mark that the keyboard comes to may scroll into view only then.
  const mark = byId("tip").hidden ? null : document.querySelector("mark:focus");
  if (mark) showTip(mark);
  else hideTip();
}, { passive: true });

start();
