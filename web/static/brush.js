// A brush: paints on a canvas over the picture what shall be hidden, and hands it out as a mask.

const PICTURE = 1024; // pixels of the longer side that are painted on

export class Brush {
  // `size` is the picture's, in pixels; the mask has it too.
  constructor(canvas, size, onChange) {
    this.canvas = canvas;
    this.size = size;
    this.onChange = onChange;
    this.width = 0.14; // of the picture's shorter side
    this.marks = []; // functions that paint, oldest first
    const factor = Math.min(1, PICTURE / Math.max(...size));
    [canvas.width, canvas.height] = size.map((side) => Math.max(1, Math.round(side * factor)));
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
  }

  begin(event) {
    event.preventDefault();
    const points = [this.place(event)];
    const width = this.width * Math.min(this.canvas.width, this.canvas.height);
    const move = (moved) => {
      points.push(this.place(moved));
      this.draw();
    };
    const end = () => this.canvas.removeEventListener("pointermove", move);
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, end, { once: true });
    this.add((context) => stroke(context, points, width));
  }

  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - left) / width) * this.canvas.width,
      ((event.clientY - top) / height) * this.canvas.height,
    ];
  }

  add(mark) {
    this.marks.push(mark);
    this.draw();
  }

  undo() {
    this.marks.pop();
    this.draw();
  }

  clear() {
    this.marks = [];
    this.draw();
  }

  get isEmpty() {
    return !this.marks.length;
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const mark of this.marks) mark(context);
    this.onChange();
  }

  // A PNG of the picture's size: white where it is to be hidden, transparent elsewhere.
  mask() {
    const whole = new OffscreenCanvas(...this.size);
    whole.getContext("2d").drawImage(this.canvas, 0, 0, ...this.size);
    return whole.convertToBlob({ type: "image/png" });
  }
}

function stroke(context, points, width) {
  context.strokeStyle = "#fff";
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points) context.lineTo(...point);
  context.stroke();
}
