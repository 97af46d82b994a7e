// The page is whole without this script: it only adds a slider to the heat maps and links the scatter plots.
"use strict";
for (const frames of document.querySelectorAll("[data-frames]")) {
  const figures = [...frames.querySelectorAll("figure")];
  if (figures.length < 2) continue;
  const stepper = document.createElement("div");
  const slider = document.createElement("input");
  const play = document.createElement("button");
  stepper.className = "stepper";
  slider.type = "range";
  slider.min = 0;
  slider.max = figures.length - 1;
  slider.setAttribute("aria-label", frames.dataset.frames);
  play.type = "button";
  const show = () => {
    figures.forEach((figure, number) => { figure.hidden = number !== Number(slider.value); });
    slider.setAttribute("aria-valuetext", figures[slider.value].querySelector("figcaption").textContent);
  };
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  const next = () => {
    if (Number(slider.value) === figures.length - 1) return stop();
    slider.value = Number(slider.value) + 1;
    show();
  };
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (Number(slider.value) === figures.length - 1) slider.value = 0;
    show();
    play.textContent = "Pause";
    timer = setInterval(next, 600);
  });
  slider.addEventListener("input", () => { stop(); show(); });
  stepper.append(play, slider);
  frames.before(stepper);
  frames.classList.add("stepped");
  slider.value = figures.length - 1;
  stop();
  show();
}
for (const group of document.querySelectorAll("[data-linked]")) {
  const readout = group.querySelector("[data-readout]");
  const before = readout.textContent;
  const light = (number) => {
    for (const mark of group.querySelectorAll(".lit")) mark.classList.remove("lit");
    readout.textContent = before;
    if (number === undefined) return;
    for (const mark of group.querySelectorAll(`[data-i="${number}"]`)) {
      mark.classList.add("lit");
      readout.textContent = mark.querySelector("title").textContent;
    }
  };
  for (const event of ["pointerover", "click"]) {
    group.addEventListener(event, (what) => {
      const mark = what.target.closest("[data-i]");
      if (mark) light(mark.dataset.i);
    });
  }
}
