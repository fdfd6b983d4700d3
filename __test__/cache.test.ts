// The rules of the cache, one by one. Which entry goes when it is full is in cache-order.test.ts, what is a key and a
// value in cache-contents.test.ts, and what only `apiKeyCache` has to do in api-key-cache.test.ts.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { filled, held, MAKERS } from './cache-makers.ts';
import { cleanUp, clock } from './helpers.ts';

let time: ReturnType<typeof clock>;
beforeEach(() => {
  time = clock('2031-03-01T12:00:00.000Z');
});
afterEach(cleanUp);

describe.each(MAKERS)('%s', (_, create) => {
  describe('get', () => {
    test('gives null for what is not there, and counts a miss', async () => {
      const cache = await create();
      expect(cache.get('a')).toBe(null);
      expect(cache.getStats()).toMatchObject({ hits: 0, misses: 1, size: 0 });
    });

    test('gives the very value that was set, and counts a hit', async () => {
      const cache = await create();
      const value = { name: 'Ann' };
      cache.set('a', value);
      expect(cache.get('a')).toBe(value);
      expect(cache.get('a')).toBe(value);
      expect(cache.getStats()).toMatchObject({ hits: 2, misses: 0 });
    });

    test('a cached null is a hit', async () => {
      const cache = await create();
      cache.set('a', null);
      expect(cache.get('a')).toBe(null);
      expect(cache.getStats()).toMatchObject({ hits: 1, misses: 0, size: 1 });
    });
  });

  describe('set', () => {
    test('replaces the value', async () => {
      const cache = await create();
      cache.set('a', { n: 1 });
      cache.set('a', { n: 2 });
      expect(cache.get('a')).toEqual({ n: 2 });
      expect(cache.size).toBe(1);
    });

    test('replaces a value by null and null by a value', async () => {
      const cache = await create();
      cache.set('a', { n: 1 });
      cache.set('a', null);
      expect(cache.get('a')).toBe(null);
      cache.set('a', { n: 2 });
      expect(cache.get('a')).toEqual({ n: 2 });
      expect(cache.size).toBe(1);
    });

    test('counts nothing and returns nothing', async () => {
      const cache = await create();
      expect(cache.set('a', { n: 1 })).toBe(undefined);
      expect(cache.getStats()).toMatchObject({ hits: 0, misses: 0 });
    });
  });

  describe('time to live', () => {
    test('is five minutes by default, the last millisecond included', async () => {
      const cache = await create();
      cache.set('a', { n: 1 });
      time.advance(300_000);
      expect(cache.get('a')).toEqual({ n: 1 });
      time.advance(1);
      expect(cache.get('a')).toBe(null);
    });

    test('is what was asked for', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 });
      time.advance(50);
      expect(cache.has('a')).toBe(true);
      time.advance(1);
      expect(cache.has('a')).toBe(false);
    });

    test('does not slide: neither get nor has makes an entry live longer', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 });
      for (let i = 0; i < 5; i++) {
        time.advance(10);
        expect(cache.get('a')).toEqual({ n: 1 });
        expect(cache.has('a')).toBe(true);
      }
      time.advance(1);
      expect(cache.get('a')).toBe(null);
    });

    test('an expired entry counts as a miss and is gone', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 });
      time.advance(51);
      expect(cache.size).toBe(1);
      expect(cache.get('a')).toBe(null);
      expect(cache.getStats()).toMatchObject({ hits: 0, misses: 1, size: 0 });
      expect(cache.delete('a')).toBe(false);
    });

    test('an expired null is gone too', async () => {
      const cache = await create(10, 50);
      cache.set('a', null);
      time.advance(51);
      expect(cache.has('a')).toBe(false);
      expect(cache.get('a')).toBe(null);
      expect(cache.getStats()).toMatchObject({ hits: 0, misses: 1 });
    });

    test('set starts it anew', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 });
      time.advance(40);
      cache.set('a', { n: 2 });
      time.advance(50);
      expect(cache.get('a')).toEqual({ n: 2 });
      time.advance(1);
      expect(cache.get('a')).toBe(null);
    });

    test.each([
      ['shorter', 10],
      ['longer', 70],
      ['fractional', 10.5],
    ])('set takes one for the entry that is %s than the default', async (__, ttl) => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 }, ttl);
      time.advance(Math.floor(ttl));
      expect(cache.has('a')).toBe(true);
      time.advance(1);
      expect(cache.has('a')).toBe(false);
    });

    test('belongs to the entry: set without one goes back to the default', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 }, 10);
      cache.set('a', { n: 2 });
      cache.set('b', { n: 3 }, undefined);
      time.advance(50);
      expect(held(cache, 'ab')).toBe('ab');
      time.advance(1);
      expect(held(cache, 'ab')).toBe('');
    });

    test('of 0 lasts for the millisecond', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 }, 0);
      expect(cache.get('a')).toEqual({ n: 1 });
      time.advance(1);
      expect(cache.get('a')).toBe(null);
    });

    test('below 0 has passed at once', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 }, -1);
      expect(cache.get('a')).toBe(null);
    });

    test('may be endless', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 }, Infinity);
      time.advance(1e12);
      expect(cache.get('a')).toEqual({ n: 1 });
    });
  });

  describe('has', () => {
    test('tells a cached null from nothing', async () => {
      const cache = await create();
      cache.set('a', null);
      expect(cache.has('a')).toBe(true);
      expect(cache.has('b')).toBe(false);
    });

    test('counts nothing', async () => {
      const cache = await create(10, 50);
      cache.set('a', { n: 1 });
      cache.has('a');
      cache.has('b');
      time.advance(51);
      cache.has('a');
      expect(cache.getStats()).toMatchObject({ hits: 0, misses: 0 });
    });

    test('does not touch the order', async () => {
      const cache = await filled(create, 'abc', 3);
      expect(cache.has('a')).toBe(true);
      cache.set('d', { n: 4 });
      expect(held(cache, 'abcd')).toBe('bcd');
    });
  });

  describe('delete', () => {
    test('removes the entry and says that there was one', async () => {
      const cache = await filled(create, 'ab', 10);
      expect(cache.delete('a')).toBe(true);
      expect(cache.get('a')).toBe(null);
      expect(held(cache, 'ab')).toBe('b');
      expect(cache.size).toBe(1);
    });

    test('of a cached null removes it', async () => {
      const cache = await create();
      cache.set('a', null);
      expect(cache.delete('a')).toBe(true);
      expect(cache.has('a')).toBe(false);
    });

    test('of what is not there does nothing', async () => {
      const cache = await filled(create, 'a', 10);
      expect(cache.delete('b')).toBe(false);
      expect(cache.delete('')).toBe(false);
      expect(held(cache, 'ab')).toBe('a');
      cache.delete('a');
      expect(cache.delete('a')).toBe(false);
      expect(cache.size).toBe(0);
    });

    test('counts nothing', async () => {
      const cache = await filled(create, 'a', 10);
      cache.delete('a');
      cache.delete('a');
      expect(cache.getStats()).toMatchObject({ hits: 0, misses: 0 });
    });

    test('makes room', async () => {
      const cache = await filled(create, 'abc', 3);
      cache.delete('b');
      cache.set('d', { n: 4 });
      expect(held(cache, 'abcd')).toBe('acd');
    });
  });

  describe('clear', () => {
    test('empties the cache and keeps the counters', async () => {
      const cache = await filled(create, 'ab', 10);
      cache.get('a');
      cache.get('x');
      cache.clear();
      const { hits, misses, size } = cache.getStats();
      expect({ hits, misses, size }).toEqual({ hits: 1, misses: 1, size: 0 });
      expect(held(cache, 'ab')).toBe('');
      expect(cache.get('b')).toBe(null);
    });

    test('leaves a cache that works', async () => {
      const cache = await filled(create, 'abc', 3);
      cache.clear();
      cache.clear();
      for (const key of 'abcd') cache.set(key, { again: key });
      expect(held(cache, 'abcd')).toBe('bcd');
      expect(cache.get('b')).toEqual({ again: 'b' });
    });
  });

  describe('the counters', () => {
    test('resetStats zeroes them and keeps the entries, their order and their time', async () => {
      const cache = await filled(create, 'abc', 3);
      time.advance(900);
      cache.get('a');
      cache.get('x');
      cache.resetStats();
      expect(cache.getStats()).toEqual({ hits: 0, misses: 0, hitRate: 0, size: 3, maxSize: 3 });
      cache.set('d', { n: 4 });
      expect(held(cache, 'abcd')).toBe('acd');
      time.advance(101);
      expect(held(cache, 'abcd')).toBe('d');
    });

    test('the hit rate is 0 when nothing was asked', async () => {
      const cache = await create();
      expect(cache.getStats()).toEqual({
        hits: 0,
        misses: 0,
        hitRate: 0,
        size: 0,
        maxSize: 1000,
      });
    });

    test.each([
      [3, 1, 75],
      [1, 2, 100 / 3],
      [5, 0, 100],
      [0, 5, 0],
    ])('after %i hits and %i misses the hit rate is %d', async (hits, misses, rate) => {
      const cache = await filled(create, 'a', 10);
      for (let i = 0; i < hits; i++) cache.get('a');
      for (let i = 0; i < misses; i++) cache.get('x');
      const stats = cache.getStats();
      expect(stats).toMatchObject({ hits, misses });
      expect(stats.hitRate).toBeCloseTo(rate, 9);
    });

    test('getStats is a picture of the moment', async () => {
      const cache = await filled(create, 'a', 10);
      const before = cache.getStats();
      cache.get('a');
      cache.set('b', { n: 2 });
      expect(before).toMatchObject({ hits: 0, size: 1 });
      expect(cache.getStats()).toMatchObject({ hits: 1, size: 2 });
    });
  });
});
