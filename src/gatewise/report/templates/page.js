"use strict";
// One panel of a group at a time, as its <select> says.
for (const choice of document.querySelectorAll("select[data-shows]")) {
  const panels = document.querySelectorAll(`[data-panel="${choice.dataset.shows}"]`);
  const show = () => panels.forEach((one) => {
    one.hidden = one.dataset.index !== choice.value;
    one.dispatchEvent(new Event("shown"));
  });
  choice.addEventListener("change", show);
  show();
}

const made = (name, text) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  return element;
};

// The unrolled network: the step that is pointed at or focused, the weights it reads, its part.
for (const diagram of document.querySelectorAll(".unrolled")) {
  const data = JSON.parse(diagram.querySelector("script").textContent);
  const steps = [...diagram.querySelectorAll(".step")];
  const shared = diagram.querySelector(".shared");
  const reader = diagram.querySelector(".reader");
  const detail = diagram.querySelector(".detail");
  let focused = Math.max(0, data.steps.findIndex((one) => one.t === data.largest));

  const describe = (step) => {
    const head = made("p");
    head.append(made("b", `Step t = ${step.t}`), ` reads ${data.weights.join(", ")} and adds a part of size `);
    head.append(made("b", step.shown), ` to their gradient: ${step.percent} of what all steps add.`);
    const table = made("table");
    table.className = "numbers";
    const top = table.createTHead().insertRow();
    for (const name of ["gate", ...data.weights.map((one) => `‖∂L/∂${one}‖`)]) {
      const cell = made("th", name);
      cell.scope = "col";
      top.append(cell);
    }
    const body = table.createTBody();
    for (const gate of data.gates) {
      const row = body.insertRow();
      const name = made("th", gate);
      name.scope = "row";
      row.append(name, ...data.weights.map((one) => made("td", step.cells[gate][one])));
    }
    const scroll = made("div");
    scroll.className = "scroll";
    scroll.append(table);
    detail.replaceChildren(head, scroll);
  };
  const highlight = (at, pointed) => {
    steps.forEach((one, index) => {
      one.classList.toggle("on", index === at);
      one.setAttribute("aria-selected", String(index === at));
    });
    shared.classList.toggle("on", pointed);
    reader.textContent = pointed ? `read by step t = ${data.steps[at].t}` : "";
    describe(data.steps[at]);
  };
  const enter = (at) => {
    focused = at;
    steps.forEach((one, index) => one.setAttribute("tabindex", index === at ? "0" : "-1"));
  };
  steps.forEach((step, index) => {
    step.addEventListener("mouseenter", () => highlight(index, true));
    step.addEventListener("focus", () => {
      enter(index);
      highlight(index, true);
    });
    step.addEventListener("blur", () => highlight(focused, false));
    step.addEventListener("click", () => step.focus());
    step.addEventListener("keydown", (event) => {
      const last = steps.length - 1;
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      steps[Math.min(last, Math.max(0, to))].focus();
    });
  });
  diagram.addEventListener("mouseleave", () => {
    const at = steps.indexOf(document.activeElement);
    highlight(at < 0 ? focused : at, at >= 0);
  });
  // What is shown first is the step that adds most, wherever it stands.
  const strip = diagram.querySelector(".strip");
  const reveal = () => {
    const width = strip.scrollWidth / steps.length;
    strip.scrollLeft = width * (focused + 0.5) - strip.clientWidth / 2;
  };
  diagram.addEventListener("shown", reveal);
  enter(focused);
  highlight(focused, false);
  reveal();
}

// The words of a text, coloured by the state of the chosen unit.
for (const reading of document.querySelectorAll(".reading")) {
  const values = JSON.parse(reading.querySelector("script").textContent);
  const choice = reading.querySelector(".unit-choice");
  const words = reading.querySelectorAll(".tokens span");
  const colour = () => {
    const states = values[choice.value];
    const largest = Math.max(1, ...states.map(Math.abs));
    states.forEach((value, at) => {
      words[at].className = value < 0 ? "down" : "up";
      words[at].style.setProperty("--size", `${Math.round(100 * Math.abs(value) / largest)}%`);
      words[at].title = `h = ${(value / 100).toFixed(2)}`;
    });
  };
  choice.addEventListener("change", colour);
  colour();
}
