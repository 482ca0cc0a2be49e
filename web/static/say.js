// The words of ES modules in the reader's language. The English sentence, in double quotes, is the key of its
// translation; the page carries the translations of exactly the sentences that modules say.

const element = document.querySelector("#words");
const { sentences, codes } = element ? JSON.parse(element.textContent) : { sentences: {}, codes: {} };

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

export function say(sentence, values = {}) {
  return fill(sentences[sentence] ?? sentence, values);
}

// What the API says with a code, by that code.
export function translateCode(code, text) {
  return fill(codes[code] ?? text, { text });
}
