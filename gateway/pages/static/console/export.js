/** The whole ledger of an event as a file, as it comes: it may be larger than the memory. */

import { ApiError, following, open } from "../core/api.js";
import { explain } from "../core/errors.js";
import { announce } from "./page.js";

// A connection that receives nothing for so long is aborted.
const SILENCE_MS = 45_000;

/** @param button says the form: data-export="csv" or "ndjson"; shows the progress */
export async function save(button, path, name, signal) {
  const form = button.dataset.export;
  const type = form === "csv" ? "text/csv" : "application/x-ndjson";
  const label = button.textContent;
  if (button.ariaDisabled === "true") return;
  const own = following(signal);
  let timer;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => own.abort(new ApiError()), SILENCE_MS);
  };
  try {
    const file = await askForFile(`${name}.${form}`, type, form);
    if (file === null) return;
    button.ariaDisabled = "true";
    wait();
    const response = await open("GET", path, { headers: { Accept: type }, signal: own.signal });
    const counted = response.body.pipeThrough(counting((bytes) => {
      wait();
      button.textContent = `${(bytes / 1e6).toFixed(1)} MB…`;
    }));
    await file.write(counted);
    announce(`Exported: ${name}.${form}`);
  } catch (failure) {
    if (signal.aborted) throw failure;
    const error = own.signal.reason ?? failure;
    announce(`The export is not complete: ${
      error instanceof ApiError ? explain(error).title : error.message}`);
  } finally {
    clearTimeout(timer);
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
