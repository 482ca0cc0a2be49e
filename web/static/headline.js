// What was answered, as the pages say it: the sure answer, and the likeliest class where that is another.

import { say } from "./say.js";

const short = ({ name, short_name }) => short_name ?? name;

// Of one model's explanation, with the word of its verdict. A result of an earlier version has neither.
export function inBrief(explanation) {
  const { verdict } = explanation;
  if (!verdict) return headline(explanation);
  return say("{answer} ({verdict})", { answer: headline(explanation), verdict: word(verdict.level) });
}

function headline({ prediction, sure }) {
  const name = short(prediction);
  if (!sure || sure.index !== null) return name;
  if (sure.is_root) return say("no sure answer: {name} is only the likeliest", { name });
  return say("{sure}, most likely {name}", { sure: short(sure), name });
}

function word(level) {
  switch (level) {
    case "believe":
      return say("believe");
    case "care":
      return say("with care");
    case "guess":
      return say("a guess");
    case "foreign":
      return say("none of its classes");
    default:
      return level;
  }
}
