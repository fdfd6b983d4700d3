/** the contract: 'Settings', with what is logged. `CACHE_ENABLED` and `CACHE_REVALIDATE_MS` have tests with the lookups,
 * `DATA_FSYNC` with the commits. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  captureLog,
  cleanUp,
  clock,
  type Env,
  inFile,
  load,
  open,
  sampleKey,
  save,
  script,
  setEnv,
  tempFolder,
} from './helpers.ts';

afterEach(cleanUp);

const LINE = /^\[cache\] ([^{]*[^{ ]) (\{.*\})$/;

/** The message and the values of a log line. */
function parts(line: string | undefined): { message: string; values: Record<string, unknown> } {
  const [, message = '', json = ''] = LINE.exec(line ?? '') ?? [];
  if (!json) throw new Error(`not as the contract has it: ${line}`);
  return { message, values: JSON.parse(json) };
}

describe('the settings', () => {
  it('are read when the module is evaluated, each time anew', async () => {
    const first = await open([sampleKey('first')], { CACHE_MAX_SIZE: '10' });
    const second = await open([sampleKey('second')], { CACHE_MAX_SIZE: '20' });
    expect((await first.findApiKey('first'))?.key).toBe('first');
    expect(await first.findApiKey('second')).toBeNull();
    expect((await second.findApiKey('second'))?.key).toBe('second');
    expect((await first.cacheStats()).maxSize).toBe(10);
    expect((await second.cacheStats()).maxSize).toBe(20);
  });

  it('start each evaluation with an empty cache and counters at zero, on the same file too', async () => {
    const { findApiKey, file } = await open([sampleKey('known')]);
    await findApiKey('known');
    await findApiKey('known');
    const again = await load({ DATA_FILE: file });
    expect(await again.cacheStats()).toMatchObject({ hits: 0, misses: 0, size: 0 });
    await again.updateApiKeyUsage('known', 5, 'model');
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
  });

  it('that change later change nothing, CACHE_ENABLED left out', async () => {
    const { updateApiKeyUsage, cacheStats, file } = await open([sampleKey('known')]);
    const other = join(tempFolder(), 'other.json');
    setEnv({ DATA_FILE: other, CACHE_MAX_SIZE: '1' });
    await updateApiKeyUsage('known', 5, 'model');
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
    expect(existsSync(other)).toBe(false);
    expect((await cacheStats()).maxSize).toBe(1000);
  });

  it('leave the warm-up to the gateway: CACHE_WARMUP_ON_START=true loads nothing by itself', async () => {
    const { cacheStats } = await open([sampleKey('known')], { CACHE_WARMUP_ON_START: 'true' });
    await new Promise(resolve => setTimeout(resolve, 20));
    expect((await cacheStats()).size).toBe(0);
  });
});

describe('CACHE_MAX_SIZE', () => {
  it.each([
    ['5', 5],
    ['50abc', 50],
    [' 7 ', 7],
    ['3.9', 3],
    ['1', 1],
    ['2000', 2000],
  ])('%s is read as parseInt reads it: %d', async (value, size) => {
    const lines = captureLog();
    const ledger = await open([], { CACHE_MAX_SIZE: value });
    expect(ledger.apiKeyCache.maxSize).toBe(size);
    expect(lines).toEqual([]);
  });

  it('is the most entries that lookups leave in the cache', async () => {
    const keys = Array.from({ length: 10 }, (_, n) => sampleKey(`key-${n}`));
    const { findApiKey, apiKeyCache } = await open(keys, { CACHE_MAX_SIZE: '3' });
    for (const { key } of keys) await findApiKey(key);
    expect(apiKeyCache.size).toBe(3);
    expect(keys.filter(({ key }) => apiKeyCache.has(key)).map(({ key }) => key)).toEqual([
      'key-7',
      'key-8',
      'key-9',
    ]);
  });
});

describe('CACHE_TTL_MS', () => {
  /** For how long, to the millisecond, an entry lives with this setting. */
  async function lives(value: string | undefined, milliseconds: number): Promise<boolean> {
    const time = clock();
    const { findApiKey, apiKeyCache } = await open([sampleKey('a')], { CACHE_TTL_MS: value });
    await findApiKey('a');
    time.advance(milliseconds);
    const before = apiKeyCache.has('a');
    time.advance(1);
    return before && !apiKeyCache.has('a');
  }

  it.each([
    ['1', 1],
    ['5000', 5000],
    ['50abc', 50],
    ['1e3', 1],
  ])('%s is read as parseInt reads it: %d ms', async (value, milliseconds) => {
    expect(await lives(value, milliseconds)).toBe(true);
  });

  it('is five minutes by default', async () => {
    expect(await lives(undefined, 300000)).toBe(true);
  });
});

