/** the contract: 'Recording usage' except how the file is replaced; 'The data file', its last paragraph. */
import { existsSync, readFileSync, renameSync, statSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import type { ApiKey, UsageWindow } from '../index.js';
import {
  captureLog,
  cleanUp,
  clock,
  inFile,
  open,
  parsed,
  print,
  sampleKey,
  save,
} from './helpers.ts';

afterEach(cleanUp);

const NOW = '2025-06-15T12:00:00.000Z';
const CUTOFF = '2025-06-15T07:00:00.000Z';

/** What an update by 7 at `NOW` makes of an entry. */
async function updated(fields: object, tokens = 7): Promise<ApiKey> {
  clock(NOW);
  const { updateApiKeyUsage, file } = await open([sampleKey('known', fields)]);
  await updateApiKeyUsage('known', tokens, 'model');
  return inFile(file, 'known');
}

function win(start: string, tokens: number): UsageWindow {
  return { window_start: start, tokens_used: tokens };
}

describe('the windows', () => {
  const rules: [string, UsageWindow[], UsageWindow[]][] = [
    ['none yet: a new one that starts now', [], [win(NOW, 7)]],
    [
      'one that is open gets the tokens',
      [win('2025-06-15T10:00:00.000Z', 5)],
      [win('2025-06-15T10:00:00.000Z', 12)],
    ],
    ['one that began exactly at the cutoff is open', [win(CUTOFF, 5)], [win(CUTOFF, 12)]],
    [
      'one that began a millisecond before the cutoff is dropped',
      [win('2025-06-15T06:59:59.999Z', 5)],
      [win(NOW, 7)],
    ],
    [
      'the first open one in the order of the array gets the tokens, not the newest',
      [
        win('2025-06-15T09:00:00.000Z', 1),
        win('2025-06-15T11:00:00.000Z', 2),
        win('2025-06-15T08:00:00.000Z', 3),
      ],
      [
        win('2025-06-15T09:00:00.000Z', 8),
        win('2025-06-15T11:00:00.000Z', 2),
        win('2025-06-15T08:00:00.000Z', 3),
      ],
    ],
    [
      'old ones are dropped wherever they stand, the others keep their order',
      [
        win('2020-01-01T00:00:00.000Z', 1),
        win('2025-06-15T11:00:00.000Z', 2),
        win('2024-01-01T00:00:00.000Z', 3),
        win(CUTOFF, 4),
        win('', 5),
      ],
      [win('2025-06-15T11:00:00.000Z', 9), win(CUTOFF, 4)],
    ],
    [
      'one that begins in the future is open',
      [win('2999-01-01T00:00:00.000Z', 1)],
      [win('2999-01-01T00:00:00.000Z', 8)],
    ],
    ['times are compared as strings: later by its text', [win('Monday', 1)], [win('Monday', 8)]],
    [
      'times are compared as strings: earlier by its text',
      [win('2025-06-15T07:00:00+09:00', 1)],
      [win(NOW, 7)],
    ],
    [
      'times are compared as strings: a prefix of the cutoff is earlier',
      [win('2025-06-15T07:00:00', 1)],
      [win(NOW, 7)],
    ],
  ];
  it.each(rules)('%s', async (_, before, after) => {
    expect((await updated({ usage_windows: before })).usage_windows).toEqual(after);
  });

  it('that are missing count as none', async () => {
    expect((await updated({ usage_windows: undefined })).usage_windows).toEqual([win(NOW, 7)]);
  });

  it('that are null or no array count as none', async () => {
    for (const usage_windows of [null, 'text', 5, {}])
      expect((await updated({ usage_windows })).usage_windows).toEqual([win(NOW, 7)]);
  });

  it('keep fields that we do not know', async () => {
    const known = { ...win(CUTOFF, 1), region: 'eu' };
    const { usage_windows } = await updated({ usage_windows: [known] });
    expect(usage_windows).toEqual([{ ...known, tokens_used: 8 }]);
  });
});

describe('an update', () => {
  it('sets last_used to the time of the call and adds to the total', async () => {
    const { last_used, total_lifetime_tokens } = await updated({ total_lifetime_tokens: 100 });
    expect(last_used).toBe(NOW);
    expect(total_lifetime_tokens).toBe(107);
  });

  it('takes a missing total as 0', async () => {
    const { total_lifetime_tokens } = await updated({ total_lifetime_tokens: undefined });
    expect(total_lifetime_tokens).toBe(7);
  });

  it('adds a last_used that is missing', async () => {
    expect((await updated({ last_used: undefined })).last_used).toBe(NOW);
  });

  const sums: [number, number][] = [
    [0.1, 0.2],
    [2 ** 53, 1],
    [2 ** 53, 2],
    [1e21, 1],
    [999999999999999900000, 100000],
    [1e-7, 0],
    [1.5, -3.25],
    [5e-324, 5e-324],
    [-0, -0],
    [123456789.123, 1e15],
    [1e308, 1e307],
  ];
  it.each(sums)('adds and prints %d + %d as JavaScript does', async (total, tokens) => {
    const window = win(CUTOFF, total);
    const before = { total_lifetime_tokens: total, usage_windows: [window] };
    clock(NOW);
    const { updateApiKeyUsage, file } = await open([sampleKey('known', before)]);
    await updateApiKeyUsage('known', tokens, 'model');
    const after = {
      last_used: NOW,
      total_lifetime_tokens: total + tokens,
      usage_windows: [win(CUTOFF, total + tokens)],
    };
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey('known', after)] }));
  });

  it('is in the file when it resolves', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a'), sampleKey('b')]);
    for (let n = 1; n <= 5; n += 1) {
      await updateApiKeyUsage('b', 10, 'model');
      expect(inFile(file, 'b').total_lifetime_tokens).toBe(10 * n);
    }
    expect(inFile(file, 'a')).toEqual(sampleKey('a'));
  });

  it('changes the first of two entries with the same key, and that one only', async () => {
    const second = sampleKey('twice', { name: 'second' });
    const { updateApiKeyUsage, file } = await open([sampleKey('twice'), second]);
    await updateApiKeyUsage('twice', 5, 'model');
    const { keys } = parsed(file);
    expect(keys[0]?.total_lifetime_tokens).toBe(5);
    expect(keys[1]).toEqual(second);
  });

  it('works on the keys of any spelling', async () => {
    const names = [
      '',
      '__proto__',
      'a\0b',
      'a"b\\c',
      'schlüssel',
      '😀',
      '\ud800',
      'x'.repeat(1 << 20),
    ];
    const { updateApiKeyUsage, findApiKey, file } = await open(names.map(name => sampleKey(name)));
    await Promise.all(names.map((name, n) => updateApiKeyUsage(name, n + 1, 'model')));
    for (const [n, name] of names.entries()) {
      expect(inFile(file, name).total_lifetime_tokens).toBe(n + 1);
      expect((await findApiKey(name))?.total_lifetime_tokens).toBe(n + 1);
    }
  });

  it('finds a key that the file spells with escapes', async () => {
    const text = '{"keys":[{"key":"\\u006b\\/\\u00e9\\ud83d\\ude00","total_lifetime_tokens":1}]}';
    const { updateApiKeyUsage, findApiKey, file } = await open(text);
    await updateApiKeyUsage('k/é😀', 5, 'model');
    expect(parsed(file).keys[0]).toMatchObject({ key: 'k/é😀', total_lifetime_tokens: 6 });
    expect((await findApiKey('k/é😀'))?.total_lifetime_tokens).toBe(6);
    expect(readFileSync(file, 'utf8')).toContain('"\\u006b\\/\\u00e9\\ud83d\\ude00"');
  });
});

