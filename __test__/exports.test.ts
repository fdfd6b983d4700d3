/** the contract: the head and 'Exports: same names, same signatures'; the default of 'The data file'. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanUp,
  inFile,
  load,
  open,
  PACKAGE,
  parsed,
  sampleKey,
  save,
  script,
  setEnv,
  start,
  tempFolder,
} from './helpers.ts';

afterEach(cleanUp);

const FUNCTIONS = [
  'findApiKey',
  'getKeyStats',
  'updateApiKeyUsage',
  'cacheStats',
  'readApiKeys',
  'writeApiKeys',
  'withLock',
  'warmupCache',
  'LRUCacheImpl',
  'flush',
  'clearCache',
];

describe('the exports', () => {
  it('have the names of the contract', async () => {
    const ledger: Record<string, unknown> = await open([]);
    for (const name of FUNCTIONS) expect([name, typeof ledger[name]]).toEqual([name, 'function']);
    const { apiKeyCache, LRUCacheImpl } = await open([]);
    expect(apiKeyCache).toBeInstanceOf(LRUCacheImpl);
    for (const name of ['get', 'set', 'has', 'delete', 'clear', 'getStats', 'resetStats'] as const)
      expect([name, typeof apiKeyCache[name]]).toEqual([name, 'function']);
    expect(apiKeyCache.size).toBe(0);
    expect(apiKeyCache.maxSize).toBe(1000);
  });

  it('of the storage answer with promises', async () => {
    const ledger = await open([sampleKey('known')]);
    const calls = [
      ledger.findApiKey('known'),
      ledger.getKeyStats('known'),
      ledger.updateApiKeyUsage('known', 1, 'model'),
      ledger.cacheStats(),
      ledger.readApiKeys(),
      ledger.writeApiKeys({ keys: [] }),
      ledger.withLock(async () => 1),
      ledger.warmupCache(),
      ledger.flush(),
    ];
    for (const call of calls) expect(call).toBeInstanceOf(Promise);
    await Promise.all(calls);
  });

  it('that answer nothing resolve with undefined', async () => {
    const ledger = await open([sampleKey('known')]);
    expect(await ledger.updateApiKeyUsage('known', 1, 'model')).toBeUndefined();
    expect(await ledger.updateApiKeyUsage('unknown', 1, 'model')).toBeUndefined();
    expect(await ledger.warmupCache()).toBeUndefined();
    expect(await ledger.flush()).toBeUndefined();
    expect(await ledger.writeApiKeys({ keys: [] })).toBeUndefined();
    expect(ledger.clearCache()).toBeUndefined();
  });

  it('work without their module as `this`', async () => {
    const { findApiKey, updateApiKeyUsage, file } = await open([sampleKey('known')]);
    await [1].map(tokens => updateApiKeyUsage('known', tokens, 'model'))[0];
    expect((await findApiKey('known'))?.total_lifetime_tokens).toBe(1);
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(1);
  });

  it('are the same through import, import() and require, in the subpath /cache too', async () => {
    const code = `
      import { createRequire } from 'node:module';
      import * as cache from ${JSON.stringify(new URL('../cache.js', import.meta.url).href)};
      const require = createRequire(${JSON.stringify(PACKAGE)});
      const dynamic = await import(${JSON.stringify(PACKAGE)});
      const required = require('keyledger');
      const requiredCache = require('keyledger/cache');
      const differ = [];
      for (const name of Object.keys(ledger))
        if (dynamic[name] !== ledger[name] || required[name] !== ledger[name]) differ.push(name);
      for (const name of ['apiKeyCache', 'LRUCacheImpl'])
        if (cache[name] !== ledger[name] || requiredCache[name] !== ledger[name]) differ.push(name);
      console.log(Object.keys(ledger).length > 11, JSON.stringify(differ));
    `;
    const { code: status, stdout, stderr } = await script(code, {}, tempFolder()).ended;
    expect({ status, stdout, stderr }).toMatchObject({ status: 0, stdout: 'true []\n' });
  });

  it('come through a storage.ts and a cache.ts of one line each', async () => {
    const file = join(tempFolder(), 'apikeys.json');
    save(file, [sampleKey('known')]);
    setEnv({ DATA_FILE: file });
    const storage = await import('./fixtures/storage.ts');
    const cache = await import('./fixtures/cache.ts');
    for (const name of FUNCTIONS) expect(Object.keys(storage)).toContain(name);
    expect(cache.apiKeyCache).toBe(storage.apiKeyCache);
    expect(cache.LRUCacheImpl).toBe(storage.LRUCacheImpl);
  });

  it('have the types of the contract', async () => {
    const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url));
    const flags =
      '--noEmit --strict --target es2023 --module nodenext --allowImportingTsExtensions --types node';
    const folder = fileURLToPath(new URL('.', import.meta.url));
    const args = [tsc, ...flags.split(' '), 'types.ts'];
    const { code, stdout } = await start(process.execPath, args, {}, folder).ended;
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
  }, 30000);
});

describe('the place of the data file', () => {
  it('is made when the module loads, the file is not', async () => {
    const folder = join(tempFolder(), 'made', 'on load');
    await load({ DATA_FILE: join(folder, 'apikeys.json') });
    expect(statSync(folder).isDirectory()).toBe(true);
    expect(existsSync(join(folder, 'apikeys.json'))).toBe(false);
  });

  it('is data/apikeys.json in the working directory by default', async () => {
    const folder = tempFolder();
    const write = `await ledger.writeApiKeys({ keys: [${JSON.stringify(sampleKey('here'))}] });`;
    const { code, stderr } = await script(write, {}, folder).ended;
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(readFileSync(join(folder, 'data', 'apikeys.json'), 'utf8')).toContain('"here"');
  });

  it('that is given relative is taken from the working directory', async () => {
    const folder = tempFolder();
    const code = `
      await ledger.writeApiKeys({ keys: [${JSON.stringify(sampleKey('here'))}] });
      await ledger.updateApiKeyUsage('here', 3, 'model');
    `;
    await script(code, { DATA_FILE: 'sub/keys.json' }, folder).ended;
    expect(parsed(join(folder, 'sub', 'keys.json')).keys[0]?.total_lifetime_tokens).toBe(3);
  });
});
