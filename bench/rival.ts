// lmdb from npm on the same job: read a key's record, add to it as `updateApiKeyUsage` does, durable when the promise
// resolves.
//
// Its default options, JSON and `transaction` are the fastest way of those that keep the promise (without overlapping
// sync, without batches by turn, with its cache, with a writable map, msgpack): what resolves has been through one
// `fdatasync` of the data and one `O_DSYNC` write of the page that names it, as `strace` shows.
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { RootDatabase } from 'lmdb';
import type { ApiKey, ApiKeysData } from '../index.js';
import { check, folder, type Updater } from './measure.ts';
import type { Driver } from './peers.ts';

// Its ES module does not find its addon on every runtime.
const { open } = createRequire(import.meta.url)('lmdb') as typeof import('lmdb');

const WINDOW_MS = 5 * 60 * 60 * 1000;

function openStore(path: string): RootDatabase<ApiKey, string> {
  return open({ path, encoding: 'json' });
}

async function fill(store: RootDatabase<ApiKey, string>, data: ApiKeysData): Promise<void> {
  await Promise.all(data.keys.map(record => store.put(record.key, record)));
  check(store.getKeysCount() === data.keys.length, 'lmdb holds every record');
}

export const lmdb: Driver = {
  name: 'lmdb',
  async make(path, data) {
    const store = openStore(path);
    await fill(store, data);
    await store.close();
  },
  open(path) {
    const store = openStore(path);
    return { find: key => store.get(key), close: () => store.close() };
  },
};

/** A database of its own with these records. */
export async function openRival(run: string, data: ApiKeysData): Promise<Updater> {
  mkdirSync(join(folder, 'lmdb'), { recursive: true });
  const store = openStore(join(folder, 'lmdb', `${run}.mdb`));
  await fill(store, data);
  const update = (key: string, tokensUsed = 1) =>
    store.transaction(() => {
      const record = store.get(key);
      if (record) store.put(key, add(record, tokensUsed, Date.now()));
    });
  const [first] = data.keys;
  await update(first?.key as string, 0);
  return {
    update,
    total: () => {
      let sum = 0;
      for (const { value } of store.getRange()) sum += value.total_lifetime_tokens;
      return sum;
    },
  };
}

/** The arithmetic of the contract. */
function add(record: ApiKey, tokensUsed: number, called: number): ApiKey {
  const now = new Date(called).toISOString();
  const cutoff = new Date(called - WINDOW_MS).toISOString();
  record.last_used = now;
  record.total_lifetime_tokens = (record.total_lifetime_tokens ?? 0) + tokensUsed;
  record.usage_windows ??= [];
  const current = record.usage_windows.find(window => window.window_start >= cutoff);
  if (current) current.tokens_used += tokensUsed;
  else record.usage_windows.push({ window_start: now, tokens_used: tokensUsed });
  record.usage_windows = record.usage_windows.filter(window => !(window.window_start < cutoff));
  return record;
}
