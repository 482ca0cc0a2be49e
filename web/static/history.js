// The jobs that were sent from this browser. The browser alone keeps them, so that no one else's list can be seen.

const KEY = "pathlight-history";
const MOST = 60;

// Newest first: { id, filename, at }. Empty where the browser keeps nothing for us.
export function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

export function remember(job) {
  const entry = { id: job.id, filename: job.image.filename, at: job.created_at };
  keep([entry, ...remembered().filter(({ id }) => id !== job.id)].slice(0, MOST));
}

export function forget(ids) {
  keep(remembered().filter(({ id }) => !ids.includes(id)));
}

function keep(entries) {
  try {
    localStorage.setItem(KEY, JSON.stringify(entries));
  } catch {
    // A browser that keeps nothing has no history; everything else works.
  }
}
