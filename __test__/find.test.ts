/** the contract: `findApiKey`, `getKeyStats`, `cacheStats`, `readApiKeys`, `warmupCache` of 'Exports'; 'The cache' as far
 * as lookups go; the rows of the table at the end on misses and unknown keys. */
import { existsSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { captureLog, cleanUp, clock, open, sampleKey, save, sleep } from './helpers.ts';

afterEach(cleanUp);

describe('a lookup', () => {
  it('gives the entry as the file has it, unknown fields included', async () => {
    const entry = sampleKey('known', { glmkey: 'abc', rolling_window_cache: { a: [1, null] } });
    const { findApiKey, getKeyStats } = await open([sampleKey('other'), entry]);
    expect(await findApiKey('known')).toEqual(entry);
    expect(await getKeyStats('known')).toEqual(entry);
  });

  it('gives null for a key that the file does not have', async () => {
    const { findApiKey, getKeyStats } = await open([sampleKey('known')]);
    expect(await findApiKey('unknown')).toBeNull();
    expect(await getKeyStats('unknown')).toBeNull();
    expect(await findApiKey('')).toBeNull();
  });

  it('compares whole keys, exactly', async () => {
    const { findApiKey } = await open([sampleKey('Known'), sampleKey('')]);
    for (const key of ['known', 'Know', 'Known ', 'Known\0', ' Known'])
      expect(await findApiKey(key)).toBeNull();
    expect((await findApiKey(''))?.key).toBe('');
  });

  it('takes the first of two entries with the same key', async () => {
    const twice = [sampleKey('twice', { name: 'first' }), sampleKey('twice', { name: 'second' })];
    const { findApiKey, warmupCache, apiKeyCache } = await open(twice);
    expect((await findApiKey('twice'))?.name).toBe('first');
    apiKeyCache.clear();
    await warmupCache();
    expect((await findApiKey('twice'))?.name).toBe('first');
  });

  it('caches what it finds and what it does not, the latter as null', async () => {
    const { findApiKey, apiKeyCache } = await open([sampleKey('known')]);
    await findApiKey('known');
    await findApiKey('unknown');
    expect(apiKeyCache.has('known')).toBe(true);
    expect(apiKeyCache.has('unknown')).toBe(true);
    expect(apiKeyCache.has('never asked')).toBe(false);
    expect(apiKeyCache.get('known')).toEqual(sampleKey('known'));
    expect(apiKeyCache.get('unknown')).toBeNull();
    expect(apiKeyCache.size).toBe(2);
  });

  it('that hits gives the same object every time', async () => {
    const { findApiKey, getKeyStats, apiKeyCache } = await open([sampleKey('known')]);
    await findApiKey('known');
    const hit = await findApiKey('known');
    expect(await findApiKey('known')).toBe(hit);
    expect(await getKeyStats('known')).toBe(hit);
    expect(apiKeyCache.get('known')).toBe(hit);
  });

  it('is answered from what was set in apiKeyCache, and asks the file after a delete', async () => {
    const { findApiKey, apiKeyCache } = await open([sampleKey('known', { name: 'file' })]);
    await findApiKey('known');
    const mine = sampleKey('known', { name: 'mine' });
    apiKeyCache.set('known', mine);
    expect(await findApiKey('known')).toBe(mine);
    apiKeyCache.delete('known');
    expect((await findApiKey('known'))?.name).toBe('file');
  });

  it('is safe with __proto__ as key and as field, and with names that objects inherit', async () => {
    const fields = '"__proto__": { "admin": true }, "constructor": 1, "usage_windows": []';
    const { findApiKey } = await open(`{ "keys": [{ "key": "__proto__", ${fields} }] }`);
    const found = await findApiKey('__proto__');
    expect(Object.getPrototypeOf(found)).toBe(Object.prototype);
    expect(Object.hasOwn(found ?? {}, '__proto__')).toBe(true);
    expect(JSON.stringify(found)).toContain('{"admin":true}');
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
    for (const key of ['constructor', 'toString', 'hasOwnProperty'])
      expect(await findApiKey(key)).toBeNull();
  });

  it('tells a lone surrogate from another and from U+FFFD', async () => {
    const keys = ['a\ud800', 'a\ud801', 'a\ufffd', '\udc00a', 'a\ud83d\ude00'];
    const { findApiKey } = await open(
      keys.map(key => sampleKey(key, { name: JSON.stringify(key) })),
    );
    for (const round of ['miss', 'hit'])
      for (const key of keys)
        expect([round, (await findApiKey(key))?.name]).toEqual([round, JSON.stringify(key)]);
    expect(await findApiKey('a\ud802')).toBeNull();
    expect(await findApiKey('a\ude00')).toBeNull();
  });

  it('of a key over 512 bytes is answered but not cached', async () => {
    const fits = 'é'.repeat(256);
    const long = `${fits}x`;
    const megabyte = 'k'.repeat(1 << 20);
    const { findApiKey, cacheStats, apiKeyCache } = await open(
      [fits, long, megabyte].map(key => sampleKey(key)),
    );
    for (const key of [fits, long, megabyte]) expect((await findApiKey(key))?.key).toBe(key);
    expect(await findApiKey(`${megabyte}unknown`)).toBeNull();
    expect([fits, long, megabyte].map(key => apiKeyCache.has(key))).toEqual([true, false, false]);
    expect(await cacheStats()).toMatchObject({ size: 1, hits: 0, misses: 4 });
    await findApiKey(long);
    expect(await cacheStats()).toMatchObject({ size: 1, hits: 0, misses: 5 });
  });
});

describe('the counters', () => {
  it('are all zero at first, the hit rate too', async () => {
    const { cacheStats } = await open([]);
    const nothing = { hits: 0, misses: 0, hitRate: 0, size: 0, maxSize: 1000, enabled: true };
    expect(await cacheStats()).toEqual(nothing);
  });

  it('count one miss for a lookup that the cache did not answer, one hit for one that it did', async () => {
    const { findApiKey, getKeyStats, cacheStats } = await open([sampleKey('known')]);
    await findApiKey('known');
    expect(await cacheStats()).toMatchObject({ hits: 0, misses: 1, hitRate: 0 });
    await findApiKey('known');
    await getKeyStats('known');
    expect(await cacheStats()).toMatchObject({ hits: 2, misses: 1 });
    await findApiKey('unknown');
    await findApiKey('unknown');
    await getKeyStats('another');
    expect(await cacheStats()).toMatchObject({ hits: 3, misses: 3, hitRate: 50, size: 3 });
  });

  it('count every one of many hits', async () => {
    const { findApiKey, cacheStats, apiKeyCache } = await open([sampleKey('known')]);
    await findApiKey('known');
    for (let n = 0; n < 500; n += 1) await findApiKey('known');
    for (let n = 0; n < 500; n += 1) void findApiKey('known');
    expect(apiKeyCache.getStats()).toMatchObject({ hits: 1000, misses: 1 });
    expect(await cacheStats()).toMatchObject({ hits: 1000, misses: 1 });
  });

  it('are those of apiKeyCache', async () => {
    const { findApiKey, cacheStats, apiKeyCache } = await open([sampleKey('known')]);
    await findApiKey('known');
    apiKeyCache.get('known');
    apiKeyCache.get('unknown');
    const stats = { hits: 1, misses: 2, size: 1, maxSize: 1000 };
    expect(await cacheStats()).toMatchObject(stats);
    expect(apiKeyCache.getStats()).toMatchObject(stats);
    apiKeyCache.resetStats();
    expect(await cacheStats()).toMatchObject({ hits: 0, misses: 0, hitRate: 0, size: 1 });
  });

  it('count a lookup after the TTL as a miss; the TTL does not slide', async () => {
    const time = clock();
    const { findApiKey, cacheStats } = await open([sampleKey('known')], { CACHE_TTL_MS: '5000' });
    await findApiKey('known');
    time.advance(3000);
    await findApiKey('known');
    time.advance(2000);
    await findApiKey('known');
    expect(await cacheStats()).toMatchObject({ hits: 2, misses: 1 });
    time.advance(1);
    await findApiKey('known');
    expect(await cacheStats()).toMatchObject({ hits: 2, misses: 2 });
  });

  it('stay when clearCache empties the cache; the next lookup is a miss', async () => {
    const { findApiKey, cacheStats, clearCache } = await open([sampleKey('known')]);
    await findApiKey('known');
    await findApiKey('known');
    clearCache();
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 1, size: 0 });
    expect((await findApiKey('known'))?.key).toBe('known');
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 2, size: 1 });
  });
});

