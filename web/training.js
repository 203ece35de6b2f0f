import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { element, tell } from "./dom.js";
import { executionIdOf, nodesOf, rootGraph } from "./graph.js";
import { onOutput } from "./outputs.js";
import { addBox, widgetOf } from "./widgets.js";

const NODE = "FaceChain_TrainFaceLoRA";
const LABEL = "Finish now";
const LOOKS = "facechain_looks";
const MIN_WIDTH = 360;
const MIN_HEIGHT = 400;
const STYLE = ".facechain-looks img { width: 100%; height: 100%; object-fit: contain; }";

/** Ask the running training to end after this step and to return the best LoRA so far. */
async function finish(node) {
  const response = await api.fetchApi("/facechain/train/finish", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ node_id: executionIdOf(node) }),
  });
  if (response.ok) tell("info", LABEL, "The training ends after this step and returns the best LoRA so far.");
  else tell("warn", LABEL, (await response.json()).error);
}

/** The contact sheet of a running training. */
function showLooks(node, picture) {
  let image = widgetOf(node, LOOKS)?.element.firstChild;
  if (!image) {
    const box = element("div", undefined, "facechain-looks");
    image = element("img");
    box.append(image);
    addBox(node, LOOKS, "facechain-looks", box, MIN_HEIGHT);
    const [width, height] = node.computeSize();
    node.setSize([Math.max(node.size[0], width, MIN_WIDTH), Math.max(node.size[1], height)]);
  }
  image.src = picture;
  node.graph?.setDirtyCanvas(true, true);
}

function trainings() {
  return [...nodesOf(rootGraph())].filter(([, node]) => node.comfyClass === NODE);
}

/** What a page that is opened during a training missed. */
async function missed(id, node) {
  const response = await api.fetchApi(`/facechain/train/picture?node_id=${encodeURIComponent(id)}`);
  const { picture } = await response.json();
  if (picture) showLooks(node, picture);
}

app.registerExtension({
  name: "FaceChain.Training",
  init() {
    document.head.append(element("style", STYLE));
  },
  setup() {
    api.addEventListener("facechain.picture", ({ detail }) => {
      const found = trainings().find(([id]) => id === detail.node_id);
      if (found) showLooks(found[1], detail.picture);
    });
  },
  async afterConfigureGraph() {
    await Promise.all(trainings().map(([id, node]) => missed(id, node)));
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const button = node.addWidget("button", "finish_now", null, () => finish(node), { serialize: false });
    button.label = LABEL;
    button.serialize = false;
  },
});

// the host shows the final sheet among a node's pictures
onOutput((node, output, past) => {
  if (node.comfyClass !== NODE || past) return;
  const box = widgetOf(node, LOOKS);
  if (box) node.removeWidget(box);
});
