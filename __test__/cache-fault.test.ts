/** the contract: 'The cache', a fault of the cache never makes a lookup or an update fail. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Ledger as Native } from '../lib/native.js';
import { captureLog, cleanUp, inFile, open, sampleKey, save } from './helpers.ts';

afterEach(cleanUp);

const broken = () => {
  throw new Error('broken');
};

describe('when the cache is broken', () => {
  it('the file answers for known and unknown keys, and the fault is logged', async () => {
    const lines = captureLog();
    const { findApiKey, getKeyStats } = await open([sampleKey('known')]);
    const asked = vi.spyOn(Native.prototype, 'find').mockImplementation(broken);
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
    const { findApiKey, file } = await open([sampleKey('known')]);
    vi.spyOn(Native.prototype, 'find').mockImplementation(broken);
    await findApiKey('known');
    save(file, [sampleKey('known', { name: 'edited' }), sampleKey('new')]);
    expect((await findApiKey('known'))?.name).toBe('edited');
    expect(await findApiKey('new')).toEqual(sampleKey('new'));
  });

  it('usage is recorded and seen', async () => {
    captureLog();
    const { findApiKey, updateApiKeyUsage, file } = await open([sampleKey('known')]);
    await findApiKey('known');
    vi.spyOn(Native.prototype, 'find').mockImplementation(broken);
    await updateApiKeyUsage('known', 5, 'model');
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
    expect((await findApiKey('known'))?.total_lifetime_tokens).toBe(5);
  });

  it('for one lookup only, the next is answered from the cache again', async () => {
    captureLog();
    const { findApiKey, cacheStats } = await open([sampleKey('known')]);
    const asked = vi.spyOn(Native.prototype, 'find').mockImplementation(broken);
    await findApiKey('known');
    asked.mockRestore();
    await findApiKey('known');
    await findApiKey('known');
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 1 });
  });

  it('after the file had to be loaded, what was loaded answers', async () => {
    const lines = captureLog();
    const { findApiKey } = await open([sampleKey('known')]);
    const real = Native.prototype.find;
    let calls = 0;
    vi.spyOn(Native.prototype, 'find').mockImplementation(function (
      this: InstanceType<typeof Native>,
      ...args
    ) {
      calls += 1;
      return calls === 2 ? broken() : real.apply(this, args);
    });
    expect(await findApiKey('known')).toEqual(sampleKey('known'));
    expect(calls).toBe(2);
    expect(lines.filter(line => line.includes('[cache] cache failed'))).toHaveLength(1);
  });

  it('when it is told of hits, the update after them is recorded all the same', async () => {
    captureLog();
    const { findApiKey, updateApiKeyUsage, flush, file } = await open([sampleKey('known')]);
    for (let n = 0; n < 5; n += 1) await findApiKey('known');
    const told = vi.spyOn(Native.prototype, 'used').mockImplementation(broken);
    await new Promise(resolve => setTimeout(resolve, 50));
    for (let n = 0; n < 5; n += 1) await findApiKey('known');
    await updateApiKeyUsage('known', 5, 'model');
    expect(told).toHaveBeenCalled();
    told.mockRestore();
    await flush();
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
  });
});
