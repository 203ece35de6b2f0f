import { app } from "../../scripts/app.js";

export const PREFIX = "FaceChain_";

/** The graph that the user has open, from its top. */
export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

/** Every node of a graph and of its subgraphs, with the id under which the host runs it. */
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
