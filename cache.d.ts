import type { ApiKey } from './index.js';

/** What a cache has answered so far, and how full it is. */
export interface CacheStats {
  /** Lookups that the cache answered, a cached `null` included. */
  hits: number;
  /** Lookups that it could not answer: absent or expired. */
  misses: number;
  /** `hits / (hits + misses)` in percent, 0 to 100; 0 when nothing was asked. */
  hitRate: number;
  /** Entries held now, expired ones that nobody asked for since included. */
  size: number;
  /** The most entries that it holds. */
  maxSize: number;
}

/** A least-recently-used cache whose entries live for a limited time. Every member is synchronous. */
export interface LRUCache<T> {
  /** The value, or `null` when there is none or it has expired. Counts a hit or a miss, and marks the entry as used. */
  get(key: string): T | null;
  /**
   * Stores `value` as the most recently used entry, in place of an earlier one; the least recently used entry goes
   * when the cache is full.
   *
   * @param ttl milliseconds from now until the entry expires, whether it is used or not; the cache's own when left out
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` when `key` is no string or `ttl` no number
   * @throws {RangeError} `ERR_OUT_OF_RANGE` when `ttl` is `NaN`
   */
  set(key: string, value: T, ttl?: number): void;
  /** Whether there is an entry that has not expired; tells a stored `null` from nothing. Neither counts nor reorders. */
  has(key: string): boolean;
  /** Removes the entry. Returns whether there was one; it is no error when there was none. */
  delete(key: string): boolean;
  /** Removes every entry and keeps the counters. */
  clear(): void;
  /** Entries held now. */
  readonly size: number;
  /** The most entries that it holds. */
  readonly maxSize: number;
  /** The counters and the size, as they are now. */
  getStats(): CacheStats;
  /** Sets the counters to zero and keeps the entries. */
  resetStats(): void;
}

/** The cache as a class of its own, for values of any kind. */
export class LRUCacheImpl<T> implements LRUCache<T> {
  /**
   * @param maxSize the most entries that it holds, 1 to 4294967295 (default 1000)
   * @param defaultTTL milliseconds until an entry expires (default 300000, five minutes)
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` when an argument is no number
   * @throws {RangeError} `ERR_OUT_OF_RANGE` when `maxSize` is no whole number of at least 1, or `defaultTTL` is `NaN`
   */
  constructor(maxSize?: number, defaultTTL?: number);
  get(key: string): T | null;
  set(key: string, value: T, ttl?: number): void;
  has(key: string): boolean;
  delete(key: string): boolean;
  clear(): void;
  get size(): number;
  get maxSize(): number;
  getStats(): CacheStats;
  resetStats(): void;
}

/**
 * The cache in front of the data file, the one that `findApiKey` and `updateApiKeyUsage` use. A key that is known not
 * to exist is held as `null`.
 */
export const apiKeyCache: LRUCache<ApiKey | null>;
