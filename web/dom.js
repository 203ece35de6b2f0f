import { app } from "../../scripts/app.js";

const TOAST_MS = 6000;

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A message over the editor that goes away by itself. severity: info or warn. */
export function tell(severity, summary, detail) {
  app.extensionManager.toast.add({ severity, summary, detail, life: TOAST_MS });
}
