// A process of `profile.mjs`: calls of one kind for some seconds, in a store of 1000 keys in FOLDER.
import { driverOf } from './drivers.ts';
import { asRequested, loopOver, makeData, makeKey, median } from './measure.ts';

const SECONDS = 4;
const [kind = ''] = process.argv.slice(2);
const folder = process.env.FOLDER as string;
const driver = driverOf('keyledger');
const data = makeData(1000);
await driver.make(folder, data);
const cold = kind === 'miss' || kind === 'unknown';
const store = await (cold ? driver.openCold?.(folder) : driver.open(folder));
if (!store?.record) throw new Error('keyledger has all calls');
const { find, record } = store as Required<typeof store>;
const known = data.keys.map(({ key }) => asRequested(key));
const unknown = Array.from({ length: 20_000 }, () => asRequested(makeKey()));
await store.load?.();

const loop = loopOver(
  find as (key: string) => Promise<unknown>,
  kind === 'unknown' ? unknown : known,
);
const times: number[] = [];
const begun = performance.now();
while (performance.now() - begun < SECONDS * 1000) {
  const start = performance.now();
  if (kind === 'changed' || kind === 'commit') await Promise.all(known.map(record));
  times.push(kind === 'commit' ? (performance.now() - start) * 1e3 : await loop(1));
}
const unit = kind === 'commit' ? 'µs for 1000 updates in one commit' : 'ns for each lookup';
console.log(`${Math.round(median(times))} ${unit}`);
