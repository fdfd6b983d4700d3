// For how long a commit keeps the lock directory, at 10 000 keys, as others see it.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { check, finish, load, makeData, type Row, show } from './measure.ts';

/** How many have to be seen, and at how many commits to give up: on a busy machine the watcher does not see them all. */
const SEEN = 5000;
const MOST = 4 * SEEN;
const data = makeData(10_000);
const storage = await load('keyledger', 'held');
await storage.writeApiKeys(data);

const state = new Int32Array(new SharedArrayBuffer(8));
const path = `${storage.file}.lock`;
const watcher = new Worker(new URL('./watcher.mjs', import.meta.url), {
  workerData: { path, state },
  execArgv: [],
});
await once(watcher, 'message');
let commits = 0;
for (; commits < MOST && Atomics.load(state, 1) < SEEN; commits++) {
  const { key } = data.keys[commits % data.keys.length] as { key: string };
  await storage.updateApiKeyUsage(key, 1, 'glm-4.7');
}
Atomics.store(state, 0, 1);
const [{ held, gaps }] = (await once(watcher, 'message')) as [{ held: number[]; gaps: number[] }];
const { keys } = await storage.readApiKeys();
const recorded = keys.reduce((sum, key, i) => sum + key.total_lifetime_tokens - i, 0);
check(recorded === commits, 'every update');
check(held.length <= commits, 'the lock directory is there once for each commit');

function percentile(numbers: number[], part: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.ceil(part * sorted.length) - 1] as number;
}

// Those that pass while the watcher does not run are not seen. The longer one is the less likely is that, so the
// percentiles are too high if anything.
const seen = `${held.length} of ${commits} seen`;
check(held.length >= SEEN, `enough of them to tell: ${seen}`);
const rows: Row[] = [];
for (const [name, part, bound] of [
  ['median', 0.5, 1],
  ['p99.9', 0.999, 5],
] as const) {
  const value = percentile(held, part);
  rows.push({
    what: `lock directory there, 10000 keys, ${name} (${seen})`,
    keyledger: show(value, 'ms'),
    baseline: '-',
    bound: `< ${bound} ms`,
    met: value < bound,
  });
}
const [usual, rare] = [percentile(gaps, 0.5), percentile(gaps, 0.999)];
rows.push({
  what: 'time between two looks at it, median (p99.9)',
  keyledger: `${show(usual, 'ms')} (${show(rare, 'ms')})`,
  baseline: '-',
});
finish(rows);
