// Lookups of four worker threads at once in one store, against those of one.
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { driversOf } from './drivers.ts';
import type { Answer, Data, Question } from './looker.ts';
import {
  type Column,
  check,
  figure,
  finish,
  inTurn,
  makeData,
  makeKey,
  type Row,
  ratio,
} from './measure.ts';
import { makeStores } from './trials.ts';

const COUNT = 10_000;
const WORKERS = 4;
const TURNS = 9;
const TURN_MS = 200;
const LEAST = 1.6;
const UNDISTURBED = 0.8;
const data = makeData(COUNT);
const stores = await makeStores(
  'workers',
  driversOf('keyledger', 'Map', 'sqlite NORMAL', 'lmdb'),
  COUNT,
);
const folders: Data['folders'] = {};
for (const [driver, path] of stores) folders[driver.name] = path;
process.env.DATA_FILE = join(folders.keyledger as string, 'apikeys.json');
const { cacheStats } = await import('../index.js');

const state = new Int32Array(new SharedArrayBuffer(4));
// As many as the cache holds by default.
const known = data.keys.slice(0, 1000).map(({ key }) => key);
const unknown = Array.from({ length: 2000 }, makeKey);
const workers: Worker[] = [];
for (let i = 0; i < WORKERS; i++) {
  const script = new URL('./looker.ts', import.meta.url).href;
  const worker = new Worker(new URL('./thread.mjs', import.meta.url), {
    workerData: { script, known, unknown, folders, state } satisfies Data & {
      script: string;
    },
    execArgv: [],
  });
  await once(worker, 'message');
  workers.push(worker);
}

/** Lookups per second of all these threads together, which work at once, each on its question. */
async function rate(...questions: Question[]): Promise<number> {
  const { misses } = await cacheStats();
  Atomics.store(state, 0, 1);
  const answers = questions.map(async (question, i): Promise<Answer> => {
    workers[i]?.postMessage(question);
    return (await once(workers[i] as Worker, 'message'))[0];
  });
  await new Promise(resolve => setTimeout(resolve, TURN_MS));
  Atomics.store(state, 0, 0);
  Atomics.notify(state, 0);
  let made = 0;
  let sum = 0;
  for (const { calls, milliseconds } of await Promise.all(answers)) {
    made += calls;
    sum += (calls * 1e3) / milliseconds;
  }
  if (questions[0]?.kind === 'unknown' && questions[0].store === 'keyledger') {
    const counted = (await cacheStats()).misses - misses;
    check(counted === made, `${counted} misses of ${made}: all threads share one store`);
  }
  return sum;
}

/** How many times the lookups of one, measured in turn, these make. */
async function compare(many: Question[], one: Question) {
  const measures = [() => rate(...many), () => rate(one)];
  await inTurn(1, ...measures);
  const [together = [], alone = []] = await inTurn(TURNS, ...measures);
  const millions = (perSecond: number[]) => figure(perSecond.map(number => number / 1e6));
  const [most, least] = [millions(together), millions(alone)];
  return { together: most, alone: least, times: ratio(most, least) };
}

const others = [...stores.keys()].map(({ name }) => name).filter(name => name !== 'keyledger');
const KINDS: [what: string, kind: Question['kind'], stores: Column[]][] = [
  ['hits', 'hit', ['keyledger', ...others]],
  ['hits after a change', 'asked', ['keyledger']],
  ['unknown keys', 'unknown', ['keyledger', ...others.filter(name => name !== 'Map')]],
];
const rows: Row[] = [];
for (const [what, kind, names] of KINDS) {
  const figures: Record<'together' | 'alone' | 'times', Row['figures']> = {
    together: {},
    alone: {},
    times: {},
  };
  for (const store of names) {
    const one: Question = { kind, store };
    const compared = await compare(new Array(WORKERS).fill(one), one);
    for (const name of ['together', 'alone', 'times'] as const) {
      figures[name][store] = compared[name];
    }
  }
  rows.push({ what: `${what}, one worker`, unit: 'M/s', figures: figures.alone });
  rows.push({ what: `${what}, ${WORKERS} workers`, unit: 'M/s', figures: figures.together });
  rows.push({
    what: `${what}, ${WORKERS} workers against one`,
    unit: 'x',
    figures: figures.times,
    bounds: [{ limit: LEAST, least: true }],
  });
}

const looks: Question = { kind: 'unknown', store: 'keyledger' };
const beside = await compare([looks, { kind: 'sleep', store: 'keyledger' }], looks);
rows.push({
  what: 'unknown keys, one beside one that stands still in `withLock`',
  unit: 'x',
  figures: { keyledger: beside.times },
  bounds: [{ limit: UNDISTURBED, least: true }],
});

for (const worker of workers) {
  worker.postMessage({ kind: 'end', store: 'keyledger' } satisfies Question);
  await once(worker, 'exit');
}
finish(rows);
