/** the contract: 'The cache' and 'Exports', as far as reads of the file are shared by lookups that wait for them. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Ledger as Native } from '../lib/native.js';
import { cleanUp, type Ledger, open, sampleKey, save } from './helpers.ts';

afterEach(cleanUp);

/** Keeps the first read, once it has read the file, from being known to have ended until `end` is called. */
function holdFirstRead() {
  const real = Native.prototype.load;
  let end = () => {};
  let begun = () => {};
  const held = new Promise<void>(resolve => {
    end = resolve;
  });
  const done = new Promise<void>(resolve => {
    begun = resolve;
  });
  const reads = vi.spyOn(Native.prototype, 'load').mockImplementationOnce(async function (
    this: InstanceType<typeof Native>,
    now,
  ) {
    const outcome = await real.call(this, now);
    begun();
    await held;
    return outcome;
  });
  return { reads, done, end };
}

describe('one read of the file serves all who wait for it:', () => {
  it('lookups of 200 keys, known and unknown, that are not cached', async () => {
    const keys = Array.from({ length: 200 }, (_, n) => `key-${n}`);
    const known = keys.filter((_, n) => n % 2 === 0).map(key => sampleKey(key));
    const { findApiKey } = await open(known);
    const reads = vi.spyOn(Native.prototype, 'load');
    const found = await Promise.all(keys.map(key => findApiKey(key)));
    expect(found).toEqual(keys.map((key, n) => (n % 2 === 0 ? sampleKey(key) : null)));
    expect(reads.mock.calls.length).toBeGreaterThan(0);
    expect(reads.mock.calls.length).toBeLessThanOrEqual(2);
  });

  it('lookups after an edit', async () => {
    const keys = Array.from({ length: 200 }, (_, n) => sampleKey(`key-${n}`));
    const { findApiKey, file } = await open([sampleKey('old')]);
    await findApiKey('old');
    save(file, keys);
    const reads = vi.spyOn(Native.prototype, 'load');
    const found = await Promise.all(keys.map(({ key }) => findApiKey(key)));
    expect(found).toEqual(keys);
    expect(reads.mock.calls.length).toBeGreaterThan(0);
    expect(reads.mock.calls.length).toBeLessThanOrEqual(2);
  });
});

describe('a read that began before an edit does not answer for what came after it:', () => {
  const ways: [string, (ledger: Ledger) => Promise<unknown>][] = [
    ['a lookup', ({ findApiKey }) => findApiKey('new')],
    [
      'a lookup with the cache off',
      ({ findApiKey }) => {
        process.env.CACHE_ENABLED = 'false';
        return findApiKey('new');
      },
    ],
    ['readApiKeys', async ({ readApiKeys }) => (await readApiKeys()).keys[1]],
  ];
  it.each(ways)('%s', async (_, ask) => {
    const ledger = await open([sampleKey('old')]);
    const { reads, done, end } = holdFirstRead();
    const before = ledger.findApiKey('old');
    await done;
    save(ledger.file, [sampleKey('old', { name: 'edited' }), sampleKey('new')]);
    const after = ask(ledger);
    end();
    expect(await after).toEqual(sampleKey('new'));
    expect((await before)?.key).toBe('old');
    expect(reads).toHaveBeenCalledTimes(2);
  });

  it('many lookups, all of which share one more read', async () => {
    const keys = Array.from({ length: 100 }, (_, n) => sampleKey(`key-${n}`));
    const { findApiKey, file } = await open([sampleKey('old')]);
    const { reads, done, end } = holdFirstRead();
    const before = findApiKey('old');
    await done;
    save(file, keys);
    const after = Promise.all(keys.map(({ key }) => findApiKey(key)));
    end();
    expect(await after).toEqual(keys);
    await before;
    expect(reads.mock.calls.length).toBeLessThanOrEqual(3);
  });
});
