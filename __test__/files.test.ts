/** the contract: 'The data file', with files of every kind, for lookups, reads, updates, writes and the warm-up. */
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  captureLog,
  cleanUp,
  inFile,
  leftovers,
  open,
  parsed,
  print,
  rejection,
  sampleKey,
  save,
} from './helpers.ts';

afterEach(cleanUp);

const windows = Array.from({ length: 10000 }, (_, n) => ({
  window_start: new Date(Date.UTC(2099, 0, 1) + n).toISOString(),
  tokens_used: n,
}));
const pretty = print({ version: 1, keys: [sampleKey('a'), sampleKey('known')] });

/** Valid files that hold `known`. */
const valid: [string, string][] = [
  ['as the reference prints it', pretty],
  ['minified', JSON.stringify(JSON.parse(pretty))],
  ['with tabs', JSON.stringify(JSON.parse(pretty), null, '\t')],
  ['with CRLF', pretty.replaceAll('\n', '\r\n')],
  ['with a final newline', `${pretty}\n`],
  ['with a BOM', `\ufeff${pretty}`],
  ['with an escaped key', '{"keys":[{"key":"\\u006bnow\\u006E"}]}'],
  ['with escaped field names', '{"\\u006beys":[{"\\u006bey":"known"}]}'],
  ['with lone surrogates', '{"keys":[{"key":"known","name":"\\ud800 \\udc00"},{"key":"\\udfff"}]}'],
  ['with duplicate keys', '{"keys":[{"key":"known","name":"1"},{"key":"known","name":"2"}]}'],
  ['with a duplicate field', '{"keys":[{"name":"1","key":"known","name":"2"}]}'],
  ['with a duplicate key field', '{"keys":[{"key":"other","name":"1","key":"known"}]}'],
  [
    'with a duplicate total',
    '{"keys":[{"key":"known","total_lifetime_tokens":1,"total_lifetime_tokens":2}]}',
  ],
  ['with a duplicate top-level keys', '{"keys":[{"key":"x"}],"keys":[{"key":"known"}]}'],
  ['with 1e999', '{"keys":[{"key":"known","limit":1e999,"low":-1e999}]}'],
  [
    'with numbers over 2^53',
    '{"keys":[{"key":"known","id":9007199254740993,"big":123456789012345678901234567890}]}',
  ],
  ['with __proto__', '{"__proto__":{"x":1},"keys":[{"key":"known","__proto__":{"y":2}}]}'],
  [
    'with 10 000 windows in one key',
    print({ keys: [sampleKey('known', { usage_windows: windows })] }),
  ],
  [
    'with entries that are no keys',
    '{"keys":[null,1,"known",["key","known"],{},{"key":5},{"key":"known"}]}',
  ],
  ['with deep nesting', `{"keys":[{"key":"known","deep":${'['.repeat(500)}${']'.repeat(500)}}]}`],
  [
    'with strings that look like JSON',
    '{"x":"\\"keys\\":[","keys":[{"key":"known","n":"}]},{\\"key\\":\\\\"}],"y":"]}"}',
  ],
  [
    'with fields of the same names elsewhere',
    '{"meta":{"keys":[{"key":"known","total_lifetime_tokens":1}]},"keys":[{"sub":{"key":"x","usage_windows":1},"key":"known"}]}',
  ],
];