describe('an update of an unknown key', () => {
  it('resolves, writes nothing and caches nothing', async () => {
    const { updateApiKeyUsage, apiKeyCache, file } = await open([sampleKey('known')]);
    const before = statSync(file, { bigint: true });
    expect(await updateApiKeyUsage('unknown', 5, 'model')).toBeUndefined();
    const after = statSync(file, { bigint: true });
    expect([after.ino, after.mtimeNs, after.ctimeNs]).toEqual([
      before.ino,
      before.mtimeNs,
      before.ctimeNs,
    ]);
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey('known')] }));
    expect(apiKeyCache.has('unknown')).toBe(false);
    expect(apiKeyCache.size).toBe(0);
  });

  it('makes no file', async () => {
    const { updateApiKeyUsage, file } = await open();
    await updateApiKeyUsage('unknown', 5, 'model');
    expect(existsSync(file)).toBe(false);
  });

  it('leaves known ones in the same batch alone', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('known')]);
    await Promise.all(['x', 'known', 'y', 'known'].map(key => updateApiKeyUsage(key, 5, 'model')));
    expect(parsed(file).keys.map(entry => [entry.key, entry.total_lifetime_tokens])).toEqual([
      ['known', 10],
    ]);
  });
});

describe('after an update', () => {
  it('the new state is a cache hit, the very one in the file', async () => {
    const { updateApiKeyUsage, findApiKey, cacheStats, apiKeyCache, file } = await open([
      sampleKey('known'),
    ]);
    await findApiKey('known');
    await updateApiKeyUsage('known', 5, 'model');
    apiKeyCache.resetStats();
    const found = await findApiKey('known');
    expect(found?.total_lifetime_tokens).toBe(5);
    expect(found).toEqual(inFile(file, 'known'));
    expect(await findApiKey('known')).toBe(found);
    expect(apiKeyCache.get('known')).toBe(found);
    expect(await cacheStats()).toMatchObject({ hits: 3, misses: 0 });
  });

  it('it is a hit even when the key was never looked up, or was cached as unknown', async () => {
    const { updateApiKeyUsage, findApiKey, cacheStats, file } = await open([sampleKey('a')]);
    await findApiKey('b');
    save(file, [sampleKey('a'), sampleKey('b')]);
    await Promise.all([updateApiKeyUsage('a', 1, 'model'), updateApiKeyUsage('b', 2, 'model')]);
    expect((await findApiKey('a'))?.total_lifetime_tokens).toBe(1);
    expect((await findApiKey('b'))?.total_lifetime_tokens).toBe(2);
    expect(await cacheStats()).toMatchObject({ hits: 2, misses: 1 });
  });

  it('the TTL of the entry counts anew', async () => {
    const time = clock();
    const { updateApiKeyUsage, findApiKey, cacheStats } = await open([sampleKey('a')], {
      CACHE_TTL_MS: '5000',
    });
    await findApiKey('a');
    time.advance(4000);
    await updateApiKeyUsage('a', 1, 'model');
    time.advance(4000);
    await findApiKey('a');
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 1 });
  });

  it('an object that a lookup gave before is as it was', async () => {
    const { updateApiKeyUsage, findApiKey } = await open([sampleKey('a')]);
    await findApiKey('a');
    const before = await findApiKey('a');
    await updateApiKeyUsage('a', 1, 'model');
    expect(before).toEqual(sampleKey('a'));
  });
});

