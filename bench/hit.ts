// An awaited hit on 1000 warm keys of 20 to 40 characters.
import {
  asRequested,
  check,
  compare,
  finish,
  inTurn,
  load,
  loopOver,
  makeData,
  show,
} from './measure.ts';

const data = makeData(1000);
const ours = await load('keyledger', 'hit');
const theirs = await load('baseline', 'hit');
const keys = data.keys.map(({ key }) => asRequested(key));
for (const storage of [ours, theirs]) {
  await storage.writeApiKeys(data);
  await storage.warmupCache();
  for (const [index, key] of keys.entries()) {
    const found = await storage.findApiKey(key);
    check(JSON.stringify(found) === JSON.stringify(data.keys[index]), 'a hit');
    check(found === (await storage.findApiKey(key)), 'the same object twice');
  }
  const { hits } = await storage.cacheStats();
  await storage.findApiKey(keys[0] as string);
  check((await storage.cacheStats()).hits === hits + 1, 'hits are counted');
}

const loops = [loopOver(ours.findApiKey, keys), loopOver(theirs.findApiKey, keys)];
for (const loop of loops) await loop(100);
const times = await inTurn(15, ...loops.map(loop => () => loop(100)));

// What a hit can't do without: the engine's own Map, the setting that is read at every call, the time.
const map = new Map(data.keys.map(record => [record.key, Promise.resolve(record)]));
const parts: [string, (key: string) => unknown][] = [
  ['an awaited Map.get', key => map.get(key)],
  [
    'the same, and CACHE_ENABLED',
    key => (process.env.CACHE_ENABLED !== 'false' ? map.get(key) : 0),
  ],
  ['the same, and Date.now()', key => (Date.now() > 0 ? map.get(key) : 0)],
];
const limits = parts.map(([, call]) => loopOver(call as (key: string) => Promise<unknown>, keys));
for (const loop of limits) await loop(100);
const costs = await inTurn(15, ...limits.map(loop => () => loop(100)));
finish([
  compare('hit, 1000 warm keys', times, 'ns', 0.75),
  ...parts.map(([what], i) => ({ what, keyledger: show(costs[i], 'ns'), baseline: '-' })),
]);
