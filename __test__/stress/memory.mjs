/** What a process occupies, measured by itself. */
import { readdirSync } from 'node:fs';
import process from 'node:process';

/** @returns {() => void} what frees all that nobody refers to; Node.js has it by `--expose-gc` */
function collector() {
  const { Bun, gc } = /** @type {any} */ (globalThis);
  return Bun ? () => Bun.gc(true) : gc;
}

const collect = collector();

/** Bytes, without what nobody refers to any more. */
export function memory() {
  collect();
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heapUsed };
}

/** Open files and threads, as far as the system tells. */
export function handles() {
  if (process.platform !== 'linux') return { files: 0, threads: 0 };
  const count = (/** @type {string} */ of) => readdirSync(`/proc/self/${of}`).length;
  return { files: count('fd'), threads: count('task') };
}
