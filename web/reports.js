import { app } from "../../scripts/app.js";
import { element } from "./dom.js";
import { PREFIX } from "./graph.js";
import { onOutput } from "./outputs.js";
import { addBox, heal } from "./widgets.js";

const WIDGET = "facechain_report";
const MIN_HEIGHT = 120;

const STYLE = `
.facechain-report { overflow: auto; font: 12px/1.45 system-ui, sans-serif; color: var(--input-text, #ddd);
  background: var(--comfy-input-bg, #222); border-radius: 6px; padding: 6px 8px; box-sizing: border-box; height: 100%; }
.facechain-report h4 { margin: 0 0 4px; font-size: 12px; }
.facechain-report p { margin: 2px 0; }
.facechain-report p.stand-in { color: #111; background: #f5b942; border-radius: 4px; padding: 2px 6px; font-weight: 600; }
.facechain-report table { border-collapse: collapse; width: 100%; margin-top: 4px; }
.facechain-report th, .facechain-report td { text-align: left; padding: 1px 8px 1px 0; vertical-align: top; }
.facechain-report th { font-weight: 600; opacity: .7; }
.facechain-report td.number { text-align: right; font-variant-numeric: tabular-nums; }
.facechain-report tr.note td { opacity: .75; }
.facechain-report tr.warning td { color: #f5b942; }
.facechain-report tr.problem td { color: #ff9d8a; }
.facechain-report details { margin-top: 4px; opacity: .75; }`;

function shown(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);
}

function columnsOf(rows) {
  return [...new Set(rows.flatMap((row) => Object.keys(row.values)))];
}

function tableRow(row, columns) {
  const line = element("tr", undefined, row.severity);
  line.append(element("td", row.name), element("td", row.status));
  for (const column of columns) {
    const value = row.values[column];
    line.append(element("td", shown(value), typeof value === "number" ? "number" : ""));
  }
  line.append(element("td", row.reason));
  return line;
}

function tableOf(rows) {
  const columns = columnsOf(rows);
  const table = element("table");
  const head = element("tr");
  for (const title of ["name", "status", ...columns, "reason"]) head.append(element("th", title));
  table.append(head, ...rows.map((row) => tableRow(row, columns)));
  return table;
}

/** What the node opened and received, collapsed: name, origin of the weights, and file. */
function madeWith(used) {
  const details = element("details");
  details.append(element("summary", `Made with ${used.length} ${used.length === 1 ? "file or model" : "files and models"}`));
  for (const one of used) {
    const label = one.kind === "network" ? one.name : `${one.kind} ${one.name}`;
    const file = one.file && one.file !== one.name ? `, ${one.file}` : "";
    details.append(element("p", `${label}: ${one.origin}${file}${one.opened ? "" : ", through an input"}`));
  }
  return details;
}

function fill(box, report, past) {
  box.replaceChildren(element("h4", past ? `${report.title} (earlier run)` : report.title));
  for (const note of report.notes) {
    box.append(element("p", note, /^(STAND-IN|POCKET)/.test(note) ? "stand-in" : ""));
  }
  if (report.rows.length) box.append(tableOf(report.rows));
  if (report.used?.length) box.append(madeWith(report.used));
}

function reportBox(node) {
  const existing = node.widgets?.find((widget) => widget.name === WIDGET);
  if (existing) return existing.element;
  const box = element("div", undefined, "facechain-report");
  addBox(node, WIDGET, "facechain-report", box, MIN_HEIGHT);
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width, 360), Math.max(node.size[1], height)]);
  return box;
}

function show(node, output, past) {
  const report = output.report?.[0];
  if (!report) return;
  fill(reportBox(node), report, past);
  node.graph?.setDirtyCanvas(true, true);
}

app.registerExtension({
  name: "FaceChain.Reports",
  init() {
    document.head.append(element("style", STYLE));
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith(PREFIX)) return;
    const before = nodeType.prototype.onConfigure;
    nodeType.prototype.onConfigure = function (...values) {
      before?.apply(this, values);
      heal(this, { ...nodeData.input.required, ...nodeData.input.optional });
    };
  },
});

onOutput(show);
