import type { ApiKey } from './storage.ts';

export interface CacheStats {
  hits: number;
  misses: number;
  hitRate: number;
  size: number;
  maxSize: number;
}

export interface LRUCache<T> {
  get(key: string): T | null;
  set(key: string, value: T, ttl?: number): void;
  has(key: string): boolean;
  delete(key: string): boolean;
  clear(): void;
  readonly size: number;
  readonly maxSize: number;
  getStats(): CacheStats;
  resetStats(): void;
}

interface Entry<T> {
  value: T;
  storedAt: number;
  ttl: number;
}

/** A `Map` keeps its entries in the order of insertion: the first is the least recently used. */
export class LRUCacheImpl<T> implements LRUCache<T> {
  readonly maxSize: number;
  private readonly defaultTTL: number;
  private readonly entries = new Map<string, Entry<T>>();
  private hits = 0;
  private misses = 0;

  constructor(maxSize = 1000, defaultTTL = 300000) {
    this.maxSize = maxSize;
    this.defaultTTL = defaultTTL;
  }

  get size(): number {
    return this.entries.size;
  }

  get(key: string): T | null {
    const entry = this.live(key);
    if (!entry) {
      this.misses++;
      return null;
    }
    this.entries.delete(key);
    this.entries.set(key, entry);
    this.hits++;
    return entry.value;
  }

  set(key: string, value: T, ttl = this.defaultTTL): void {
    this.entries.delete(key);
    if (this.entries.size >= this.maxSize) {
      const oldest = this.entries.keys().next();
      if (!oldest.done) this.entries.delete(oldest.value);
    }
    this.entries.set(key, { value, storedAt: Date.now(), ttl });
  }

  has(key: string): boolean {
    return this.live(key) !== undefined;
  }

  delete(key: string): boolean {
    return this.entries.delete(key);
  }

  clear(): void {
    this.entries.clear();
  }

  getStats(): CacheStats {
    const { hits, misses, size, maxSize } = this;
    const asked = hits + misses;
    return { hits, misses, hitRate: asked === 0 ? 0 : (hits / asked) * 100, size, maxSize };
  }

  resetStats(): void {
    this.hits = 0;
    this.misses = 0;
  }

  private live(key: string): Entry<T> | undefined {
    const entry = this.entries.get(key);
    if (entry && Date.now() > entry.storedAt + entry.ttl) {
      this.entries.delete(key);
      return undefined;
    }
    return entry;
  }
}

const LOG_LEVELS = ['none', 'info', 'debug'];
const logLevel = LOG_LEVELS.indexOf(process.env.CACHE_LOG_LEVEL ?? 'none');
const logged = { info: logLevel >= 1, debug: logLevel >= 2 };

export function log(level: 'info' | 'debug', message: string, key?: string, data?: object): void {
  if (!logged[level]) return;
  const shown = key === undefined ? data : { key: `${key.slice(0, 8)}...`, ...data };
  console.log(`[cache] ${message} ${JSON.stringify(shown)}`);
}

export function cacheEnabled(): boolean {
  return process.env.CACHE_ENABLED !== 'false';
}

function setting(name: string, fallback: number): number {
  const value = Number.parseInt(process.env[name] ?? '', 10);
  return value > 0 ? value : fallback;
}

export const apiKeyCache: LRUCache<ApiKey | null> = new LRUCacheImpl(
  setting('CACHE_MAX_SIZE', 1000),
  setting('CACHE_TTL_MS', 300000),
);
