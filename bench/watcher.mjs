// A thread that does nothing but look whether a path is there, as often as it can, and tells for how long it was each
// time. Not `fs.watch`, whose events come without a time; not a trace, which stops who is watched at every call; not a
// counter of the module's own, which would not measure what others see.
import { existsSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';

/** `state` is 1 in its first place when it is to stop, and how often the path was there in its second. */
const { path, state } = /** @type {{ path: string, state: Int32Array }} */ (workerData);

/**
 * Milliseconds from the last look before it was there until the first after it: too long by at most two looks.
 *
 * @type {number[]}
 */
const held = [];
/** The time between two looks, of some. @type {number[]} */
const gaps = [];

let last = performance.now();
/** The last look before the path was there. */
let since = 0;
parentPort?.postMessage('ready');
for (let looks = 0; Atomics.load(state, 0) === 0; looks++) {
  const there = existsSync(path);
  const now = performance.now();
  if (looks % 64 === 0) gaps.push(now - last);
  if (there && since === 0) since = last;
  if (!there && since !== 0) {
    held.push(now - since);
    Atomics.add(state, 1, 1);
    since = 0;
  }
  last = now;
}
parentPort?.postMessage({ held, gaps });
