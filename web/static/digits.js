// Numbers as people read them.

export function digits(value, count) {
  return String(Number(value.toPrecision(count))).replace("-", "\u2212");
}
