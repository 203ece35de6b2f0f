import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { PREFIX, nodesOf, rootGraph } from "./graph.js";

const HISTORY_ENTRIES = 64;
const listeners = [];

/** Call `show(node, output, past)` for every output of the pack's nodes. past: it is of an earlier run, and found again after a reload. */
export function onOutput(show) {
  listeners.push(show);
}

function tellAll(node, output, past) {
  if (output) for (const show of listeners) show(node, output, past);
}

/** The outputs of this graph's latest runs, from the server's history, which survives a reload of the page. */
async function pastOutputs(graphId) {
  const response = await api.fetchApi(`/history?max_items=${HISTORY_ENTRIES}`);
  const entries = Object.values(await response.json());
  const own = entries.filter((entry) => entry.prompt[3]?.extra_pnginfo?.workflow?.id === graphId);
  own.sort((a, b) => a.prompt[0] - b.prompt[0]);
  return Object.assign({}, ...own.map((entry) => entry.outputs));
}

async function restore() {
  const graph = rootGraph();
  const ours = [...nodesOf(graph)].filter(([, node]) => node.comfyClass?.startsWith(PREFIX));
  if (!ours.length || !graph.id) return;
  const outputs = await pastOutputs(graph.id);
  for (const [id, node] of ours) tellAll(node, outputs[id], true);
}

app.registerExtension({
  name: "FaceChain.Outputs",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith(PREFIX)) return;
    const before = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      before?.call(this, output);
      tellAll(this, output, false);
    };
  },
  afterConfigureGraph() {
    return restore();
  },
});
