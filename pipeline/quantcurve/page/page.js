"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const spec = JSON.parse(document.getElementById("spec").textContent);
  const controls = document.getElementById("controls");
  const chart = document.getElementById("chart");
  const byId = new Map(data.points.map((point) => [point.id, point]));
  const MIB = { "": 1, MIB: 1, GIB: 1024, MB: 1e6 / 2 ** 20, GB: 1e9 / 2 ** 20, KB: 1e3 / 2 ** 20, KIB: 1 / 1024, B: 1 / 2 ** 20 };
  const LABEL = 26;
  let view = null;
  let lit = "";
  let domains = { x: [0, 1], y: [0, 1] };

  // --- Tables: sort by a column --------------------------------------------------------------------------------
  for (const table of document.querySelectorAll("table.trade-off")) {
    for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => sort(table, column, head));
    }
  }

  function sort(table, column, head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[column];
      if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
      return cell.textContent === "-" || cell.textContent === "" ? null : cell.textContent.toLowerCase();
    };
    const rank = (value) => (value === null ? 2 : typeof value === "string" ? 1 : 0);
    const order = (a, b) => {
      if (Boolean(a.id) !== Boolean(b.id)) return a.id ? -1 : 1; // the reference and the engine floor are no variants
      const [x, y] = [key(a), key(b)];
      if (rank(x) !== rank(y)) return rank(x) - rank(y);
      const less = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return down ? -less : less;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }

  // --- A mark and its row show each other ----------------------------------------------------------------------
  function light(id, scroll) {
    if (lit) document.getElementById(lit)?.classList.remove("lit");
    lit = id;
    const row = id && document.getElementById(id);
    if (row) {
      row.classList.add("lit");
      if (scroll) row.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    if (view) view.signal("lit", id).runAsync();
    document.getElementById("lit").textContent = detail(byId.get(id));
  }

  // A variant in one sentence: verdicts, figures, and what it cannot be told apart from.
  function detail(point) {
    const verdicts = [point.lane, point.screen !== "-" && point.screen, point.contract && `contract: ${point.contract}`];
    const figures = data.axes.map((axis, i) => point.spans[i] && `${axis.title} ${told(point, i)}`);
    const ties = point.tied_with.map((id) => byId.get(id)?.name).filter(Boolean);
    const apart = ties.length ? ` In KL divergence it cannot be told apart from ${ties.join(", ")}.` : "";
    return `${named(point)} (${verdicts.filter(Boolean).join(", ")}): ${figures.filter(Boolean).join("; ")}.${apart}`;
  }
  for (const id of byId.keys()) {
    const row = document.getElementById(id);
    row.tabIndex = -1;
    row.addEventListener("mouseenter", () => light(id, false));
    row.addEventListener("focus", () => light(id, false));
    row.addEventListener("click", () => light(id, false));
  }
  for (const body of document.querySelectorAll("table.trade-off tbody")) {
    const rows = () => [...body.querySelectorAll("tr[id]:not([hidden])")];
    body.querySelector("tr[id]")?.setAttribute("tabindex", "0");
    body.addEventListener("keydown", (event) => rove(event, rows(), "ArrowUp", "ArrowDown"));
  }

  // One stop for Tab, arrows inside it.
  function rove(event, some, back, on) {
    const at = some.indexOf(document.activeElement);
    const to = some[at + (event.key === on ? 1 : event.key === back ? -1 : 0)];
    if (at < 0 || !to || to === some[at]) return;
    event.preventDefault();
    some[at].setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  }

  // --- Constraints ---------------------------------------------------------------------------------------------
  function limit(input) {
    const axis = data.axes[Number(input.dataset.axis)];
    const text = input.value.trim();
    const found = /^(-?\d*[.,]?\d+(?:e-?\d+)?)\s*(.*)$/i.exec(text);
    const unit = found ? found[2].trim().toUpperCase() : "";
    const factor = axis.unit === "MiB" ? MIB[unit] : unit === "" || unit === axis.unit.toUpperCase() ? 1 : undefined;
    const known = found !== null && factor !== undefined;
    input.setAttribute("aria-invalid", String(text !== "" && !known));
    return known ? Number(found[1].replace(",", ".")) * factor : null;
  }

  function unread() {
    const wrong = [...controls.querySelectorAll("[name=limit][aria-invalid=true]")];
    const told = wrong.map((input) => `${data.axes[Number(input.dataset.axis)].title}: "${input.value}"`);
    return told.length ? ` Not read, so no constraint: ${told.join(", ")}.` : "";
  }

  function inside(point, limits) {
    return limits.every(([i, most]) => {
      const span = point.spans[i];
      return span !== null && (data.axes[i].better === "higher" ? span[1] >= most : span[2] <= most);
    });
  }

  function shown() {
    const checked = (name) => [...controls.querySelectorAll(`input[name=${name}]:checked`)].map((box) => box.value);
    const lanes = checked("lane");
    const runs = data.runs.length > 1 ? checked("run").map(Number) : [0];
    const limits = [...controls.querySelectorAll("input[name=limit]")]
      .map((input) => [Number(input.dataset.axis), limit(input)])
      .filter(([, most]) => most !== null);
    return data.points.filter((p) => lanes.includes(p.lane) && runs.includes(p.run) && inside(p, limits));
  }

  function told(point, i) {
    const [value, low, high] = point.spans[i];
    const unit = data.axes[i].unit && ` ${data.axes[i].unit}`;
    const half = Math.max(high - value, value - low);
    const finest = half > 0 ? half / 10 : Math.abs(value) / 1000;
    const decimals = Math.min(12, Math.max(0, -Math.floor(Math.log10(finest || 1)) - 1));
    const [x, a, b] = [value, low, high].map((one) => one.toFixed(decimals));
    return half > 0 ? `${x}${unit} [${a}, ${b}]` : `${x}${unit}`;
  }

  function named(point) {
    return data.runs.length > 1 ? `${point.name} of ${data.runs[point.run].name}` : point.name;
  }

  function answer(some, x, y) {
    const counted = `${some.length} of ${data.points.length} variants are inside.`;
    const drawn = some.filter((p) => p.spans[x] && p.spans[y]).length;
    const lack = drawn < some.length ? ` ${drawn} have both figures and are drawn.` : "";
    const out = some.filter((p) => p.contract === "fail" || p.screen === "discard");
    const known = some.filter((p) => p.spans[y] && !out.includes(p));
    const apart = out.length ? ` (${out.length} that screen or contract rule out left aside)` : "";
    if (known.length === 0) return `${counted}${lack} None is left to choose${apart}.`;
    known.sort((a, b) => a.spans[y][0] - b.spans[y][0]);
    const [best, next] = known;
    const first = `${counted}${lack} Least ${data.axes[y].title}${apart}: ${named(best)}, ${told(best, y)}.`;
    return next ? `${first} Next: ${named(next)}, ${told(next, y)}. ${compared(best, next, y)}` : first;
  }

  function compared(best, next, y) {
    if (data.axes[y].key === "kl_mean" && best.run === next.run) {
      if (best.tied_with.includes(next.id)) return "The two cannot be told apart, paired on the same windows of text.";
      return `${best.name} is really closer to the reference: the difference, paired on the same windows of text, excludes zero.`;
    }
    const apart = best.spans[y][2] < next.spans[y][1];
    return `Their intervals ${apart ? "do not overlap" : "overlap: the two cannot be told apart by this"}.`;
  }

  // --- Curve ---------------------------------------------------------------------------------------------------
  function domain(i, values, log) {
    const ends = [Math.min(...values), Math.max(...values)];
    const wider = [...ends, ...contractValues(i, ...ends)].filter((value) => !log || value > 0);
    const [low, high] = [Math.min(...wider), Math.max(...wider)];
    if (log) return [low / 1.4, high * 1.4];
    const margin = 0.08 * (high - low) || 0.1 * Math.abs(high) || 1;
    return [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin];
  }

  function front(points, x) {
    const better = data.axes[x].better === "higher" ? -1 : 1;
    const sorted = points.filter((p) => p.screen !== "discard").sort((a, b) => better * (a.x - b.x) || a.y - b.y);
    let least = Infinity;
    return sorted.filter((p) => p.y < least && ((least = p.y), true));
  }

  function described(point, x, y) {
    const words = [named(point), point.lane, point.screen, point.contract && `contract: ${point.contract}`];
    const figures = [x, y].map((i) => `${data.axes[i].title} ${told(point, i)}`);
    const tied = point.tied_with.length > 0 && "cannot be told apart from others in KL divergence";
    return [...words, ...figures, tied].filter(Boolean).join(", ");
  }

  function marks(some, x, y) {
    const log = data.axes[y].log;
    return some
      .filter((p) => p.spans[x] && p.spans[y] && (!log || p.spans[y][0] > 0))
      .map((p) => ({
        id: p.id, lane: p.lane, hue: data.runs.length > 1 ? data.runs[p.run].name : p.lane, on_front: p.on_front,
        screen: p.screen, weight: (p.on_front ? 2 : 0) + (p.screen === "keep" ? 1 : 0), description: described(p, x, y),
        label: p.name.length > LABEL ? `${p.name.slice(0, LABEL - 1)}…` : p.name,
        x: p.spans[x][0], xLow: p.spans[x][1], xHigh: p.spans[x][2],
        y: p.spans[y][0], yLow: p.spans[y][1], yHigh: p.spans[y][2],
      }));
  }

  function inDomain(rule) {
    const [low, high] = domains[rule.side];
    return rule.value >= low && rule.value <= high;
  }

  function contractValues(i, low, high) {
    const near = (value) => value >= low - (high - low) && value <= high + (high - low);
    return data.lines.filter((line) => line.axis === i && near(line.value)).map((line) => line.value);
  }

  function rules(some, x, y) {
    const runs = [...new Set(some.map((p) => p.run))];
    const found = data.lines.filter((l) => runs.includes(l.run) && (l.axis === x || l.axis === y))
      .map((l) => ({ side: data.axes[l.axis].side, value: l.value, label: l.label, contract: true }));
    for (const i of runs) {
      const of = data.runs.length > 1 ? ` of ${data.runs[i].name}` : "";
      const { floor_nats: floor, reference_spans: spans, reference } = data.runs[i];
      if (floor !== null && data.axes[y].key === "kl_mean") found.push({ side: "y", value: floor, label: `engine floor${of}`, contract: false });
      if (spans[x]) found.push({ side: "x", value: spans[x][0], label: `reference ${reference}${of}`, contract: false });
    }
    const seen = new Map();
    return found.filter(inDomain).filter((r) => !seen.has(r.side + r.label + r.value) && seen.set(r.side + r.label + r.value, true))
      .map((r, place) => ({ ...r, place }))
      .concat({ side: "x", value: domains.x[0], label: ".", contract: false, hidden: true, place: 0 }); // Vega's labels need something to avoid
  }

  function titled(i) {
    const { title, unit } = data.axes[i];
    return unit ? `${title} (${unit})` : title;
  }

  function drawing(x, y, all) {
    const made = structuredClone(spec);
    const log = data.axes[y].log && all.length > 0 && Math.max(...all.map((p) => p.y)) > 10 * Math.min(...all.map((p) => p.y));
    const values = (keys) => all.flatMap((p) => keys.map((key) => p[key])).filter((value) => !log || value > 0);
    made.width = Math.max(160, chart.clientWidth - made.padding.left - made.padding.right);
    made.height = chart.clientWidth < 500 ? 320 : 400;
    domains = { x: domain(x, values(["x", "xLow", "xHigh"]), false), y: domain(y, values(["y", "yLow", "yHigh"]), log) };
    Object.assign(made.scales[0], { domain: domains.x });
    Object.assign(made.scales[1], { type: log ? "log" : "linear", domain: domains.y });
    made.axes[0].title = titled(x);
    made.axes[1].title = titled(y) + (log ? ", log scale" : "");
    const lanes = [...new Set(data.points.map((p) => p.lane))].sort();
    const names = data.runs.map((run) => run.name);
    made.scales[2].domain = data.runs.length > 1 ? [...new Set(names)] : lanes;
    made.scales[3].domain = lanes;
    const look = { orient: "bottom", direction: "horizontal", labelFontSize: 12, symbolStrokeWidth: 2, symbolSize: 130, labelLimit: 240 };
    if (data.runs.length > 1) made.legends.push({ stroke: "colour", symbolType: "circle", ...look });
    made.legends.push(data.runs.length > 1 ? { shape: "shape", ...look } : { shape: "shape", stroke: "colour", ...look });
    return made;
  }

  const choice = (id) => Number(document.getElementById(id).value);
  let drawn = "";
  let drawings = 0;

  async function draw() {
    const [x, y] = [choice("x-axis"), choice("y-axis")];
    const now = `${x} ${y} ${chart.clientWidth}`;
    const own = ++drawings;
    if (now !== drawn) {
      drawn = now;
      const made = drawing(x, y, marks(data.points, x, y));
      const old = view;
      view = null;
      made.description = `${titled(y)} against ${titled(x)} of every variant; the table below has the same figures.`;
      const found = await vegaEmbed(chart, made, { mode: "vega", ast: true, renderer: "svg", actions: false, defaultStyle: false, tooltip: false });
      old?.finalize();
      if (own !== drawings) return;
      view = found.view;
      view.addEventListener("click", (_, item) => item?.datum?.id && light(item.datum.id, false));
      view.addEventListener("mouseover", (_, item) => item?.datum?.id && light(item.datum.id, false));
    }
    await refill(x, y);
  }

  async function refill(x, y) {
    const some = shown();
    const kept = new Set(some.map((p) => p.id));
    for (const id of byId.keys()) document.getElementById(id).hidden = !kept.has(id);
    document.getElementById("answer").textContent = answer(some, x, y) + unread();
    if (!view) return;
    const points = marks(some, x, y);
    const lines = data.runs.flatMap((_, run) => {
      const line = front(points.filter((p) => byId.get(p.id).run === run), x).map((p) => ({ x: p.x, y: p.y, defined: true }));
      return line.length ? [...line, { ...line.at(-1), defined: false }] : [];
    });
    for (const p of points) p.yLow = Math.max(p.yLow, domains.y[0]);
    view.data("points", points).data("front", lines).data("rules", rules(some, x, y)).signal("lit", lit);
    await view.runAsync();
    for (const [i, mark] of fromLeft().entries()) {
      mark.setAttribute("tabindex", i ? "-1" : "0");
      mark.setAttribute("role", "button");
      mark.removeAttribute("aria-roledescription");
    }
  }

  function fromLeft() {
    const marks = [...chart.querySelectorAll(".points_drawn path")];
    return marks.sort((a, b) => a.__data__.datum.x - b.__data__.datum.x);
  }

  function markOf(event) {
    const mark = event.target.closest?.(".points_drawn path");
    return mark && mark.__data__?.datum?.id;
  }

  if (controls && data.points.length) {
    controls.hidden = false;
    controls.addEventListener("submit", (event) => event.preventDefault());
    controls.addEventListener("input", draw);
    controls.addEventListener("reset", () => setTimeout(draw));
    chart.addEventListener("focusin", (event) => markOf(event) && light(markOf(event), false));
    chart.addEventListener("keydown", (event) => {
      rove(event, fromLeft(), "ArrowLeft", "ArrowRight");
      if ((event.key === "Enter" || event.key === " ") && markOf(event)) {
        event.preventDefault();
        light(markOf(event), true);
      }
    });
    let waiting = 0;
    addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 120); });
    draw();
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
