// A process of `processes.ts`. For each line `IN_FLIGHT MILLISECONDS` on its standard input it records usage for that
// long, each update that has resolved starting the next, and prints how many updates it made in how many milliseconds.
import { createInterface } from 'node:readline';
import { findApiKey, readApiKeys, updateApiKeyUsage } from '../index.js';

const keys = (await readApiKeys()).keys.map(({ key }) => key);
await findApiKey(keys[0] as string);
let number = 0;

async function record(inFlight: number, milliseconds: number) {
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
}

console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const [inFlight = 0, milliseconds = 0] = line.split(' ').map(Number);
  console.log(JSON.stringify(await record(inFlight, milliseconds)));
}
