// A thread of `workers.ts`: looks keys up for as long as it is told to, and answers how many in how many milliseconds.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { apiKeyCache, findApiKey, withLock } from '../index.js';
import { driversOf } from './drivers.ts';
import { asRequested, type Column, check, loopOver } from './measure.ts';

export interface Data {
  /** Keys that are in every store, and such as are in none. */
  known: string[];
  unknown: string[];
  /** The folder of each store. */
  folders: Partial<Record<Column, string>>;
  /** 1 in its first place while the threads are to work. */
  state: Int32Array;
}

export interface Question {
  /** Keys in the cache, the same when each must be asked of Rust, keys that do not exist; or to look up next to nothing. */
  kind: 'hit' | 'asked' | 'unknown' | 'sleep' | 'end';
  store: Column;
}

export interface Answer {
  calls: number;
  milliseconds: number;
}

const { folders, state, ...keys } = workerData as Data;
const port = parentPort as MessagePort;
const known = keys.known.map(asRequested);
const unknown = keys.unknown.map(asRequested);
type Find = (key: string) => Promise<{ key: string } | null | undefined>;
const finds: Partial<Record<Column, Find>> = { keyledger: findApiKey };
for (const { name, open } of driversOf('Map', 'sqlite NORMAL', 'lmdb')) {
  finds[name] = (await open(folders[name] as string)).find as Find;
}

const loops: Record<string, (rounds: number) => Promise<unknown>> = {};
for (const [name, find] of Object.entries(finds)) {
  for (const key of known) check((await find(key))?.key === key, `${name} finds a key`);
  loops[`hit ${name}`] = loopOver(find, known);
  if (name === 'Map') continue;
  for (const key of unknown) check(!(await find(key)), `${name} does not find an unknown one`);
  loops[`unknown ${name}`] = loopOver(find, unknown);
}
const asked = loopOver(findApiKey, known);
loops['asked keyledger'] = rounds => {
  // Something changes: each key is asked of Rust again.
  apiKeyCache.delete('');
  return asked(rounds);
};

async function look({ kind, store }: Question): Promise<Answer> {
  const loop = loops[`${kind} ${store}`] as (rounds: number) => Promise<unknown>;
  const { length } = kind === 'unknown' ? unknown : known;
  const begun = performance.now();
  let calls = 0;
  while (Atomics.load(state, 0) === 1) {
    await loop(1);
    calls += length;
  }
  return { calls, milliseconds: performance.now() - begun };
}

/** Stands still in JavaScript between two lookups, with the lock of the writers held. */
async function sleep(): Promise<Answer> {
  const begun = performance.now();
  await withLock(async () => {
    await findApiKey(unknown[0] as string);
    Atomics.wait(state, 0, 1);
    await findApiKey(unknown[0] as string);
  });
  return { calls: 2, milliseconds: performance.now() - begun };
}

port.on('message', async (question: Question) => {
  if (question.kind === 'end') port.close();
  else port.postMessage(await (question.kind === 'sleep' ? sleep() : look(question)));
});
port.postMessage('ready');
