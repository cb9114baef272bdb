// Makes pages quicker to use; every page works without it. Live refresh, copy buttons, keys.

const typing = (element) => element?.closest?.("input, textarea, select, [contenteditable]");

/* Live refresh: fetch this very page again and take over its <main>. */

const live = () => Number(document.body.dataset.live || 0);

// Replacing what someone reads, selects or is about to use would take it from under them.
function isBusy() {
  const main = document.getElementById("main");
  const focused = document.activeElement;
  const selection = document.getSelection();
  return document.hidden || typing(focused) || (focused !== main && main.contains(focused))
    || (selection && !selection.isCollapsed) || document.querySelector("dialog[open]");
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = fresh.getElementById("main");
  if (!main || isBusy()) return;
  const scrolled = [...document.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  document.getElementById("main").replaceWith(document.adoptNode(main));
  document.querySelectorAll(".scroll").forEach((element, index) => { element.scrollLeft = scrolled[index] || 0; });
  document.title = fresh.title;
  // What was being computed may be there by now.
  document.body.dataset.live = fresh.body.dataset.live || "";
  addCopyButtons();
}

async function tick() {
  try {
    if (live() && !isBusy()) await refresh();
  } catch {
    // The daemon may be restarting: the next round tries again.
  }
  setTimeout(tick, (live() || 5) * 1000);
}

/* Copy buttons on everything that is meant to be copied. */

function addCopyButtons() {
  for (const block of document.querySelectorAll("pre[data-copy]")) {
    if (!navigator.clipboard || block.nextElementSibling?.className === "copy") continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.after(button);
  }
}

/* Keys: "/" searches, "g" and a letter goes to a page, links and fields with data-key answer to that key. */

const pages = { o: "/", i: "/incidents", r: "/rules", t: "/tx", s: "/search", m: "/map", l: "/logs", q: "/sql", n: "/ingest", w: "/webhooks" };
let isGoing = false;

function rows() {
  return [...document.querySelectorAll(".timeline .what a, tbody th a, .card h2 a")];
}

function step(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(document.activeElement);
  all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))].focus();
}

function help() {
  const dialog = document.createElement("dialog");
  const lines = [["/", "search"], ["g then o i r t s m l q n w", "go to a page"], ["j k", "next and previous row"]];
  for (const element of document.querySelectorAll("[data-key]")) {
    lines.push([element.dataset.key, element.textContent || element.placeholder || element.name]);
  }
  lines.push(["?", "this list"], ["x", localStorage.keys === "off" ? "switch keys on" : "switch keys off"]);
  const list = document.createElement("table");
  for (const [key, what] of lines) {
    const row = list.insertRow();
    row.insertCell().append(Object.assign(document.createElement("kbd"), { textContent: key }));
    row.insertCell().textContent = what;
  }
  dialog.append(list);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "x") return;
    localStorage.keys = localStorage.keys === "off" ? "on" : "off";
    dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
}

function onKey(event) {
  const isOff = localStorage.keys === "off" && event.key !== "?";
  if (isOff || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const wasGoing = isGoing;
  isGoing = false;
  if (wasGoing && pages[event.key]) {
    location.href = pages[event.key];
  } else if (event.key === "g") {
    isGoing = true;
  } else if (event.key === "/") {
    document.querySelector(".find input").focus();
  } else if (event.key === "j" || event.key === "k") {
    step(event.key === "j" ? 1 : -1);
  } else if (event.key === "?") {
    help();
  } else {
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!target) return;
    if (typing(target)) target.focus(); else target.click();
  }
  event.preventDefault();
}

addCopyButtons();
document.addEventListener("keydown", onKey);
setTimeout(tick, (live() || 5) * 1000);