describe('a value that makes no sense', () => {
  const bad: [string, string, number | string | boolean][] = [
    ['CACHE_MAX_SIZE', '0', 1000],
    ['CACHE_MAX_SIZE', '-1', 1000],
    ['CACHE_MAX_SIZE', 'abc', 1000],
    ['CACHE_MAX_SIZE', '99999999999999', 1000],
    ['CACHE_TTL_MS', '0', 300000],
    ['CACHE_TTL_MS', '-5', 300000],
    ['CACHE_TTL_MS', 'soon', 300000],
    ['CACHE_LOG_LEVEL', 'verbose', 'none'],
    ['CACHE_REVALIDATE_MS', '-1', 1000],
    ['CACHE_REVALIDATE_MS', 'abc', 1000],
    ['LOCK_TIMEOUT_MS', 'abc', 15000],
    ['LOCK_TIMEOUT_MS', '-1', 15000],
  ];
  it.each(bad)('%s=%s is reported once, and the default is used', async (name, value, instead) => {
    const lines = captureLog();
    const ledger = await open([sampleKey('known')], { [name]: value });
    await ledger.findApiKey('known');
    await ledger.findApiKey('known');
    await ledger.updateApiKeyUsage('known', 5, 'model');
    await ledger.warmupCache();
    expect(lines.length).toBe(1);
    const { message, values } = parts(lines[0]);
    const shown = `${message} ${JSON.stringify(values)}`;
    for (const part of [name, value, String(instead)]) expect(shown).toContain(part);
    expect((await ledger.cacheStats()).maxSize).toBe(1000);
  });

  it('is reported for each variable that has one', async () => {
    const lines = captureLog();
    await open([], { CACHE_MAX_SIZE: 'x', CACHE_TTL_MS: 'y', LOCK_TIMEOUT_MS: 'z' });
    expect(lines.map(line => parts(line)).length).toBe(3);
  });

  it('of CACHE_TTL_MS leaves five minutes', async () => {
    captureLog();
    const time = clock();
    const { findApiKey, apiKeyCache } = await open([sampleKey('a')], { CACHE_TTL_MS: '0' });
    await findApiKey('a');
    time.advance(300000);
    expect(apiKeyCache.has('a')).toBe(true);
    time.advance(1);
    expect(apiKeyCache.has('a')).toBe(false);
  });

  it('is not an empty one: that is as if it were not set', async () => {
    const lines = captureLog();
    const names = [
      'CACHE_MAX_SIZE',
      'CACHE_TTL_MS',
      'CACHE_LOG_LEVEL',
      'CACHE_REVALIDATE_MS',
      'LOCK_TIMEOUT_MS',
      'DATA_FSYNC',
    ];
    const env: Env = Object.fromEntries(names.map(name => [name, '']));
    const { cacheStats } = await open([], env);
    expect((await cacheStats()).maxSize).toBe(1000);
    expect(lines).toEqual([]);
  });
});

