// lru-cache from npm, with all records of a JSON file parsed in it: what a hit costs where nothing is to be looked up,
// seen or recorded elsewhere. It keeps the order and an expiry, as keyledger does.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import type { ApiKey, ApiKeysData } from '../../index.js';
import type { Driver } from '../drivers.ts';

export const lruCache: Driver = {
  name: 'lru-cache',
  async make(folder, data) {
    writeFileSync(join(folder, 'records.json'), JSON.stringify(data));
  },
  async open(folder) {
    const { keys }: ApiKeysData = JSON.parse(readFileSync(join(folder, 'records.json'), 'utf8'));
    const cache = new LRUCache<string, ApiKey>({ max: keys.length, ttl: 300_000 });
    for (const record of keys) cache.set(record.key, record);
    return { find: key => cache.get(key) };
  },
};
