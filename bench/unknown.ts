// An awaited lookup of a key that does not exist, the file unchanged: each key a new one.
import {
  asRequested,
  check,
  compare,
  finish,
  inTurn,
  load,
  makeData,
  makeKey,
  type Row,
  show,
} from './measure.ts';

const CALLS = 20_000;
const rows: Row[] = [];
const costs: number[] = [];

/** Microseconds per call. */
async function flood(find: (key: string) => Promise<unknown>, calls: number): Promise<number> {
  const keys = Array.from({ length: calls }, () => asRequested(makeKey()));
  const start = performance.now();
  for (const key of keys) await find(key);
  return ((performance.now() - start) * 1e3) / calls;
}

for (const count of [10, 1000, 10_000, 100_000]) {
  const data = makeData(count);
  const ours = await load('keyledger', `unknown-${count}`);
  const theirs = await load('baseline', `unknown-${count}`);
  for (const storage of [ours, theirs]) {
    await storage.writeApiKeys(data);
    await storage.warmupCache();
    const known = data.keys[count - 1];
    check((await storage.findApiKey(makeKey())) === null, 'an unknown key is null');
    check(
      (await storage.findApiKey(known?.key as string))?.name === known?.name,
      'a known one is not',
    );
  }
  // Written a moment ago, the file is not trusted yet.
  await new Promise(resolve => setTimeout(resolve, 50));
  await flood(ours.findApiKey, CALLS);
  const theirCalls = Math.max(3, 300 / count);
  const times = await inTurn(
    7,
    () => flood(ours.findApiKey, CALLS),
    () => flood(theirs.findApiKey, theirCalls),
  );
  const [cost = Number.NaN] = times;
  costs.push(cost);
  const row = compare(`unknown key, ${count} keys`, times, 'µs');
  rows.push({ ...row, bound: '≤ 5 µs', met: cost <= 5 });
}

const [least = Number.NaN] = costs;
const growth = Number(costs.at(-1)) / least;
rows.push({
  what: 'unknown key, 100 000 keys against 10',
  keyledger: show(growth, 'x'),
  baseline: '-',
  bound: '≤ 1.5x',
  met: growth <= 1.5,
});
finish(rows);
