/** the contract: `updateApiKeyUsage`, `writeApiKeys` and `withLock` of 'Exports', called one after the other without
 * being awaited: the file gets them in the order of the calls. */
import { existsSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, inFile, type Ledger, open, parsed, sampleKey, sleep } from './helpers.ts';

afterEach(cleanUp);

/** Sets the lifetime total of `key` to what `change` makes of it. */
async function setTotal(ledger: Ledger, key: string, change: (total: number) => number) {
  const data = await ledger.readApiKeys();
  for (const entry of data.keys)
    if (entry.key === key) entry.total_lifetime_tokens = change(entry.total_lifetime_tokens);
  await ledger.writeApiKeys(data);
}

/** The lifetime totals in the file, by key. */
const totals = (file: string) =>
  Object.fromEntries(parsed(file).keys.map(entry => [entry.key, entry.total_lifetime_tokens]));

describe('updates made after the call of writeApiKeys', () => {
  it('are in the file that it wrote, those made before are not', async () => {
    const { updateApiKeyUsage, writeApiKeys, file } = await open([sampleKey('a'), sampleKey('b')]);
    await Promise.all([
      updateApiKeyUsage('a', 1, 'model'),
      writeApiKeys({ keys: [sampleKey('new'), sampleKey('b')] }),
      updateApiKeyUsage('new', 2, 'model'),
      updateApiKeyUsage('b', 4, 'model'),
    ]);
    expect(totals(file)).toEqual({ new: 2, b: 4 });
  });

  it('are in the file when more writes follow', async () => {
    const { updateApiKeyUsage, writeApiKeys, file } = await open([]);
    await Promise.all([
      writeApiKeys({ keys: [sampleKey('a')] }),
      updateApiKeyUsage('a', 1, 'model'),
      writeApiKeys({ keys: [sampleKey('a', { total_lifetime_tokens: 10 })] }),
      updateApiKeyUsage('a', 2, 'model'),
      updateApiKeyUsage('a', 3, 'model'),
    ]);
    expect(totals(file)).toEqual({ a: 15 });
  });
});

describe('an update made after the call of withLock', () => {
  it('is recorded after what runs inside, one made before it is recorded first', async () => {
    const ledger = await open([sampleKey('a')]);
    await Promise.all([
      ledger.updateApiKeyUsage('a', 1, 'model'),
      ledger.withLock(() => setTotal(ledger, 'a', total => total * 10)),
      ledger.updateApiKeyUsage('a', 5, 'model'),
    ]);
    expect(totals(ledger.file)).toEqual({ a: 15 });
  });

  it('is recorded after a nested one too', async () => {
    const ledger = await open([sampleKey('a')]);
    await ledger.withLock(() =>
      Promise.all([
        ledger.updateApiKeyUsage('a', 1, 'model'),
        ledger.withLock(() => setTotal(ledger, 'a', total => total * 10)),
        ledger.updateApiKeyUsage('a', 5, 'model'),
      ]),
    );
    expect(totals(ledger.file)).toEqual({ a: 15 });
  });
});

describe('nested withLock calls', () => {
  it('take turns: concurrent read-change-write steps lose nothing', async () => {
    const ledger = await open([sampleKey('a')]);
    const step = () => ledger.withLock(() => setTotal(ledger, 'a', total => total + 1));
    await ledger.withLock(() => Promise.all([step(), step(), step()]));
    expect(inFile(ledger.file, 'a').total_lifetime_tokens).toBe(3);
  });

  it('run in the order of the calls, one at a time, also after one that rejects', async () => {
    const { withLock } = await open([]);
    const steps: string[] = [];
    const nested = (name: string) =>
      withLock(async () => {
        steps.push(`${name} in`);
        await sleep(5);
        steps.push(`${name} out`);
        if (name === 'a') throw new Error(name);
      });
    const outcomes = await withLock(() => Promise.allSettled(['a', 'b', 'c'].map(nested)));
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
    expect(steps).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
  });

  it('that nobody awaits end before the outer one lets go of the lock', async () => {
    const { withLock, updateApiKeyUsage, file } = await open([sampleKey('a')]);
    const steps: string[] = [];
    let locked = false;
    await Promise.all([
      withLock(async () => {
        void withLock(async () => {
          await sleep(20);
          await updateApiKeyUsage('a', 1, 'model');
          locked = existsSync(`${file}.lock`);
          steps.push('nested');
        });
      }).then(() => steps.push('outer')),
      withLock(async () => {
        steps.push('next');
      }),
    ]);
    expect(steps[0]).toBe('nested');
    expect(steps).toContain('outer');
    expect(steps).toContain('next');
    expect(locked).toBe(true);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(1);
  });
});
