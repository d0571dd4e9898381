"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const RESOURCES = ["net", "disk", "cpu", "gpu", "wait"];
  const WORDS = { net: "network", disk: "disk", cpu: "CPU", gpu: "GPU", wait: "waiting" };
  let trace, explained, view, home, whole, grouped = false, open = new Set(), picked = null;

  // ---- figures, spelled as the terminal spells them
  const digits = (n) => (n < 9.995 ? n.toFixed(2) : n < 99.95 ? n.toFixed(1) : n.toFixed(0));
  function duration(s) {
    if (s < 0) return "-" + duration(-s);
    const ms = s * 1000;
    if (ms < 999.5) return ms < 0.05 ? (ms ? "<0.1 ms" : "0 ms") : ms < 9.95 ? ms.toFixed(1) + " ms" : ms.toFixed(0) + " ms";
    if (s < 119.5) return digits(s) + " s";
    const m = Math.floor(Math.round(s) / 60), rest = Math.round(s) % 60;
    return m < 60 ? `${m}m${String(rest).padStart(2, "0")}s` : `${Math.floor(m / 60)}h${String(m % 60).padStart(2, "0")}m`;
  }
  function size(n) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let at = 0;
    while (at < 4 && n >= 999.5) { n /= 1000; at += 1; }
    return at ? `${digits(n)} ${units[at]}` : `${n.toFixed(0)} B`;
  }
  const speed = (n, s) => `${digits(n / s / 1e6)} MB/s`;

  function make(tag, options = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "class") node.className = value;
      else if (name === "style") Object.assign(node.style, value);
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  // ---- what is shown
  const steps = () => trace.spans.filter((span) => span.parent === null);
  const parts = (step) => trace.spans.filter((span) => span.parent === step.name && span.start_s < step.end_s + 1e-6 && span.end_s > step.start_s - 1e-6);
  const requestParts = () => trace.spans.filter((span) => span.parent === "request");
  const failed = (span) => span.outcome === "failed" || span.outcome === "timed_out";

  function rows() {
    const all = [...steps(), ...trace.requests.map(asSpan)];
    const listed = [], order = (a, b) => (a.served_s ?? a.start_s) - (b.served_s ?? b.start_s);
    const add = (step) => {
      const inside = step.isRequest ? requestParts().filter((part) => part.start_s < step.end_s && part.end_s > step.start_s) : parts(step);
      listed.push({ span: step, inside });
      if (open.has(key(step))) for (const part of inside) listed.push({ span: part, inside: [], part: true });
    };
    if (!grouped) all.sort(order).forEach(add);
    else for (const resource of RESOURCES) {
      const some = all.filter((span) => span.resource === resource);
      if (!some.length) continue;
      listed.push({ group: WORDS[resource], busy: union(some) });
      some.sort(order).forEach(add);
    }
    return listed;
  }
  const key = (span) => `${span.name}@${span.start_s}`;
  function asSpan(request, at) {
    const served = Math.min(request.end_s, Math.max(request.start_s + request.queued_s, trace.anchors.ready_s ?? request.start_s, request.start_s));
    return { ...request, served_s: served, name: `request ${at + 1}: ${request.endpoint}`, resource: "cpu", parent: null, isRequest: true, after: [], tried: [], counts: {}, critical: false };
  }
  function union(spans) {
    let total = 0, until = -Infinity;
    for (const span of [...spans].sort((a, b) => a.start_s - b.start_s)) {
      total += Math.max(0, span.end_s - Math.max(span.start_s, until));
      until = Math.max(until, span.end_s);
    }
    return total;
  }

  const place = (s) => ((s - view[0]) / (view[1] - view[0])) * 100;
  function ticks() {
    const step = nice((view[1] - view[0]) / 8), found = [];
    for (let at = Math.ceil(view[0] / step) * step; at <= view[1] + 1e-9; at += step) found.push([at, moment(at, step)]);
    return found;
  }
  function nice(least) {
    if (least > 5) return [10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400].find((step) => step >= least) || least;
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least - 1e-12);
  }
  function moment(at, step) {
    if (Math.abs(at) < step / 1e6) return "0";
    if (step < 0.1) return `${+(at * 1000).toPrecision(6)} ms`;
    if (step < 60) return `${+at.toFixed(3)} s`;
    return `${+(at / 60).toFixed(1)} min`;
  }

  // ---- drawing
  function draw() {
    const body = $("rows"), focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : null;
    const marks = ticks();
    const wide = $("axis").clientWidth || 800;
    const fits = (words, room) => words.length * 7 + 14 <= (room / 100) * wide;
    $("axis").replaceChildren(...marks.filter(([at, words]) => fits(words, 100 - place(at))).map(([at, words]) => make("span", { style: { left: `${place(at)}%` } }, words)));
    if (trace.anchors.ready_s !== null) $("axis").append(make("b", { class: "ready", style: { left: `${place(trace.anchors.ready_s)}%` } }));
    body.replaceChildren(...rows().map((row) => (row.group ? groupRow(row) : spanRow(row, marks, fits))));
    if (focused) { const again = body.querySelector(`[data-key="${CSS.escape(focused)}"]`); if (again) again.focus({ preventScroll: true }); }
    $("window").textContent = view[0] === home[0] && view[1] === home[1] ? "" : `${duration(view[0])} to ${duration(view[1])}`;
  }
  function groupRow(row) {
    return make("tr", { class: "group" }, make("th", { colspan: "3", scope: "rowgroup" }, `${row.group}: ${duration(row.busy)} busy`));
  }
  function spanRow({ span, inside, part }, marks, fits) {
    const id = key(span), expandable = inside.length > 0;
    const button = make("button", {
      type: "button", "data-key": (part ? "p" : "s") + id, title: span.name,
      onclick: () => { toggle(id, expandable); pick(span); }, onfocus: () => pick(span),
    }, make("span", { class: "mark", "aria-hidden": "true" }, expandable ? (open.has(id) ? "▾" : "▸") : ""), span.name);
    if (expandable) button.setAttribute("aria-expanded", String(open.has(id)));
    if (span.critical) button.append(make("span", { class: "dim" }, " ◆"));
    const cell = make("td", { class: "t" }, ...marks.map(([at]) => make("b", { style: { left: `${place(at)}%` } })));
    if (trace.anchors.ready_s !== null) cell.append(make("b", { class: "ready", style: { left: `${place(trace.anchors.ready_s)}%` } }));
    const left = place(span.start_s), right = place(span.end_s);
    if (right >= 0 && left <= 100) {
      const served = place(span.served_s ?? span.start_s), look = `own ${failed(span) ? "bad" : span.resource}`;
      if (served > left) cell.append(piece(left, served, "wait"));
      cell.append(piece(served, right, look));
      const words = beside(span);
      if (words && fits(words, 100 - Math.max(0, right))) cell.append(make("span", { style: { left: `${Math.max(0, right)}%` } }, words));
      else if (words && fits(words, left)) cell.append(make("span", { style: { right: `${100 - left}%` } }, words));
    }
    return make("tr", {
      class: `${part ? "part " : ""}${span.critical ? "crit " : ""}${picked === span ? "on" : ""}`,
      onmousemove: (event) => tip(event, span), onmouseleave: () => { $("tip").hidden = true; },
    }, make("th", { class: "n", scope: "row" }, button), make("td", { class: "d" }, duration(span.end_s - span.start_s)), cell);
  }
  function piece(left, right, look) {
    return make("i", { class: look, style: { left: `${Math.max(-1, left)}%`, width: `${Math.max(0, Math.min(102, right) - Math.max(-1, left))}%` } });
  }
  function beside(span) {
    if (span.outcome !== "done") return span.outcome.replace("_", " ");
    const long = span.end_s - span.start_s;
    return [span.bytes ? size(span.bytes) : null, span.bytes && long > 0 ? speed(span.bytes, long) : null, span.tier].filter(Boolean).join(" ");
  }
  function facts(span) {
    const long = span.end_s - span.start_s, told = [["from", `${duration(span.start_s)} to ${duration(span.end_s)}, ${duration(long)}`]];
    if (span.isRequest && span.queued_s > 0) told.push(["queued", duration(span.queued_s)]);
    if (span.isRequest && span.first_s !== null) told.push(["first byte", `after ${duration(span.first_s)}`]);
    if (span.bytes) told.push(["bytes", size(span.bytes) + (long > 0 ? ` at ${speed(span.bytes, long)}` : "")]);
    if (span.tier) told.push(["from tier", span.tier]);
    for (const one of span.tried || []) if (!one.hit) told.push(["missed", one.tier + (one.reason ? `: ${one.reason}` : "")]);
    if (span.cpu_s !== null && span.cpu_s !== undefined && long > 0) told.push(["CPU", `${duration(span.cpu_s)}, ${Math.round((100 * span.cpu_s) / long)} % of one core`]);
    if (span.after && span.after.length) told.push(["after", span.after.join(", ")]);
    for (const [name, count] of Object.entries(span.counts || {})) told.push([name.replaceAll("_", " "), String(+count.toPrecision(6))]);
    if (span.outcome !== "done") told.push(["outcome", span.outcome.replace("_", " ") + (span.reason ? `: ${span.reason}` : "")]);
    if (span.where) told.push(["at", span.where]);
    if (span.fix) told.push(["fix", span.fix]);
    if (span.critical) told.push(["critical", "READY came when it did because of this"]);
    return make("dl", { class: "facts" }, ...told.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }
  function tip(event, span) {
    const box = $("tip");
    box.replaceChildren(make("strong", {}, span.name), facts(span));
    box.hidden = false;
    const right = event.clientX + 16 + box.offsetWidth > innerWidth, below = event.clientY + 16 + box.offsetHeight > innerHeight;
    box.style.left = `${Math.max(4, right ? event.clientX - box.offsetWidth - 12 : event.clientX + 16)}px`;
    box.style.top = `${Math.max(4, below ? event.clientY - box.offsetHeight - 12 : event.clientY + 16)}px`;
  }
  function pick(span) {
    picked = span;
    $("detail").replaceChildren(make("strong", {}, span.name), facts(span));
    for (const row of $("rows").rows) row.classList.toggle("on", Boolean(row.querySelector("button")) && row.querySelector("button").dataset.key.slice(1) === key(span));
  }
  function toggle(id, expandable) {
    if (!expandable) return;
    if (open.has(id)) open.delete(id); else open.add(id);
    draw();
  }

  // ---- zoom
  function zoom(factor, around = (view[0] + view[1]) / 2) {
    const wide = Math.min(whole[1] - whole[0], Math.max((whole[1] - whole[0]) / 5000, (view[1] - view[0]) * factor));
    const share = (around - view[0]) / (view[1] - view[0]);
    show(around - share * wide, around + (1 - share) * wide);
  }
  function show(from, to) {
    const wide = Math.min(to - from, whole[1] - whole[0]);
    const start = Math.min(Math.max(from, whole[0]), whole[1] - wide);
    view = [start, start + wide];
    draw();
  }
  const pan = (share) => show(view[0] + share * (view[1] - view[0]), view[1] + share * (view[1] - view[0]));
  const reset = () => { view = [...whole]; draw(); };
  function at(event) {
    const box = $("axis").getBoundingClientRect();
    return view[0] + ((event.clientX - box.left) / box.width) * (view[1] - view[0]);
  }
  let from = null;
  $("chart").addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    zoom((event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, at(event));
  }, { passive: false });
  $("chart").addEventListener("mousedown", (event) => { if (event.target.closest("td.t,th.axis") && event.button === 0) { from = event.clientX; event.preventDefault(); } });
  addEventListener("mouseup", (event) => {
    if (from !== null && Math.abs(event.clientX - from) > 6) { const ends = [at({ clientX: from }), at(event)].sort((a, b) => a - b); show(...ends); }
    from = null;
  });
  $("chart").addEventListener("dblclick", (event) => { if (event.target.closest("td.t,th.axis")) reset(); });

  // ---- keys
  const ACTIONS = {
    "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7), 0: reset,
    ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), ArrowDown: () => step(1), ArrowUp: () => step(-1),
    g: () => group(), t: () => theme(), e: () => expand(),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const action = ACTIONS[event.key];
    if (action) { action(); event.preventDefault(); }
  });
  function step(by) {
    const buttons = [...$("rows").querySelectorAll("button")], now = buttons.indexOf(document.activeElement);
    const next = buttons[Math.min(buttons.length - 1, Math.max(0, now + by))];
    if (next) next.focus();
  }
  function group() { grouped = !grouped; $("group").setAttribute("aria-pressed", String(grouped)); draw(); }
  function expand() {
    const all = [...steps(), ...trace.requests.map(asSpan)].map(key);
    open = open.size ? new Set() : new Set(all);
    draw();
  }
  function theme() {
    const dark = getComputedStyle(document.documentElement).colorScheme.trim() === "dark" || (document.documentElement.dataset.theme !== "light" && matchMedia("(prefers-color-scheme:dark)").matches);
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  }

  // ---- the rest of the page
  function figuresOf() {
    const anchors = trace.anchors, told = [];
    told.push(anchors.ready_s !== null ? ["ready", duration(anchors.ready_s)] : [trace.state, `after ${duration(trace.end_s)}`]);
    if (explained) told.push(["avoidable", duration(explained.avoidable_s)]);
    const done = trace.requests.filter((request) => request.outcome === "done").sort((a, b) => a.end_s - b.end_s);
    if (done.length) told.push(["first answer", duration(done[0].end_s - Math.max(done[0].start_s, anchors.ready_s ?? done[0].start_s))]);
    if (done.length > 1) {
      const later = done.slice(1).map((request) => request.end_s - request.start_s).sort((a, b) => a - b);
      told.push(["warm median", duration(later[Math.floor(later.length / 2)])]);
    }
    if (anchors.request_s !== null && anchors.request_s < -0.1) told.push(["platform, before", duration(-anchors.request_s)]);
    const moved = steps().reduce((sum, span) => sum + (span.bytes || 0), 0);
    if (moved) told.push(["bytes", size(moved)]);
    return told;
  }
  function adviceOf() {
    const list = $("advice");
    $("why").hidden = !explained;
    if (!explained) return;
    const entries = explained.advice.map((one) => make("li", {},
      make("p", {}, make("span", { class: "saves" }, duration(one.saves_s) + (one.of_ready ? "" : " of the first answer")), ` ${one.finding.what}`),
      make("p", { class: "dim" }, one.finding.why),
      make("p", {}, make("strong", {}, "Change: "), one.finding.fix),
      one.finding.supposes ? make("p", {}, make("strong", {}, "If: "), one.finding.supposes) : null,
      make("ul", { class: "seen dim" }, ...one.finding.evidence.map((seen) => make("li", {}, seen)))));
    for (const one of explained.beside) entries.push(make("li", {}, make("p", {}, make("strong", {}, "Worth 0 s now, beside the critical path: "), one.what), make("p", {}, make("strong", {}, "Change: "), one.fix)));
    for (const note of explained.remarks) entries.push(make("li", {}, make("p", {}, make("strong", {}, "Note: "), note.what), make("p", { class: "dim" }, note.why), make("p", {}, make("strong", {}, "Change: "), note.fix)));
    list.replaceChildren(...(entries.length ? entries : [make("li", {}, "No rule found anything to save.")]));
  }
  function load(opened) {
    trace = opened.trace; explained = opened.explained; open = new Set(); picked = null;
    const ends = [...trace.spans, ...trace.requests].map((span) => span.end_s), starts = trace.spans.map((span) => span.start_s);
    const last = trace.anchors.ready_s ?? trace.end_s, answers = trace.requests.filter((request) => request.outcome === "done").map((request) => request.end_s);
    const end = Math.max(last, Math.min(...answers, Infinity) <= last * 1.5 ? Math.min(...answers) : last, 1e-3);
    whole = [Math.min(0, ...starts), Math.max(...ends, end, 1e-3)];
    home = [Math.min(0, ...starts), end * 1.02];
    view = [...home];
    const name = [trace.name || "cold start", trace.backend].filter(Boolean).join(" on ");
    document.title = `${name}: ${trace.anchors.ready_s !== null ? "ready in " + duration(trace.anchors.ready_s) : trace.state}`;
    $("title").textContent = document.title;
    $("when").textContent = [trace.started_at, trace.sdk ? `coldstart ${trace.sdk}` : null, trace.spec_digest ? trace.spec_digest.slice(0, 19) : null].filter(Boolean).join(" · ");
    $("failure").textContent = trace.reason ? `${trace.reason}${trace.where ? " at " + trace.where : ""}${trace.fix ? ". Fix: " + trace.fix : ""}` : "";
    $("figures").replaceChildren(...figuresOf().map(([label, value]) => make("div", {}, make("dt", {}, label), make("dd", {}, value))));
    const used = RESOURCES.filter((resource) => steps().some((span) => span.resource === resource));
    $("legend").replaceChildren(...used.map((resource) => make("span", { class: resource }, make("i"), WORDS[resource])), make("span", { class: "cpu" }, make("i", { class: "crit" }), "◆ critical path"), ...(trace.anchors.ready_s === null ? [] : [make("span", {}, make("i", { class: "at" }), "READY")]));
    $("machine").replaceChildren(...Object.entries(trace.machine).flatMap(([label, value]) => [make("dt", {}, label.replaceAll("_", " ")), make("dd", {}, value)]));
    $("notes").replaceChildren(...trace.notes.map((note) => make("li", {}, `${note.about}: ${note.text}`)));
    $("detail").replaceChildren(make("span", { class: "dim" }, "Point at a bar, or walk through the rows with the arrow keys."));
    adviceOf();
    draw();
  }
  const click = (id, action) => $(id).addEventListener("click", action);
  click("in", () => zoom(0.7)); click("out", () => zoom(1 / 0.7)); click("all", reset);
  click("group", group); click("expand", expand); click("theme", theme); click("print", () => print());
  $("file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    try {
      const opened = JSON.parse(await file.text());
      if (opened.format !== 1 || !Array.isArray(opened.spans)) throw new Error("it is not a trace of format 1");
      load({ trace: opened, explained: null });
    } catch (error) { $("failure").textContent = `${file.name} cannot be shown: ${error.message}`; }
  });
  load(JSON.parse($("data").textContent));
})();
