/** `createLedger`: the functions of the module over another data file, with other settings. */
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import type { Ledger, LedgerOptions } from '../index.js';
import {
  captureLog,
  cleanUp,
  evaluate,
  inFile,
  load,
  open,
  PACKAGE,
  print,
  rejection,
  sampleKey,
  save,
  sleep,
  start,
  tempFolder,
} from './helpers.ts';

afterEach(cleanUp);

/** A ledger of its own with these keys, beside one of the module that has none. */
async function create(names: string[], options: Partial<LedgerOptions> = {}) {
  const dataFile = join(tempFolder(), 'other.json');
  save(
    dataFile,
    names.map(name => sampleKey(name)),
  );
  const module = await open([]);
  return { ...module.createLedger({ dataFile, ...options }), module, dataFile };
}

/** What a call throws. */
function thrown(call: () => unknown): Error & { code?: string } {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new Error('should have thrown');
}

describe('a ledger', () => {
  it('has the functions of the module', async () => {
    const { module, dataFile } = await create([]);
    const ledger = module.createLedger({ dataFile });
    const names = Object.keys(module).filter(
      name => !['file', 'createLedger', 'LRUCacheImpl'].includes(name),
    );
    expect(Object.keys(ledger).sort()).toEqual(names.sort());
  });

  it('reads and writes its own file, and the module the one of the environment', async () => {
    const { module, dataFile, ...ledger } = await create(['other']);
    await module.writeApiKeys({ keys: [sampleKey('mine')] });
    expect((await ledger.findApiKey('other'))?.key).toBe('other');
    expect(await ledger.findApiKey('mine')).toBeNull();
    expect(await module.findApiKey('other')).toBeNull();
    await Promise.all([
      ledger.updateApiKeyUsage('other', 5, 'model'),
      module.updateApiKeyUsage('mine', 7, 'model'),
    ]);
    expect(inFile(dataFile, 'other').total_lifetime_tokens).toBe(5);
    expect(inFile(module.file, 'mine').total_lifetime_tokens).toBe(7);
    await ledger.withLock(async () => {
      const { keys } = await ledger.readApiKeys();
      await ledger.writeApiKeys({ keys: [...keys, sampleKey('more')] });
    });
    await ledger.flush();
    expect(inFile(dataFile, 'more').key).toBe('more');
    expect(ledger.apiKeyCache.has('mine')).toBe(true);
    ledger.clearCache();
    expect(ledger.apiKeyCache.size).toBe(0);
    expect(module.apiKeyCache.size).toBeGreaterThan(0);
  });

  it('makes the folder of its file, which may be given from the working directory', async () => {
    const folder = join(tempFolder(), 'made', 'here');
    const { createLedger } = await open([]);
    const { writeApiKeys } = createLedger({
      dataFile: relative(process.cwd(), join(folder, 'keys.json')),
    });
    expect(statSync(folder).isDirectory()).toBe(true);
    await writeApiKeys({ keys: [] });
    expect(existsSync(join(folder, 'keys.json'))).toBe(true);
  });

  it('tells when that folder can not be made', async () => {
    const { createLedger, file } = await open([]);
    const error = thrown(() => createLedger({ dataFile: join(file, 'keys.json') }));
    expect(error.code).toMatch(/^(ENOTDIR|EEXIST)$/);
    expect(error.message).toContain(file);
  });

  it('has the defaults, not the settings of the environment, for what is left out', async () => {
    const dataFile = join(tempFolder(), 'other.json');
    const { createLedger } = await load({ DATA_FILE: dataFile, CACHE_MAX_SIZE: '7' });
    const { cacheStats } = createLedger({ dataFile, maxSize: undefined });
    expect((await cacheStats()).maxSize).toBe(1000);
  });
});