describe('the bytes of the file', () => {
  it('are those of JSON.stringify(data, null, 2) if they were before', async () => {
    const time = clock(NOW);
    const keys = ['a', 'b', 'c'].map(key =>
      sampleKey(key, { glmkey: `für ${key}\u2028\ud800`, tags: [], meta: {} }),
    );
    const { updateApiKeyUsage, file } = await open(print({ keys, version: 3 }));
    for (const key of ['b', 'b', 'a', 'c', 'c']) {
      await updateApiKeyUsage(key, 1.5, 'model');
      time.advance(3 * 3600 * 1000);
      const text = readFileSync(file, 'utf8');
      expect(text).toBe(print(JSON.parse(text)));
    }
    expect(parsed(file)).toMatchObject({
      version: 3,
      keys: keys.map(({ key }) => ({ key, tags: [], meta: {} })),
    });
  });

  const shapes: [string, (entry: string) => string][] = [
    ['minified', entry => `{"v":1.0,"keys":[{"key":"x"},${entry},{"key":"y"}],"z":1e3}`],
    [
      'with tabs',
      entry => `{\n\t"v": 1.0,\n\t"keys": [\n\t\t{ "key": "x" },\n\t\t${entry}\n\t]\n}\n`,
    ],
    [
      'with CRLF',
      entry =>
        `{\r\n  "v": 1.0,\r\n  "keys": [\r\n    ${entry},\r\n    {"key": "y"}\r\n  ]\r\n}\r\n`,
    ],
    ['with a byte order mark', entry => `\ufeff{"keys": [${entry}]}`],
    [
      'with blank space around it',
      entry => `\n\n  { "keys" : [ ${entry} ] , "\\u0041" : "\\/" }  \n\n`,
    ],
  ];
  it.each(shapes)('%s stay as they are but for the text of the changed key', async (_, shape) => {
    const mark = '@@@';
    const [head = '', tail = ''] = shape(mark).split(mark);
    const entry =
      '{"key":"known",  "glmkey": "\\u00e9", "weight": 1.50, "big": 12345678901234567890}';
    const { updateApiKeyUsage, file } = await open(shape(entry));
    await updateApiKeyUsage('known', 5, 'model');
    const text = readFileSync(file, 'utf8');
    expect(text.slice(0, head.length)).toBe(head);
    expect(text.slice(text.length - tail.length)).toBe(tail);
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
    for (const own of ['"\\u00e9"', '1.50', '12345678901234567890']) expect(text).toContain(own);
  });

  it('keep unknown fields in their order', async () => {
    const entry = {
      z: 1,
      key: 'known',
      a: { y: 1, b: [] },
      total_lifetime_tokens: 1,
      last_used: '',
      m: null,
    };
    const { updateApiKeyUsage, file } = await open(print({ zz: 1, keys: [entry], aa: 2 }));
    await updateApiKeyUsage('known', 5, 'model');
    expect(Object.keys(parsed(file))).toEqual(['zz', 'keys', 'aa']);
    expect(Object.keys(inFile(file, 'known'))).toEqual([...Object.keys(entry), 'usage_windows']);
  });

  it('keep entries that are no keys of ours', async () => {
    const keys = [null, 5, 'text', [], {}, { key: 7 }, sampleKey('known')];
    const { updateApiKeyUsage, file } = await open(print({ keys }));
    await updateApiKeyUsage('known', 5, 'model');
    expect(parsed(file).keys.slice(0, 6)).toEqual(keys.slice(0, 6) as never);
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
  });
});

