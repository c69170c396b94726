// What a script adds to pages that work without it: forms as dialogs, copying, a status that stays fresh.
"use strict";

// Copy, and say so.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const text = source.value ?? source.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No permission, or no secure context: select it, so that the keyboard can copy.
    const range = document.createRange();
    if (source.select) source.select();
    else {
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
    return;
  }
  button.dataset.label ??= button.textContent;
  button.textContent = button.dataset.copied;
  button.setAttribute("aria-live", "polite");
  setTimeout(() => { button.textContent = button.dataset.label; }, 2000);
});

// One dialog, which shows the card of a page.
const dialog = document.createElement("dialog");
document.body.append(dialog);
let opener = null;

const cardOf = async (answer) => {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { card: page.querySelector("[data-dialog-content]"), title: page.querySelector("h1")?.textContent };
};

const show = (found) => {
  dialog.replaceChildren(document.adoptNode(found.card));
  dialog.setAttribute("aria-label", found.title || "");
  dialog.classList.toggle("wide", found.card.classList.contains("receipt"));
  if (!dialog.open) dialog.showModal();
  (dialog.querySelector("[autofocus]") || dialog.querySelector("input:not([type=hidden]), button, a"))?.focus();
};

// What is shown once, or was done, stays until it is left on purpose; and the list behind it is stale then.
const kept = () => dialog.querySelector("[data-keep]");

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  const answer = await fetch(link.href).catch(() => null);
  const found = !answer || answer.redirected ? {} : await cardOf(answer);
  if (!found.card) return location.assign(link.href);
  opener = link;
  show(found);
});

dialog.addEventListener("click", (event) => {
  if (!event.target.closest("[data-close]")) return;
  event.preventDefault();
  dialog.close();
});

// A browser lets a second Escape through where only `cancel` is refused.
dialog.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && kept()) event.preventDefault();
});

dialog.addEventListener("cancel", (event) => {
  if (kept()) event.preventDefault();
});

dialog.addEventListener("close", () => {
  dialog.replaceChildren();
  opener?.focus();
});

// A form of the dialog is sent from the dialog, and its answer shown there. A second click does nothing.
dialog.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = event.submitter || form.querySelector("button");
  if (button.hasAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  let answer;
  try {
    answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  } catch {
    // No answer came. Sent by the page itself, the browser says what is wrong; a key is made once all the same.
    return form.submit();
  }
  if (answer.redirected) return location.assign(answer.url);
  const found = await cardOf(answer);
  if (found.card) show(found);
  else location.reload();
});

// Parts that stay fresh while somebody looks.
for (const part of document.querySelectorAll("[data-live]")) {
  setInterval(async () => {
    if (document.hidden) return;
    const answer = await fetch(part.dataset.live).catch(() => null);
    if (!answer || !answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector(`[data-live="${part.dataset.live}"]`);
    if (fresh) part.replaceChildren(...fresh.childNodes);
  }, 2000);
}