describe('lookups at the same time', () => {
  it('of a key that is not cached all get its entry', async () => {
    const { findApiKey, cacheStats } = await open([sampleKey('known')]);
    const found = await Promise.all(Array.from({ length: 50 }, () => findApiKey('known')));
    for (const one of found) expect(one).toEqual(sampleKey('known'));
    const { hits, misses } = await cacheStats();
    expect(hits + misses).toBe(50);
    expect(misses).toBeGreaterThan(0);
  });

  it('of a key that does not exist all get null', async () => {
    const { findApiKey, apiKeyCache } = await open([sampleKey('known')]);
    const found = await Promise.all(Array.from({ length: 50 }, () => findApiKey('unknown')));
    expect(found.every(one => one === null)).toBe(true);
    expect(apiKeyCache.size).toBe(1);
  });

  it('of 1000 different cold keys all get their own', async () => {
    const keys = Array.from({ length: 1000 }, (_, n) => sampleKey(`key-${n}`));
    const { findApiKey } = await open(keys);
    const found = await Promise.all(keys.map(({ key }) => findApiKey(key)));
    expect(found.map(one => one?.key)).toEqual(keys.map(({ key }) => key));
  });
});

describe('a flood of unknown keys', () => {
  it('leaves the valid keys cached, and the cache no larger than its size', async () => {
    const valid = ['a', 'b', 'c', 'd'].map(key => sampleKey(key));
    const { findApiKey, cacheStats, apiKeyCache } = await open(valid, { CACHE_MAX_SIZE: '8' });
    const before = [];
    for (const { key } of valid) before.push(await findApiKey(key));
    for (let n = 0; n < 500; n += 1) expect(await findApiKey(`unknown-${n}`)).toBeNull();
    apiKeyCache.resetStats();
    for (const [n, { key }] of valid.entries())
      expect(await findApiKey(key)).toBe(before[n] ?? null);
    expect(await cacheStats()).toMatchObject({ hits: 4, misses: 0, maxSize: 8 });
    expect(apiKeyCache.size).toBeLessThanOrEqual(8);
  });

  it.skipIf(!existsSync('/proc/self/io'))('does not read the file again for each', async () => {
    const bytesRead = () => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
    const keys = Array.from({ length: 5000 }, (_, n) => sampleKey(`key-${n}`));
    const { findApiKey, file } = await open(keys, { CACHE_REVALIDATE_MS: '0' });
    await findApiKey('key-0');
    await sleep(100);
    await findApiKey('unknown');
    const before = bytesRead();
    for (let n = 0; n < 50; n += 1) await findApiKey(`unknown-${n}`);
    expect(bytesRead() - before).toBeLessThan(5 * readFileSync(file).length);
  });
});