describe('the option', () => {
  it('maxSize bounds the cache', async () => {
    const { findApiKey, cacheStats } = await create(['a', 'b', 'c'], { maxSize: 2 });
    for (const key of ['a', 'b', 'c']) await findApiKey(key);
    expect(await cacheStats()).toMatchObject({ size: 2, maxSize: 2 });
  });

  it('ttlMs bounds how long an entry lives, now tells how long that is', async () => {
    let time = Date.parse('2030-01-01T00:00:00.000Z');
    const ledger = await create(['a'], { ttlMs: 100, now: () => time });
    await ledger.findApiKey('a');
    time += 100;
    expect(ledger.apiKeyCache.has('a')).toBe(true);
    time += 1;
    expect(ledger.apiKeyCache.has('a')).toBe(false);
  });

  it('now moves the five-hour windows', async () => {
    let time = Date.parse('2030-01-01T00:00:00.000Z');
    const { updateApiKeyUsage, findApiKey } = await create(['a'], { now: () => time });
    await updateApiKeyUsage('a', 1, 'model');
    time += 5 * 60 * 60 * 1000 + 1;
    await updateApiKeyUsage('a', 2, 'model');
    expect(await findApiKey('a')).toMatchObject({
      last_used: '2030-01-01T05:00:00.001Z',
      usage_windows: [{ window_start: '2030-01-01T05:00:00.001Z', tokens_used: 2 }],
    });
  });

  it('revalidateMs bounds how long an edit is not seen, by the clock of now', async () => {
    let time = Date.now();
    const { findApiKey, dataFile } = await create(['a'], { revalidateMs: 50, now: () => time });
    const first = await findApiKey('a');
    await sleep(50);
    expect(await findApiKey('a')).toBe(first);
    save(dataFile, [sampleKey('a', { name: 'edited' })]);
    time += 49;
    expect(await findApiKey('a')).toBe(first);
    time += 1;
    expect((await findApiKey('a'))?.name).toBe('edited');
  });

  it('lockTimeoutMs bounds how long a write waits', async () => {
    const { updateApiKeyUsage, dataFile } = await create(['a'], { lockTimeoutMs: 10 });
    mkdirSync(`${dataFile}.lock`);
    expect((await rejection(updateApiKeyUsage('a', 1, 'model'))).code).toBe('ELOCKED');
  });

  it('logLevel has updates logged', async () => {
    const lines = captureLog();
    for (const logLevel of ['none', 'info'] as const) {
      const { updateApiKeyUsage } = await create(['a'], { logLevel });
      await updateApiKeyUsage('a', 1, 'model');
    }
    expect(lines.length).toBe(1);
    expect(lines[0]).toContain('[cache] updated {"key":"a...","tokensUsed":1');
  });
});

