import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { tell } from "./dom.js";
import { executionIdOf } from "./graph.js";

const NODE = "FaceChain_TrainFaceLoRA";
const LABEL = "Finish now";

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

app.registerExtension({
  name: "FaceChain.Training",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const button = node.addWidget("button", "finish_now", null, () => finish(node), { serialize: false });
    button.label = LABEL;
    button.serialize = false;
  },
});