describe.each(valid)('a file %s', (_, text) => {
  const data = JSON.parse(text.replace(/^\ufeff/, ''));
  const entries = (data.keys as ({ key?: unknown } | null)[]).filter(
    entry => typeof entry?.key === 'string',
  );
  const known = entries.find(entry => entry?.key === 'known') as Record<string, unknown>;

  it('is read as JSON.parse reads it', async () => {
    const { readApiKeys } = await open(text);
    expect(await readApiKeys()).toEqual(data);
  });

  it('answers lookups, and the warm-up loads it', async () => {
    const { findApiKey, warmupCache, cacheStats, clearCache } = await open(text);
    expect(await findApiKey('known')).toEqual(known as never);
    clearCache();
    await warmupCache();
    expect(await findApiKey('known')).toEqual(known as never);
    const size = new Set(entries.map(entry => entry?.key)).size;
    expect(await cacheStats()).toMatchObject({ hits: 1, misses: 1, size });
  });

  it('takes an update, and keeps what is not part of it', async () => {
    const { updateApiKeyUsage, findApiKey, file } = await open(text);
    await updateApiKeyUsage('known', 5, 'model');
    const after = inFile(file, 'known');
    expect(after.total_lifetime_tokens).toBe(((known.total_lifetime_tokens as number) ?? 0) + 5);
    expect(await findApiKey('known')).toEqual(after);
    expect(readFileSync(file, 'utf8').startsWith('\ufeff')).toBe(text.startsWith('\ufeff'));
    const usage = { total_lifetime_tokens: 0, last_used: '', usage_windows: [] };
    const rest = (all: typeof data) => ({
      ...all,
      keys: all.keys.map((entry: { key?: unknown } | null) =>
        entry?.key === 'known' ? { ...entry, ...usage } : entry,
      ),
    });
    expect(rest(parsed(file))).toEqual(rest(data));
  });

  it('is replaced by writeApiKeys', async () => {
    const { writeApiKeys, file } = await open(text);
    await writeApiKeys({ keys: [sampleKey('new')] });
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey('new')] }));
  });
});

const broken: [string, string | Uint8Array, RegExp][] = [
  ['that is empty', '', /empty|line|byte/i],
  ['of blank space', ' \n\t ', /empty|line|byte/i],
  ['of a BOM alone', '\ufeff', /empty|line|byte/i],
  ['of zeroes', new Uint8Array(512), /line|byte/i],
  ['of {}', '{}', /keys/],
  ['where keys is an object', '{"keys":{"key":"known"}}', /keys/],
  ['where keys is null', '{"keys":null}', /keys/],
  ['where keys is a string', '{"keys":"known"}', /keys/],
  ['where the last of two keys is no array', '{"keys":[{"key":"known"}],"keys":1}', /keys/],
  ['that is an array', '[{"key":"known"}]', /keys/],
  ['that is a number', '5', /keys/],
  ['that is null', 'null', /keys/],
  ['that is half-written', pretty.slice(0, pretty.length - 100), /line \d+.*column \d+|byte \d+/i],
  ['that has something after its end', `${pretty}}`, /line \d+.*column \d+|byte \d+/i],
  ['with a trailing comma', '{"keys":[{"key":"known"},]}', /line \d+.*column \d+|byte \d+/i],
  ['with a comment', '// keys\n{"keys":[]}', /line \d+.*column \d+|byte \d+/i],
  ['with NaN', '{"keys":[{"key":"known","n":NaN}]}', /line \d+.*column \d+|byte \d+/i],
  [
    'with a raw line break in a string',
    '{"keys":[{"key":"kn\nown"}]}',
    /line \d+.*column \d+|byte \d+/i,
  ],
  ['with a bad escape', '{"keys":[{"key":"known","n":"\\x"}]}', /line \d+.*column \d+|byte \d+/i],
  ['with a leading zero', '{"keys":[{"key":"known","n":01}]}', /line \d+.*column \d+|byte \d+/i],
  [
    'with invalid UTF-8',
    Buffer.concat([
      Buffer.from('{"keys":[{"key":"known","n":"'),
      Buffer.from([0xff]),
      Buffer.from('"}]}'),
    ]),
    /line \d+.*column \d+|byte \d+/i,
  ],
  [
    'with a surrogate in UTF-8',
    Buffer.concat([
      Buffer.from('{"keys":[{"key":"known","n":"'),
      Buffer.from([0xed, 0xa0, 0x80]),
      Buffer.from('"}]}'),
    ]),
    /line \d+.*column \d+|byte \d+/i,
  ],
  ['in UTF-16', Buffer.from(`\ufeff${pretty}`, 'utf16le'), /line \d+|byte \d+/i],
];

