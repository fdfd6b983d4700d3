/** the contract: 'Recording usage', 'The cache' and `withLock`, in the worker threads of one process. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanUp,
  evaluate,
  inFile,
  later,
  open,
  PACKAGE,
  sampleKey,
  save,
  sleep,
  start,
  tempFolder,
} from './helpers.ts';

afterEach(cleanUp);

/** Runs a script in a worker with the settings of the test; `ledger`, `file` and `say` are in its scope. */
function work(code: string, file: string) {
  const path = join(tempFolder(), 'worker.mjs');
  writeFileSync(
    path,
    `import { readFileSync, writeFileSync } from 'node:fs';
     import { parentPort, workerData as file } from 'node:worker_threads';
     import * as ledger from ${JSON.stringify(PACKAGE)};
     const say = message => parentPort.postMessage(message);
     ${code}`,
  );
  const worker = new Worker(pathToFileURL(path), { env: { ...process.env }, workerData: file });
  later(() => void worker.terminate());
  const faults: string[] = [];
  worker.on('error', error => faults.push(String(error)));
  const ended = new Promise<{ code: number; faults: string[] }>(resolve =>
    worker.on('exit', code => resolve({ code, faults })),
  );
  const says = new Promise<unknown>((resolve, reject) => {
    worker.once('message', resolve);
    void ended.then(() => reject(new Error(`the worker said nothing: ${faults.join()}`)));
  });
  says.catch(() => {});
  return { ended, says };
}

describe.each([
  [
    'updates keys',
    `await Promise.all(['a', 'b', 'c'].map(key => ledger.updateApiKeyUsage(key, 5, 'model')));`,
  ],
  [
    'replaces the file',
    `const data = await ledger.readApiKeys();
     for (const entry of data.keys) entry.total_lifetime_tokens = 5;
     await ledger.writeApiKeys(data);`,
  ],
  [
    'edits the file by itself, and is the first to read it',
    `const data = JSON.parse(readFileSync(file, 'utf8'));
     for (const entry of data.keys) entry.total_lifetime_tokens = 5;
     writeFileSync(file, JSON.stringify(data));
     await new Promise(resolve => setTimeout(resolve, 50));
     await ledger.readApiKeys();`,
  ],
])('when a worker %s, the main thread', (_, code) => {
  const REVALIDATE_MS = 200;
  const names = ['a', 'b', 'c'];

  /** A ledger with all keys in its cache, and what it answers for them. */
  async function filled() {
    const { findApiKey, file } = await open(
      names.map(name => sampleKey(name)),
      { CACHE_REVALIDATE_MS: String(REVALIDATE_MS) },
    );
    const totals = async () => {
      const found = [];
      for (const name of names) found.push((await findApiKey(name))?.total_lifetime_tokens);
      return found;
    };
    await sleep(50);
    expect(await totals()).toEqual([0, 0, 0]);
    expect(await totals()).toEqual([0, 0, 0]);
    return { totals, file };
  }

  it('that asks CACHE_REVALIDATE_MS later sees it in all keys', async () => {
    const { totals, file } = await filled();
    expect(await work(code, file).ended).toEqual({ code: 0, faults: [] });
    await sleep(REVALIDATE_MS);
    expect(await totals()).toEqual([5, 5, 5]);
  });

  it('that asks all the time sees it in all keys within CACHE_REVALIDATE_MS', async () => {
    const { totals, file } = await filled();
    let changed = Number.POSITIVE_INFINITY;
    const { ended } = work(code, file);
    void ended.then(() => {
      changed = Date.now();
    });
    while (Date.now() <= changed + REVALIDATE_MS) {
      await totals();
      await sleep(1);
    }
    expect(await totals()).toEqual([5, 5, 5]);
    expect(await ended).toEqual({ code: 0, faults: [] });
  });
});

