/** the contract: 'Exports', with arguments of every kind; the row of the table at the end on `NaN` tokens. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanUp,
  inFile,
  type Ledger,
  leftovers,
  open,
  print,
  rejection,
  sampleKey,
} from './helpers.ts';

afterEach(cleanUp);

const noStrings: [string, unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['a number', 5],
  ['a boolean', true],
  ['a bigint', 5n],
  ['a symbol', Symbol('key')],
  ['an object', {}],
  ['an array', ['known']],
  ['a String object', new String('known')],
  ['a function', () => 'known'],
  ['an object that turns into a string', { toString: () => 'known' }],
];

const takesKey: [string, (ledger: Ledger, key: unknown) => Promise<unknown>][] = [
  ['findApiKey', (ledger, key) => ledger.findApiKey(key as string)],
  ['getKeyStats', (ledger, key) => ledger.getKeyStats(key as string)],
  ['updateApiKeyUsage', (ledger, key) => ledger.updateApiKeyUsage(key as string, 5, 'model')],
];

describe.each(takesKey)('%s', (_, call) => {
  it.each(noStrings)('rejects %s as key, and does not throw', async (_name, key) => {
    const ledger = await open([sampleKey('known')]);
    const error = await rejection(call(ledger, key));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe('ERR_INVALID_ARG_TYPE');
    expect(error.message).toContain('key');
    expect(readFileSync(ledger.file, 'utf8')).toBe(print({ keys: [sampleKey('known')] }));
    expect(await ledger.cacheStats()).toMatchObject({ hits: 0, misses: 0, size: 0 });
  });

  it.each([
    ['an empty key', ''],
    ['a key of 1 MB', 'k'.repeat(1 << 20)],
    ['a key with NUL', 'a\0b'],
    ['a key with an emoji', 'key 😀'],
    ['a key with a lone surrogate', 'key \ud83d'],
    ['a key with a line break and quotes', 'a\n"b"\\'],
  ])('takes %s, whether the file has it or not', async (_name, key) => {
    const ledger = await open([sampleKey(key)]);
    await call(ledger, key);
    await call(ledger, `${key}?`);
    expect((await ledger.findApiKey(key))?.key).toBe(key);
    expect(await ledger.findApiKey(`${key}?`)).toBeNull();
  });
});

describe('updateApiKeyUsage', () => {
  const bad: [string, unknown, string, ErrorConstructor][] = [
    ['NaN', NaN, 'ERR_OUT_OF_RANGE', RangeError],
    ['Infinity', Infinity, 'ERR_OUT_OF_RANGE', RangeError],
    ['-Infinity', -Infinity, 'ERR_OUT_OF_RANGE', RangeError],
    ["'5'", '5', 'ERR_INVALID_ARG_TYPE', TypeError],
    ['undefined', undefined, 'ERR_INVALID_ARG_TYPE', TypeError],
    ['null', null, 'ERR_INVALID_ARG_TYPE', TypeError],
    ['5n', 5n, 'ERR_INVALID_ARG_TYPE', TypeError],
    ['true', true, 'ERR_INVALID_ARG_TYPE', TypeError],
    ['a Number object', new Number(5), 'ERR_INVALID_ARG_TYPE', TypeError],
    ['an object', { valueOf: () => 5 }, 'ERR_INVALID_ARG_TYPE', TypeError],
  ];
  it.each(bad)('rejects %s tokens, and writes nothing', async (_, tokens, code, type) => {
    const secret = 'sk-0123456789-secret';
    const { updateApiKeyUsage, file } = await open([sampleKey(secret)]);
    const before = statSync(file, { bigint: true });
    for (const key of [secret, 'unknown']) {
      const error = await rejection(updateApiKeyUsage(key, tokens as number, 'model'));
      expect(error).toBeInstanceOf(type);
      expect(error.code).toBe(code);
      expect(error.message).toContain('tokensUsed');
      expect(error.message).not.toContain(secret.slice(0, 9));
    }
    expect(statSync(file, { bigint: true })).toEqual(before);
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey(secret)] }));
  });

  it('that rejects its arguments does not spoil the others in the batch', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('known')]);
    const first = updateApiKeyUsage('known', 1, 'model');
    const bad = rejection(updateApiKeyUsage('known', NaN, 'model'));
    const last = updateApiKeyUsage('known', 2, 'model');
    await Promise.all([first, bad, last]);
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(3);
  });

  it.each([-5, 0, 0.25, 2 ** 53, 2 ** 53 + 2, 1e300, Number.MIN_VALUE])(
    'takes %d tokens',
    async tokens => {
      const { updateApiKeyUsage, findApiKey, file } = await open([sampleKey('known')]);
      await updateApiKeyUsage('known', tokens, 'model');
      const after = inFile(file, 'known');
      expect(after.total_lifetime_tokens).toBe(tokens);
      expect(after.usage_windows[0]?.tokens_used).toBe(tokens);
      expect(await findApiKey('known')).toEqual(after);
    },
  );

  it('does not mind what the model is', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('known')]);
    for (const model of [undefined, null, 5, {}, Symbol('model'), 'm'.repeat(1 << 20)])
      await updateApiKeyUsage('known', 1, model as string);
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(6);
    expect(inFile(file, 'known').model).toBe(sampleKey('known').model ?? '');
  });
});

describe('writeApiKeys', () => {
  it.each([
    ['undefined', undefined],
    ['null', null],
    ['a number', 5],
    ['a string', '{"keys":[]}'],
    ['an array', []],
    ['an object without keys', {}],
    ['an object whose keys are no array', { keys: {} }],
    ['an object whose keys are null', { keys: null }],
  ])('rejects %s, and leaves the file alone', async (_, data) => {
    const { writeApiKeys, file } = await open([sampleKey('known')]);
    const error = await rejection(writeApiKeys(data as never));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe('ERR_INVALID_ARG_TYPE');
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey('known')] }));
    expect(leftovers(file)).toEqual([]);
  });
});

describe('withLock', () => {
  it.each([undefined, null, 5, 'text', {}, Promise.resolve()])(
    'rejects %s in place of a function',
    async fn => {
      const { withLock, file } = await open([]);
      const error = await rejection(withLock(fn as never));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe('ERR_INVALID_ARG_TYPE');
      expect(existsSync(`${file}.lock`)).toBe(false);
      expect(await withLock(async () => 'free')).toBe('free');
    },
  );
});
