// The token of a session, where keys are required: without it the server takes nothing that changes something.

export function token() {
  const held = document.querySelector("meta[name=csrf-token]");
  return held ? { "X-CSRF-Token": held.content } : {};
}