describe('readApiKeys', () => {
  it('gives what the file holds now, unknown fields and foreign entries included', async () => {
    const data = { version: 2, keys: [sampleKey('a', { glmkey: 'x' }), null, 'text'], tail: [] };
    const { readApiKeys, file } = await open(JSON.stringify(data));
    expect(await readApiKeys()).toEqual(data as never);
    save(file, [sampleKey('b')]);
    expect(await readApiKeys()).toEqual({ keys: [sampleKey('b')] });
  });

  it('gives an empty list when there is no file', async () => {
    const { readApiKeys, file } = await open();
    expect(await readApiKeys()).toEqual({ keys: [] });
    expect(existsSync(file)).toBe(false);
  });

  it('gives data of its own each time: changing it changes no lookup', async () => {
    const { readApiKeys, findApiKey } = await open([sampleKey('a')]);
    await findApiKey('a');
    const data = await readApiKeys();
    for (const entry of data.keys) entry.name = 'changed';
    expect((await findApiKey('a'))?.name).toBe(sampleKey('a').name);
    expect((await readApiKeys()).keys[0]?.name).toBe(sampleKey('a').name);
  });
});

describe('warmupCache', () => {
  it('loads every key into the cache: their lookups are hits', async () => {
    const keys = ['a', 'b', 'c'].map(key => sampleKey(key));
    const { warmupCache, findApiKey, cacheStats, apiKeyCache } = await open(keys);
    await warmupCache();
    expect(await cacheStats()).toMatchObject({ hits: 0, misses: 0, size: 3 });
    for (const entry of keys) expect(await findApiKey(entry.key)).toEqual(entry);
    expect(await cacheStats()).toMatchObject({ hits: 3, misses: 0 });
    expect(apiKeyCache.get('b')).toEqual(sampleKey('b'));
  });

  it('loads no more keys than the size of the cache', async () => {
    const keys = Array.from({ length: 10 }, (_, n) => sampleKey(`key-${n}`));
    const { warmupCache, apiKeyCache } = await open(keys, { CACHE_MAX_SIZE: '4' });
    await warmupCache();
    expect(apiKeyCache.size).toBe(4);
    const held = keys.filter(({ key }) => apiKeyCache.has(key));
    expect(held.length).toBe(4);
  });

  it('never throws: not without a file, not with a broken one, which is logged', async () => {
    const missing = await open();
    await missing.warmupCache();
    expect(missing.apiKeyCache.size).toBe(0);
    const lines = captureLog();
    const broken = await open('{ "keys": [');
    await broken.warmupCache();
    expect(broken.apiKeyCache.size).toBe(0);
    expect(lines.length).toBe(1);
    expect(lines[0]).toContain(broken.file);
  });
});

