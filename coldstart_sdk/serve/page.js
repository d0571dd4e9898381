"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });
  // The one text that may become elements is this very page, sent again by the server that sent it first.
  const page = window.trustedTypes ? trustedTypes.createPolicy("page", { createHTML: (text) => text }) : { createHTML: (text) => text };
  const MOST_PLAYERS = 50, MOST_LETTERS = 200000, ROWS = 20;
  let token = "", state = "", gone = false, looked = "", drawn = "", spoken = 0;

  function make(tag, options = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  function ask(path, options = {}) {
    const headers = { ...options.headers };
    if (token) headers.authorization = `Bearer ${token}`;
    return fetch(path, { cache: "no-store", ...options, headers });
  }
  const mayLook = () => document.querySelector("main").dataset.version;

  // ---- figures, spelled as the terminal spells them
  const digits = (n) => (n < 9.995 ? n.toFixed(2) : n < 99.95 ? n.toFixed(1) : n.toFixed(0));
  function duration(s) {
    const ms = s * 1000;
    if (ms < 999.5) return ms < 0.05 ? (ms > 0 ? "<0.1 ms" : "0 ms") : ms < 9.95 ? `${ms.toFixed(1)} ms` : `${ms.toFixed(0)} ms`;
    if (s < 119.5) return `${digits(s)} s`;
    const m = Math.floor(Math.round(s) / 60);
    return m < 60 ? `${m}m${String(Math.round(s) % 60).padStart(2, "0")}s` : `${Math.floor(m / 60)}h${String(m % 60).padStart(2, "0")}m`;
  }
  function size(n) {
    const units = ["B", "kB", "MB", "GB"];
    let at = 0;
    while (at < 3 && n >= 999.5) { n /= 1000; at += 1; }
    return at ? `${digits(n)} ${units[at]}` : `${n} B`;
  }

  // ---- the state
  async function watch() {
    for (;;) {
      const asked = performance.now();
      try {
        const said = await (await ask("ready?watch")).json();
        if (gone || (said.version && said.version !== mayLook())) { gone = false; await refresh(); }
        show(said);
        // While it starts the server keeps the question until there is news: one is always open, so none is missed.
        await pause(said.state !== "starting" ? (document.hidden ? 30000 : 3000) : performance.now() - asked < 300 ? 300 : 0);
      } catch {
        if (!gone) lost();
        await pause(1500);
      }
    }
  }
  function show(said) {
    const starting = said.state === "starting";
    tell(said.state, starting ? progress(said) : said.degraded?.length ? `degraded: ${said.degraded.join(", ")}` : "");
    if (!mayLook()) return;
    $("progress").hidden = !starting;
    if (starting) $("progress").value = said.percent;
    document.title = starting ? `${said.percent} % ${name()}` : said.state === "ready" ? name() : `${said.state}: ${name()}`;
    $("problem").replaceChildren(...[["", said.reason], ["at: ", said.where], ["fix: ", said.fix]]
      .filter(([, what]) => what).map(([head, what], at) => make("p", at ? {} : { class: "bad" }, head + what)));
    if (state !== said.state) { state = said.state; look(); }
  }
  function progress(said) {
    if (said.percent === undefined) return "";
    const left = said.eta_s === null ? "time left unknown" : `about ${said.eta_s < 60 ? `${Math.ceil(said.eta_s)} s` : duration(said.eta_s)} left`;
    return `${said.percent} %${said.steps.length ? `, ${said.steps.join(", ")}` : ""}; ${left}`;
  }
  function tell(word, how) {
    const changed = $("word").dataset.state !== word;
    $("word").textContent = word;
    $("word").dataset.state = word;
    if ($("how")) $("how").textContent = how;
    if (changed || performance.now() - spoken > 5000) { // a screen reader is not told every percent
      spoken = performance.now();
      const said = `${word} ${how}`.trim();
      if ($("said").textContent !== said) $("said").textContent = said;
    }
  }
  function lost() {
    gone = true;
    tell($("word").dataset.state === "failed" ? "failed" : "no answer", "The server has ended, or cannot be reached; its terminal knows more.");
    state = "";
    if ($("progress")) $("progress").hidden = true;
  }
  const name = () => document.querySelector("h1").textContent;

  // ---- the token, and the page again after a change
  async function refresh() {
    const reply = await ask("./", { headers: { accept: "text/html" } });
    const found = new DOMParser().parseFromString(page.createHTML(await reply.text()), "text/html");
    const fresh = found.querySelector("main"), old = document.querySelector("main");
    if (reply.status === 401) $("unlock").hidden = false;
    if (!reply.ok || !fresh || fresh.dataset.version === old.dataset.version) return reply.ok;
    for (const was of old.querySelectorAll("textarea,select,input:not([type=file])")) {
      const is = found.getElementById(was.id);
      if (is && is.tagName === was.tagName && is.type === was.type) { is.value = was.value; is.checked = was.checked; }
    }
    old.replaceWith(document.adoptNode(fresh));
    state = looked = drawn = "";
    return true;
  }
  async function unlock() {
    const error = $("unlock-error");
    error.hidden = true;
    token = $("token").value.trim();
    let opened = false;
    try { opened = await refresh(); } catch { /* told below */ }
    $("unlock").hidden = opened;
    error.hidden = opened;
    error.textContent = opened ? "" : "This token does not open it.";
    if (!opened) { $("token").focus(); return; }
    $("token").value = "";
    show(await (await ask("ready")).json());
    const first = document.querySelector(".endpoint[open] .field :is(textarea,input,select)");
    if (first) first.focus();
  }
  async function save(link) {
    const reply = await ask(link.getAttribute("href"));
    if (!reply.ok) return;
    const url = URL.createObjectURL(new Blob([await reply.blob()], { type: "application/octet-stream" }));
    make("a", { href: url, download: link.dataset.save }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  // ---- the start and the requests, from the trace
  async function look() {
    if (!mayLook()) return;
    try {
      // Both at once: after a start that failed the server is there for a moment only.
      const [reply, picture] = await Promise.all([ask("trace"), state === looked ? null : ask("trace?format=svg")]);
      if (!reply.ok) return;
      looked = state;
      const trace = await reply.json();
      figures(trace);
      steps(trace);
      requests(trace);
      const due = `${trace.started_at} ${trace.state} ${trace.requests.length > 0}`;
      if (picture || trace.state === "starting" || due !== drawn) { await draw(trace, picture || (await ask("trace?format=svg"))); drawn = due; }
    } catch { /* whether it answers is told by `watch` */ }
  }
  async function draw(trace, reply) {
    const picture = $("picture");
    if (!reply.ok) return;
    const url = URL.createObjectURL(await reply.blob()), old = picture.src;
    picture.src = url;
    await picture.decode();
    picture.alt = `Waterfall of the start: ${trace.anchors.ready_s === null ? trace.state : `ready in ${duration(trace.anchors.ready_s)}`}. The table below says the same.`;
    picture.hidden = false;
    if (old) URL.revokeObjectURL(old);
  }
  const answered = (trace) => trace.requests.filter((one) => one.outcome === "done").sort((a, b) => a.end_s - b.end_s);
  const fromReady = (trace, one) => one.end_s - Math.max(one.start_s, trace.anchors.ready_s ?? one.start_s);
  const isWhole = (trace) => trace.requests.length < Number(document.querySelector("main").dataset.latest);
  function median(some) {
    const sorted = [...some].sort((a, b) => a - b), half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
  function figures(trace) {
    const told = [], done = answered(trace), ready = trace.anchors.ready_s;
    if (ready !== null) told.push(["ready in", duration(ready)]);
    if (done.length && isWhole(trace)) told.push(["first answer", duration(fromReady(trace, done[0]))]);
    if (done.length > 1 && new Set(done.map((one) => one.endpoint)).size === 1) told.push(["warm median", duration(median(done.slice(1).map((one) => one.end_s - one.start_s)))]);
    const moved = trace.spans.reduce((sum, span) => sum + (span.parent === null && span.bytes || 0), 0);
    if (moved) told.push(["bytes fetched", size(moved)]);
    $("figures").replaceChildren(...told.map(([label, value]) => make("div", {}, make("dt", {}, label), make("dd", {}, value))));
  }
  function rows(id, all, empty) {
    const cells = (row) => row.map((cell, at) => make(at ? "td" : "th", at ? {} : { scope: "row" }, cell));
    const nothing = make("tr", {}, make("td", { class: "dim", colspan: "6" }, empty));
    $(id).replaceChildren(...(all.length ? all.map((row) => make("tr", {}, ...cells(row))) : [nothing]));
  }
  const ending = (one) => (one.outcome === "done" ? "done" : make("span", { class: "bad" }, one.outcome.replaceAll("_", " ") + (one.reason ? `: ${one.reason}` : "")));
  function steps(trace) {
    const own = trace.spans.filter((span) => span.parent === null);
    rows("steps", own.map((span) => [span.name + (span.critical ? " ◆" : ""), duration(Math.max(0, span.start_s)), duration(span.end_s - span.start_s), ending(span)]), "none yet");
  }
  function requests(trace) {
    const done = answered(trace), ready = trace.anchors.ready_s, began = Date.parse(trace.started_at);
    const names = [...new Set(done.map((one) => one.endpoint))];
    rows("warmth", names.map((endpoint) => {
      const own = done.filter((one) => one.endpoint === endpoint), whole = isWhole(trace);
      const first = whole ? fromReady(trace, own[0]) : null;
      const later = own.slice(whole ? 1 : 0).map((one) => one.end_s - one.start_s), warm = later.length ? median(later) : null;
      return [endpoint, String(own.length), first === null ? "long ago" : duration(first), warm === null ? "–" : duration(warm),
        first === null || !warm ? "–" : `${digits(first / warm)} × a later one`];
    }), "none yet");
    const latest = [...trace.requests].sort((a, b) => b.end_s - a.end_s).slice(0, ROWS);
    rows("requests", latest.map((one) => [
      Number.isNaN(began) ? `+${duration(one.start_s)}` : new Date(began + one.start_s * 1000).toLocaleTimeString(),
      one.endpoint + (ready !== null && one.start_s < ready ? " (before ready)" : ""),
      duration(one.queued_s), one.first_s === null ? "–" : duration(one.first_s), duration(one.end_s - one.start_s), ending(one),
    ]), "none yet");
  }

  // ---- media
  const made = new WeakMap(); // element → the object URLs that live as long as what it shows
  function empty(node) {
    for (const url of made.get(node) || []) URL.revokeObjectURL(url);
    made.delete(node);
    node.replaceChildren();
  }
  function player(into, blob, type, file) {
    const [family, ending] = type.toLowerCase().split(";")[0].split("/"), shown = { audio: "audio", video: "video", image: "img" }[family];
    // What is not shown here is only ever saved: a page among the results must not run as one of ours.
    const url = URL.createObjectURL(new Blob([blob], { type: shown ? type : "application/octet-stream" }));
    made.set(into, [...(made.get(into) || []), url]);
    const about = `${type}, ${size(blob.size)}`;
    if (shown === "img") into.append(make("img", { src: url, alt: `${file}: ${about}` }));
    else if (shown) into.append(make(shown, { src: url, controls: "", "aria-label": `${file}: ${about}` }));
    const ext = (ending || "bin").replace(/^x-|\+.*$/g, "").replace(/[^a-z0-9]/g, "") || "bin";
    into.append(make("p", {}, make("a", { href: url, download: /\.\w+$/.test(file) ? file : `${file}.${ext}` }, "save"), ` ${about}`));
  }
  const isMedia = (value) => value !== null && typeof value === "object" && typeof value.type === "string" && (typeof value.base64 === "string" || typeof value.url === "string");
  function showMedia(into, value, file) {
    if (value.base64 !== undefined) player(into, new Blob([Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0))]), value.type, value.name || file);
    else if (/^https?:/i.test(value.url)) into.append(make("p", {}, make("a", { href: value.url, rel: "noreferrer", target: "_blank" }, "open"), ` ${value.type}, from the store`));
  }
  function* mediaIn(value) {
    if (isMedia(value)) yield value;
    else if (value !== null && typeof value === "object") for (const item of Object.values(value)) yield* mediaIn(item);
  }
  function pretty(json) { // its own words: JSON.parse would round a number of 64 bits
    let out = "", deep = 0;
    for (const part of json.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g) || []) {
      const closes = part === "}" || part === "]";
      if (closes) deep -= 1;
      if (closes ? !/[[{]$/.test(out) : /[[{,]$/.test(out)) out += `\n${"  ".repeat(deep)}`;
      out += part.length > 2000 ? `${part.slice(0, 60)}…" (${size(part.length)} of text)` : part === ":" ? ": " : part;
      if (part === "{" || part === "[") deep += 1;
      if (out.length > MOST_LETTERS) return `${out}\n… (${size(json.length)} in all)`;
    }
    return out;
  }
  const inside = (json, key) => (json.startsWith(`{"${key}":`) ? json.slice(key.length + 4, -1) : json);
  const raw = (into, json) => into.append(make("details", {}, make("summary", {}, "Raw JSON"), make("pre", { tabindex: "0" }, json)));

  // ---- a form: what was filled in, and what came of it
  const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
  const READ = { // each gives JSON, or nothing; numbers stay as they were typed, since a seed may have 64 bits
    text: (control) => (control.value ? JSON.stringify(control.value) : undefined),
    number: (control) => {
      if (control.validity.badInput) throw new Error("must be a number");
      return control.value === "" || NUMBER.test(control.value) ? control.value || undefined : String(Number(control.value));
    },
    switch: (control) => String(control.checked),
    choice: (control) => control.value || undefined,
    json: (control) => {
      if (!control.value.trim()) return undefined;
      try { JSON.parse(control.value); } catch (error) { throw new Error(`this is not JSON: ${error.message}`); }
      return control.value;
    },
  };
  function gather(form) {
    const parts = [], wrong = [];
    for (const field of form.querySelectorAll(".field")) {
      const { name: argument, kind, empty: none, literal } = field.dataset, control = field.querySelector("input,textarea,select");
      if (kind === "file") { parts.push({ argument, files: [...control.files] }); continue; }
      try {
        const json = READ[kind](control) ?? (none === "null" ? "null" : none === "omit" ? undefined : '""');
        if (json !== undefined) parts.push({ argument, json, text: literal === undefined ? json : control.value });
      } catch (error) { wrong.push({ field: argument, message: error.message }); }
    }
    return { parts, wrong };
  }
  function bodyOf(parts) {
    if (!parts.some((part) => part.files)) return [`{${parts.map((part) => `${JSON.stringify(part.argument)}:${part.json}`).join(",")}}`, { "content-type": "application/json" }];
    const body = new FormData();
    for (const part of parts) {
      if (part.files) part.files.forEach((file) => body.append(part.argument, file, file.name || "file"));
      else body.append(part.argument, part.text);
    }
    return [body, {}];
  }
  const running = new Map();
  async function send(form) {
    if (running.has(form)) return;
    const answer = form.querySelector(".answer"), took = form.querySelector(".took");
    forget(form);
    empty(answer);
    const { parts, wrong } = gather(form);
    if (wrong.length) { took.textContent = ""; complain(form, { fields: wrong }); return; }
    const control = new AbortController(), [body, headers] = bodyOf(parts), path = form.getAttribute("action");
    running.set(form, control);
    busy(form, true);
    took.textContent = state === "starting" ? "waiting for the worker to be ready" : "sent";
    headers.accept = form.dataset.accept || (form.dataset.streams === undefined ? "application/json" : "application/x-ndjson, application/json");
    const began = performance.now(), seen = { first: null, bytes: 0, note: "" };
    const clock = () => { seen.first ??= (performance.now() - began) / 1000; };
    try {
      const reply = await ask(path, { method: "POST", body, headers, signal: control.signal });
      if (!reply.ok) { took.textContent = `${reply.status} after ${duration((performance.now() - began) / 1000)}`; complain(form, await refusal(reply)); return; }
      if ((reply.headers.get("content-type") || "").startsWith("application/x-ndjson")) await stream(form, answer, reply, seen, clock);
      else { clock(); await whole(answer, reply, path, seen); }
      const id = reply.headers.get("x-request-id");
      took.textContent = `first byte ${duration(seen.first ?? (performance.now() - began) / 1000)}, whole ${duration((performance.now() - began) / 1000)}, ${seen.note}${size(seen.bytes)}${id ? `, id ${id}` : ""}`;
    } catch (error) {
      took.textContent = control.signal.aborted ? `stopped after ${duration((performance.now() - began) / 1000)}` : "";
      if (!control.signal.aborted) complain(form, { message: error.name === "TypeError" ? "The connection broke before the whole answer was here." : String(error.message) });
    } finally {
      running.delete(form);
      busy(form, false);
      look();
    }
  }
  async function whole(answer, reply, path, seen) {
    const blob = await reply.blob(), type = reply.headers.get("content-type") || "";
    seen.bytes = blob.size;
    if (!type.startsWith("application/json")) { player(answer, blob, type, path); return; }
    const json = await blob.text(), { result } = JSON.parse(json);
    let media = 0;
    for (const one of mediaIn(result)) if ((media += 1) <= MOST_PLAYERS) showMedia(answer, one, path);
    if (typeof result === "string") answer.append(make("pre", { class: "words", tabindex: "0" }, result));
    else if (!isMedia(result)) answer.append(make("pre", { tabindex: "0" }, pretty(inside(json, "result"))));
    if (typeof result === "string" || isMedia(result)) raw(answer, pretty(json));
  }
  async function stream(form, answer, reply, seen, clock) {
    const reader = reply.body.getReader(), decoder = new TextDecoder(), kept = [];
    let rest = "", chunks = 0, box = null;
    const write = (text, look) => {
      if (!box) { box = make("pre", { class: look, tabindex: "0" }, ""); answer.append(box); }
      const end = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      box.append(text);
      if (end) box.scrollTop = box.scrollHeight;
    };
    const take = (line) => {
      if (!line) return;
      const said = JSON.parse(line);
      if (said.error) { complain(form, said.error); return; }
      chunks += 1;
      if (kept.length < 1000) kept.push(line.length > 2000 ? pretty(line) : line);
      if (typeof said.chunk === "string") write(said.chunk, "words");
      else if (isMedia(said.chunk)) { if (chunks <= MOST_PLAYERS) showMedia(answer, said.chunk, `chunk ${chunks}`); } else write(`${inside(line, "chunk")}\n`, "lines");
    };
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      clock();
      seen.bytes += value.length;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop();
      lines.forEach(take);
    }
    take(rest);
    seen.note = `${chunks} chunk${chunks === 1 ? "" : "s"}, `;
    if (kept.length) raw(answer, kept.join("\n"));
  }
  async function refusal(reply) {
    let error = {};
    try { error = (await reply.json()).error || {}; } catch { /* something before the server answered */ }
    if (reply.status === 401) $("unlock").hidden = false;
    const retry = reply.headers.get("retry-after");
    return { type: `${reply.status} ${error.type || ""}`, message: error.message || reply.statusText, fields: error.fields, id: error.id, retry };
  }
  function complain(form, { type, message, fields, id, retry }) {
    const left = [];
    let first = null;
    for (const bad of fields || []) {
      const [argument] = bad.field.split(/[.[]/), field = [...form.querySelectorAll(".field")].find((one) => one.dataset.name === argument);
      if (!field) { left.push(`${bad.field}: ${bad.message}`); continue; }
      const error = field.querySelector(".error"), control = field.querySelector("input,textarea,select");
      error.append(`${error.textContent ? "\n" : ""}${bad.field === argument ? "" : `${bad.field}: `}${bad.message}`);
      error.hidden = false;
      control.setAttribute("aria-invalid", "true");
      first ??= control;
    }
    const general = fields ? left.join("\n") : [type ? `${type.trim()}: ${message}` : message, retry && !/try again/.test(message) ? `Try again in ${retry} s.` : "", id && /failed/.test(type) ? `The log knows more under ${id}.` : ""].filter(Boolean).join("\n");
    const box = form.querySelector(".refused");
    box.textContent = general;
    box.hidden = !general;
    if (first) first.focus();
  }
  function forget(form) {
    for (const error of form.querySelectorAll(".error")) { error.textContent = ""; error.hidden = true; }
    for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  }
  function busy(form, is) {
    form.querySelector(".send").disabled = is;
    form.querySelector(".stop").hidden = !is;
    form.querySelector(".answer").setAttribute("aria-busy", String(is));
  }

  // ---- what a person does; heard on the document, so that a page that came again is heard too
  document.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.target.id === "unlock") unlock(); else send(event.target);
  });
  document.addEventListener("click", (event) => {
    const stop = event.target.closest(".stop"), link = event.target.closest("a[data-save]");
    if (stop) running.get(stop.closest("form"))?.abort();
    if (link && token) { event.preventDefault(); save(link); }
  });
  document.addEventListener("keydown", (event) => {
    const form = event.target.closest(".endpoint form");
    if (form && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });
  document.addEventListener("change", (event) => {
    if (event.target.type !== "file") return;
    const preview = event.target.closest(".field").querySelector(".preview");
    empty(preview);
    for (const file of [...event.target.files].slice(0, MOST_PLAYERS)) if (/^(audio|image|video)\//.test(file.type)) player(preview, file, file.type, file.name);
  });
  setInterval(() => { if (!document.hidden && !gone && state === "starting") look(); }, 2000);
  setInterval(() => { if (!document.hidden && !gone && state !== "starting") look(); }, 10000);
  watch();
})();
