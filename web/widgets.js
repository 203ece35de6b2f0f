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