describe('an option that makes no sense is refused:', () => {
  const whole = (name: string, least: number) =>
    `the option ${name} must be a whole number from ${least} to`;
  it.each<[unknown, string, string]>([
    [undefined, 'ERR_INVALID_ARG_TYPE', 'must be an object, not'],
    [null, 'ERR_INVALID_ARG_TYPE', 'must be an object, not null'],
    ['keys.json', 'ERR_INVALID_ARG_TYPE', 'must be an object, not a value of type string'],
    [['keys.json'], 'ERR_INVALID_ARG_TYPE', 'must be an object, not an array'],
    [{}, 'ERR_INVALID_ARG_TYPE', 'the option dataFile must be a path'],
    [{ dataFile: 5 }, 'ERR_INVALID_ARG_TYPE', 'the option dataFile must be a path'],
    [{ dataFile: '' }, 'ERR_INVALID_ARG_VALUE', "the option dataFile must be a path, not ''"],
    [{ dataFile: 'a\0b' }, 'ERR_INVALID_ARG_VALUE', "the option dataFile must be a path, not 'a"],
    [{ maxSize: null }, 'ERR_INVALID_ARG_TYPE', 'the option maxSize must be a number, not null'],
    [{ [Symbol('maxSize')]: 5, ttlMs: 5 }, 'ERR_INVALID_ARG_VALUE', 'not Symbol(maxSize)'],
    [{ maxsize: 5 }, 'ERR_INVALID_ARG_VALUE', "fsync, logLevel, now, not 'maxsize'"],
    [{ CACHE_TTL_MS: 5 }, 'ERR_INVALID_ARG_VALUE', "not 'CACHE_TTL_MS'"],
    [{ maxSize: 0 }, 'ERR_OUT_OF_RANGE', `${whole('maxSize', 1)} 4294967295, not 0`],
    [{ maxSize: 2 ** 32 }, 'ERR_OUT_OF_RANGE', 'maxSize'],
    [{ maxSize: '5' }, 'ERR_INVALID_ARG_TYPE', 'the option maxSize must be a number'],
    [{ ttlMs: 0 }, 'ERR_OUT_OF_RANGE', whole('ttlMs', 1)],
    [{ ttlMs: Number.NaN }, 'ERR_OUT_OF_RANGE', 'not NaN'],
    [{ revalidateMs: -1 }, 'ERR_OUT_OF_RANGE', whole('revalidateMs', 0)],
    [{ revalidateMs: 0.5 }, 'ERR_OUT_OF_RANGE', 'not 0.5'],
    [{ lockTimeoutMs: Number.POSITIVE_INFINITY }, 'ERR_OUT_OF_RANGE', whole('lockTimeoutMs', 0)],
    [{ fsync: 'false' }, 'ERR_INVALID_ARG_TYPE', 'the option fsync must be true or false'],
    [{ logLevel: 'loud' }, 'ERR_INVALID_ARG_VALUE', "one of none, info, debug, not 'loud'"],
    [{ now: 5 }, 'ERR_INVALID_ARG_TYPE', 'the option now must be a function'],
    [{ now: () => new Date() }, 'ERR_INVALID_ARG_TYPE', 'the result of the option now'],
    [{ now: () => Number.NaN }, 'ERR_OUT_OF_RANGE', 'the result of the option now'],
    [{ now: () => 8.64e15 }, 'ERR_OUT_OF_RANGE', 'the result of the option now'],
  ])('%o', async (options, code, words) => {
    const { createLedger } = await open([]);
    const folder = join(tempFolder(), 'not made');
    const dataFile = join(folder, 'keys.json');
    const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
    const given = isObject && Object.keys(options).length > 0 ? { dataFile, ...options } : options;
    const error = thrown(() => createLedger(given as LedgerOptions));
    expect({ code: error.code, message: error.message }).toEqual({
      code,
      message: expect.stringContaining(words),
    });
    expect(existsSync(folder)).toBe(false);
  });
});

it('an inherited option that nobody knows is refused too', async () => {
  const { createLedger, file } = await open([]);
  const options = Object.create({ maxsize: 5 }, { dataFile: { value: file } });
  expect(thrown(() => createLedger(options)).message).toContain("not 'maxsize'");
});

it.each<[string, () => unknown, string]>([
  ['gives no number', () => '5', 'ERR_INVALID_ARG_TYPE'],
  ['gives a bigint', () => 1n, 'ERR_INVALID_ARG_TYPE'],
  ['gives no time', () => Number.NEGATIVE_INFINITY, 'ERR_OUT_OF_RANGE'],
  [
    'throws',
    () => {
      throw Object.assign(new Error('broken'), { code: 'BROKEN' });
    },
    'BROKEN',
  ],
])(
  'a clock that %s later on makes lookups and updates reject, and loses nothing',
  async (_, bad, code) => {
    let now: () => unknown = Date.now;
    const { findApiKey, updateApiKeyUsage, flush, dataFile } = await create(['a'], {
      now: () => now() as number,
    });
    await findApiKey('a');
    now = bad;
    expect((await rejection(findApiKey('a'))).code).toBe(code);
    expect((await rejection(updateApiKeyUsage('a', 1, 'model'))).code).toBe(code);
    now = Date.now;
    await updateApiKeyUsage('a', 5, 'model');
    await flush();
    expect(inFile(dataFile, 'a').total_lifetime_tokens).toBe(5);
  },
);

