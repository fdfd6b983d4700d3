// All who do the job, each on a store of its own: a driver has the same four calls for all of them.
import type { ApiKey, ApiKeysData } from '../index.js';
import { bare } from './drivers/bare.ts';
import { lmdb } from './drivers/lmdb.ts';
import { lruCache } from './drivers/lru-cache.ts';
import { sqlite } from './drivers/sqlite.ts';
import { baseline, keyledger, unsynced } from './drivers/storage.ts';
import type { Column } from './measure.ts';

type Found = ApiKey | null | undefined;

/** An open store. */
export interface Store {
  /** The record of a key, if there is one. */
  find(key: string): Found | Promise<Found>;
  /** Adds one token to a key's usage, as the contract says. Resolved, or back, it is recorded. */
  record?(key: string): unknown;
  /** Takes as much into memory as it keeps there. */
  load?(): unknown;
  /** All records as one object, and one object as all records. */
  readAll?(): Promise<unknown>;
  writeAll?(data: ApiKeysData): Promise<void>;
  /** How many lookups its cache answered, and how many it did not, if it counts both. */
  counters?(): Promise<{ hits: number; misses: number }>;
}

export interface Driver {
  name: Column;
  /** Makes a store of these records in an empty folder, durable when the promise resolves. A file it writes again. */
  make(folder: string, data: ApiKeysData): Promise<void>;
  /** Opens it. The environment is set accordingly, so one process opens one store of a kind. */
  open(folder: string): Promise<Store>;
  /** The same, so that it finds nothing in its cache: as it stands after a start. */
  openCold?(folder: string): Promise<Store>;
  /** The sum of all lifetime totals in a store that nobody has open. */
  total?(folder: string): Promise<number>;
}

const all: Record<Column, Driver | undefined> = {
  keyledger,
  'keyledger, unsynced': unsynced,
  baseline,
  'no storage': undefined,
  limit: undefined,
  Map: bare,
  'lru-cache': lruCache,
  'sqlite NORMAL': sqlite?.('NORMAL'),
  'sqlite FULL': sqlite?.('FULL'),
  lmdb,
};

/** The drivers with these names, as far as this runtime has them. */
export function driversOf(...names: Column[]): Driver[] {
  return names.flatMap(name => all[name] ?? []);
}

/** The driver with this name. */
export function driverOf(name: string): Driver {
  const driver = all[name as Column];
  if (!driver) throw new Error(`there is no ${name} on this runtime`);
  return driver;
}
