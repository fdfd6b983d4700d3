// A process of `updates.ts` and `processes.ts`: records usage in the store of DRIVER in FOLDER, which holds COUNT keys.
import { serve } from './child.ts';
import { driverOf } from './drivers.ts';
import { check, makeData } from './measure.ts';

export interface Question {
  inFlight: number;
  /** How many updates, so many at once and again when all are settled; */
  updates?: number;
  /** or for how long, each that is settled starting the next. */
  milliseconds?: number;
}

export interface Answer {
  resolved: number;
  rejected: number;
  milliseconds: number;
}

const { DRIVER: name = '', FOLDER: folder = '', COUNT: count = '' } = process.env;
const keys = makeData(Number(count)).keys.map(({ key }) => key);
const store = await driverOf(name).open(folder);
// A gateway looks a key up before it records its usage.
for (const key of keys.slice(0, 10)) {
  check((await store.find(key))?.key === key, `${name} finds ${key}`);
}

let number = 0;
const settled = { resolved: 0, rejected: 0 };
async function update() {
  try {
    await store.record?.(keys[number++ % keys.length] as string);
    settled.resolved++;
  } catch {
    settled.rejected++;
  }
}

async function inRounds(inFlight: number, updates: number) {
  for (let done = 0; done < updates; done += inFlight) {
    await Promise.all(Array.from({ length: inFlight }, update));
  }
}

async function inLanes(inFlight: number, milliseconds: number) {
  const end = performance.now() + milliseconds;
  const lane = async () => {
    while (performance.now() < end) await update();
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
}

await serve(async ({ inFlight, updates, milliseconds }: Question): Promise<Answer> => {
  Object.assign(settled, { resolved: 0, rejected: 0 });
  const begun = performance.now();
  if (updates !== undefined) await inRounds(inFlight, updates);
  else await inLanes(inFlight, milliseconds ?? 0);
  return { ...settled, milliseconds: performance.now() - begun };
});
