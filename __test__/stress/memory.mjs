/** What a process occupies, measured by itself. */
import { readdirSync, readlinkSync } from 'node:fs';
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

/** Node.js leaves open what a worker was about to import when it was terminated. */
const IMPORTED = /\.m?js$/;

/** @param {string} descriptor */
function opened(descriptor) {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    // Closed meanwhile, as that of the folder itself.
    return '';
  }
}

/** Open files, imported ones left out, and threads, as far as the system tells. */
export function handles() {
  if (process.platform !== 'linux') return { files: 0, threads: 0 };
  const files = readdirSync('/proc/self/fd').filter(name => !IMPORTED.test(opened(name)));
  return { files: files.length, threads: readdirSync('/proc/self/task').length };
}