describe('CACHE_ENABLED', () => {
  it('is honoured at every call: off, lookups answer from the file and nothing is counted or cached', async () => {
    const { findApiKey, cacheStats, file } = await open([sampleKey('known', { name: 'old' })]);
    await findApiKey('known');
    process.env.CACHE_ENABLED = 'false';
    save(file, [sampleKey('known', { name: 'new' }), sampleKey('more')]);
    expect((await findApiKey('known'))?.name).toBe('new');
    expect((await findApiKey('more'))?.key).toBe('more');
    expect(await findApiKey('unknown')).toBeNull();
    expect(await cacheStats()).toMatchObject({ hits: 0, misses: 1, size: 1, enabled: false });
    process.env.CACHE_ENABLED = 'true';
    await findApiKey('more');
    await findApiKey('more');
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 2, enabled: true });
  });

  it('keeps warmupCache from filling the cache', async () => {
    const ledger = await open([sampleKey('known')], { CACHE_ENABLED: 'false' });
    await ledger.warmupCache();
    expect(ledger.apiKeyCache.size).toBe(0);
  });

  it('is on for anything but false', async () => {
    const { findApiKey, cacheStats } = await open([sampleKey('known')]);
    for (const value of ['0', '', 'FALSE', 'no', 'true']) {
      process.env.CACHE_ENABLED = value;
      await findApiKey('known');
      expect([value, (await cacheStats()).enabled]).toEqual([value, true]);
    }
    delete process.env.CACHE_ENABLED;
    await findApiKey('known');
    expect(await cacheStats()).toMatchObject({ hits: 5, misses: 1, enabled: true });
  });

  it('is seen when a test replaces process.env itself', async () => {
    const { findApiKey, cacheStats } = await open([sampleKey('known')]);
    await findApiKey('known');
    const before = process.env;
    try {
      process.env = { ...before, CACHE_ENABLED: 'false' };
      await findApiKey('known');
      expect(await cacheStats()).toMatchObject({ hits: 0, misses: 1, enabled: false });
    } finally {
      process.env = before;
    }
    await findApiKey('known');
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 1, enabled: true });
  });

  it('turned on again never shows a state from before it was off', async () => {
    const { findApiKey, updateApiKeyUsage } = await open([sampleKey('known')]);
    await findApiKey('known');
    process.env.CACHE_ENABLED = 'false';
    await updateApiKeyUsage('known', 7, 'model');
    expect((await findApiKey('known'))?.total_lifetime_tokens).toBe(7);
    delete process.env.CACHE_ENABLED;
    expect((await findApiKey('known'))?.total_lifetime_tokens).toBe(7);
  });
});
