// Draws the panels of the curves from the page's data, and shows the values at the step of the mouse, the finger or the keys.
// The address ends in #step=N to show step N in every panel.
(() => {
  "use strict";
  const island = document.getElementById("curves-data");
  const panels = island ? JSON.parse(island.textContent).panels : [];
  const [height, left, right, top, bottom] = [220, 56, 12, 10, 26];

  const short = (x) => {
    const size = Math.abs(x);
    if (size !== 0 && size < 1e-3) return x.toExponential(2).replace(/\.?0+e/, "e");
    return size >= 1000 ? x.toFixed(0) : String(Number(x.toPrecision(4)));
  };

  // Round numbers within low..high, about `most` of them.
  const ticks = (low, high, most) => {
    const least = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = [1, 2, 5, 10].map((round) => round * power).find((round) => round >= least);
    const found = [];
    if (!step) return found;
    for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
    return found;
  };

  // The place of the point that is nearest to a step.
  const nearest = (steps, step) => {
    let [from, to] = [0, steps.length - 1];
    while (to - from > 1) {
      const middle = (from + to) >> 1;
      if (steps[middle] <= step) from = middle; else to = middle;
    }
    return step - steps[from] <= steps[to] - step ? from : to;
  };

  const panel = (figure) => {
    const { curves } = panels[Number(figure.dataset.panel)];
    const plot = figure.querySelector(".plot");
    const values = [...figure.querySelectorAll(".value")];
    const shownStep = figure.querySelector(".step");
    const steps = [...new Set(curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
    const all = curves.flatMap((curve) => curve.values);
    // A single step is in the middle.
    const isOne = steps.length === 1;
    const [first, last] = isOne ? [steps[0] - 1, steps[0] + 1] : [steps[0], steps[steps.length - 1]];
    let low = all.reduce((a, b) => Math.min(a, b), Infinity);
    let high = all.reduce((a, b) => Math.max(a, b), -Infinity);
    if (low === high) [low, high] = low === 0 ? [0, 1] : [low - 0.1 * Math.abs(low), high + 0.1 * Math.abs(high)];
    let width = 0;
    let chosen = null;

    const x = (step) => left + (width - left - right) * (step - first) / (last - first);
    const y = (value) => top + (height - top - bottom) * (high - value) / (high - low);

    const draw = () => {
      width = Math.max(plot.clientWidth, 200);
      const parts = [];
      for (const value of ticks(low, high, 5)) {
        const at = y(value).toFixed(1);
        parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${at}" y2="${at}"/>`);
        parts.push(`<text x="${left - 6}" y="${at}" text-anchor="end" dominant-baseline="middle">${short(value)}</text>`);
      }
      const marks = isOne ? steps : ticks(first, last, width / 90).filter(Number.isInteger);
      for (const step of marks) {
        const anchor = x(step) > width - 30 ? "end" : "middle";
        parts.push(`<text x="${x(step).toFixed(1)}" y="${height - 8}" text-anchor="${anchor}">${step}</text>`);
      }
      curves.forEach((curve) => {
        const points = curve.steps.map((step, i) => `${x(step).toFixed(1)},${y(curve.values[i]).toFixed(1)}`);
        const name = curve.class;
        parts.push(`<path class="curve ${name}" d="M${points.join("L")}"/>`);
        if (points.length <= 60) {
          const dot = (point) => `<circle class="${name}" r="2.5" cx="${point.split(",")[0]}" cy="${point.split(",")[1]}"/>`;
          parts.push(points.map(dot).join(""));
        }
      });
      parts.push(`<line class="cursor" y1="${top}" y2="${height - bottom}" x1="-9" x2="-9"/>`);
      const size = `viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`;
      plot.innerHTML = `<svg ${size} aria-hidden="true">${parts.join("")}</svg>`;
      if (chosen !== null) mark();
    };

    const mark = () => {
      const at = Math.min(Math.max(x(chosen), left), width - right).toFixed(1);
      const cursor = plot.querySelector(".cursor");
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
    };

    const choose = (step) => {
      chosen = steps[nearest(steps, step)];
      shownStep.textContent = `step ${chosen}`;
      const texts = curves.map((curve, i) => {
        const at = nearest(curve.steps, chosen);
        const away = curve.steps[at] === chosen ? "" : ` (step ${curve.steps[at]})`;
        values[i].textContent = short(curve.values[at]) + away;
        return `${curve.name} ${values[i].textContent}`;
      });
      plot.setAttribute("aria-valuenow", String(chosen));
      plot.setAttribute("aria-valuetext", `step ${chosen}: ${texts.join(", ")}`);
      mark();
    };

    const follow = (event) => {
      const box = plot.getBoundingClientRect();
      const share = ((event.clientX - box.left) * (width / box.width) - left) / (width - left - right);
      choose(first + share * (last - first));
    };
    plot.addEventListener("pointermove", follow);
    plot.addEventListener("pointerdown", follow);
    plot.addEventListener("keydown", (event) => {
      const now = chosen === null ? steps.length - 1 : nearest(steps, chosen);
      const far = Math.max(1, Math.round(steps.length / 20));
      const moves = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
        PageDown: now - far, PageUp: now + far, Home: 0, End: steps.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      choose(steps[Math.min(Math.max(moves[event.key], 0), steps.length - 1)]);
    });

    plot.tabIndex = 0;
    plot.setAttribute("role", "slider");
    plot.setAttribute("aria-valuemin", String(steps[0]));
    plot.setAttribute("aria-valuemax", String(steps[steps.length - 1]));
    draw();
    choose(last);
    return { draw, choose };
  };

  const drawn = [...document.querySelectorAll("figure[data-panel]")].map(panel);
  const follow = () => {
    const step = /^#step=(\d+)$/.exec(location.hash);
    if (step) drawn.forEach((one) => one.choose(Number(step[1])));
  };
  addEventListener("resize", () => drawn.forEach((one) => one.draw()));
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  follow();
  document.documentElement.dataset.ready = String(drawn.length);
})();
