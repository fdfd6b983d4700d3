// lru-cache from npm, with all records of a JSON file parsed in it: what a hit costs where nothing is to be looked up,
// seen or recorded elsewhere. It keeps the order and an expiry, as keyledger does.
import { readFileSync, writeFileSync } from 'node:fs';
import { LRUCache } from 'lru-cache';
import type { ApiKey, ApiKeysData } from '../../index.js';
import type { Driver } from '../peers.ts';

export const lruCache: Driver = {
  name: 'lru-cache',
  async make(path, data) {
    writeFileSync(path, JSON.stringify(data, null, 2));
  },
  open(path) {
    const { keys }: ApiKeysData = JSON.parse(readFileSync(path, 'utf8'));
    const cache = new LRUCache<string, ApiKey>({ max: keys.length, ttl: 300_000 });
    for (const record of keys) cache.set(record.key, record);
    return { find: key => cache.get(key), close: () => cache.clear() };
  },
};