describe.each(broken)('a file %s', (_, content, says) => {
  it('is an error that names the path and the fault, for lookups, reads and updates', async () => {
    captureLog();
    const ledger = await open(content);
    const calls = [
      ledger.findApiKey('known'),
      ledger.getKeyStats('known'),
      ledger.readApiKeys(),
      ledger.updateApiKeyUsage('known', 5, 'model'),
      ledger.updateApiKeyUsage('unknown', 5, 'model'),
    ];
    for (const error of await Promise.all(calls.map(rejection))) {
      expect(error.code).toBe('EDATA');
      expect(error.message).toContain(ledger.file);
      expect(error.message.replace(ledger.file, '')).toMatch(says);
    }
    expect(readFileSync(ledger.file)).toEqual(Buffer.from(content as string));
    expect(ledger.apiKeyCache.size).toBe(0);
    expect(leftovers(ledger.file)).toEqual([]);
  });

  it('is left to the warm-up, which logs it, and to writeApiKeys, which mends it', async () => {
    const lines = captureLog();
    const { warmupCache, writeApiKeys, findApiKey, file } = await open(content);
    await warmupCache();
    expect(lines.length).toBe(1);
    await writeApiKeys({ keys: [sampleKey('new')] });
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey('new')] }));
    expect((await findApiKey('new'))?.key).toBe('new');
  });
});

describe('no file', () => {
  it('is an empty store that writeApiKeys makes', async () => {
    const { findApiKey, readApiKeys, updateApiKeyUsage, warmupCache, writeApiKeys, file } =
      await open(undefined, { CACHE_REVALIDATE_MS: '0' });
    await warmupCache();
    expect(await findApiKey('known')).toBeNull();
    expect(await readApiKeys()).toEqual({ keys: [] });
    await updateApiKeyUsage('known', 5, 'model');
    expect(existsSync(file)).toBe(false);
    await writeApiKeys({ keys: [sampleKey('known')] });
    expect((await findApiKey('known'))?.key).toBe('known');
    await updateApiKeyUsage('known', 5, 'model');
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
  });
});

describe('a folder in place of the file', () => {
  it('is an error for every call but the warm-up, and stays', async () => {
    const lines = captureLog();
    const ledger = await open();
    mkdirSync(ledger.file);
    await ledger.warmupCache();
    expect(lines.length).toBe(1);
    const calls = [
      ledger.findApiKey('known'),
      ledger.readApiKeys(),
      ledger.updateApiKeyUsage('known', 5, 'model'),
      ledger.writeApiKeys({ keys: [] }),
    ];
    for (const error of await Promise.all(calls.map(rejection))) {
      expect(error.code).toBe('EISDIR');
      expect(error.message).toContain(ledger.file);
    }
    expect(statSync(ledger.file).isDirectory()).toBe(true);
    expect(leftovers(ledger.file)).toEqual([]);
  });
});

describe('10 000 windows in one key', () => {
  it('that are over are all dropped in one update', async () => {
    const old = windows.map(({ tokens_used }, n) => ({
      window_start: new Date(Date.UTC(2020, 0, 1) + n).toISOString(),
      tokens_used,
    }));
    const { updateApiKeyUsage, file } = await open([sampleKey('known', { usage_windows: old })]);
    await updateApiKeyUsage('known', 5, 'model');
    expect(inFile(file, 'known').usage_windows.map(one => one.tokens_used)).toEqual([5]);
  });
});

describe('a key in an error or in the log', () => {
  it('is never shown whole, wherever the fault in the file is', async () => {
    const lines = captureLog();
    const secret = 'sk-0123456789-secret';
    for (const content of [
      `{"keys":[{"key":"${secret}"`,
      `{"keys":[{"key":"${secret}" 5}]}`,
      `"${secret}"`,
    ]) {
      const ledger = await open(content);
      const error = await rejection(ledger.findApiKey(secret));
      expect(`${error.message} ${error.stack}`).not.toContain(secret.slice(0, 9));
      save(ledger.file, '');
      await rejection(ledger.updateApiKeyUsage(secret, 5, 'model'));
    }
    expect(lines.join('\n')).not.toContain(secret.slice(0, 9));
  });
});
