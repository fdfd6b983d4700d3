// What else there is for the job: each a driver, on a store of its own.
import type { ApiKey, ApiKeysData } from '../index.js';
import { lruCache } from './peers/lru-cache.ts';
import { sqlite } from './peers/sqlite.ts';
import { lmdb } from './rival.ts';

/** An open store. */
export interface Peer {
  /** The record of a key, if there is one. */
  find(key: string): ApiKey | null | undefined;
  close(): unknown;
}

export interface Driver {
  /** The column of the tables. */
  name: 'lru-cache' | 'sqlite' | 'lmdb';
  /** Makes a store of these records, durable when the promise resolves. */
  make(path: string, data: ApiKeysData): Promise<void>;
  open(path: string): Peer;
}

/** Those that find a key in their store, as far as this runtime has them. */
export const stores: Driver[] = sqlite ? [sqlite, lmdb] : [lmdb];

/** Those, and the cache of parsed records. */
export const drivers: Driver[] = [lruCache, ...stores];

/** The driver with this name. */
export function driverOf(name: string): Driver {
  const driver = drivers.find(candidate => candidate.name === name);
  if (!driver) throw new Error(`no ${name} on this runtime`);
  return driver;
}
