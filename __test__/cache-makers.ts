// The caches that follow the same rules: the class, `apiKeyCache`, and the reference's class, which proves the tests.
import { LRUCacheImpl as Reference } from '../bench/baseline/cache.ts';
import { LRUCacheImpl } from '../cache.js';
import { open } from './helpers.ts';

export interface Cache {
  get(key: string): unknown;
  set(key: string, value: unknown, ttl?: number): void;
  has(key: string): boolean;
  delete(key: string): boolean;
  clear(): void;
  readonly size: number;
  readonly maxSize: number;
  getStats(): { hits: number; misses: number; hitRate: number; size: number; maxSize: number };
  resetStats(): void;
}

export type Create = (maxSize?: number, ttl?: number) => Promise<Cache>;

export const MAKERS: [string, Create][] = [
  ["keyledger's LRUCacheImpl", async (maxSize, ttl) => new LRUCacheImpl<unknown>(maxSize, ttl)],
  [
    "keyledger's apiKeyCache",
    async (maxSize, ttl) => {
      const settings = { CACHE_MAX_SIZE: maxSize?.toString(), CACHE_TTL_MS: ttl?.toString() };
      return (await open([], settings)).apiKeyCache as Cache;
    },
  ],
  ["the reference's LRUCacheImpl", async (maxSize, ttl) => new Reference<unknown>(maxSize, ttl)],
];

/** Which of the keys are there, without touching the order. */
export const held = (cache: Cache, keys: string) =>
  [...keys].filter(key => cache.has(key)).join('');

/** A cache whose entries were set in the order of these keys. */
export async function filled(create: Create, keys: string, maxSize: number): Promise<Cache> {
  const cache = await create(maxSize, 1000);
  for (const key of keys) cache.set(key, { key });
  return cache;
}
