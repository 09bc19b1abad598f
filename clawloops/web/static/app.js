// Small conveniences on top of pages that work without them: live parts, running seconds, copy, busy buttons.
"use strict";

// A live part: the server sends the same HTML that the page was made with, whenever something has changed.
function follow(part) {
  const source = new EventSource(part.dataset.live);
  source.addEventListener("part", (event) => show(part, event.data));
  source.addEventListener("more", (event) => add(part, event.data));
  source.addEventListener("ended", () => location.reload());
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return; // it comes back by itself
    source.close();
    setTimeout(() => comeBack(part), 1500);
  });
}

// A proxy's error page ends an EventSource for good: ask what is the matter before trying again.
async function comeBack(part) {
  try {
    const answer = await fetch(part.dataset.live, { method: "GET", headers: { Accept: "text/event-stream" } });
    const status = answer.status;
    if (answer.body) await answer.body.cancel();
    if (status === 401 || status === 403) return location.reload(); // the page itself says why
    if (status === 204) return;
  } catch {
    // not reachable: the box or the network restarts
  }
  follow(part);
}

function show(part, html) {
  const open = [...part.querySelectorAll("details[open][id]")].map((each) => each.id);
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const wrong = [...part.querySelectorAll(".field.wrong")]; // what is said there is not sent again
  const typed = [...part.querySelectorAll("input[id]")].filter((each) => each.value !== each.defaultValue).map((each) => [each.id, each.value]);
  const said = part.querySelector("[data-say]")?.textContent;
  part.innerHTML = html;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, value] of typed) if (document.getElementById(id)) document.getElementById(id).value = value;
  for (const each of wrong) document.getElementById(each.querySelector("input, select, textarea").id)?.closest(".field").replaceWith(each);
  if (focused) document.getElementById(focused)?.focus();
  const say = part.querySelector("[data-say]");
  if (say && said !== undefined && say.textContent !== said) {
    const text = say.textContent; // a screen reader speaks what changes inside a region that it already knows
    say.textContent = "";
    requestAnimationFrame(() => { say.textContent = text; });
  }
  ready(part);
}

// What goes to the end of a list that is kept short, which stays at its end unless somebody has scrolled up to read.
function add(part, html) {
  const list = part.querySelector("[data-keep]");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.insertAdjacentHTML("beforeend", html);
  while (list.children.length > Number(list.dataset.keep)) list.firstElementChild.remove();
  localise(list);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function ready(part) {
  part.dataset.shownAt = String(performance.now());
  localise(part);
  const list = part.querySelector("[data-keep]");
  if (list) list.scrollTop = list.scrollHeight;
  const go = part.querySelector("[data-go]");
  if (go) location.replace(go.dataset.go);
}

function tick() {
  for (const part of document.querySelectorAll("[data-live]")) {
    for (const each of part.querySelectorAll("[data-running]")) {
      const seconds = (Number(each.dataset.running) + performance.now() - Number(part.dataset.shownAt)) / 1000;
      each.textContent = seconds < 10 ? `${seconds.toFixed(1)} s`
        : seconds < 59.5 ? `${Math.round(seconds)} s`
        : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
    }
  }
}

for (const part of document.querySelectorAll("[data-live]")) {
  ready(part);
  follow(part);
}
setInterval(tick, 200);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    field.select();
    document.execCommand("copy");
  }
  const before = button.textContent;
  button.textContent = document.body.dataset.copied;
  setTimeout(() => { button.textContent = before; }, 2000);
});

document.addEventListener("submit", (event) => {
  const button = event.submitter ?? event.target.querySelector("button:not([type=button])");
  if (!button) return;
  if (button.getAttribute("aria-busy") === "true") return event.preventDefault(); // sent already
  button.setAttribute("aria-busy", "true");
  if (event.target.dataset.busy) {
    button.dataset.before = button.textContent;
    button.textContent = event.target.dataset.busy;
  }
});

// Coming back with the browser's own "back": the page may be a kept one, with its buttons still busy.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const button of document.querySelectorAll("[aria-busy]")) {
    button.removeAttribute("aria-busy");
    if (button.dataset.before) button.textContent = button.dataset.before;
  }
});

// A file for a text field is read here, and sent as what is in the field.
document.addEventListener("change", async (event) => {
  const field = document.getElementById(event.target.dataset?.fills ?? "");
  if (field && event.target.files[0]) field.value = await event.target.files[0].text();
});

// Times come in UTC, and are shown in the time zone of whoever reads them.
function localise(part) {
  for (const each of part.querySelectorAll("time[data-at]:not([title])")) {
    const at = new Date(Number(each.dataset.at));
    const today = at.toDateString() === new Date().toDateString();
    const clock = { hour: "2-digit", minute: "2-digit", ...(today || "fine" in each.dataset ? { second: "2-digit" } : {}) };
    each.textContent = at.toLocaleString([], today ? clock : { day: "numeric", month: "short", ...clock });
    each.title = at.toLocaleString();
  }
}
localise(document);