describe('CACHE_LOG_LEVEL', () => {
  const KEY = 'sk-0123456789-secret';
  const UNKNOWN = 'un-0123456789-secret';

  /** What each step of a usual day logs at this level. */
  async function day(level: string | undefined): Promise<Record<string, string[]>> {
    const lines = captureLog();
    const settings = { CACHE_LOG_LEVEL: level, CACHE_REVALIDATE_MS: '0' };
    const ledger = await open([sampleKey(KEY)], settings);
    const logged: Record<string, string[]> = {};
    const step = async (name: string, run: () => Promise<unknown>) => {
      lines.length = 0;
      await run();
      await new Promise(resolve => setTimeout(resolve, 1));
      logged[name] = [...lines];
    };
    await step('miss', () => ledger.findApiKey(KEY));
    await step('hit', () => ledger.findApiKey(KEY));
    await step('unknown', () => ledger.findApiKey(UNKNOWN));
    await step('unknown hit', () => ledger.findApiKey(UNKNOWN));
    await step('update', () => ledger.updateApiKeyUsage(KEY, 5, 'model'));
    await step('unknown update', () => ledger.updateApiKeyUsage(UNKNOWN, 5, 'model'));
    await step('warm-up', () => ledger.warmupCache());
    await step('reload', async () => {
      save(ledger.file, [sampleKey(KEY), sampleKey('more')]);
      await ledger.findApiKey(KEY);
    });
    return logged;
  }

  const quiet = (logged: Record<string, string[]>) =>
    Object.keys(logged).filter(name => logged[name]?.length === 0);

  it.each([undefined, 'none'])('%s logs nothing', async level => {
    expect(Object.values(await day(level)).flat()).toEqual([]);
  });

  it('info logs updates, reloads and the end of a warm-up, but no lookups', async () => {
    const logged = await day('info');
    for (const name of ['update', 'warm-up', 'reload'])
      expect([name, logged[name]?.length]).toEqual([name, 1]);
    for (const name of ['hit', 'unknown', 'unknown hit']) expect(quiet(logged)).toContain(name);
  });

  it('debug logs hits, misses and fills as well', async () => {
    const logged = await day('debug');
    expect(quiet(logged).filter(name => name !== 'unknown update')).toEqual([]);
    expect(logged.miss?.length).toBeGreaterThanOrEqual(2);
    expect(logged.hit?.length).toBe(1);
  });

  it('info and debug print [cache] MESSAGE {json}, and no key beyond its first 8 characters', async () => {
    const logged = [
      ...Object.values(await day('info')),
      ...Object.values(await day('debug')),
    ].flat();
    for (const line of logged) {
      parts(line);
      for (const key of [KEY, UNKNOWN]) expect(line).not.toContain(key.slice(0, 9));
    }
    const text = logged.join('\n');
    expect(text).toContain(`${KEY.slice(0, 8)}...`);
    expect(text).toContain(`${UNKNOWN.slice(0, 8)}...`);
  });

  it('info logs no update of a key that the file does not have', async () => {
    const lines = captureLog();
    const ledger = await open([sampleKey(KEY)], { CACHE_LOG_LEVEL: 'info' });
    await ledger.updateApiKeyUsage(UNKNOWN, 5, 'model');
    expect(lines).toEqual([]);
    await Promise.all([UNKNOWN, KEY].map(key => ledger.updateApiKeyUsage(key, 5, 'model')));
    expect(lines.map(line => parts(line).message)).toEqual(['updated']);
    expect(lines[0]).toContain(`${KEY.slice(0, 8)}...`);
  });

  it.each(['none', 'info', 'debug'])(
    '%s leaves the fault of an update that nobody awaits an unhandled rejection',
    async level => {
      const file = join(tempFolder(), 'apikeys.json');
      save(file, '{');
      const code = `
        process.on('unhandledRejection', error => {
          console.log('unhandled', error.code);
          process.exit(0);
        });
        void ledger.updateApiKeyUsage('known', 5, 'model');
        setTimeout(() => console.log('nothing'), 2000);
      `;
      const settings = { DATA_FILE: file, CACHE_LOG_LEVEL: level };
      const { stdout } = await script(code, settings).ended;
      expect(stdout.split('\n')).toContain('unhandled EDATA');
    },
  );

  it('info logs an update with its key cut short, one of several bytes per character too', async () => {
    const lines = captureLog();
    const key = 'äöü😀ßéèê-secret-secret';
    const ledger = await open([sampleKey(key)], { CACHE_LOG_LEVEL: 'debug' });
    await ledger.updateApiKeyUsage(key, 5, 'model');
    await ledger.findApiKey(key);
    for (const line of lines) {
      parts(line);
      expect(line).not.toContain('-s');
    }
  });
});

describe('DATA_FILE', () => {
  it('is where everything goes, and nothing goes elsewhere', async () => {
    const folder = tempFolder();
    const file = join(folder, 'sub folder', 'schlüssel 😀.json');
    const ledger = await load({ DATA_FILE: file });
    await ledger.writeApiKeys({ keys: [sampleKey('known')] });
    await ledger.updateApiKeyUsage('known', 5, 'model');
    expect((await ledger.findApiKey('known'))?.total_lifetime_tokens).toBe(5);
    expect(JSON.parse(readFileSync(file, 'utf8')).keys.length).toBe(1);
  });

  it('gets its folder back when the module is evaluated again', async () => {
    const folder = join(tempFolder(), 'gone');
    const file = join(folder, 'apikeys.json');
    await load({ DATA_FILE: file });
    rmSync(folder, { recursive: true });
    const ledger = await load({ DATA_FILE: file });
    expect(existsSync(folder)).toBe(true);
    await ledger.writeApiKeys({ keys: [sampleKey('known')] });
    expect((await ledger.findApiKey('known'))?.key).toBe('known');
  });

  it('may lose its folder while we run: an empty store, and writeApiKeys makes it anew or says why not', async () => {
    const folder = join(tempFolder(), 'gone');
    const file = join(folder, 'apikeys.json');
    const ledger = await load({ DATA_FILE: file, CACHE_REVALIDATE_MS: '0' });
    rmSync(folder, { recursive: true });
    expect(await ledger.findApiKey('known')).toBeNull();
    expect(await ledger.readApiKeys()).toEqual({ keys: [] });
    const outcome = await ledger.writeApiKeys({ keys: [] }).then(
      () => existsSync(file),
      error => error.code === 'ENOENT' && error.message.includes(file),
    );
    expect(outcome).toBe(true);
  });
});
