// lru-cache from npm, with all records of a JSON file parsed in it: what a hit costs where nothing is to be looked up,
// seen or recorded elsewhere. It keeps the order and an expiry, as keyledger does.
import { LRUCache } from 'lru-cache';
import type { ApiKey } from '../../index.js';
import type { Driver } from '../drivers.ts';
import { makeRecords, readRecords } from './records.ts';

export const lruCache: Driver = {
  name: 'lru-cache',
  make: makeRecords,
  async open(folder) {
    const keys = readRecords(folder);
    const cache = new LRUCache<string, ApiKey>({ max: keys.length, ttl: 300_000 });
    for (const record of keys) cache.set(record.key, record);
    return { find: key => cache.get(key) };
  },
};
