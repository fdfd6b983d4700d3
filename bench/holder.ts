// A process of `memory.ts`: DRIVER holds the records of the store in FOLDER, whose keys are in KEYS. Asked to do something, it
// answers with the bytes of memory that it has afterwards, and with the most that it had meanwhile.
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serve } from './child.ts';
import { driverOf, type Store } from './drivers.ts';
import { check } from './measure.ts';

const TIMES = 30;

export type Question = 'start' | 'read' | 'fill' | 'update' | 'reload';

/** Bytes. */
export interface Answer {
  resident: number;
  /** In JavaScript's heap, or counted as if it were. */
  heap: number;
  peak: number;
}

const { DRIVER: name = '', FOLDER: folder = '', KEYS: list = '' } = process.env;
const keys: string[] = JSON.parse(readFileSync(list, 'utf8'));
const file = join(folder, 'apikeys.json');
let store: Store | undefined;

const open = async () => {
  store ??= await driverOf(name).open(folder);
};
const find = async (key: string) => store?.find(key);
const pause = (milliseconds: number) => new Promise(resolve => setTimeout(resolve, milliseconds));

async function findAll() {
  for (const key of keys) check((await find(key))?.key === key, `${name} finds ${key}`);
}

const works: Record<Question, () => Promise<unknown>> = {
  /** What every server does: short-lived objects. The room that the engine makes for such is no store's. */
  start: async () => {
    for (let i = 0; i < 300_000; i++) JSON.parse(`{"numbers":[${i},${i}],"text":"number ${i}"}`);
  },
  read: async () => {
    await open();
    check((await find(keys[0] as string)) !== null, `${name} finds a key`);
  },
  fill: async () => {
    await open();
    await store?.load?.();
    await findAll();
  },
  update: async () => {
    for (const key of keys.slice(0, TIMES)) await store?.record?.(key);
  },
  reload: async () => {
    for (let time = 1; time <= TIMES; time++) {
      const content = time % 2 === 0 ? 'original' : 'edited';
      copyFileSync(`${file}.${content}`, `${file}.new`);
      renameSync(`${file}.new`, file);
      // A file that changed just now would have to be read twice.
      await pause(30);
      // The file is looked at for a key that is not in the cache.
      check((await find(`nobody ${time}`)) === null, 'an unknown key');
      check((await find(keys[time] as string))?.name === content, `the ${content} file is read`);
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
