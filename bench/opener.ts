// A process of `first.ts`, in which WHO has not opened the store at DATA_FILE yet. It answers how many milliseconds a call
// took, and for how long it stopped the event loop.
import { pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import { serve } from './child.ts';
import { check, longestStop, type Storage } from './measure.ts';
import { driverOf } from './peers.ts';

export interface Question {
  work: 'find' | 'update';
  /** Whether to look at the loop meanwhile, which keeps a processor busy. */
  watched: boolean;
  key: string;
  /** The name in the key's record. */
  name: string;
}

export interface Answer {
  time: number;
  stop: number;
}

const who = process.env.WHO as string;
const module = { keyledger: '../index.js', baseline: './baseline/storage.ts' }[who];
const storage = module === undefined ? undefined : ((await import(module)) as Storage);

async function find(key: string, name: string) {
  const found = storage
    ? await storage.findApiKey(key)
    : driverOf(who)
        .open(process.env.DATA_FILE as string)
        .find(key);
  check(found?.name === name, `${who} finds ${key}`);
}

/** Work on the thread pool that touches nothing of the loop's: about as long as a load, and on two threads, as that. */
async function others() {
  const work = () => promisify(pbkdf2)('password', 'salt', 60_000, 64, 'sha512');
  await Promise.all([work(), work()]);
}

await serve(async ({ work, watched, key, name }: Question): Promise<Answer> => {
  // By then the start, or the call before, has left nothing to do.
  await new Promise(resolve => setTimeout(resolve, 300));
  let time = 0;
  const call = async () => {
    const begun = performance.now();
    if (who === 'others') await others();
    else if (work === 'find') await find(key, name);
    else await storage?.updateApiKeyUsage(key, 1, 'glm-4.7');
    time = performance.now() - begun;
  };
  if (watched) return { stop: await longestStop(call), time };
  await call();
  return { stop: Number.NaN, time };
});
