import { app } from "../../scripts/app.js";

export const PREFIX = "FaceChain_";

/** The root graph that the user has open. */
export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

/** Every node of a graph and of its subgraphs, with its execution id. */
export function* nodesOf(graph, prefix = "") {
  for (const node of graph.nodes) {
    const id = `${prefix}${node.id}`;
    yield [id, node];
    if (node.subgraph) yield* nodesOf(node.subgraph, `${id}:`);
  }
}

export function executionIdOf(wanted) {
  for (const [id, node] of nodesOf(rootGraph())) if (node === wanted) return id;
  return String(wanted.id);
}
