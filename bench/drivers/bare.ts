// No cache and no file: a `Map` of promises. What no awaited lookup can do without.
import type { Driver } from '../drivers.ts';
import { makeRecords, readRecords } from './records.ts';

export const bare: Driver = {
  name: 'Map',
  make: makeRecords,
  async open(folder) {
    const keys = readRecords(folder);
    const records = new Map(keys.map(record => [record.key, Promise.resolve(record)]));
    const nobody = Promise.resolve(null);
    return { find: key => records.get(key) ?? nobody };
  },
};
