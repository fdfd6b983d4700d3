/** the contract: 'Recording usage' and `withLock`, while a test of the gateway has fake timers: the writing goes on. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { cleanUp, inFile, later, open, sampleKey, script } from './helpers.ts';

afterEach(cleanUp);

function fakeTimers() {
  vi.useFakeTimers();
  later(() => void vi.useRealTimers());
}

/** As long as it takes until what was recorded is no longer added to. */
async function turns() {
  for (let n = 0; n < 20; n += 1) await null;
}

describe('with fake timers', () => {
  it('a timer does not fire by itself', async () => {
    const { updateApiKeyUsage } = await open([sampleKey('a')]);
    fakeTimers();
    let fired = false;
    setTimeout(() => {
      fired = true;
    }, 1);
    for (let n = 0; n < 10; n += 1) await updateApiKeyUsage('a', 1, 'model');
    expect(fired).toBe(false);
  });

  it('100 updates at the same time resolve', async () => {
    const { updateApiKeyUsage, findApiKey, file } = await open([sampleKey('a')]);
    fakeTimers();
    await Promise.all(Array.from({ length: 100 }, () => updateApiKeyUsage('a', 1, 'model')));
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(100);
    expect((await findApiKey('a'))?.total_lifetime_tokens).toBe(100);
  });

  it('updates made while a commit is under way resolve', async () => {
    const { updateApiKeyUsage, flush, file } = await open([sampleKey('a')]);
    fakeTimers();
    const first = updateApiKeyUsage('a', 1, 'model');
    await turns();
    const second = updateApiKeyUsage('a', 10, 'model');
    expect(second).not.toBe(first);
    await first;
    const third = updateApiKeyUsage('a', 100, 'model');
    await Promise.all([second, third, flush()]);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(111);
  });

  it('withLock, writeApiKeys and updates inside resolve', async () => {
    const { withLock, readApiKeys, writeApiKeys, updateApiKeyUsage, file } = await open([
      sampleKey('a'),
    ]);
    fakeTimers();
    const step = () =>
      withLock(async () => {
        const data = await readApiKeys();
        for (const entry of data.keys) entry.name = 'changed';
        await writeApiKeys(data);
        const first = updateApiKeyUsage('a', 1, 'model');
        await turns();
        await Promise.all([first, updateApiKeyUsage('a', 1, 'model')]);
      });
    await Promise.all([step(), step(), updateApiKeyUsage('a', 1, 'model')]);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
  });

  it('an update that waits for another process resolves once that lets go of the lock', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')]);
    const child = script(
      `await ledger.withLock(async () => {
         console.log('held');
         await new Promise(resolve => setTimeout(resolve, 200));
       });`,
      { DATA_FILE: file },
    );
    await child.prints('held');
    fakeTimers();
    await updateApiKeyUsage('a', 5, 'model');
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    expect((await child.ended).code).toBe(0);
  });
});
