// `apiKeyCache` in front of the data file: what findApiKey, updateApiKeyUsage and warmupCache do with it.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cleanUp, clock, inFile, open, sampleKey, save } from './helpers.ts';

const TTL = 300_000;
const PAST_REVALIDATION = 1001;

let time: ReturnType<typeof clock>;
beforeEach(() => {
  time = clock('2031-03-01T12:00:00.000Z');
});
afterEach(cleanUp);

const records = (...keys: string[]) => keys.map(key => sampleKey(key));

describe('a lookup', () => {
  test('fills the cache with what it gives', async () => {
    const { findApiKey, apiKeyCache } = await open(records('a', 'b'));
    const found = await findApiKey('a');
    expect(found).toEqual(sampleKey('a'));
    expect(apiKeyCache.get('a')).toBe(found);
    expect(apiKeyCache.has('b')).toBe(false);
    expect(apiKeyCache.size).toBe(1);
  });

  test('caches a not-found as null', async () => {
    const { findApiKey, apiKeyCache } = await open(records('a'));
    expect(await findApiKey('nobody')).toBe(null);
    expect(apiKeyCache.has('nobody')).toBe(true);
    expect(apiKeyCache.get('nobody')).toBe(null);
    expect(apiKeyCache.getStats()).toMatchObject({ hits: 1, misses: 1, size: 1 });
  });

  test('answered from the cache is one hit, one that was not is one miss', async () => {
    const { findApiKey, getKeyStats, cacheStats } = await open(records('a'));
    for (const find of [findApiKey, getKeyStats, findApiKey]) {
      await find('a');
      await find('nobody');
    }
    expect(await cacheStats()).toMatchObject({ hits: 4, misses: 2, size: 2 });
  });

  test('gives the same object as long as the entry is unchanged', async () => {
    const { findApiKey, getKeyStats } = await open(records('a'));
    const first = await findApiKey('a');
    expect(await findApiKey('a')).toBe(first);
    time.advance(PAST_REVALIDATION);
    expect(await getKeyStats('a')).toBe(first);
  });

  test('after the TTL is a miss, however often the entry was used', async () => {
    const { findApiKey, cacheStats } = await open(records('a'), { CACHE_TTL_MS: '5000' });
    await findApiKey('a');
    for (let i = 0; i < 5; i++) {
      time.advance(1000);
      await findApiKey('a');
    }
    expect(await cacheStats()).toMatchObject({ hits: 5, misses: 1 });
    time.advance(1);
    expect(await findApiKey('a')).toEqual(sampleKey('a'));
    expect(await cacheStats()).toMatchObject({ hits: 5, misses: 2, size: 1 });
    await findApiKey('a');
    expect(await cacheStats()).toMatchObject({ hits: 6, misses: 2 });
  });

  test('does not come back from the cache once it was deleted or cleared', async () => {
    const { findApiKey, apiKeyCache, cacheStats } = await open(records('a'));
    await findApiKey('a');
    apiKeyCache.delete('a');
    await findApiKey('a');
    apiKeyCache.clear();
    await findApiKey('a');
    expect(await cacheStats()).toMatchObject({ hits: 0, misses: 3, size: 1 });
  });

  test('is answered by what was set, null included, for as long as its TTL', async () => {
    const { findApiKey, apiKeyCache, cacheStats } = await open(records('a', 'b'));
    const own = sampleKey('a', { name: 'set by the caller' });
    apiKeyCache.set('a', own);
    apiKeyCache.set('b', null, 5000);
    expect(await findApiKey('a')).toBe(own);
    expect(await findApiKey('b')).toBe(null);
    expect(await cacheStats()).toMatchObject({ hits: 2, misses: 0 });
    time.advance(5001);
    expect(await findApiKey('b')).toEqual(sampleKey('b'));
    time.advance(TTL);
    expect(await findApiKey('a')).toEqual(sampleKey('a'));
  });

  test('replaces what was set before', async () => {
    const { findApiKey, apiKeyCache } = await open(records('a'));
    const found = await findApiKey('a');
    const own = sampleKey('a', { name: 'set by the caller' });
    apiKeyCache.set('a', own);
    expect(await findApiKey('a')).toBe(own);
    apiKeyCache.delete('a');
    expect(await findApiKey('a')).toEqual(found);
  });

  test('makes an entry a recently used one', async () => {
    const { findApiKey, apiKeyCache } = await open(records('a', 'b', 'c'), { CACHE_MAX_SIZE: '2' });
    await findApiKey('a');
    await findApiKey('b');
    // Uses are known to the order of all after CACHE_REVALIDATE_MS at the latest.
    time.advance(PAST_REVALIDATION);
    await findApiKey('a');
    await findApiKey('c');
    expect(['a', 'b', 'c'].map(key => apiKeyCache.has(key))).toEqual([true, false, true]);
  });

  test('of unknown keys, many of them, leaves the known ones in the cache', async () => {
    const { findApiKey, apiKeyCache, cacheStats } = await open(records('a', 'b'), {
      CACHE_MAX_SIZE: '4',
    });
    await findApiKey('a');
    await findApiKey('b');
    for (let i = 0; i < 100; i++) expect(await findApiKey(`unknown-${i}`)).toBe(null);
    expect(apiKeyCache.size).toBeLessThanOrEqual(4);
    apiKeyCache.resetStats();
    await findApiKey('a');
    await findApiKey('b');
    expect(await cacheStats()).toMatchObject({ hits: 2, misses: 0 });
  });
});

