/** Copies, and says so on the button. */
export async function copy(button, words) {
  button.dataset.label ??= button.textContent;
  try {
    await navigator.clipboard.writeText(words);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it and copy";
  }
  setTimeout(() => {
    button.textContent = button.dataset.label;
  }, 2000);
}
