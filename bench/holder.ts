// A process of `memory.ts`: WHO holds the records of DATA_FILE, whose keys are in KEYS. Asked to do something, it answers
// with the bytes of memory that it has afterwards, and with the most that it had meanwhile.
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { serve } from './child.ts';
import { check, type Storage } from './measure.ts';
import { driverOf, type Peer } from './peers.ts';

const TIMES = 30;

export type Question = 'start' | 'read' | 'fill' | 'update' | 'reload';

/** Bytes. */
export interface Answer {
  resident: number;
  /** In JavaScript's heap, or counted as if it were. */
  heap: number;
  peak: number;
}

const { WHO: who = '', DATA_FILE: file = '', KEYS: list = '' } = process.env;
const keys: string[] = JSON.parse(readFileSync(list, 'utf8'));
const module = { keyledger: '../index.js', baseline: './baseline/storage.ts' }[who];
const storage = module === undefined ? undefined : ((await import(module)) as Storage);
let peer: Peer | undefined;

const find = async (key: string) => (storage ? storage.findApiKey(key) : peer?.find(key));
const pause = (milliseconds: number) => new Promise(resolve => setTimeout(resolve, milliseconds));

async function findAll() {
  for (const key of keys) check((await find(key))?.key === key, `${who} finds ${key}`);
}

const works: Record<Question, () => Promise<unknown>> = {
  /** What every server does: short-lived objects. The room that the engine makes for such is no store's. */
  start: async () => {
    for (let i = 0; i < 300_000; i++) JSON.parse(`{"numbers":[${i},${i}],"text":"number ${i}"}`);
  },
  read: async () => check((await find(keys[0] as string)) !== null, `${who} finds a key`),
  fill: async () => {
    if (!storage) peer = driverOf(who).open(file);
    await storage?.warmupCache();
    await findAll();
    check(!storage || storage.apiKeyCache.size === keys.length, 'all are in the cache');
  },
  update: async () => {
    for (const key of keys.slice(0, TIMES)) await storage?.updateApiKeyUsage(key, 1, 'glm-4.7');
  },
  reload: async () => {
    for (let time = 1; time <= TIMES; time++) {
      const name = time % 2 === 0 ? 'original' : 'edited';
      copyFileSync(`${file}.${name}`, `${file}.new`);
      renameSync(`${file}.new`, file);
      // A file that changed just now would have to be read twice.
      await pause(30);
      // The file is looked at for a key that is not in the cache.
      check((await find('nobody')) === null, 'an unknown key');
      check((await find(keys[time] as string))?.name === name, `the ${name} file is read`);
    }
    await findAll();
  },
};

function bytes(field: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(new RegExp(`${field}:\\s*(\\d+) kB`).exec(status)?.[1]) * 1024;
}

async function collect() {
  const { Bun, gc } = globalThis as { Bun?: { gc(force: boolean): void }; gc?: () => void };
  for (let time = 0; time < 3; time++) {
    if (Bun) Bun.gc(true);
    else gc?.();
    // What it has freed is given back to the system later.
    await pause(100);
  }
}

await serve(async (question: Question): Promise<Answer> => {
  // From here on the peak is counted.
  writeFileSync('/proc/self/clear_refs', '5');
  await works[question]();
  const peak = bytes('VmHWM');
  await collect();
  const { heapUsed, external } = process.memoryUsage();
  return { resident: bytes('VmRSS'), heap: heapUsed + external, peak };
});
