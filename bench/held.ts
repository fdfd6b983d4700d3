// For how long a commit keeps the lock directory, at 10 000 keys, as others see it.
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { driverOf } from './drivers.ts';
import { check, figure, finish, folder, makeData, type Row, total } from './measure.ts';

/** How many have to be seen, and at how many commits to give up: on a busy machine the watcher does not see them all. */
const SEEN = 5000;
const MOST = 4 * SEEN;
const data = makeData(10_000);
const driver = driverOf('keyledger');
await driver.make(folder, data);
const store = await driver.open(folder);

const state = new Int32Array(new SharedArrayBuffer(8));
const path = join(folder, 'apikeys.json.lock');
const watcher = new Worker(new URL('./watcher.mjs', import.meta.url), {
  workerData: { path, state },
  execArgv: [],
});
await once(watcher, 'message');
let commits = 0;
for (; commits < MOST && Atomics.load(state, 1) < SEEN; commits++) {
  const { key } = data.keys[commits % data.keys.length] as { key: string };
  await store.record?.(key);
}
Atomics.store(state, 0, 1);
const [{ held, gaps }] = (await once(watcher, 'message')) as [{ held: number[]; gaps: number[] }];
const recorded = Number(await driver.total?.(folder)) - total(data);
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
for (const [name, part, limit] of [
  ['median', 0.5, 1],
  ['p99.9', 0.999, 5],
] as const) {
  rows.push({
    what: `lock directory there, 10000 keys, ${name} (${seen})`,
    unit: 'ms',
    figures: { keyledger: figure([percentile(held, part)]) },
    bounds: [{ limit }],
  });
  const looks = { keyledger: figure([percentile(gaps, part)]) };
  rows.push({ what: `time between two looks at it, ${name}`, unit: 'ms', figures: looks });
}
finish(rows);
