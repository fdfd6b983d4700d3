/** the contract: 'The cache', for lookups of warm keys, which are answered in JavaScript without asking the native side.
 * The clock stands still unless a test moves it, so that the next look at the file is never due by itself. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Calls } from '../native.cjs';
import {
  cleanUp,
  clock,
  type Ledger,
  load,
  open,
  sampleKey,
  save,
  sleep,
  watchCalls,
} from './helpers.ts';

let time: ReturnType<typeof clock>;
let calls: ReturnType<typeof watchCalls>;
beforeEach(() => {
  time = clock('2031-03-01T12:00:00.000Z');
  calls = watchCalls();
});
afterEach(cleanUp);

const records = (...keys: string[]) => keys.map(key => sampleKey(key));

/** Looks keys up until they are answered in JavaScript. */
async function warm({ findApiKey }: Ledger, ...keys: string[]): Promise<void> {
  for (let n = 0; n < 4; n += 1) for (const key of keys) await findApiKey(key);
}

/** Runs `lookups`, which must be answered in JavaScript, all of them. */
async function quickly(lookups: () => Promise<unknown>): Promise<void> {
  const asked = calls().map(of => vi.spyOn(of, 'find'));
  expect(asked).not.toEqual([]);
  await lookups();
  for (const find of asked) {
    expect(find).not.toHaveBeenCalled();
    find.mockRestore();
  }
}

describe('a warm key', () => {
  it('is answered without asking the native side, with the same object', async () => {
    const ledger = await open(records('a', 'b'));
    await warm(ledger, 'a', 'b');
    const known = ledger.apiKeyCache.get('a');
    await quickly(async () => {
      for (let n = 0; n < 3; n += 1) expect(await ledger.findApiKey('a')).toBe(known);
      expect(await ledger.findApiKey('b')).toEqual(sampleKey('b'));
    });
  });

  it('that writeApiKeys removes is gone for the very next lookup', async () => {
    const ledger = await open(records('a', 'b'));
    await warm(ledger, 'a', 'b');
    await ledger.writeApiKeys({ keys: records('b') });
    expect(await ledger.findApiKey('a')).toBeNull();
    expect(await ledger.findApiKey('b')).toEqual(sampleKey('b'));
  });

  it('that writeApiKeys changes is the new one for the very next lookup', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    await ledger.writeApiKeys({ keys: [sampleKey('a', { name: 'written' })] });
    expect((await ledger.findApiKey('a'))?.name).toBe('written');
  });

  it('that writeApiKeys changes inside withLock is the new one for the very next lookup', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    await ledger.withLock(async () => {
      await ledger.writeApiKeys({ keys: [sampleKey('a', { name: 'written' })] });
      expect((await ledger.findApiKey('a'))?.name).toBe('written');
    });
  });

  it('whose usage is recorded shows it to the very next lookup', async () => {
    const ledger = await open(records('a', 'b'));
    await warm(ledger, 'a', 'b');
    await Promise.all([
      ledger.updateApiKeyUsage('a', 5, 'model'),
      ledger.updateApiKeyUsage('b', 7, 'model'),
    ]);
    expect((await ledger.findApiKey('a'))?.total_lifetime_tokens).toBe(5);
    expect((await ledger.findApiKey('b'))?.total_lifetime_tokens).toBe(7);
  });

  it('that changed in the file shows it once another lookup has read the file', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    save(ledger.file, [sampleKey('a', { name: 'edited' }), sampleKey('new')]);
    expect((await ledger.findApiKey('new'))?.key).toBe('new');
    expect((await ledger.findApiKey('a'))?.name).toBe('edited');
  });

  it('that was removed from the file and deleted from the cache is gone, as is one never used', async () => {
    const ledger = await open(records('a', 'b'));
    await warm(ledger, 'a', 'b');
    save(ledger.file, []);
    ledger.apiKeyCache.delete('a');
    expect(await ledger.findApiKey('a')).toBeNull();
    expect(await ledger.findApiKey('b')).toBeNull();
  });
});

