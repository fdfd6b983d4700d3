import type { CacheStats, LRUCache } from './cache.js';

export { apiKeyCache, type CacheStats, type LRUCache, LRUCacheImpl } from './cache.js';

/** The tokens used in one window of five hours. */
export interface UsageWindow {
  /** When the window began: ISO 8601, UTC, milliseconds, as `Date.prototype.toISOString` prints it. */
  window_start: string;
  /** Tokens used since then. */
  tokens_used: number;
}

/** One API key with its quota and its usage. Fields that are not named here are kept as they are. */
export interface ApiKey {
  key: string;
  name: string;
  /** The model that this key is bound to, where it is. */
  model?: string;
  /** The most tokens in five hours. */
  token_limit_per_5h: number;
  /** ISO 8601. */
  expiry_date: string;
  /** ISO 8601. */
  created_at: string;
  /** ISO 8601, the time of the last recorded usage. */
  last_used: string;
  /** Tokens used since the key was made. */
  total_lifetime_tokens: number;
  usage_windows: UsageWindow[];
}

/** The data file. */
export interface ApiKeysData {
  keys: ApiKey[];
}

/**
 * Finds a key, from the cache or from the file as it is now, and caches what it finds, a not-found too. Two hits on an
 * unchanged entry give the same object. An edit of the file is seen within `CACHE_REVALIDATE_MS`.
 *
 * While the file can't be read, its last good state answers and the fault is logged.
 *
 * @returns the key's record, `null` when the file has no such key
 * @throws `ERR_INVALID_ARG_TYPE` when `key` is no string; `EDATA`, or the system's own code, when the file can't be read
 *   and never could since the module was loaded
 */
export function findApiKey(key: string): Promise<ApiKey | null>;

/** The same as {@link findApiKey}. */
export function getKeyStats(key: string): Promise<ApiKey | null>;

/**
 * Adds `tokensUsed` to a key's lifetime total and to its current five-hour window, and sets `last_used`. Resolves once
 * the file holds it, synced to the disk unless `DATA_FSYNC=false`; calls that are made together are written together
 * and share one promise. Those that come while others are written wait for more of their kind, 128 ms at most, as long as
 * more come. A key that the file does not have is left out without an error.
 *
 * When it rejects, nothing of that batch is in the file, unless the code is `EUNSYNCED`: then all of it is, but a power
 * cut may take it, since the folder could not be synced, nor the content before it put back.
 *
 * @param tokensUsed any finite number of tokens
 * @param model the model that used them; only logged
 * @throws `ERR_INVALID_ARG_TYPE` and `ERR_OUT_OF_RANGE` for arguments that make no sense; `EDATA` when the file can't be
 *   parsed, which is then left as it is; `ELOCKED` when another process keeps the lock for longer than
 *   `LOCK_TIMEOUT_MS`, with who that is and since when in the message; `EUNSYNCED`, see above; the system's own code
 *   (`ENOSPC`, `EACCES`, `EROFS`, `EBUSY` ...) when the file can't be written
 */
export function updateApiKeyUsage(key: string, tokensUsed: number, model: string): Promise<void>;

/** The counters and the size of the cache, and whether `CACHE_ENABLED` has it on. */
export function cacheStats(): Promise<CacheStats & { enabled: boolean }>;

/**
 * What the file holds now; `{ keys: [] }` when there is no file. Parses all of it on the event loop.
 *
 * @throws `EDATA`, or the system's own code, when the file can't be read
 */
export function readApiKeys(): Promise<ApiKeysData>;

/**
 * Replaces the file, atomically, by what `JSON.stringify(data, null, 2)` prints of `data` as it is at the call. To change
 * what is there, read and write inside one {@link withLock}.
 *
 * @throws `ERR_INVALID_ARG_TYPE` when `data` has no array `keys`, or can't be printed as JSON; `EUNSYNCED` when the file
 *   holds `data`, but the folder could not be synced; otherwise as {@link updateApiKeyUsage}
 */
export function writeApiKeys(data: ApiKeysData): Promise<void>;

/**
 * Runs `fn` while no other holder, in this process or another, has the lock, and gives its result. What is called
 * inside, `withLock` included, works and does not wait for its own caller.
 *
 * Calls of one thread take turns, in their order and however long. A nested one is one call of the outer `fn`: to wait
 * inside it for what the outer one called later would be to wait for oneself.
 *
 * @throws what `fn` throws; `ELOCKED` when another process or thread keeps the lock for longer than `LOCK_TIMEOUT_MS`; the
 *   system's own code when the lock can't be made
 */
export function withLock<T>(fn: () => Promise<T>): Promise<T>;

/**
 * Loads the keys of the file into the cache, up to its size; nothing while `CACHE_ENABLED` is `false`. Never throws: a
 * fault is logged.
 */
export function warmupCache(): Promise<void>;

/**
 * Resolves once all usage that was recorded before this call is in the file. For `SIGTERM` handlers.
 *
 * @throws what the pending {@link updateApiKeyUsage} calls reject with
 */
export function flush(): Promise<void>;

/** Empties the cache; the next lookups are answered from the file as it is then. The counters stay. */
export function clearCache(): void;

/** What a ledger of {@link createLedger} is opened with. What is left out has the default, whatever the environment says. */
export interface LedgerOptions {
  /** The data file, absolute or from the working directory. Its folder is made when it is missing. */
  dataFile: string;
  /** The most entries in the cache, 1 to 4294967295 (default 1000). */
  maxSize?: number | undefined;
  /** Milliseconds that an entry lives, used or not; at least 1 (default 300000, five minutes). */
  ttlMs?: number | undefined;
  /** Milliseconds within which an edit of the file is seen; 0 looks at every call (default 1000). */
  revalidateMs?: number | undefined;
  /** Milliseconds that a write waits for another process or thread that holds the lock (default 15000). */
  lockTimeoutMs?: number | undefined;
  /** Whether commits are synced to the disk (default true). */
  fsync?: boolean | undefined;
  /** What is logged besides faults (default `none`). */
  logLevel?: 'none' | 'info' | 'debug' | undefined;
  /**
   * The time of day in milliseconds since 1970, for tests: it moves expiry, five-hour windows and looks at the file, not
   * the waiting for locks (default `Date.now`). A ledger with a clock of its own shares its cache with no other.
   */
  now?: (() => number) | undefined;
}

/** The functions of this module, over one data file. */
export interface Ledger {
  findApiKey: typeof findApiKey;
  getKeyStats: typeof getKeyStats;
  updateApiKeyUsage: typeof updateApiKeyUsage;
  cacheStats: typeof cacheStats;
  readApiKeys: typeof readApiKeys;
  writeApiKeys: typeof writeApiKeys;
  withLock: typeof withLock;
  warmupCache: typeof warmupCache;
  apiKeyCache: LRUCache<ApiKey | null>;
  flush: typeof flush;
  clearCache: typeof clearCache;
}

/**
 * The functions of this module for another data file, with other settings. `CACHE_ENABLED` is for all of them.
 *
 * Ledgers with the same options, and the module's own functions with the same settings, share one cache in all threads
 * of the process. What one of them writes the others see within `revalidateMs`, as they do what other processes write.
 * There is nothing to close: a ledger that nobody refers to any more is freed.
 *
 * @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` and `ERR_OUT_OF_RANGE` for options that make no sense or do not
 *   exist, with their name; the system's own code when the folder of the data file can't be made
 */
export function createLedger(options: LedgerOptions): Ledger;
