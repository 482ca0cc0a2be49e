// What a worker is doing and how far it is, in words.

import { say } from "./say.js";

// `names`: the stages in the reader's language, by the name that a worker gives them.
export function inWords({ stage, done, total }, names) {
  return say("{stage}: {done} of {total}", { stage: names[stage] ?? stage, done, total });
}
