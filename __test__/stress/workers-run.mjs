/**
 * The process of `workers.test.ts`: starts workers, one after the other, which end in all ways in turn, and compares the
 * file with what each of them has counted. Prints what is wrong, and what the process occupied after each of them.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import process from 'node:process';
import { setTimeout } from 'node:timers/promises';
import { Worker as NodeWorker } from 'node:worker_threads';
import { handles, memory } from './memory.mjs';

/**
 * What a worker is given.
 *
 * @typedef {object} Task
 * @property {string} end how it is to end
 * @property {boolean} inside whether it ends inside `withLock`
 * @property {boolean} uses whether it loads keyledger
 * @property {string[]} keys all keys
 * @property {string[]} updated those that it updates, all of them each time
 * @property {Int32Array} called for each of these, how often it has
 * @property {Int32Array} resolved how often that has resolved
 */

/** What it says. @typedef {'begun' | { fault: string }} Message */

/** `own` for a worker of Bun's own; `uses` and `loads` for whether the workers and this thread load keyledger. */
const { own, uses, loads, cycles } = JSON.parse(String(process.env.JOB));
const file = String(process.env.DATA_FILE);
const url = new URL('workers-thread.mjs', import.meta.url);
const load = () => import('../../index.js');
const ledger = loads ? await load() : undefined;

/** What stays: the data file, and what flock is taken on. */
const KEPT = [basename(file), `${basename(file)}.flock`];
/** More faults than this tell nothing new. */
const MOST_FAULTS = 10;
/** The longest that a worker runs which is terminated, in milliseconds: once it has begun, and from the start. */
const LONGEST = { begun: 15, all: 80 };
const ENDS = [
  'its natural end',
  'process.exit()',
  'a throw',
  'terminate()',
  'terminate() at any time',
];
const CASES = ENDS.flatMap(end => [false, true].map(inside => ({ end, inside })));

/** @returns {import('../../index.js').ApiKey[]} */
const entries = () => JSON.parse(readFileSync(file, 'utf8')).keys;
const keys = entries().map(({ key }) => key);
const updated = [0, 0.5, 0.99].map(share => String(keys[Math.floor(keys.length * share)]));
/** @param {string[]} of */
function totals(of) {
  const all = new Map(entries().map(entry => [entry.key, entry.total_lifetime_tokens]));
  return of.map(key => Number(all.get(key)));
}

const report = {
  faults: /** @type {string[]} */ ([]),
  /** How many workers were terminated while an update was under way. */
  interrupted: 0,
  rss: /** @type {number[]} */ ([]),
  files: /** @type {number[]} */ ([]),
  threads: /** @type {number[]} */ ([]),
  seconds: 0,
};

/**
 * @param {Task} task
 * @param {(what: unknown) => void} fault
 */
async function runWorker(task, fault) {
  const worker = own
    ? new /** @type {any} */ (globalThis).Worker(url, { workerData: task })
    : new NodeWorker(url, { workerData: task, execArgv: [] });
  /** @type {(name: string, listener: (event: any) => void) => void} */
  const on = (worker.on ?? worker.addEventListener).bind(worker);
  const begun = new Promise(resolve => {
    on('message', event => {
      /** @type {Message} */
      const message = event.data ?? event;
      if (message === 'begun') resolve(message);
      else fault(message.fault);
    });
  });
  on('error', error => {
    // Bun's own tells where it was thrown too.
    if (!error.message.includes(`${task.end} on purpose`)) fault(error.message);
  });
  const ended = new Promise(resolve => on(own ? 'close' : 'exit', resolve));
  if (task.end === 'terminate()') {
    await Promise.race([begun, ended]);
    await setTimeout(Math.random() * LONGEST.begun);
    worker.terminate();
  } else if (task.end === 'terminate() at any time') {
    await setTimeout(Math.random() * LONGEST.all);
    worker.terminate();
  }
  await ended;
}

/** @param {number} n */
async function cycle(n) {
  const counters = () => new Int32Array(new SharedArrayBuffer(4 * updated.length));
  const ending = /** @type {(typeof CASES)[number]} */ (CASES[n % CASES.length]);
  /** @type {Task} */
  const task = { ...ending, uses, keys, updated, called: counters(), resolved: counters() };
  /** @param {unknown} what */
  const fault = what =>
    report.faults.push(`${n}, ${task.end}${task.inside ? ' inside withLock' : ''}: ${what}`);
  const before = totals(updated);
  await runWorker(task, fault);
  if (task.called.some((called, at) => called > Number(task.resolved[at])))
    report.interrupted += Number(task.end.startsWith('terminate()'));
  if (!uses) return;
  const added = totals(updated).map((total, at) => total - Number(before[at]));
  // Only who is terminated may lose what has not resolved.
  const least = task.end.startsWith('terminate()') ? task.resolved : task.called;
  if (added.some((sum, at) => sum < Number(least[at]) || sum > Number(task.called[at])))
    fault(`${added} in the file, called ${task.called}, resolved ${task.resolved}`);
  if (ledger) await update(ledger, fault);
  const left = readdirSync(dirname(file)).filter(name => !KEPT.includes(name));
  if (left.length > 0) fault(`left beside the file: ${left}`);
}

/**
 * An update by this thread, of a key that the workers leave alone.
 *
 * @param {Awaited<ReturnType<typeof load>>} ledger
 * @param {(what: unknown) => void} fault
 */
async function update(ledger, fault) {
  const key = String(keys[1]);
  const [before] = totals([key]);
  await ledger.updateApiKeyUsage(key, 1, 'model').catch(fault);
  const [after] = totals([key]);
  if (after !== Number(before) + 1) fault(`${after} after an update of ${before}`);
}

const started = performance.now();
for (let n = 0; n < cycles && report.faults.length < MOST_FAULTS; n += 1) {
  await cycle(n);
  const { files, threads } = handles();
  report.rss.push(memory().rss);
  report.files.push(files);
  report.threads.push(threads);
}
if (uses) await update(await load(), what => report.faults.push(`at the end: ${what}`));
report.seconds = (performance.now() - started) / 1000;
console.log(JSON.stringify(report));
