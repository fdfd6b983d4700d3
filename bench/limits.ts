// What the paths of keyledger can't do without, in one process: the parts of a hit, and the system's calls of a commit.
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { driverOf } from './drivers.ts';
import {
  asRequested,
  check,
  type Figure,
  figure,
  finish,
  folder,
  inTurn,
  loopOver,
  makeData,
  type Row,
  ratio,
} from './measure.ts';

const TURNS = 15;
const ROUNDS = 100;
type Call = (key: string) => Promise<unknown>;

const rows: Row[] = [];
const data = makeData(1000);
const keys = data.keys.map(({ key }) => asRequested(key));
const driver = driverOf('keyledger');
await driver.make(folder, data);
const { find, load } = await driver.open(folder);
await load?.();
for (const { key } of data.keys) check((await find(key))?.key === key, `keyledger finds ${key}`);
// Not before: the module reads its settings when it is evaluated.
const { createLedger } = await import('../index.js');

const map = new Map(data.keys.map(record => [record.key, Promise.resolve(record)]));
const hits: Record<string, Call> = {
  'a hit': find as Call,
  'an awaited Map.get': key => map.get(key) as Promise<unknown>,
  'Map.get and CACHE_ENABLED': key =>
    (process.env.CACHE_ENABLED !== 'false' ? map.get(key) : 0) as Promise<unknown>,
  'Map.get and Date.now()': key => (Date.now() > 0 ? map.get(key) : 0) as Promise<unknown>,
  'Map.get, CACHE_ENABLED and Date.now()': key =>
    (process.env.CACHE_ENABLED !== 'false' && Date.now() > 0
      ? map.get(key)
      : 0) as Promise<unknown>,
};
const loops = Object.values(hits).map(call => loopOver(call, keys));
for (const loop of loops) await loop(ROUNDS);
const costs = await inTurn(TURNS, ...loops.map(loop => () => loop(ROUNDS)));
const found = costs.map(figure);
const [hit, ...limits] = found as [Figure, ...Figure[]];
rows.push({ what: 'a hit', unit: 'ns', figures: { keyledger: hit } });
for (const [i, limit] of limits.entries()) {
  const what = Object.keys(hits)[i + 1] as string;
  rows.push({ what, unit: 'ns', figures: { limit } });
  rows.push({
    what: `a hit against ${what}`,
    unit: 'x',
    figures: { keyledger: ratio(hit, limit) },
  });
}

/** Write + sync + rename of as many bytes, the folder's sync included if `synced`, in microseconds. */
async function replaceBare(path: string, bytes: Buffer, synced: boolean): Promise<number> {
  // To free its blocks takes long, and can be left for later.
  const old = openSync(path, 'r');
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
  const microseconds = (performance.now() - begun) * 1e3;
  closeSync(old);
  return microseconds;
}

for (const count of [10, 1000, 10_000]) {
  const records = makeData(count);
  const bytes = Buffer.from(JSON.stringify(records, null, 2));
  for (const synced of [true, false]) {
    const bare = join(folder, 'bare.json');
    const dataFile = join(folder, `${count} ${synced}.json`);
    for (const path of [bare, dataFile]) writeFileSync(path, bytes);
    const ledger = createLedger({ dataFile, fsync: synced });
    const key = records.keys[count >> 1]?.key as string;
    const update = async () => {
      const begun = performance.now();
      await ledger.updateApiKeyUsage(key, 1, 'glm-4.7');
      return (performance.now() - begun) * 1e3;
    };
    await update();
    const [own = [], least = []] = await inTurn(TURNS, update, () =>
      replaceBare(bare, bytes, synced),
    );
    const what = `an update, ${synced ? 'synced' : 'unsynced'}, ${count} keys`;
    const [keyledger, limit] = [figure(own), figure(least)];
    rows.push({
      what: `${what}; as many bytes replaced`,
      unit: 'µs',
      figures: { keyledger, limit },
    });
    rows.push({
      what: `${what}, against that`,
      unit: 'x',
      figures: { keyledger: ratio(keyledger, limit) },
    });
  }
}
finish(rows);
