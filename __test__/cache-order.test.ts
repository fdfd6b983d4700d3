// How much a cache holds and which entry goes when it is full, and random calls against a simple model.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { filled, held, MAKERS } from './cache-makers.ts';
import { cleanUp, clock } from './helpers.ts';
import { Random, SEED } from './oracle-pair.ts';

let time: ReturnType<typeof clock>;
beforeEach(() => {
  time = clock('2031-03-01T12:00:00.000Z');
});
afterEach(cleanUp);

describe.each(MAKERS)('%s', (_, create) => {
  describe('the size', () => {
    test('is 1000 at most by default', async () => {
      const cache = await create();
      for (let i = 0; i <= 1000; i++) cache.set(`k${i}`, { i });
      expect(cache.maxSize).toBe(1000);
      expect(cache.size).toBe(1000);
      expect(cache.has('k0')).toBe(false);
      expect(cache.get('k1')).toEqual({ i: 1 });
      expect(cache.get('k1000')).toEqual({ i: 1000 });
    });

    test('size and maxSize are properties that follow', async () => {
      const cache = await filled(create, 'ab', 3);
      expect([cache.size, cache.maxSize]).toEqual([2, 3]);
      expect(cache.getStats()).toMatchObject({ size: 2, maxSize: 3 });
      cache.set('c', { n: 3 });
      cache.set('d', { n: 4 });
      expect([cache.size, cache.maxSize]).toEqual([3, 3]);
    });
  });

  describe('the entry that goes when the cache is full', () => {
    test('is the one that was set first, when none was used', async () => {
      expect(held(await filled(create, 'abcde', 3), 'abcde')).toBe('cde');
    });

    test('is not one that was read since', async () => {
      const cache = await filled(create, 'abc', 3);
      cache.get('a');
      cache.set('d', { n: 4 });
      expect(held(cache, 'abcd')).toBe('acd');
    });

    test('is not one that was set again since', async () => {
      const cache = await filled(create, 'abc', 3);
      cache.set('a', { n: 1 });
      expect(cache.size).toBe(3);
      cache.set('d', { n: 4 });
      expect(held(cache, 'abcd')).toBe('acd');
    });

    test('follows the order of the last uses', async () => {
      const cache = await filled(create, 'abcd', 4);
      for (const key of 'cadbxac') cache.get(key);
      const left = ['e', 'f', 'g', 'h'].map(key => {
        cache.set(key, { key });
        return held(cache, 'abcd');
      });
      expect(left).toEqual(['abc', 'ac', 'c', '']);
    });

    test('is none when a key is set that is there already', async () => {
      const cache = await filled(create, 'abc', 3);
      for (let i = 0; i < 10; i++) cache.set('b', { i });
      expect(held(cache, 'abc')).toBe('abc');
    });

    test('is the only one when there is room for one', async () => {
      const cache = await filled(create, 'ab', 1);
      expect(held(cache, 'ab')).toBe('b');
      expect(cache.get('b')).toEqual({ key: 'b' });
      expect(cache.size).toBe(1);
    });
  });

  test('20 000 random calls agree with a list of entries', async () => {
    const random = new Random(SEED);
    const maxSize = 7;
    const cache = await create(maxSize, 100);
    type Item = { key: string; value: object; until: number };
    let list: Item[] = [];
    let [hits, misses] = [0, 0];
    const drop = (key: string) => {
      list = list.filter(item => item.key !== key);
    };
    const live = (key: string) => {
      const item = list.find(each => each.key === key);
      if (item && Date.now() > item.until) drop(key);
      return list.find(each => each.key === key);
    };

    for (let i = 0; i < 20_000; i++) {
      if (random.chance(0.3)) time.advance(random.pick([1, 5, 30, 100, 101]));
      const key = `k${random.int(12)}`;
      const message = `step ${i}, key ${key}; KEYLEDGER_SEED=${SEED}`;
      const action = random.int(100);
      if (action < 40) {
        const item = live(key);
        expect(cache.get(key), message).toBe(item ? item.value : null);
        if (item) {
          hits++;
          list = [...list.filter(each => each !== item), item];
        } else misses++;
      } else if (action < 75) {
        const value = { i };
        const ttl = random.pick([undefined, undefined, 0, 20, 500]);
        cache.set(key, value, ttl);
        drop(key);
        list = [...list, { key, value, until: Date.now() + (ttl ?? 100) }].slice(-maxSize);
      } else if (action < 88) {
        expect(cache.has(key), message).toBe(live(key) !== undefined);
      } else if (action < 98) {
        expect(cache.delete(key), message).toBe(list.some(item => item.key === key));
        drop(key);
      } else if (action < 99) {
        cache.clear();
        list = [];
      } else {
        cache.resetStats();
        [hits, misses] = [0, 0];
      }
      const stats = cache.getStats();
      const counts = [stats.hits, stats.misses, stats.size, cache.size];
      expect(counts, message).toEqual([hits, misses, list.length, list.length]);
    }
  });
});
