import { updateApiKeyUsage } from './storage.ts';

/** Requests whose usage is not in the file yet. */
const open = new Set<Promise<void>>();

/**
 * Announces a request whose usage is still to come. The function that it returns is to be called once, with that usage,
 * or 0 when there was none. It neither waits nor throws: what can't be recorded is logged.
 */
export function beginRecording(key: string, model: string): (tokens: number) => void {
  let resolve: (tokens: number) => void = () => {};
  const known = new Promise<number>(settle => {
    resolve = settle;
  });
  const recorded = known.then(tokens => record(key, tokens, model));
  open.add(recorded);
  void recorded.then(() => open.delete(recorded));
  return resolve;
}

async function record(key: string, tokens: number, model: string): Promise<void> {
  if (tokens <= 0) return;
  try {
    await updateApiKeyUsage(key, tokens, model);
  } catch (error) {
    console.error(`could not record ${tokens} tokens of key ${key.slice(0, 8)}...:`, error);
  }
}

/** Resolves once nothing is left to record. */
export async function allRecorded(): Promise<void> {
  while (open.size > 0) await Promise.all(open);
}
