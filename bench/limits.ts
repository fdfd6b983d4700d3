// What the paths of keyledger can't do without, in one process: the parts of a hit, and the system's calls of a commit.
import { closeSync, fdatasyncSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { driverOf } from './drivers.ts';
import { figure, finish, folder, inTurn, loopOver, makeData, type Row, short } from './measure.ts';

const TURNS = short ? 5 : 15;
const ROUNDS = 100;
type Call = (key: string) => Promise<unknown>;

const rows: Row[] = [];
const data = makeData(1000);
const keys = data.keys.map(({ key }) => key);
const driver = driverOf('keyledger');
await driver.make(folder, data);
const { find, load } = await driver.open(folder);
await load?.();

const map = new Map(data.keys.map(record => [record.key, Promise.resolve(record)]));
const hits: Record<string, Call> = {
  'a hit': find as Call,
  'an awaited Map.get': key => map.get(key) as Promise<unknown>,
  'Map.get and CACHE_ENABLED': key =>
    (process.env.CACHE_ENABLED !== 'false' ? map.get(key) : 0) as Promise<unknown>,
  'Map.get and Date.now()': key => (Date.now() > 0 ? map.get(key) : 0) as Promise<unknown>,
};
const loops = Object.values(hits).map(call => loopOver(call, keys));
for (const loop of loops) await loop(ROUNDS);
const costs = await inTurn(TURNS, ...loops.map(loop => () => loop(ROUNDS)));
for (const [i, what] of Object.keys(hits).entries()) {
  const column = i === 0 ? 'keyledger' : 'limit';
  rows.push({ what, unit: 'ns', figures: { [column]: figure(costs[i] as number[]) } });
}

/** Write + sync + rename of as many bytes, synced folder included if `synced`, in microseconds. */
async function replaceBare(path: string, bytes: Buffer, synced: boolean): Promise<number> {
  const begun = performance.now();
  const file = openSync(`${path}.new`, 'w');
  writeSync(file, bytes);
  if (synced) fdatasyncSync(file);
  closeSync(file);
  renameSync(`${path}.new`, path);
  if (synced) {
    const directory = openSync(folder, 'r');
    fsyncSync(directory);
    closeSync(directory);
  }
  return (performance.now() - begun) * 1e3;
}

for (const count of [10, 1000, 10_000]) {
  const bytes = Buffer.from(JSON.stringify(makeData(count), null, 2));
  const path = join(folder, 'bare.json');
  for (const synced of [true, false]) {
    const what = `write + ${synced ? 'sync + ' : ''}rename of as many bytes, ${count} keys`;
    const [bare = []] = await inTurn(TURNS, () => replaceBare(path, bytes, synced));
    rows.push({ what, unit: 'µs', figures: { limit: figure(bare) } });
  }
}
finish(rows);
