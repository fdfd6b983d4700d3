// What can be a key and a value of a cache, and the arguments that it refuses.
import { afterEach, describe, expect, test } from 'vitest';
import { LRUCacheImpl as Reference } from '../bench/baseline/cache.ts';
import { LRUCacheImpl } from '../cache.js';
import { MAKERS } from './cache-makers.ts';
import { cleanUp, clock } from './helpers.ts';

afterEach(cleanUp);

describe.each(MAKERS)('%s', (_, create) => {
  describe('any string is a key', () => {
    const long = 'x'.repeat(1_000_000);
    test.each<[string, string[]]>([
      ['the empty one', ['', ' ', '\0']],
      ['ones of 1 MB', [`${long}a`, `${long}b`, `a${long}`, long]],
      ['ones with NUL', ['a', 'a\0', 'a\0b', 'a\0c', '\0a', '\0\0']],
      ['emoji', ['🦀', '🦀🦀', '👩‍👩‍👧', '👩', '\ud83e', '\udd80', '\udd80\ud83e']],
      ['lone surrogates', ['\ud800', '\ud801', '\udc00', '\udfff', '\ufffd', '\ud800a', '\ufffda']],
      ['accents', ['é', 'e\u0301', 'e', 'É', 'Ã©', '\u00e9\u0301', 'ÿ', '\u0100']],
      ['names of properties', ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'size']],
      ['numbers', ['1', '01', '1.0', '-0', '0', 'NaN', 'null', 'undefined', 'true']],
      ['the same in another case', ['sk-a', 'SK-A', 'Sk-a', 'sk-a ', ' sk-a']],
    ])('%s', async (__, keys) => {
      const cache = await create();
      for (const key of keys) expect(cache.has(key)).toBe(false);
      for (const key of keys) cache.set(key, { of: key });
      expect(cache.size).toBe(keys.length);
      for (const key of keys) expect((cache.get(key) as { of: string }).of === key).toBe(true);
      expect(cache.getStats()).toMatchObject({ hits: keys.length, misses: 0 });
      for (const key of keys) expect(cache.delete(key)).toBe(true);
      expect(cache.size).toBe(0);
    });

    test('a key is its content, however the string came to be', async () => {
      const cache = await create();
      const value = { n: 1 };
      cache.set(['sk-', 'é', '🦀'].join(''), value);
      expect(cache.get(`xsk-é🦀x`.slice(1, -1))).toBe(value);
    });
  });
});

const VALUES: [string, unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['false', false],
  ['0', 0],
  ['-0', -0],
  ['NaN', Number.NaN],
  ['an empty string', ''],
  ['a bigint', 2n ** 70n],
  ['a symbol', Symbol('value')],
  ['an object', { deep: { er: [1] } }],
  ['a frozen object', Object.freeze({ a: 1 })],
  ['an object without a prototype', Object.create(null)],
  ['an array', [1, undefined, 3]],
  ['a function', () => 1],
  ['a class', class Value {}],
  ['a Map', new Map([[1, 2]])],
  ['a date', new Date(0)],
  ['bytes', new Uint8Array([1, 2, 3])],
  ['a promise', Promise.resolve(1)],
  ['a promise that nobody takes', new Promise(() => {})],
  ['a proxy', new Proxy({}, {})],
  ['a cache', new LRUCacheImpl()],
];

describe.each([
  ["keyledger's LRUCacheImpl", LRUCacheImpl],
  ["the reference's LRUCacheImpl", Reference],
])('%s', (_, Cache) => {
  test.each(VALUES)('keeps %s as the value that it is', (__, value) => {
    const cache = new Cache<unknown>();
    cache.set('a', value);
    expect(Object.is(cache.get('a'), value)).toBe(true);
    expect(cache.has('a')).toBe(true);
    expect(cache.getStats()).toMatchObject({ hits: 1, misses: 0 });
  });

  test('shows what happens to a value after it was set', () => {
    const cache = new Cache<{ n: number }>();
    const value = { n: 1 };
    cache.set('a', value);
    value.n = 2;
    expect(cache.get('a')?.n).toBe(2);
  });

  test('caches are independent of each other', () => {
    const [one, two] = [new Cache<number>(2), new Cache<number>(3)];
    one.set('a', 1);
    two.set('a', 2);
    two.set('b', 3);
    one.get('a');
    two.get('x');
    expect([one.get('a'), two.get('a')]).toEqual([1, 2]);
    expect(one.getStats()).toMatchObject({ hits: 2, misses: 0, size: 1, maxSize: 2 });
    expect(two.getStats()).toMatchObject({ hits: 1, misses: 1, size: 2, maxSize: 3 });
    one.clear();
    expect(two.size).toBe(2);
  });

  test('an evicted, a replaced and a deleted value do not come back in the place of another', () => {
    const cache = new Cache<object>(2);
    for (let i = 0; i < 100; i++) {
      const [first, second, third] = [{ i }, { i }, { i }];
      cache.set(`a${i}`, first);
      cache.set(`b${i}`, { old: i });
      cache.set(`b${i}`, second);
      expect(cache.get(`a${i}`)).toBe(first);
      cache.delete(`a${i}`);
      cache.set(`c${i}`, third);
      expect(cache.get(`a${i}`)).toBe(null);
      expect(cache.get(`b${i}`)).toBe(second);
      expect(cache.get(`c${i}`)).toBe(third);
    }
  });
});

