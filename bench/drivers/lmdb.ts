// lmdb from npm on the same job: read a key's record, add to it as `updateApiKeyUsage` does, durable when the promise
// resolves.
//
// Its default options, JSON and `transaction` are the fastest way of those that keep the promise (without overlapping
// sync, without batches by turn, with its cache, with a writable map, msgpack): what resolves has been through one
// `fdatasync` of the data and one `O_DSYNC` write of the page that names it, as `strace` shows.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { RootDatabase } from 'lmdb';
import type { ApiKey } from '../../index.js';
import type { Driver } from '../drivers.ts';
import { check } from '../measure.ts';
import { add } from './usage.ts';

// Its ES module does not find its addon on every runtime.
const { open } = createRequire(import.meta.url)('lmdb') as typeof import('lmdb');

function openStore(folder: string): RootDatabase<ApiKey, string> {
  return open({ path: join(folder, 'records.mdb'), encoding: 'json' });
}

export const lmdb: Driver = {
  name: 'lmdb',
  async make(folder, data) {
    const store = openStore(folder);
    await Promise.all(data.keys.map(record => store.put(record.key, record)));
    check(store.getKeysCount() === data.keys.length, 'lmdb holds every record');
    await store.close();
  },
  async open(folder) {
    const store = openStore(folder);
    return {
      find: key => store.get(key),
      record: key =>
        store.transaction(() => {
          const record = store.get(key);
          if (record) store.put(key, add(record, 1, Date.now()));
        }),
    };
  },
  async total(folder) {
    const store = openStore(folder);
    let sum = 0;
    for (const { value } of store.getRange()) sum += value.total_lifetime_tokens;
    await store.close();
    return sum;
  },
};
