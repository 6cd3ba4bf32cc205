/** The whole ledger of an event as a file, as it comes: it may be larger than the memory. */

import { ApiError, open } from "../core/api.js";
import { explain } from "../core/errors.js";
import { announce } from "./page.js";

/** @param button says the form: data-export="csv" or "ndjson"; shows the progress */
export async function save(button, path, name, signal) {
  const form = button.dataset.export;
  const type = form === "csv" ? "text/csv" : "application/x-ndjson";
  const label = button.textContent;
  if (button.ariaDisabled === "true") return;
  try {
    const file = await askForFile(`${name}.${form}`, type, form);
    if (file === null) return;
    button.ariaDisabled = "true";
    const response = await open("GET", path, { headers: { Accept: type }, signal });
    const counted = response.body.pipeThrough(counting((bytes) => {
      button.textContent = `${(bytes / 1e6).toFixed(1)} MB…`;
    }));
    await file.write(counted);
    announce(`Exported: ${name}.${form}`);
  } catch (error) {
    if (signal.aborted) throw error;
    announce(`The export is not complete: ${
      error instanceof ApiError ? explain(error).title : error.message}`);
  } finally {
    button.textContent = label;
    button.ariaDisabled = null;
  }
}

function counting(report) {
  let bytes = 0;
  return new TransformStream({
    transform(part, controller) {
      report((bytes += part.length));
      controller.enqueue(part);
    },
  });
}

/** Where to write: a file that the reader picks, or a download once it is complete. */
async function askForFile(suggestedName, type, form) {
  if (!window.showSaveFilePicker) return download(suggestedName, type);
  try {
    const types = [{ accept: { [type]: [`.${form}`] } }];
    const picked = await showSaveFilePicker({ suggestedName, types });
    return { write: async (parts) => parts.pipeTo(await picked.createWritable()) };
  } catch (error) {
    if (error.name === "AbortError") return null;
    return download(suggestedName, type);
  }
}

function download(name, type) {
  return {
    async write(parts) {
      const blob = await new Response(parts, { headers: { "Content-Type": type } }).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    },
  };
}
