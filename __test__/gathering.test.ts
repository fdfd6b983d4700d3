/** docs/design.md: a batch that had to wait for another commit waits while more updates come, but not for ever. */
import { afterEach, expect, test } from 'vitest';
import { cleanUp, inFile, type Ledger, open, sampleKey } from './helpers.js';

afterEach(cleanUp);

const median = (all: number[]) => all.sort((a, b) => a - b)[all.length >> 1] as number;

const nextTurn = () => new Promise(resolve => setImmediate(resolve));

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Without syncs a commit is short beside what a batch waits. */
const openStore = () => open([sampleKey('a')], { DATA_FSYNC: 'false' });

/** Records in each turn of the event loop for as long as `work` takes. Gives how often. */
async function underLoad({ updateApiKeyUsage }: Ledger, work: () => Promise<unknown>) {
  let working = true;
  const worked = work().finally(() => {
    working = false;
  });
  const recorded: Promise<void>[] = [];
  while (working) {
    recorded.push(updateApiKeyUsage('a', 1, 'm'));
    await nextTurn();
  }
  await Promise.all([...recorded, worked]);
  return recorded.length;
}

/** How long some updates take, each of which is recorded when the one before it is in the file. */
async function timesOf({ updateApiKeyUsage }: Ledger, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) times.push(await timed(() => updateApiKeyUsage('a', 1, 'm')));
  return times;
}

test('under load a batch lasts much longer than a commit takes, but ends, and nothing is lost', async () => {
  const ledger = await openStore();
  const alone = await timesOf(ledger, 20);
  let waited: number[] = [];
  const others = await underLoad(ledger, async () => {
    waited = await timesOf(ledger, 5);
  });
  expect(median(waited)).toBeGreaterThan(10 * median(alone));
  expect(inFile(ledger.file, 'a').total_lifetime_tokens).toBe(20 + 5 + others);
});

test('flush does not wait for what is yet to come', async () => {
  const ledger = await openStore();
  const waited: number[] = [];
  const flushed: number[] = [];
  await underLoad(ledger, async () => {
    for (let i = 0; i < 5; i++) {
      waited.push(...(await timesOf(ledger, 1)));
      flushed.push(await timed(ledger.flush));
    }
  });
  expect(median(flushed)).toBeLessThan(median(waited) / 2);
});

test('an update that comes behind a commit does not wait for more when none come', async () => {
  const ledger = await openStore();
  const waited: number[] = [];
  await underLoad(ledger, async () => {
    waited.push(...(await timesOf(ledger, 5)));
  });
  const behind: number[] = [];
  for (let i = 0; i < 5; i++) {
    const first = ledger.updateApiKeyUsage('a', 1, 'm');
    await nextTurn();
    behind.push(...(await timesOf(ledger, 1)));
    await first;
  }
  expect(median(behind)).toBeLessThan(median(waited) / 2);
});

test('under a lock that is held nobody waits for more', async () => {
  const ledger = await openStore();
  const waited: number[] = [];
  const held: number[] = [];
  await underLoad(ledger, async () => {
    waited.push(...(await timesOf(ledger, 5)));
  });
  await ledger.withLock(() =>
    underLoad(ledger, async () => {
      held.push(...(await timesOf(ledger, 5)));
    }),
  );
  expect(median(held)).toBeLessThan(median(waited) / 2);
});
