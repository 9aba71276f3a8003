// The view: what is looked at is drawn here. In a file all data stand in the page; served, they are asked for.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  let data = JSON.parse($("data").textContent);
  const words = data.words, say = (key, given = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => String(given[name]));
  const look = { task: "", metric: "", axis: "s", log: false, smooth: 0, bands: true, fan: true, hidden: new Set(), move: "", search: "", doc: null };
  const cache = new Map();

  // -- elements ---------------------------------------------------------------------------------------------------
  const put = (node, given, ...children) => {
    for (const [name, value] of Object.entries(given || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((one) => one !== null && one !== undefined));
    return node;
  };
  const el = (name, given, ...children) => put(document.createElement(name), given, ...children);
  const svg = (name, given, ...children) => put(document.createElementNS("http://www.w3.org/2000/svg", name), given, ...children);
  const color = (index) => `var(--c${index % data.colors.length})`;
  const dash = (index) => (index >= data.colors.length ? "6 4" : null);

  // -- data -------------------------------------------------------------------------------------------------------
  const ask = async (path, given) => {
    const address = `${path}.json?${new URLSearchParams(given)}`;
    if (!cache.has(address)) {
      const found = await fetch(address);
      if (!found.ok) throw new Error((await found.json().catch(() => ({}))).why || String(found.status));
      cache.set(address, await found.json());
    }
    return cache.get(address);
  };
  const curvesOf = async (task) => (data.served ? ask("/curves", { task }) : data.curves[task]);
  const fansOf = async (task, metric) => (data.served ? ask("/fans", { task, metric }) : (data.fans[task] || {})[metric] || {});
  const itemsOf = async (task) => (data.served ? ask("/items", { task }) : data.items[task]);
  const itemOf = async (task, doc) => (data.served ? ask("/item", { task, doc }) : data.items[task].each[doc]);

  // -- numbers ----------------------------------------------------------------------------------------------------
  const short = (value) => {
    for (const [unit, size] of [["E", 1e18], ["T", 1e12], ["B", 1e9], ["M", 1e6], ["k", 1e3]])
      if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
    return String(Number(value.toPrecision(4)));
  };
  const ticks = (low, high, count) => {
    const raw = (high - low) / count, size = 10 ** Math.floor(Math.log10(raw));
    if (!(raw > 0) || !Number.isFinite(size)) return [low];
    const step = [1, 2, 2.5, 5, 10].map((one) => one * size).find((one) => one >= raw * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k <= high / step + 1e-9; k++) found.push(Number((k * step).toPrecision(12)));
    return found;
  };
  const logTicks = (low, high) => {
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const one of [1, 2, 5]) if (one * 10 ** e >= low * 0.999 && one * 10 ** e <= high * 1.001) found.push(one * 10 ** e);
    return found.length > 7 ? found.filter((one) => /^1(e|0*$)/.test(String(one)) || Number.isInteger(Math.log10(one))) : found;
  };
  // An exponential mean that is not drawn towards its first value; gaps stay gaps.
  const smoothed = (values, weight) => {
    let sum = 0, total = 0;
    return values.map((one) => {
      if (one === null) return null;
      sum = weight * sum + one; total = weight * total + 1;
      return sum / total;
    });
  };

  // -- one chart --------------------------------------------------------------------------------------------------
  // lines: {name, color, dash, x, y, half, raw, fan}; tips are shown where the pointer or the arrow keys are.
  const chart = (box, { lines, mark, xLabel, log, height, label, onPick }) => {
    const width = Math.max(260, box.clientWidth || 600), left = 50, right = 12, top = 10, bottom = 40;
    const xs = [], ys = mark === null || mark === undefined ? [] : [mark.y];
    for (const one of lines) {
      one.x.forEach((x, k) => {
        if (x === null || one.y[k] === null || (log && x <= 0)) return;
        xs.push(x); ys.push(one.y[k]);
        if (one.half && one.half[k] !== null) ys.push(one.y[k] - one.half[k], one.y[k] + one.half[k]);
        if (one.raw) ys.push(one.raw[k]);
      });
      for (const point of one.fan || []) { xs.push(point.x); ys.push(point.l, point.h); }
    }
    const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });
    box.replaceChildren(drawn);
    if (!xs.length) return;
    let lowX = Math.min(...xs), highX = Math.max(...xs), lowY = Math.min(...ys), highY = Math.max(...ys);
    if (lowX === highX) [lowX, highX] = log ? [lowX / 2, highX * 2] : [lowX - 1, highX + 1];
    const room = (highY - lowY) * 0.06 || Math.abs(highY) * 0.1 || 1;
    lowY -= room; highY += room;
    const f = log ? Math.log : (x) => x;
    const px = (x) => left + ((f(x) - f(lowX)) / (f(highX) - f(lowX))) * (width - left - right);
    const py = (y) => height - bottom - ((y - lowY) / (highY - lowY)) * (height - top - bottom);
    for (const y of ticks(lowY, highY, 5)) {
      drawn.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }));
      drawn.append(svg("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, short(y)));
    }
    for (const x of log ? logTicks(lowX, highX) : ticks(lowX, highX, width < 500 ? 4 : 7)) {
      drawn.append(svg("line", { class: "axis", x1: px(x), x2: px(x), y1: height - bottom, y2: height - bottom + 4 }));
      drawn.append(svg("text", { x: px(x), y: height - bottom + 17, "text-anchor": "middle" }, short(x)));
    }
    drawn.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    drawn.append(svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, xLabel));
    if (mark) {
      drawn.append(svg("line", { class: "chance", x1: left, x2: width - right, y1: py(mark.y), y2: py(mark.y) }));
      drawn.append(svg("text", { x: left + 5, y: py(mark.y) - 4 }, mark.label));
    }
    const pieces = (x, y) => {
      const found = [[]];
      x.forEach((one, k) => (one === null || y[k] === null || (log && one <= 0) ? found.push([]) : found[found.length - 1].push([px(one), py(y[k])])));
      return found.filter((one) => one.length);
    };
    const path = (points) => points.map(([x, y], k) => `${k ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
    for (const one of lines) {
      const edge = one.x.map((x, k) => [x, one.y[k], one.half ? one.half[k] : null]).filter(([x, y, h]) => x !== null && y !== null && h !== null && !(log && x <= 0));
      if (edge.length > 1) {
        const high = edge.map(([x, y, h]) => [px(x), py(y + h)]), low = edge.map(([x, y, h]) => [px(x), py(y - h)]).reverse();
        drawn.append(svg("path", { d: `${path([...high, ...low])}Z`, style: { fill: one.color }, "fill-opacity": 0.15 }));
      }
      if (one.fan && one.fan.length) {
        const high = one.fan.map((p) => [px(p.x), py(p.h)]), low = one.fan.map((p) => [px(p.x), py(p.l)]).reverse();
        drawn.append(svg("path", { d: `${path([...high, ...low])}Z`, class: "fan", style: { fill: one.color }, "fill-opacity": 0.12 }));
        drawn.append(svg("path", { d: path(one.fan.map((p) => [px(p.x), py(p.v)])), fill: "none", style: { stroke: one.color }, "stroke-dasharray": "2 3", "stroke-width": 1.5 }));
      }
    }
    for (const one of lines) {
      for (const [y, kind, wide] of [[one.raw, "raw", 1], [one.y, "line", one.wide || 2]])
        for (const points of y ? pieces(one.x, y) : []) {
          drawn.append(svg("path", { d: path(points), class: kind, fill: "none", style: { stroke: one.color }, "stroke-width": wide, "stroke-linejoin": "round", "stroke-dasharray": one.dash }));
          if (kind === "line" && points.length < 30) for (const [x, y] of points) drawn.append(svg("circle", { cx: x, cy: y, r: 2.4, style: { fill: one.color } }));
        }
    }
    const all = [...new Set(lines.flatMap((one) => one.x.filter((x, k) => x !== null && one.y[k] !== null && !(log && x <= 0))))].sort((a, b) => a - b);
    const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" }), tip = el("div", { class: "tip", hidden: true });
    drawn.append(cursor); box.append(tip);
    const show = (x) => {
      const near = all.reduce((a, b) => (Math.abs(px(b) - x) < Math.abs(px(a) - x) ? b : a), all[0]), at = px(near);
      put(cursor, { x1: at, x2: at, visibility: "visible" });
      const rows = lines.map((one) => [one, one.x.indexOf(near)]).filter(([one, k]) => k >= 0 && one.y[k] !== null);
      tip.replaceChildren(el("div", {}, `${short(near)} ${xLabel}`), ...rows.map(([one, k]) =>
        el("div", {}, el("i", { style: { background: one.color } }), el("b", {}, (one.raw || one.y)[k].toPrecision(4) + (one.half && one.half[k] !== null ? ` ± ${one.half[k].toPrecision(2)}` : "")), one.name)));
      tip.hidden = false;
      put(tip, { style: at > width / 2 ? { right: `${width - at + 10}px`, left: "auto" } : { left: `${at + 10}px`, right: "auto" } });
      if (onPick) onPick(near);
    };
    const scale = (event) => ((event.clientX - drawn.getBoundingClientRect().left) / drawn.getBoundingClientRect().width) * width;
    drawn.addEventListener("pointermove", (event) => show(scale(event)));
    drawn.addEventListener("pointerleave", () => { tip.hidden = true; put(cursor, { visibility: "hidden" }); });
  };

  // -- curves -----------------------------------------------------------------------------------------------------
  const AXES = { s: "step", t: "token", f: "flop" };
  const main = document.querySelector("main");
  const app = $("app");
  const controls = {};
  const pressed = (button, on) => button.setAttribute("aria-pressed", String(on));

  const build = () => {
    const toggle = (name, word) => (controls[name] = el("button", { type: "button", onclick: () => set({ [name]: !look[name] }) }, say(word)));
    const axes = Object.entries(AXES).map(([key, word]) => (controls[`axis-${key}`] = el("button", { type: "button", onclick: () => set({ axis: key }) }, say(word))));
    controls.task = el("select", { "aria-label": say("task"), onchange: () => set({ task: controls.task.value }) });
    controls.metric = el("select", { "aria-label": say("metric"), onchange: () => set({ metric: controls.metric.value }) });
    controls.smooth = el("input", { type: "range", min: 0, max: 0.98, step: 0.01, value: 0, "aria-label": say("smooth"), oninput: () => set({ smooth: Number(controls.smooth.value) }) });
    controls.runs = el("div", { class: "runs" });
    controls.plot = el("div", { class: "plot", id: "plot" });
    controls.said = el("p", { class: "soft", id: "said" });
    app.replaceChildren(
      el("div", { class: "bar" }, el("label", { class: "grow" }, controls.task), el("label", { class: "grow" }, controls.metric)),
      controls.runs, controls.plot, controls.said,
      el("div", { class: "bar" }, el("span", { class: "segments", role: "group", "aria-label": say("axis") }, ...axes), toggle("log", "log"),
        toggle("bands", "bands"), toggle("fan", "fan"), el("label", {}, say("smooth"), controls.smooth)),
    );
    $("note").append(" ", say("keys"));
    main.classList.add("ready");
  };

  const fill = () => {
    controls.task.replaceChildren(...data.tasks.map((one) => el("option", { value: one }, one)));
    const rows = [...document.querySelectorAll("#table tbody tr")];
    rows.forEach((row, k) => {
      const { task } = data.standings[k];
      put(row, { "data-task": task, tabindex: 0, onclick: () => set({ task }), onkeydown: (event) => { if (event.key === "Enter") set({ task }); } });
    });
  };

  let turn = 0;
  const set = (given) => {
    if (given.metric === undefined) delete given.metric;
    if (given.task !== undefined && given.task !== look.task) {
      Object.assign(look, { task: given.task, doc: null });
      if (!data.metrics[look.task].includes(given.metric || look.metric)) look.metric = data.metrics[look.task][0];
    }
    Object.assign(look, given);
    return draw().then(() => (given.task === undefined ? undefined : items()));
  };

  const draw = async () => {
    const mine = ++turn, { task, metric } = look;
    const found = await curvesOf(task), curve = found[metric];
    if (mine !== turn) return;
    const runs = data.runs.filter((run) => curve.runs[run]);
    const has = (key) => runs.some((run) => curve.runs[run][key]);
    const axis = has(look.axis) ? look.axis : "s";
    for (const key of Object.keys(AXES)) { controls[`axis-${key}`].disabled = !has(key); pressed(controls[`axis-${key}`], key === axis); }
    for (const key of ["log", "bands", "fan"]) pressed(controls[key], look[key]);
    controls.task.value = task;
    controls.metric.replaceChildren(...data.metrics[task].map((one) => el("option", { value: one }, one)));
    controls.metric.value = metric;
    controls.smooth.value = look.smooth;
    for (const row of document.querySelectorAll("#table tbody tr")) row.setAttribute("aria-current", String(row.dataset.task === task));
    const lines = (fans) => runs.filter((run) => !look.hidden.has(run)).map((run) => {
      const own = curve.runs[run], index = data.runs.indexOf(run), x = own[axis] || own.v.map(() => null);
      const fan = look.fan && fans[run] && fans[run].points ? fans[run].points : [];
      const last = x.reduce((k, one, at) => (one !== null && own.v[at] !== null ? at : k), -1);
      return {
        name: run, color: color(index), dash: dash(index), x, y: look.smooth ? smoothed(own.v, look.smooth) : own.v, raw: look.smooth ? own.v : null,
        half: look.bands && own.e && !look.smooth ? own.e.map((one) => (one === null ? null : one * data.quantile)) : null,
        fan: fan.length && last >= 0 ? [{ x: x[last], v: own.v[last], l: own.v[last], h: own.v[last] }, ...fan.map((p) => ({ x: p.x * x[last], v: p.v, l: p.l, h: p.h }))] : [],
      };
    });
    const paint = (fans) => chart(controls.plot, {
      lines: lines(fans), log: look.log, height: Math.round(Math.min(420, Math.max(240, innerHeight * 0.45))), xLabel: say(AXES[axis]),
      mark: curve.chance === null ? null : { y: curve.chance, label: say("chance") }, label: `${task}: ${metric}`,
    });
    controls.runs.replaceChildren(...runs.map((run, k) => {
      const own = curve.runs[run], values = (own.v || []).filter((one) => one !== null), hide = look.hidden.has(run);
      return el("button", { type: "button", "aria-pressed": String(!hide), onclick: () => { hide ? look.hidden.delete(run) : look.hidden.add(run); draw(); } },
        k < 9 ? el("kbd", {}, String(k + 1)) : null, el("i", { style: { background: color(data.runs.indexOf(run)) } }), run, el("b", {}, values.length ? values[values.length - 1].toPrecision(3) : "–"));
    }));
    paint({});
    controls.said.textContent = "";
    app.dataset.ready = `${task} ${metric}`;
    if (curve.higher || !look.fan) return;
    const fans = await fansOf(task, metric);
    if (mine !== turn) return;
    const made = Object.values(fans);
    if (made.some((one) => one.points)) paint(fans);
    const names = [...new Set(made.filter((one) => one.name).map((one) => one.name))], whys = [...new Set(made.filter((one) => one.why).map((one) => one.why))];
    controls.said.textContent = [names.length ? say("fan_by", { name: names.join(", ") }) : "", whys.length ? say("no_fan", { why: whys[0] }) : ""].filter(Boolean).join(" · ");
    app.dataset.fan = `${task} ${metric}`;
  };

  // -- items ------------------------------------------------------------------------------------------------------
  const MOVES = ["turned_right", "turned_wrong", "never_moves", "wavers"], PAGE = 60;
  let listed = null, shownCount = PAGE;
  const items = async () => {
    const box = $("items"), { task } = look, head = el("h2", {}, `${say("items")}: ${task}`);
    try { listed = await itemsOf(task); } catch (error) { listed = null; }
    if (task !== look.task) return;
    if (!listed) { box.replaceChildren(...(data.served || Object.keys(data.items).length ? [head, el("p", { class: "soft" }, say("no_items", { task }))] : [])); return; }
    const runs = Object.keys(listed.runs);
    controls.run = el("select", { "aria-label": "run", onchange: () => { shownCount = PAGE; list(); } }, ...runs.map((one) => el("option", { value: one }, one)));
    controls.search = el("input", { type: "search", placeholder: say("search"), "aria-label": say("search"), value: look.search, oninput: () => { look.search = controls.search.value; shownCount = PAGE; list(); } });
    controls.moves = el("span", { class: "segments", role: "group" });
    controls.list = el("ol", { class: "list" });
    controls.count = el("p", { class: "soft" });
    controls.item = el("div", { class: "item", "aria-live": "polite" });
    box.replaceChildren(head, el("div", { class: "bar" }, controls.moves, el("label", { class: "grow" }, controls.search), controls.run),
      el("div", { class: "two" }, el("div", {}, controls.list, controls.count), controls.item), el("p", { class: "soft" }, say("sum")));
    list();
  };

  const chosen = () => {
    const own = listed.runs[controls.run.value], words_ = look.search.toLowerCase();
    return listed.ids.map((id, k) => k).filter((k) => (!look.move || own.moves[k] === look.move) && (!words_ || String(listed.ids[k]) === words_ || listed.texts[k].toLowerCase().includes(words_)));
  };

  const list = () => {
    const own = listed.runs[controls.run.value], found = chosen(), counts = {};
    for (const one of own.moves) counts[one] = (counts[one] || 0) + 1;
    controls.moves.replaceChildren(...["", ...MOVES].map((one) => el("button", { type: "button", class: one, "aria-pressed": String(look.move === one), onclick: () => { look.move = one; shownCount = PAGE; list(); } },
      `${say(one || "all")} ${one ? counts[one] || 0 : own.moves.length}`)));
    controls.list.replaceChildren(...found.slice(0, shownCount).map((k) => {
      const marks = own.marks[k], bars = svg("svg", { class: "marks", viewBox: `0 0 ${marks.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
      [...marks].forEach((one, at) => { if (one !== "-") bars.append(svg("rect", { x: at, y: 0, width: 0.9, height: 1, class: one === "1" ? "r" : "w" })); });
      return el("li", {}, el("button", { type: "button", "data-doc": listed.ids[k], "aria-current": String(listed.ids[k] === look.doc), onclick: () => open(listed.ids[k]) },
        el("small", {}, `${say("item")} ${listed.ids[k]} · `, el("span", { class: own.moves[k] }, say(own.moves[k]))), el("p", {}, listed.texts[k] || say("no_text")), bars));
    }));
    if (found.length > shownCount) controls.list.append(el("li", {}, el("button", { type: "button", onclick: () => { shownCount += PAGE; list(); } }, say("more"))));
    controls.count.textContent = say("shown", { shown: found.length, count: own.moves.length });
    const first = found.length ? listed.ids[found[0]] : null;
    if (!found.some((k) => listed.ids[k] === look.doc)) first === null ? controls.item.replaceChildren() : open(first);
    else open(look.doc);
  };

  const open = async (doc) => {
    const { task } = look;
    look.doc = doc;
    for (const one of controls.list.querySelectorAll("[data-doc]")) one.setAttribute("aria-current", String(Number(one.dataset.doc) === doc));
    const item = await itemOf(task, doc);
    if (task !== look.task || doc !== look.doc) return;
    const count = Math.max(...Object.values(item.runs).flat().map((one) => one.length));
    const named = (c) => item.choices[c] || `${c + 1}`;
    const plots = Object.entries(item.runs).map(([run, rows]) => [run, rows, el("div", { class: "plot" })]);
    controls.item.replaceChildren(
      item.text ? el("pre", {}, item.text) : el("p", { class: "soft" }, say("no_text")),
      el("ul", { class: "key" }, ...Array.from({ length: count }, (_, c) => el("li", { class: item.gold[c] ? "gold" : "" }, el("i", { style: { background: color(c) } }), named(c).trim() || "␠", item.gold[c] ? el("span", { class: "good" }, `✓ ${say("gold")}`) : null))),
      el("small", {}, say("loglik")),
      el("div", { class: "plots" }, ...plots.map(([run, , box]) => el("div", {}, el("h3", {}, run), box))),
    );
    controls.item.dataset.doc = doc;
    for (const [run, rows, box] of plots)
      chart(box, {
        lines: Array.from({ length: count }, (_, c) => ({ name: named(c).trim().slice(0, 40), color: color(c), dash: dash(c), wide: item.gold[c] ? 3 : 1.3, x: listed.runs[run].steps, y: rows.map((row) => row[c] ?? null) })),
        height: 190, xLabel: say("step"), label: `${say("item")} ${doc}, ${run}`,
      });
  };

  // -- keys and what is new ---------------------------------------------------------------------------------------
  const next = (list_, now, by) => list_[(list_.indexOf(now) + by + list_.length) % list_.length];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const step = (by) => { const found = listed ? chosen().map((k) => listed.ids[k]) : []; if (found.length) open(next(found, look.doc, by)); };
    const acts = {
      j: () => set({ task: next(data.tasks, look.task, 1) }), k: () => set({ task: next(data.tasks, look.task, -1) }),
      m: () => set({ metric: next(data.metrics[look.task], look.metric, 1) }), M: () => set({ metric: next(data.metrics[look.task], look.metric, -1) }),
      a: () => set({ axis: next(Object.keys(AXES).filter((key) => !controls[`axis-${key}`].disabled), look.axis, 1) }),
      s: () => set({ smooth: Math.min(0.95, look.smooth + 0.1) }), S: () => set({ smooth: Math.max(0, Number((look.smooth - 0.1).toFixed(2))) }),
      b: () => set({ bands: !look.bands }), f: () => set({ fan: !look.fan }), l: () => set({ log: !look.log }),
      n: () => step(1), p: () => step(-1), "/": () => (controls.search || controls.task).focus(),
    };
    const act = acts[event.key] || (/^[1-9]$/.test(event.key) ? () => { const one = controls.runs.children[Number(event.key) - 1]; if (one) one.click(); } : null);
    if (act) { event.preventDefault(); act(); }
  });

  const renew = async () => {
    try {
      const found = await fetch(`/overview.json?state=${data.state}`);
      if (found.status === 200) {
        const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
        for (const id of ["answer", "table", "verdicts"]) $(id).replaceChildren(...page.getElementById(id).childNodes);
        data = { ...data, ...(await found.json()) };
        cache.clear();
        if (!data.tasks.includes(look.task)) look.task = data.tasks[0];
        if (!data.metrics[look.task].includes(look.metric)) look.metric = data.metrics[look.task][0];
        fill(); await draw();
      }
      document.title = document.title.replace(/^\(!\) /, "");
    } catch (error) {
      if (!document.title.startsWith("(!)")) { document.title = `(!) ${document.title}`; controls.said.textContent = say("gone"); }
    }
  };

  build(); fill();
  const first = data.standings[0];
  const withItems = data.served ? null : Object.keys(data.items)[0];
  const usual = ["t", "s"];
  curvesOf(first.task).then((found) => {
    look.axis = usual.find((key) => Object.values(found[first.metric].runs).every((own) => own[key])) || "s";
    return set({ task: withItems || first.task, metric: withItems ? undefined : first.metric });
  });
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { draw(); if (listed && look.doc !== null) open(look.doc); }, 100); });
  if (data.served) setInterval(() => { if (!document.hidden) renew(); }, 3000);
})();