describe('what others write meanwhile', () => {
  it('to the same key is kept: the tokens are added to what the file holds by then', async () => {
    const { updateApiKeyUsage, findApiKey, file } = await open([sampleKey('known')]);
    await findApiKey('known');
    await updateApiKeyUsage('known', 5, 'model');
    const mine = inFile(file, 'known');
    save(file, [
      { ...mine, token_limit_per_5h: 1, total_lifetime_tokens: 1000 },
      sampleKey('added'),
    ]);
    await updateApiKeyUsage('known', 5, 'model');
    expect(inFile(file, 'known')).toMatchObject({
      token_limit_per_5h: 1,
      total_lifetime_tokens: 1005,
    });
    expect(inFile(file, 'known').usage_windows.map(window => window.tokens_used)).toEqual([10]);
    expect(inFile(file, 'added')).toEqual(sampleKey('added'));
    expect((await findApiKey('known'))?.token_limit_per_5h).toBe(1);
  });

  it('right after the call is kept too', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('known')]);
    const pending = updateApiKeyUsage('known', 5, 'model');
    save(`${file}.new`, [sampleKey('known', { name: 'renamed' }), sampleKey('added')]);
    renameSync(`${file}.new`, file);
    await pending;
    expect(inFile(file, 'known')).toMatchObject({ name: 'renamed', total_lifetime_tokens: 5 });
    expect(inFile(file, 'added')).toEqual(sampleKey('added'));
  });

  it('is not undone where it removes the key', async () => {
    const { updateApiKeyUsage, findApiKey, file } = await open([sampleKey('revoked')], {
      CACHE_REVALIDATE_MS: '3600000',
    });
    await findApiKey('revoked');
    save(file, [sampleKey('other')]);
    expect(await updateApiKeyUsage('revoked', 5, 'model')).toBeUndefined();
    expect(parsed(file).keys).toEqual([sampleKey('other')]);
    expect(await findApiKey('revoked')).toBeNull();
  });
});

it('a log that fails rejects no update that is in the file', async () => {
  const { updateApiKeyUsage, file } = await open([sampleKey('a')], { CACHE_LOG_LEVEL: 'info' });
  const lines = captureLog();
  await updateApiKeyUsage('a', 5, 10n as unknown as string);
  expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
  expect(lines.filter(line => line.startsWith('[cache] log failed')).length).toBe(1);
});
