/** the contract: 'The cache', a fault of the cache never makes a lookup or an update fail. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ApiKey } from '../index.js';
import type { Calls } from '../native.cjs';
import { captureLog, cleanUp, inFile, open, sampleKey, save, watchCalls } from './helpers.ts';

afterEach(cleanUp);

const broken = () => {
  throw new Error('broken');
};

/** With what its lookups call of the native side. */
async function openWatched(keys: ApiKey[]) {
  const opened = watchCalls();
  const ledger = await open(keys);
  return { calls: opened()[0] as Calls, ...ledger };
}

describe('when the cache is broken', () => {
  it('the file answers for known and unknown keys, and the fault is logged', async () => {
    const lines = captureLog();
    const { calls, findApiKey, getKeyStats } = await openWatched([sampleKey('known')]);
    const asked = vi.spyOn(calls, 'find').mockImplementation(broken);
    expect(await findApiKey('known')).toEqual(sampleKey('known'));
    expect(await getKeyStats('known')).toEqual(sampleKey('known'));
    expect(await findApiKey('unknown')).toBeNull();
    expect(asked).toHaveBeenCalledTimes(3);
    const faults = lines.filter(line => line.includes('[cache] cache failed'));
    expect(faults).toHaveLength(3);
    for (const line of faults) expect(line).toContain('broken');
  });

  it('an edit of the file is seen all the same', async () => {
    captureLog();
    const { calls, findApiKey, file } = await openWatched([sampleKey('known')]);
    vi.spyOn(calls, 'find').mockImplementation(broken);
    await findApiKey('known');
    save(file, [sampleKey('known', { name: 'edited' }), sampleKey('new')]);
    expect((await findApiKey('known'))?.name).toBe('edited');
    expect(await findApiKey('new')).toEqual(sampleKey('new'));
  });

  it('usage is recorded and seen', async () => {
    captureLog();
    const { calls, findApiKey, updateApiKeyUsage, file } = await openWatched([sampleKey('known')]);
    await findApiKey('known');
    vi.spyOn(calls, 'find').mockImplementation(broken);
    await updateApiKeyUsage('known', 5, 'model');
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
    expect((await findApiKey('known'))?.total_lifetime_tokens).toBe(5);
  });

  it('for one lookup only, the next is answered from the cache again', async () => {
    captureLog();
    const { calls, findApiKey, cacheStats } = await openWatched([sampleKey('known')]);
    const asked = vi.spyOn(calls, 'find').mockImplementation(broken);
    await findApiKey('known');
    asked.mockRestore();
    await findApiKey('known');
    await findApiKey('known');
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 1 });
  });

  it('after the file had to be loaded, what was loaded answers', async () => {
    const lines = captureLog();
    const { calls, findApiKey } = await openWatched([sampleKey('known')]);
    const { find } = calls;
    let times = 0;
    vi.spyOn(calls, 'find').mockImplementation((...args) => {
      times += 1;
      return times === 2 ? broken() : find(...args);
    });
    expect(await findApiKey('known')).toEqual(sampleKey('known'));
    expect(times).toBe(2);
    expect(lines.filter(line => line.includes('[cache] cache failed'))).toHaveLength(1);
  });

  it('when it is told of hits, the update after them is recorded all the same', async () => {
    captureLog();
    const { calls, findApiKey, updateApiKeyUsage, flush, file } = await openWatched([
      sampleKey('known'),
    ]);
    for (let n = 0; n < 5; n += 1) await findApiKey('known');
    const told = vi.spyOn(calls, 'used').mockImplementation(broken);
    await new Promise(resolve => setTimeout(resolve, 50));
    for (let n = 0; n < 5; n += 1) await findApiKey('known');
    await updateApiKeyUsage('known', 5, 'model');
    expect(told).toHaveBeenCalled();
    told.mockRestore();
    await flush();
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
  });
});
