// Lookups of four worker threads at once in one store, against those of one.
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Answer, Data, Question } from './looker.ts';
import { check, finish, folder, inTurn, load, makeData, makeKey, type Row } from './measure.ts';
import { stores } from './peers.ts';

const WORKERS = 4;
const TURNS = 9;
const TURN_MS = 200;
const LEAST = 1.6;
const UNDISTURBED = 0.8;
const data = makeData(10_000);
const storage = await load('keyledger', 'workers');
await storage.writeApiKeys(data);
const peers = join(folder, 'peers');
mkdirSync(peers);
for (const driver of stores) await driver.make(join(peers, driver.name), data);

const state = new Int32Array(new SharedArrayBuffer(4));
// As many as the cache holds by default.
const known = data.keys.slice(0, 1000).map(({ key }) => key);
const unknown = Array.from({ length: 2000 }, makeKey);
const workers: Worker[] = [];
for (let i = 0; i < WORKERS; i++) {
  const script = new URL('./looker.ts', import.meta.url).href;
  const worker = new Worker(new URL('./thread.mjs', import.meta.url), {
    workerData: { script, known, unknown, folder: peers, state } satisfies Data & {
      script: string;
    },
    execArgv: [],
  });
  await once(worker, 'message');
  workers.push(worker);
}

/** Lookups per second of all these threads together, which work at once, each on its question. */
async function rate(...questions: Question[]): Promise<number> {
  const { misses } = await storage.cacheStats();
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
    const counted = (await storage.cacheStats()).misses - misses;
    check(counted === made, `${counted} misses of ${made}: all threads share one store`);
  }
  return sum;
}

/** The medians of two rates, measured in turn. */
async function compare(many: Question[], one: Question) {
  const measures = [() => rate(...many), () => rate(one)];
  await inTurn(1, ...measures);
  const [together = Number.NaN, alone = Number.NaN] = await inTurn(TURNS, ...measures);
  const millions = (perSecond: number) => (perSecond / 1e6).toPrecision(3);
  const ratio = together / alone;
  return {
    ratio,
    shown: `${ratio.toPrecision(3)}x (${millions(together)} M/s, ${millions(alone)} M/s)`,
  };
}

const others = stores.map(({ name }) => name);
const KINDS: [what: string, kind: Question['kind'], stores: Question['store'][]][] = [
  ['hits', 'hit', ['keyledger', 'Map', ...others]],
  ['hits after a change', 'asked', ['keyledger']],
  ['unknown keys', 'unknown', ['keyledger', ...others]],
];
const rows: Row[] = [];
for (const [what, kind, names] of KINDS) {
  const row: Row = {
    what: `${what}, ${WORKERS} workers against one`,
    keyledger: '-',
    baseline: '-',
  };
  for (const store of names) {
    const one: Question = { kind, store };
    const { ratio, shown } = await compare(new Array(WORKERS).fill(one), one);
    row[store] = shown;
    if (store === 'keyledger') Object.assign(row, { bound: `≥ ${LEAST}x`, met: ratio >= LEAST });
  }
  rows.push(row);
}

const looks: Question = { kind: 'unknown', store: 'keyledger' };
const { ratio, shown } = await compare([looks, { kind: 'sleep', store: 'keyledger' }], looks);
rows.push({
  what: 'unknown keys, one beside one that stands still in `withLock`',
  keyledger: shown,
  baseline: '-',
  bound: `≥ ${UNDISTURBED}x`,
  met: ratio >= UNDISTURBED,
});

for (const worker of workers) {
  worker.postMessage({ kind: 'end', store: 'keyledger' } satisfies Question);
  await once(worker, 'exit');
}
finish(rows);
