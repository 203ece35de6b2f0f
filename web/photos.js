import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { element, tell } from "./dom.js";
import { listen, set, widgetOf } from "./widgets.js";

const NODE = "FaceChain_LoadPhotos";
const WIDGET = "facechain_photos";
const LABEL = "Add photos";
const FILES = "Files";
const MIN_HEIGHT = 170;
const PICTURES = /\.(jpe?g|jfif|png|webp|bmp|tiff?|gif|avif|hei[cf])$/i;

const STYLE = `
.facechain-photos { display: flex; flex-direction: column; gap: 6px; height: 100%; box-sizing: border-box; padding: 6px; overflow: auto;
  border: 1px dashed var(--border-color, #555); border-radius: 6px; font: 12px/1.4 system-ui, sans-serif; color: var(--input-text, #ddd); }
.facechain-photos.over { border-color: #6cb6ff; background: rgb(108 182 255 / 12%); }
.facechain-photos button { font: inherit; color: inherit; background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #555);
  border-radius: 6px; cursor: pointer; }
.facechain-photos .add { padding: 5px 8px; }
.facechain-photos .shown { display: flex; flex-wrap: wrap; gap: 6px; }
.facechain-photos figure { position: relative; margin: 0; width: 64px; }
.facechain-photos img { display: block; width: 64px; height: 64px; object-fit: contain; background: #0004; border-radius: 4px; }
.facechain-photos figcaption { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: 10px; opacity: .8; }
.facechain-photos figure button { position: absolute; top: 0; right: 0; padding: 0 5px; }
.facechain-photos .problem { margin: 0; color: #ff9d8a; }
.facechain-photos .summary { margin: 0; opacity: .8; }`;

const linesOf = (text) => String(text).split("\n").filter((line) => line.trim());

function change(node, names) {
  node.graph?.beforeChange();
  set(node, "files", names.join("\n"));
  if (names.length) set(node, "source", FILES);
  node.graph?.afterChange();
}

/** Send a file to the host's input folder. Returns its name there, which differs where another file has the same name. */
async function upload(file) {
  const body = new FormData();
  body.append("image", file);
  const response = await api.fetchApi("/upload/image", { method: "POST", body });
  if (!response.ok) throw new Error(`${file.name} could not be uploaded: ${response.status} ${response.statusText}`);
  const { name, subfolder } = await response.json();
  return subfolder ? `${subfolder}/${name}` : name;
}

/** Add pictures behind those that are listed, and use the list. */
async function add(node, files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || PICTURES.test(file.name));
  const others = [...files].filter((file) => !pictures.includes(file)).map((file) => file.name);
  if (others.length) tell("warn", LABEL, `Not a picture: ${others.join(", ")}`);
  const names = [];
  for (const picture of pictures) {
    try {
      names.push(await upload(picture));
    } catch (error) {
      tell("warn", LABEL, error.message);
    }
  }
  if (names.length) change(node, [...new Set([...linesOf(widgetOf(node, "files").value), ...names])]);
}

function choose(node) {
  const input = element("input");
  Object.assign(input, { type: "file", multiple: true, accept: "image/*,.heic,.heif" });
  input.onchange = () => add(node, input.files);
  input.click();
}

function figure(node, photo) {
  const made = element("figure");
  if (photo.picture) made.append(Object.assign(element("img"), { src: photo.picture, alt: photo.name }));
  made.append(element("figcaption", photo.name));
  made.title = photo.problem ? `${photo.name}: ${photo.problem}` : photo.name;
  if (photo.problem) made.append(element("p", photo.problem, "problem"));
  if (widgetOf(node, "source").value !== FILES) return made;
  const remove = Object.assign(element("button", "×"), { title: `Take ${photo.name} off the list` });
  remove.onclick = () => change(node, linesOf(widgetOf(node, "files").value).filter((name) => name !== photo.file));
  made.append(remove);
  return made;
}

function summaryOf({ photos, total }) {
  if (total > photos.length) return `The first ${photos.length} of ${total} photos`;
  return total === 1 ? "1 photo" : `${total} photos`;
}

/** Show what the node is going to load, as the server reads it. */
async function draw(node, view) {
  const turn = (view.turn = (view.turn ?? 0) + 1);
  const [source, folder, files] = ["source", "folder", "files"].map((name) => widgetOf(node, name).value);
  const body = JSON.stringify({ source, folder, files });
  const response = await api.fetchApi("/facechain/photos", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const answer = await response.json();
  if (turn !== view.turn) return;
  if (response.ok) {
    view.summary.textContent = summaryOf(answer);
    view.shown.replaceChildren(...answer.photos.map((photo) => figure(node, photo)));
  } else {
    view.summary.textContent = "";
    view.shown.replaceChildren(element("p", answer.error, "problem"));
  }
  view.summary.hidden = !view.summary.textContent;
}

function carriesFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}

/** Files dropped on the widget or anywhere on the node are added. */
function acceptDrops(node, box) {
  const mark = (on) => box.classList.toggle("over", on);
  box.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    mark(true);
  });
  box.addEventListener("dragleave", () => mark(false));
  box.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    mark(false);
    add(node, event.dataTransfer.files);
  });
  node.onDragOver = carriesFiles;
  node.onDragDrop = (event) => {
    if (!carriesFiles(event)) return false;
    add(node, event.dataTransfer.files);
    return true;
  };
}

function build(node) {
  const box = element("div", undefined, "facechain-photos");
  const view = { summary: element("p", undefined, "summary"), shown: element("div", undefined, "shown") };
  const button = element("button", LABEL, "add");
  button.onclick = () => choose(node);
  box.append(button, view.summary, view.shown);
  acceptDrops(node, box);
  node.addDOMWidget(WIDGET, "facechain-photos", box, { serialize: false, hideOnZoom: false, getMinHeight: () => MIN_HEIGHT });
  const redraw = () => draw(node, view);
  listen(node, "source", redraw);
  listen(node, "folder", redraw);
  listen(node, "files", (text) => {
    if (linesOf(text).length) set(node, "source", FILES);
    redraw();
  });
  return redraw;
}

app.registerExtension({
  name: "FaceChain.Photos",
  init() {
    document.head.append(element("style", STYLE));
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const redraw = build(node);
    const { onConfigure, onAdded } = node;
    // The editor keeps the values of a node that was taken out, and gives them to the next one with its number.
    node.onAdded = function (...values) {
      onAdded?.apply(this, values);
      redraw();
    };
    node.onConfigure = function (...values) {
      onConfigure?.apply(this, values);
      const files = widgetOf(node, "files");
      if (Array.isArray(files.value)) files.value = files.value.join("\n"); // saved by version 0.1
      redraw();
    };
    redraw();
  },
});
