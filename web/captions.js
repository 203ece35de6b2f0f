import { app } from "../../scripts/app.js";
import { element } from "./dom.js";
import { onOutput } from "./outputs.js";
import "./reports.js"; // the report stands above the captions
import { addBox, listen, set, widgetOf } from "./widgets.js";

const NODE = "FaceChain_Tagger";
const WIDGET = "facechain_captions";
const EDITS = "edits";
const MIN_WIDTH = 440;
const MIN_HEIGHT = 240;
const LINE = /^\s*([0-9a-f]{12})\s*:(.*)$/;

const STYLE = `
.facechain-captions { display: flex; flex-direction: column; gap: 6px; height: 100%; box-sizing: border-box; padding: 6px; overflow: auto;
  border: 1px solid var(--border-color, #555); border-radius: 6px; font: 12px/1.4 system-ui, sans-serif; color: var(--input-text, #ddd); }
.facechain-captions p { margin: 0; opacity: .8; }
.facechain-captions .list { display: flex; flex-direction: column; gap: 8px; }
.facechain-captions .row { display: flex; gap: 8px; flex: none; }
.facechain-captions img { width: 72px; height: 72px; object-fit: contain; flex: none; background: #0004; border-radius: 4px; }
.facechain-captions .text { display: flex; flex-direction: column; gap: 2px; flex: 1; min-width: 0; }
.facechain-captions .head { display: flex; gap: 8px; align-items: baseline; font-size: 11px; min-height: 18px; }
.facechain-captions .name { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; opacity: .8; }
.facechain-captions .row:not(.edited) .mark, .facechain-captions .row:not(.edited) button { display: none; }
.facechain-captions .mark { color: #6cb6ff; }
.facechain-captions textarea { font: inherit; color: inherit; background: var(--comfy-input-bg, #222); border: 1px solid transparent;
  border-radius: 4px; padding: 3px 6px; min-height: 50px; width: 100%; box-sizing: border-box; resize: none; }
.facechain-captions .edited textarea { border-color: #6cb6ff; }
.facechain-captions button { font: inherit; font-size: 11px; color: inherit; background: var(--comfy-input-bg, #222); padding: 0 6px;
  border: 1px solid var(--border-color, #555); border-radius: 4px; cursor: pointer; }`;

const views = new WeakMap();
const oneLine = (text) => text.replace(/\s+/g, " ").trim();

/** Key of a picture -> its edited caption, as the node reads them. Lines that it will refuse are left alone. */
function editsOf(node) {
  const matches = String(widgetOf(node, EDITS).value ?? "")
    .split("\n")
    .map((line) => LINE.exec(line));
  return new Map(matches.filter((match) => match?.[2].trim()).map((match) => [match[1], match[2].trim()]));
}

/** Keep the caption of one picture, or forget it where it is empty. */
function keep(node, key, caption) {
  const lines = String(widgetOf(node, EDITS).value ?? "").split("\n");
  const others = lines.filter((line) => line.trim() && LINE.exec(line)?.[1] !== key);
  set(node, EDITS, [...others, ...(caption ? [`${key}: ${caption}`] : [])].join("\n"));
}

/** A picture, its name and its caption in a field. */
function rowOf(node, { key, name, automatic, picture }) {
  const row = element("div", undefined, "row");
  const field = Object.assign(element("textarea"), { placeholder: automatic, spellcheck: false });
  field.setAttribute("aria-label", `Caption of ${name}`);
  field.dataset.captureWheel = "true";
  const back = Object.assign(element("button", "Take back"), { title: "Use the automatic caption again" });
  const head = element("div", undefined, "head");
  head.append(Object.assign(element("span", name, "name"), { title: name }), element("span", "edited by hand", "mark"), back);
  const text = element("div", undefined, "text");
  text.append(head, field);
  if (picture) row.append(Object.assign(element("img"), { src: picture, alt: name }));
  row.append(text);
  field.oninput = () => {
    const caption = oneLine(field.value);
    keep(node, key, caption === automatic ? "" : caption);
  };
  field.onchange = () => (field.value = editsOf(node).get(key) ?? automatic);
  back.onclick = () => keep(node, key, "");
  return { key, automatic, row, field };
}

/** Edits of pictures that the last run did not have; all of them before the first run. */
function othersOf(view, edits) {
  const shown = new Set(view.captions.map((caption) => caption.key));
  const name = view.captions.length ? "not among the pictures of the last run" : "run to see the picture";
  return [...edits.keys()].filter((key) => !shown.has(key)).map((key) => ({ key, name: `${key}: ${name}`, automatic: "" }));
}

/** The fields follow the widget, except for the one that is being typed in. */
function refresh(node, view) {
  const edits = editsOf(node);
  for (const { key, automatic, row, field } of view.rows) {
    row.classList.toggle("edited", edits.has(key));
    if (field !== document.activeElement) field.value = edits.get(key) ?? automatic;
  }
  view.summary.textContent = `${edits.size} ${edits.size === 1 ? "caption" : "captions"} edited by hand`;
}

function draw(node, view) {
  view.rows = [...view.captions, ...othersOf(view, editsOf(node))].map((caption) => rowOf(node, caption));
  view.list.replaceChildren(...view.rows.map(({ row }) => row));
  refresh(node, view);
}

function viewOf(node) {
  if (views.has(node)) return views.get(node);
  const box = element("div", undefined, "facechain-captions");
  const view = { captions: [], rows: [], summary: element("p"), list: element("div", undefined, "list") };
  box.append(view.summary, view.list);
  views.set(node, view);
  addBox(node, WIDGET, "facechain-captions", box, MIN_HEIGHT);
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width, MIN_WIDTH), Math.max(node.size[1], height)]);
  const isTyping = () => view.rows.some(({ field }) => field === document.activeElement);
  listen(node, EDITS, () => (isTyping() ? refresh : draw)(node, view));
  return view;
}

app.registerExtension({
  name: "FaceChain.Captions",
  init() {
    document.head.append(element("style", STYLE));
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const before = node.onConfigure;
    node.onConfigure = function (...values) {
      before?.apply(this, values);
      if (editsOf(this).size) draw(this, viewOf(this));
    };
  },
});

onOutput((node, output) => {
  if (node.comfyClass !== NODE || !output.captions) return;
  const view = viewOf(node);
  view.captions = output.captions;
  draw(node, view);
  node.graph?.setDirtyCanvas(true, true);
});