describe('recording usage', () => {
  test('refreshes the entry: the next lookup is a hit on what was written', async () => {
    const { findApiKey, updateApiKeyUsage, cacheStats, file } = await open(records('a', 'b'));
    const before = await findApiKey('a');
    await updateApiKeyUsage('a', 5, 'm');
    await updateApiKeyUsage('b', 7, 'm');
    const [a, b] = [await findApiKey('a'), await findApiKey('b')];
    expect([a, b]).toEqual([inFile(file, 'a'), inFile(file, 'b')]);
    expect([a?.total_lifetime_tokens, b?.total_lifetime_tokens]).toEqual([5, 7]);
    expect(a).not.toBe(before);
    expect(await findApiKey('a')).toBe(a);
    expect(await cacheStats()).toMatchObject({ hits: 3, misses: 1, size: 2 });
  });

  test('starts the time of the entry anew', async () => {
    const { findApiKey, updateApiKeyUsage, cacheStats } = await open(records('a'));
    await findApiKey('a');
    time.advance(TTL);
    await updateApiKeyUsage('a', 5, 'm');
    time.advance(TTL);
    await findApiKey('a');
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 1 });
  });

  test('for an unknown key caches nothing', async () => {
    const { updateApiKeyUsage, apiKeyCache } = await open(records('a'));
    await updateApiKeyUsage('nobody', 5, 'm');
    expect(apiKeyCache.has('nobody')).toBe(false);
    expect(apiKeyCache.size).toBe(0);
  });
});

describe('warming up', () => {
  test('loads every key, so that each lookup is a hit', async () => {
    const { warmupCache, findApiKey, apiKeyCache, cacheStats } = await open(records('a', 'b', ''));
    await warmupCache();
    expect(apiKeyCache.size).toBe(3);
    for (const key of ['a', 'b', '']) expect(await findApiKey(key)).toEqual(sampleKey(key));
    expect(await cacheStats()).toMatchObject({ hits: 3, misses: 0 });
  });

  test('loads no more than the cache holds', async () => {
    const { warmupCache, apiKeyCache } = await open(records('a', 'b', 'c'), {
      CACHE_MAX_SIZE: '2',
    });
    await warmupCache();
    expect(apiKeyCache.size).toBe(2);
  });

  test('takes the first of two entries with the same key', async () => {
    const { warmupCache, apiKeyCache } = await open([
      sampleKey('a', { name: 'first' }),
      sampleKey('a', { name: 'second' }),
    ]);
    await warmupCache();
    expect(apiKeyCache.get('a')?.name).toBe('first');
    expect(apiKeyCache.size).toBe(1);
  });
});

describe('the cache', () => {
  test('says the same through cacheStats and getStats', async () => {
    const { findApiKey, apiKeyCache, cacheStats } = await open(records('a'));
    await findApiKey('a');
    await findApiKey('a');
    expect(await cacheStats()).toEqual({
      hits: 1,
      misses: 1,
      hitRate: 50,
      size: 1,
      maxSize: 1000,
      enabled: true,
    });
    expect(await cacheStats()).toEqual({ ...apiKeyCache.getStats(), enabled: true });
  });

  test('is emptied by clearCache, which keeps the counters', async () => {
    const { findApiKey, clearCache, apiKeyCache } = await open(records('a'));
    await findApiKey('a');
    await findApiKey('a');
    clearCache();
    expect(apiKeyCache.getStats()).toMatchObject({ hits: 1, misses: 1, size: 0 });
    expect(await findApiKey('a')).toEqual(sampleKey('a'));
  });

  test('once turned off is asked for nothing and given nothing', async () => {
    const { findApiKey, apiKeyCache, file } = await open(records('a'));
    const own = sampleKey('a', { name: 'cached' });
    apiKeyCache.set('a', own);
    process.env.CACHE_ENABLED = 'false';
    expect(await findApiKey('a')).toEqual(sampleKey('a'));
    save(file, [sampleKey('a', { name: 'edited by hand' })]);
    expect((await findApiKey('a'))?.name).toBe('edited by hand');
    expect(await findApiKey('nobody')).toBe(null);
    expect(apiKeyCache.has('nobody')).toBe(false);
  });

  test('of one evaluation of the module is not that of another', async () => {
    const one = await open(records('a'));
    await one.findApiKey('a');
    const two = await open(records('a'));
    expect(two.apiKeyCache.getStats()).toMatchObject({ hits: 0, misses: 0, size: 0 });
    await two.findApiKey('a');
    one.apiKeyCache.clear();
    expect(two.apiKeyCache.size).toBe(1);
  });
});