/** The error that `step` throws. */
function thrown(step: () => unknown): Error & { code?: string } {
  try {
    step();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error('should have thrown an Error');
}

const NO_NUMBERS: [string, unknown][] = [
  ['null', null],
  ['a string', '5'],
  ['true', true],
  ['a bigint', 5n],
  ['an object', {}],
  ['an array', [5]],
  ['a function', () => 5],
  ['a symbol', Symbol('5')],
];

describe("keyledger's LRUCacheImpl refuses", () => {
  test.each(NO_NUMBERS)('a maxSize and a TTL that are no number: %s', (_, value) => {
    for (const step of [
      () => new LRUCacheImpl(value as never),
      () => new LRUCacheImpl(5, value as never),
      () => new LRUCacheImpl().set('a', 1, value as never),
    ]) {
      const error = thrown(step);
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe('ERR_INVALID_ARG_TYPE');
    }
  });

  test.each([0, -0, -1, 0.5, 1.5, Number.NaN, Infinity, -Infinity, 2 ** 32, 2 ** 53, 1e300])(
    'a maxSize of %d',
    maxSize => {
      const error = thrown(() => new LRUCacheImpl(maxSize));
      expect(error).toBeInstanceOf(RangeError);
      expect(error.code).toBe('ERR_OUT_OF_RANGE');
    },
  );

  test('a TTL that is NaN', () => {
    for (const step of [
      () => new LRUCacheImpl(5, Number.NaN),
      () => new LRUCacheImpl().set('a', 1, Number.NaN),
    ]) {
      const error = thrown(step);
      expect(error).toBeInstanceOf(RangeError);
      expect(error.code).toBe('ERR_OUT_OF_RANGE');
    }
  });

  test.each([
    ['undefined', undefined],
    ['null', null],
    ['a number', 5],
    ['an object', {}],
    ['an array', ['a']],
    ['a String object', new String('a')],
    ['a symbol', Symbol('a')],
  ])('to set a key that is no string: %s', (_, key) => {
    const error = thrown(() => new LRUCacheImpl().set(key as never, 1));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe('ERR_INVALID_ARG_TYPE');
  });

  test('without a trace: a refused set leaves the entry, the order and the counters', () => {
    const cache = new LRUCacheImpl<number>(2);
    cache.set('a', 1);
    cache.set('b', 2);
    thrown(() => cache.set('a', 3, Number.NaN));
    thrown(() => cache.set('c', 3, 'x' as never));
    expect(cache.getStats()).toEqual({ hits: 0, misses: 0, hitRate: 0, size: 2, maxSize: 2 });
    cache.set('c', 3);
    expect(cache.get('a')).toBe(null);
    expect(cache.get('b')).toBe(2);
  });
});

describe("keyledger's LRUCacheImpl accepts", () => {
  test('a maxSize of 4294967295, for which it takes no memory ahead', () => {
    const cache = new LRUCacheImpl<number>(2 ** 32 - 1);
    expect(cache.maxSize).toBe(2 ** 32 - 1);
    cache.set('a', 1);
    expect(cache.get('a')).toBe(1);
  });

  test('no arguments, and undefined in place of one', () => {
    expect(new LRUCacheImpl().maxSize).toBe(1000);
    expect(new LRUCacheImpl(undefined, undefined).maxSize).toBe(1000);
    expect(new LRUCacheImpl(undefined, 5).maxSize).toBe(1000);
  });

  test.each([0, -1, 0.5, Infinity, -Infinity, 1e300])('a TTL of %d', ttl => {
    clock();
    const cache = new LRUCacheImpl<number>(5, ttl);
    cache.set('a', 1);
    cache.set('b', 2, ttl);
    expect(cache.size).toBe(2);
    expect(cache.has('a')).toBe(ttl >= 0);
    expect(cache.has('b')).toBe(ttl >= 0);
  });
});