describe('a warm key in apiKeyCache', () => {
  it('set to null is null', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    ledger.apiKeyCache.set('a', null);
    expect(await ledger.findApiKey('a')).toBeNull();
    await warm(ledger, 'a');
    expect(await ledger.findApiKey('a')).toBeNull();
  });

  it('set to another object is that object, over null too', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    for (const name of ['one', 'other']) {
      const mine = sampleKey('a', { name });
      ledger.apiKeyCache.set('a', mine);
      expect(await ledger.findApiKey('a')).toBe(mine);
      await warm(ledger, 'a');
      expect(await ledger.findApiKey('a')).toBe(mine);
      ledger.apiKeyCache.set('a', null);
      expect(await ledger.findApiKey('a')).toBeNull();
    }
  });

  it('deleted is answered by the file', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    ledger.apiKeyCache.set('a', sampleKey('a', { name: 'mine' }));
    await warm(ledger, 'a');
    expect(ledger.apiKeyCache.delete('a')).toBe(true);
    expect(await ledger.findApiKey('a')).toEqual(sampleKey('a'));
    expect(await ledger.cacheStats()).toMatchObject({ misses: 2, size: 1 });
  });

  it.each(['clear', 'clearCache'])('is answered by the file after %s', async way => {
    const ledger = await open(records('a', 'b'));
    await warm(ledger, 'a', 'b');
    ledger.apiKeyCache.set('a', sampleKey('a', { name: 'mine' }));
    await warm(ledger, 'a', 'b');
    if (way === 'clear') ledger.apiKeyCache.clear();
    else ledger.clearCache();
    expect(await ledger.findApiKey('a')).toEqual(sampleKey('a'));
    expect(await ledger.findApiKey('b')).toEqual(sampleKey('b'));
    expect(await ledger.cacheStats()).toMatchObject({ misses: 4, size: 2 });
  });

  it('that was pushed out for another key is not answered any more', async () => {
    const ledger = await open(records('a', 'b'), { CACHE_MAX_SIZE: '1' });
    // A file that was just written is read again for every miss, after which all keys are asked for anew.
    await sleep(100);
    await warm(ledger, 'a');
    await warm(ledger, 'b');
    ledger.apiKeyCache.resetStats();
    expect(await ledger.findApiKey('a')).toEqual(sampleKey('a'));
    expect(await ledger.cacheStats()).toMatchObject({ hits: 0, misses: 1, size: 1 });
  });
});

describe('the time', () => {
  it('of the next look ends answers without asking: an edit is seen', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    save(ledger.file, [sampleKey('a', { name: 'edited' })]);
    time.advance(999);
    await quickly(() => ledger.findApiKey('a'));
    time.advance(1);
    expect((await ledger.findApiKey('a'))?.name).toBe('edited');
  });

  it('set back does not put off the next look: an edit is seen', async () => {
    const ledger = await open(records('a', 'b'));
    await warm(ledger, 'a', 'b');
    save(ledger.file, [sampleKey('a', { name: 'edited' })]);
    time.advance(-1);
    expect((await ledger.findApiKey('a'))?.name).toBe('edited');
    expect(await ledger.findApiKey('b')).toBeNull();
  });

  it('set back starts a window of its own, at whose end an edit is seen', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    time.advance(-3_600_000);
    await warm(ledger, 'a');
    await quickly(() => ledger.findApiKey('a'));
    save(ledger.file, [sampleKey('a', { name: 'edited' })]);
    time.advance(1000);
    expect((await ledger.findApiKey('a'))?.name).toBe('edited');
  });

  it('to live ends for warm keys too, and does not slide', async () => {
    const ledger = await open(records('a'), { CACHE_TTL_MS: '500' });
    await warm(ledger, 'a');
    time.advance(500);
    await quickly(() => ledger.findApiKey('a'));
    expect(await ledger.cacheStats()).toMatchObject({ hits: 4, misses: 1 });
    time.advance(1);
    await ledger.findApiKey('a');
    expect(await ledger.cacheStats()).toMatchObject({ hits: 4, misses: 2 });
  });

  it('to live given to set ends for a warm key too', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    const mine = sampleKey('a', { name: 'mine' });
    ledger.apiKeyCache.set('a', mine, 500);
    await warm(ledger, 'a');
    time.advance(500);
    expect(await ledger.findApiKey('a')).toBe(mine);
    time.advance(1);
    expect(await ledger.findApiKey('a')).toEqual(sampleKey('a'));
  });
});

