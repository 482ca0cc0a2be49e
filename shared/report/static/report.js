"use strict";

const PAGE = 36;
const data = JSON.parse(document.getElementById("data").textContent);
const REASONS = {
  failed: say("failed"), inexact: say("certificate fails"), wrong: say("wrong"),
  disagrees: say("tree and network disagree"), weak_decision: say("weak decision"), low_confidence: say("low confidence"),
  guess: say("a guess"), foreign: say("none of its classes"),
};
const VERDICTS = {
  believe: say("Verdict: believe"), care: say("Verdict: with care"),
  guess: say("Verdict: a guess"), foreign: say("Verdict: none of its classes"),
};
const view = { model: 0, page: 0, order: [], reasons: new Set(), class: "", search: "" };
const find = (id) => document.getElementById(id);
const percent = (share) => `${(share * 100).toFixed(1)}%`;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// A sentence in the report's language, with values in its places.
function say(sentence, values = {}) {
  return (data.words[sentence] ?? sentence).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function reasonsOf(model, i) { return data.failed[i] ? ["failed"] : model.reasons[model.reason[i]]; }

// The pictures that the filters leave, in the order of their suspicion.
function choose() {
  const model = data.models[view.model];
  const words = view.search.toLowerCase();
  view.order = model.order.filter((i) => {
    if (view.class !== "" && (data.failed[i] || model.prediction[i] !== Number(view.class))) return false;
    if (words && !`${data.paths[i]} ${data.labels[i] ?? ""}`.toLowerCase().includes(words)) return false;
    const reasons = reasonsOf(model, i);
    return view.reasons.size === 0 || reasons.some((reason) => view.reasons.has(reason));
  });
  view.page = 0;
  showPage();
}

function card(model, i) {
  const item = element("li");
  if (data.failed[i]) {
    const [code, message] = data.errors[data.failed[i] - 1];
    item.className = "failed";
    item.append(element("strong", { textContent: REASONS.failed }), element("span", { className: "badges" }, element("span", { className: "badge", textContent: code })));
    item.append(element("span", { className: "path", textContent: message }));
  } else {
    const name = model.classes[model.prediction[i]];
    item.append(element("img", { src: data.thumbs[i][view.model], loading: "lazy", decoding: "async", width: 96, height: 96, alt: say("Map of {name} over {path}", { name, path: data.paths[i] }) }));
    item.append(element("strong", { textContent: `${name} ${percent(model.confidence[i])}` }));
    if (model.sure[i]) item.append(element("span", { className: "path", textContent: say("for sure: {sure}", { sure: model.sure[i] }) }));
    if (model.verdict[i]) item.append(element("span", { className: "path", textContent: VERDICTS[model.verdict[i]] }));
    item.append(element("span", { className: "badges" }, ...reasonsOf(model, i).map((reason) => element("span", { className: "badge", textContent: REASONS[reason] }))));
    if (model.path[i]) item.append(element("span", { className: "path", textContent: model.path[i] }));
  }
  const path = data.paths[i], label = data.labels[i];
  item.append(element("span", { className: "name", textContent: label === null ? path : say("{path} — labelled {label}", { path, label }) }));
  return item;
}

function showPage() {
  const model = data.models[view.model];
  const pages = Math.max(1, Math.ceil(view.order.length / PAGE));
  find("gallery").replaceChildren(...view.order.slice(view.page * PAGE, (view.page + 1) * PAGE).map((i) => card(model, i)));
  find("shown").textContent = say("{count} of {total} pictures", { count: view.order.length, total: data.paths.length });
  find("page").textContent = say("{page} of {pages}", { page: view.page + 1, pages });
  find("previous").disabled = view.page === 0;
  find("next").disabled = view.page + 1 >= pages;
}

function turn(step) {
  view.page += step;
  showPage();
  find("shown").scrollIntoView();
}

// Twenty bars over [0, 1]; the tallest fills the height.
function histogram(figure, counts, label) {
  const svg = figure.querySelector("svg");
  const name = "http://www.w3.org/2000/svg";
  const most = Math.max(1, ...counts);
  svg.setAttribute("viewBox", "0 0 420 190");
  svg.setAttribute("aria-label", say("{label}: {counts} in twentieths from 0 to 1", { label, counts: counts.join(", ") }));
  svg.replaceChildren();
  counts.forEach((count, place) => {
    const bar = document.createElementNS(name, "rect");
    const height = (count / most) * 150;
    for (const [key, value] of Object.entries({ x: 10 + place * 20, y: 165 - height, width: 18, height })) bar.setAttribute(key, value);
    const title = document.createElementNS(name, "title");
    title.textContent = say("{low} to {high}: {count}", { low: (place / 20).toFixed(2), high: ((place + 1) / 20).toFixed(2), count });
    bar.append(title);
    svg.append(bar);
  });
  for (const [x, y, words, anchor] of [[10, 182, "0", "start"], [210, 182, "0.5", "middle"], [408, 182, "1", "end"], [10, 12, `${most}`, "start"]]) {
    const text = document.createElementNS(name, "text");
    for (const [key, value] of Object.entries({ x, y, "text-anchor": anchor })) text.setAttribute(key, value);
    text.textContent = words;
    svg.append(text);
  }
}

function number(text) { return element("td", { className: "number", textContent: text }); }

function showConfusion(model) {
  find("confusion").hidden = model.confusion.length === 0;
  find("confusion").querySelector("tbody").replaceChildren(...model.confusion.map((one) => element("tr", {},
    element("td", { textContent: one.label }), number(one.count), number(percent(one.right / one.count)),
    number(one.stays === null ? "" : percent(one.stays / one.count)),
    element("td", { textContent: one.leaves.map(([at, to, count]) => `${at} → ${to} (${count})`).join(", ") }))));
}

function showModel() {
  const model = data.models[view.model];
  const known = [...new Set(model.prediction.filter((one, i) => !data.failed[i]))].sort((a, b) => model.classes[a].localeCompare(model.classes[b]));
  find("class").replaceChildren(element("option", { value: "", textContent: say("any") }), ...known.map((k) => element("option", { value: k, textContent: model.classes[k] })));
  view.class = "";
  showConfusion(model);
  find("decisions").hidden = model.decisions === null;
  if (model.decisions) {
    histogram(find("decisions"), model.decisions, say("Probabilities of decisions"));
    find("decisions").querySelector("tbody").replaceChildren(...model.weakest.map(([name, count, mean]) => element("tr", {}, element("td", { textContent: name }), number(count), number(percent(mean)))));
  }
  find("outside").hidden = model.outside === null;
  if (model.outside) {
    histogram(find("outside"), model.outside.counts, say("Share of evidence outside the box"));
    find("outside").querySelector("figcaption").textContent = say("Share of each picture’s positive evidence outside its box; {mean} on average over {count} pictures.", { mean: percent(model.outside.mean), count: model.outside.pictures });
  }
  find("means").hidden = model.means.length === 0;
  find("means").querySelector("ul").replaceChildren(...model.means.map((one) => element("li", {},
    element("img", { src: one.picture, alt: say("Mean map of {name}", { name: one.class }) }), `${one.class} (${one.count})`)));
  choose();
}

function start() {
  const failed = data.failed.filter((code) => code).length;
  find("summary").textContent = say("{total} pictures, {explained} explained, {failed} failed.", { total: data.paths.length, explained: data.paths.length - failed, failed });
  find("model").append(...data.models.map((model, place) => element("option", { value: place, textContent: model.name })));
  find("models").hidden = data.models.length < 2;
  find("reasons").append(...Object.entries(REASONS).map(([reason, words]) => element("label", {}, element("input", { type: "checkbox", value: reason }), ` ${words}`)));
  find("failures").hidden = failed === 0;
  find("failures").querySelector("ul").append(...data.errors.map(([code, message], place) => element("li", { textContent: `${data.failed.filter((one) => one === place + 1).length} × ${code}: ${message}` })));
  find("model").addEventListener("change", (event) => { view.model = Number(event.target.value); showModel(); });
  find("reasons").addEventListener("change", (event) => { view.reasons[event.target.checked ? "add" : "delete"](event.target.value); choose(); });
  find("class").addEventListener("change", (event) => { view.class = event.target.value; choose(); });
  find("search").addEventListener("input", (event) => { view.search = event.target.value; choose(); });
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("previous").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  const labelled = data.models.findIndex((model) => model.confusion.length > 0);  // it can say what is wrong
  view.model = Math.max(0, labelled);
  find("model").value = view.model;
  if (data.models.length) showModel();
}

start();