describe('the cache', () => {
  it('is shared with its counters: what one thread has asked for is a hit in another', async () => {
    const { findApiKey, cacheStats, file } = await open([sampleKey('a'), sampleKey('b')]);
    await findApiKey('a');
    await findApiKey('a');
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 1, size: 1 });
    const { says, ended } = work(
      `await ledger.findApiKey('a');
       for (let n = 0; n < 3; n++) await ledger.findApiKey('b');
       say(await ledger.cacheStats());`,
      file,
    );
    expect(await says).toMatchObject({ hits: 4, misses: 2, size: 2 });
    await ended;
    expect(await cacheStats()).toMatchObject({ hits: 4, misses: 2, size: 2 });
    await findApiKey('b');
    expect(await cacheStats()).toMatchObject({ hits: 5, misses: 2, size: 2 });
  });

  it.each(['', 'process.exit();', `throw new Error('uncaught');`])(
    'has counted all that a worker found until its end: %s',
    async end => {
      const { findApiKey, cacheStats, file } = await open([sampleKey('a'), sampleKey('b')]);
      await findApiKey('a');
      const { ended } = work(
        `for (let n = 0; n < 5000; n++) await ledger.findApiKey(n % 2 ? 'a' : 'b');
         ${end}`,
        file,
      );
      await ended;
      expect(await cacheStats()).toMatchObject({ hits: 4999, misses: 2, size: 2 });
    },
  );

  it('gives each thread objects of its own', async () => {
    const { findApiKey, file } = await open([sampleKey('a')]);
    await findApiKey('a');
    const { ended } = work(`(await ledger.findApiKey('a')).name = 'changed';`, file);
    expect(await ended).toEqual({ code: 0, faults: [] });
    expect((await findApiKey('a'))?.name).toBe(sampleKey('a').name);
  });
});

describe('updates of several threads', () => {
  it('are all recorded', async () => {
    const { updateApiKeyUsage, findApiKey, file } = await open([sampleKey('a')]);
    const code = `
      for (let n = 0; n < 20; n++) await ledger.updateApiKeyUsage('a', 1, 'model');
      await Promise.all(Array.from({ length: 20 }, () => ledger.updateApiKeyUsage('a', 1, 'model')));
    `;
    const workers = [1, 2].map(() => work(code, file));
    for (let n = 0; n < 40; n += 1) await updateApiKeyUsage('a', 1, 'model');
    for (const { ended } of workers) expect(await ended).toEqual({ code: 0, faults: [] });
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(120);
    await updateApiKeyUsage('a', 1, 'model');
    expect((await findApiKey('a'))?.total_lifetime_tokens).toBe(121);
  }, 20000);
});

describe('a worker that holds the lock', () => {
  it('keeps the main thread out until withLock ends', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')]);
    const { says, ended } = work(
      `await ledger.withLock(async () => {
         say('held');
         await new Promise(resolve => setTimeout(resolve, 100));
         const data = await ledger.readApiKeys();
         data.keys[0].total_lifetime_tokens *= 10;
         data.keys[0].total_lifetime_tokens += 20;
         await ledger.writeApiKeys(data);
       });`,
      file,
    );
    expect(await says).toBe('held');
    await updateApiKeyUsage('a', 1, 'model');
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(21);
    expect(await ended).toEqual({ code: 0, faults: [] });
  });
});

it.each([
  ['its natural end', ''],
  ['process.exit()', 'process.exit();'],
  ['terminate()', 'setInterval(() => {}, 1000);'],
])('what only a worker has loaded goes with it, by %s', async (way, end) => {
  const folder = tempFolder();
  const file = join(folder, 'apikeys.json');
  save(file, [sampleKey('a')]);
  writeFileSync(
    join(folder, 'worker.mjs'),
    `import { parentPort } from 'node:worker_threads';
     import { cacheStats, findApiKey } from ${JSON.stringify(PACKAGE)};
     const { size, misses } = await cacheStats();
     for (const key of ['a', 'x', 'y']) await findApiKey(key);
     parentPort.postMessage({ size, misses });
     ${end}`,
  );
  // The main thread of this process has nothing to do with the store.
  const main = `
    import { Worker } from 'node:worker_threads';
    for (let n = 0; n < 3; n++) {
      const worker = new Worker(${JSON.stringify(join(folder, 'worker.mjs'))}, { execArgv: [] });
      const ended = new Promise(resolve => worker.once('exit', resolve));
      worker.once('message', async message => {
        console.log(JSON.stringify(message));
        if (${way === 'terminate()'}) await worker.terminate();
      });
      await ended;
    }`;
  const { ended } = start(process.execPath, evaluate(main), { DATA_FILE: file }, folder);
  const nothing = '{"size":0,"misses":0}\n';
  expect(await ended).toMatchObject({ code: 0, stderr: '', stdout: nothing.repeat(3) });
});
