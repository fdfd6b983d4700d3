// A process of `processes.ts`. Asked to, it records usage, each update that has resolved starting the next, and answers
// how many updates it made in how many milliseconds.
import { findApiKey, readApiKeys, updateApiKeyUsage } from '../index.js';
import { serve } from './child.ts';

export interface Question {
  inFlight: number;
  milliseconds: number;
}

export interface Answer {
  updates: number;
  milliseconds: number;
}

const keys = (await readApiKeys()).keys.map(({ key }) => key);
await findApiKey(keys[0] as string);
let number = 0;

await serve(async ({ inFlight, milliseconds }: Question): Promise<Answer> => {
  let updates = 0;
  const begun = performance.now();
  const lane = async () => {
    while (performance.now() - begun < milliseconds) {
      await updateApiKeyUsage(keys[number++ % keys.length] as string, 1, 'glm-4.7');
      updates++;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { updates, milliseconds: performance.now() - begun };
});
