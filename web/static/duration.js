// Lengths of time as people say them.

import { say } from "./say.js";

export function duration(seconds) {
  if (seconds < 1) return say("less than a second");
  if (seconds < 90) return say("about {seconds} s", { seconds: Math.round(seconds) });
  return say("about {minutes} min", { minutes: Math.round(seconds / 60) });
}