describe('hits of warm keys', () => {
  it('make the order in which keys are pushed out, exactly', async () => {
    const ledger = await open(records('a', 'b', 'c', 'd', 'e', 'f'), { CACHE_MAX_SIZE: '3' });
    const { findApiKey, apiKeyCache } = ledger;
    await warm(ledger, 'a', 'b', 'c');
    const held = () => ['a', 'b', 'c', 'd', 'e'].filter(key => apiKeyCache.has(key)).join('');
    await quickly(async () => {
      for (const key of ['b', 'a']) await findApiKey(key);
    });
    await findApiKey('d');
    expect(held()).toBe('abd');
    await findApiKey('e');
    expect(held()).toBe('ade');
  });

  it('go by the last use of a key, not the first', async () => {
    const ledger = await open(records('a', 'b', 'c', 'd', 'e'), { CACHE_MAX_SIZE: '3' });
    const { findApiKey, apiKeyCache } = ledger;
    await warm(ledger, 'a', 'b', 'c');
    await quickly(async () => {
      for (const key of ['a', 'b', 'c', 'b', 'a']) await findApiKey(key);
    });
    await findApiKey('d');
    expect(['a', 'b', 'c', 'd'].filter(key => apiKeyCache.has(key)).join('')).toBe('abd');
    await findApiKey('e');
    expect(['a', 'b', 'c', 'd', 'e'].filter(key => apiKeyCache.has(key)).join('')).toBe('ade');
  });

  it.each([
    ['a set', (ledger: Ledger) => ledger.apiKeyCache.set('d', sampleKey('d'))],
    ['an update', (ledger: Ledger) => ledger.updateApiKeyUsage('d', 1, 'model')],
  ])('count for the order before %s', async (_, act) => {
    const ledger = await open(records('a', 'b', 'c', 'd'), { CACHE_MAX_SIZE: '3' });
    await warm(ledger, 'a', 'b', 'c');
    await quickly(() => ledger.findApiKey('a'));
    await act(ledger);
    const held = ['a', 'b', 'c', 'd'].filter(key => ledger.apiKeyCache.has(key));
    expect(held.join('')).toBe('acd');
  });

  it('keep their place among those of apiKeyCache.get', async () => {
    const ledger = await open(records('a', 'b', 'c', 'd', 'e'), { CACHE_MAX_SIZE: '3' });
    await warm(ledger, 'a', 'b', 'c');
    await quickly(() => ledger.findApiKey('a'));
    ledger.apiKeyCache.get('b');
    await ledger.findApiKey('d');
    await ledger.findApiKey('e');
    const held = ['a', 'b', 'c', 'd', 'e'].filter(key => ledger.apiKeyCache.has(key));
    expect(held.join('')).toBe('bde');
  });

  it('are not counted after a reset that follows them', async () => {
    const ledger = await open(records('a'));
    await warm(ledger, 'a');
    await quickly(() => ledger.findApiKey('a'));
    ledger.apiKeyCache.resetStats();
    expect(await ledger.cacheStats()).toMatchObject({ hits: 0, misses: 0 });
    await quickly(() => ledger.findApiKey('a'));
    expect(await ledger.cacheStats()).toMatchObject({ hits: 1, misses: 0 });
  });

  it('are counted when the key is deleted or the cache cleared after them', async () => {
    const ledger = await open(records('a', 'b'));
    await warm(ledger, 'a', 'b');
    await quickly(() => ledger.findApiKey('a'));
    ledger.apiKeyCache.delete('a');
    await ledger.findApiKey('b');
    ledger.clearCache();
    expect(await ledger.cacheStats()).toMatchObject({ hits: 8, misses: 2 });
  });

  it('of more than 1024 keys between two looks are counted, and ordered, exactly', async () => {
    const size = 1500;
    const keys = Array.from({ length: size + 300 }, (_, n) => `key-${n}`);
    const ledger = await open(records(...keys), { CACHE_MAX_SIZE: `${size}` });
    const { findApiKey, cacheStats, apiKeyCache } = ledger;
    const cached = keys.slice(0, size);
    await warm(ledger, ...cached);
    apiKeyCache.resetStats();
    const told = vi.spyOn(calls()[0] as Calls, 'used');
    for (const key of cached.toReversed()) await findApiKey(key);
    for (const key of cached.toReversed()) await findApiKey(key);
    expect(await cacheStats()).toMatchObject({ hits: 2 * size, misses: 0, size });
    expect(Math.max(...told.mock.calls.map(([stamps]) => stamps.length))).toBe(1024);
    for (const key of keys.slice(size)) await findApiKey(key);
    const gone = cached.filter(key => !apiKeyCache.has(key));
    expect(gone).toEqual(cached.slice(-300));
    expect(await cacheStats()).toMatchObject({ hits: 2 * size, misses: 300, size });
  });
});

describe('what others in the process do, here another evaluation of the module on the same file,', () => {
  async function pair(...keys: string[]): Promise<[Ledger, Ledger]> {
    const mine = await open(records(...keys));
    const other = { ...(await load({ DATA_FILE: mine.file })), file: mine.file };
    await warm(mine, ...keys);
    return [mine, other];
  }

  it('is seen for every warm key once the next look was due, whichever key is looked up first', async () => {
    const [mine, other] = await pair('a', 'b', 'c');
    await other.writeApiKeys({ keys: [sampleKey('b'), sampleKey('c', { name: 'written' })] });
    time.advance(1000);
    expect(await mine.findApiKey('b')).toEqual(sampleKey('b'));
    expect(await mine.findApiKey('a')).toBeNull();
    expect((await mine.findApiKey('c'))?.name).toBe('written');
  });

  it('does not keep a key from being deleted here', async () => {
    const [mine, other] = await pair('a', 'b');
    other.apiKeyCache.delete('a');
    save(mine.file, records('b'));
    mine.apiKeyCache.delete('a');
    expect(await mine.findApiKey('a')).toBeNull();
  });

  it('does not keep keys from being answered without asking again', async () => {
    const [mine, other] = await pair('a', 'b', 'x');
    mine.clearCache();
    await warm(mine, 'a', 'b');
    other.apiKeyCache.delete('a');
    await other.findApiKey('x');
    time.advance(1000);
    await warm(mine, 'b', 'a', 'x');
    await quickly(async () => {
      for (const key of ['a', 'b', 'x']) expect(await mine.findApiKey(key)).toEqual(sampleKey(key));
    });
  });
});
