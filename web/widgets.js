import { app } from "../../scripts/app.js";

export const widgetOf = (node, name) => node.widgets.find((widget) => widget.name === name);

/** Set a widget as a person would: whoever listens to it hears of it. */
export function set(node, name, value) {
  const widget = widgetOf(node, name);
  if (widget.value === value) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
  node.setDirtyCanvas(true, true);
}

/** Call `then` whenever the user, or `set`, changes a widget. */
export function listen(node, name, then) {
  const widget = widgetOf(node, name);
  const before = widget.callback;
  widget.callback = function (...values) {
    const result = before?.apply(this, values);
    then(...values);
    return result;
  };
}

/** Add a box to a node. It has no value, and none may stand for it among the saved ones: the editor tells old workflows by their number. */
export function addBox(node, name, type, box, minHeight) {
  const widget = node.addDOMWidget(name, type, box, { serialize: false, hideOnZoom: false, getMinHeight: () => minHeight });
  widget.serialize = false;
}

/** Values that a workflow saved where a box of ours was, and which no list, number or switch can have, become defaults. */
export function heal(node, inputs) {
  for (const widget of node.widgets ?? []) {
    const [type, options] = inputs[widget.name] ?? [];
    const isEmpty = widget.value === "" || widget.value === null || widget.value === undefined;
    if (isEmpty && type !== "STRING" && options?.default !== undefined) widget.value = options.default;
  }
}
