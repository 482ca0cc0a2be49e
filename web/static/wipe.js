// A wipe: a handle on the picture, and a slider for the keyboard, up to which the map is drawn.

export function wipe(view, canvas, slider) {
  const handle = view.querySelector("[data-part=handle]");

  function show() {
    const share = slider.value / slider.max;
    canvas.style.clipPath = `inset(0 ${(1 - share) * 100}% 0 0)`;
    handle.style.setProperty("--share", share);
  }

  function follow(event) {
    const { left, width } = view.getBoundingClientRect();
    slider.value = Math.round(slider.max * Math.min(Math.max((event.clientX - left) / width, 0), 1));
    show();
  }

  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    handle.addEventListener("pointermove", follow);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    handle.addEventListener(end, () => handle.removeEventListener("pointermove", follow));
  }
  slider.addEventListener("input", show);
  handle.hidden = false;
  show();
}
