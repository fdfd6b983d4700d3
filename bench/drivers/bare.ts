// No cache and no file: a `Map` of promises. What no awaited lookup can do without.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ApiKeysData } from '../../index.js';
import type { Driver } from '../drivers.ts';

export const bare: Driver = {
  name: 'Map',
  async make(folder, data) {
    writeFileSync(join(folder, 'records.json'), JSON.stringify(data));
  },
  async open(folder) {
    const { keys }: ApiKeysData = JSON.parse(readFileSync(join(folder, 'records.json'), 'utf8'));
    const records = new Map(keys.map(record => [record.key, Promise.resolve(record)]));
    const nobody = Promise.resolve(null);
    return { find: key => records.get(key) ?? nobody };
  },
};