describe('ledgers', () => {
  it('with the same options share one cache, and what they counted', async () => {
    const { module, dataFile, ...first } = await create(['a']);
    await first.findApiKey('a');
    const second = module.createLedger({ dataFile });
    expect(await second.cacheStats()).toMatchObject({ misses: 1, size: 1 });
    await second.findApiKey('a');
    expect(await first.cacheStats()).toMatchObject({ hits: 1, misses: 1, size: 1 });
  });

  it('with the same options count alike, and agree on what was used last', async () => {
    const { module, dataFile, ...first } = await create(['a', 'b', 'c'], { maxSize: 2 });
    const second = module.createLedger({ dataFile, maxSize: 2 });
    await first.findApiKey('a');
    await first.findApiKey('b');
    for (let n = 0; n < 100; n += 1) await second.findApiKey('a');
    expect(await first.cacheStats()).toMatchObject({ hits: 100, misses: 2 });
    await first.findApiKey('c');
    expect(first.apiKeyCache.has('a')).toBe(true);
    await first.updateApiKeyUsage('a', 5, 'model');
    expect((await second.findApiKey('a'))?.total_lifetime_tokens).toBe(5);
  });

  it('with the same options share it in a worker too', async () => {
    const { dataFile, findApiKey, cacheStats } = await create(['a']);
    await findApiKey('a');
    const code = `
      const { workerData: dataFile } = require('node:worker_threads');
      import(${JSON.stringify(PACKAGE)}).then(async ({ createLedger }) => {
        const { findApiKey } = createLedger({ dataFile });
        for (let n = 0; n < 3; n++) await findApiKey('a');
      });`;
    const worker = new Worker(code, { eval: true, workerData: dataFile });
    await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
    expect(await cacheStats()).toMatchObject({ hits: 3, misses: 1 });
  });

  it('with other options, or a clock of their own, do not', async () => {
    const { module, dataFile, ...first } = await create(['a']);
    await first.findApiKey('a');
    const others: Ledger[] = [
      module.createLedger({ dataFile, maxSize: 2 }),
      module.createLedger({ dataFile, now: () => 0 }),
      module.createLedger({ dataFile, now: () => 0 }),
    ];
    for (const { cacheStats } of others) expect((await cacheStats()).size).toBe(0);
  });

  it('of one file lose no update, whatever their options, and see what the others wrote', async () => {
    const { module, dataFile, ...first } = await create(['a'], { revalidateMs: 0 });
    const second = module.createLedger({ dataFile, maxSize: 2, revalidateMs: 0 });
    const updates = [];
    for (let n = 0; n < 50; n += 1) {
      updates.push(first.updateApiKeyUsage('a', 1, 'model'));
      updates.push(second.updateApiKeyUsage('a', 1, 'model'));
      if (n % 10 === 0) await sleep(1);
    }
    await Promise.all(updates);
    for (const { findApiKey } of [first, second])
      expect((await findApiKey('a'))?.total_lifetime_tokens).toBe(100);
  });

  it('that nobody refers to are freed', async () => {
    const dataFile = join(tempFolder(), 'large.json');
    const text = print({ keys: [sampleKey('a', { filler: 'x'.repeat(4_000_000) })] });
    save(dataFile, text);
    const COUNT = 60;
    const code = `
      import { createLedger } from ${JSON.stringify(PACKAGE)};
      const before = process.memoryUsage().rss;
      for (let n = 0; n < ${COUNT}; n++) {
        await createLedger({ dataFile: process.env.LARGE, maxSize: n + 1 }).findApiKey('b');
        globalThis.gc?.();
        globalThis.Bun?.gc(true);
        await new Promise(resolve => setImmediate(resolve));
      }
      console.log(process.memoryUsage().rss - before);
      process.exit(0);`;
    const flags = process.versions.bun ? [] : ['--expose-gc'];
    const { stdout, stderr } = await start(process.execPath, [...flags, ...evaluate(code)], {
      DATA_FILE: join(dirname(dataFile), 'none.json'),
      LARGE: dataFile,
    }).ended;
    expect(stderr).toBe('');
    expect(Number(stdout)).toBeGreaterThan(0);
    expect(Number(stdout)).toBeLessThan((COUNT / 3) * readFileSync(dataFile).length);
  }, 30000);
});
