// The store's functions, over one data file.
import { checkKey, LRUCacheImpl } from './cache.js';
import { invalidType, outOfRange, unwrap } from './errors.js';
import { frontOf, LOAD, LOAD_COUNTED } from './front.js';
import { logger, mask, report } from './log.js';
import { Ledger } from './native.js';
import { cacheEnabled } from './settings.js';
import { Writer } from './writer.js';

/** @typedef {import('../index.js').ApiKey} ApiKey */
/** @typedef {import('../index.js').ApiKeysData} ApiKeysData */

/**
 * @param {import('./settings.js').Settings} settings
 * @param {boolean} anew whether its cache and its counters are to begin anew if this environment has opened it before
 */
export function openLedger(settings, anew) {
  const { now } = settings;
  const front = frontOf(settings, anew, () =>
    unwrap(settings.ownClock ? Ledger.alone(settings) : Ledger.open(settings, anew)),
  );
  const { native } = front;
  const log = logger(settings.logLevel);
  const writer = new Writer(native, front, settings, log);
  // Each lookup is logged, so none may be handed out without a crossing.
  const debug = settings.logLevel === 'debug';
  const find = debug ? findAndLog : front.find.bind(front);
  const findApiKey = settings.ownClock ? findByOwnClock : debug ? findEach : findQuickly;
  const apiKeyCache = /** @type {import('../cache.js').LRUCache<ApiKey | null>} */ (
    new LRUCacheImpl(front)
  );
  /** The read that is under way. @type {Promise<void> | undefined} */
  let loading;
  /** The last fault that was reported. */
  let reported = '';

  async function load() {
    try {
      const changed = unwrap(await native.load(now()));
      reported = '';
      if (changed) log.info('reloaded', { file: settings.dataFile });
    } catch (error) {
      const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
      if (message !== reported) report('data file unreadable', { code, error: message });
      reported = message;
      throw error;
    } finally {
      loading = undefined;
      front.changed();
    }
  }

  /** Loads the file as it is now: by a read that began after this call, one for all who wait. */
  async function refresh() {
    if (loading !== undefined) {
      await loading.catch(() => {});
      if (native.look(now())) return;
    }
    loading ??= load();
    await loading;
  }

  /** @type {typeof front.find} */
  function findAndLog(key, counted, looked) {
    const before = front.counters();
    const found = front.find(key, counted, looked);
    const after = front.counters();
    const hit = after.hits > before.hits;
    if (hit) log.debug('hit', { key: mask(key) });
    if (after.misses > before.misses) log.debug('miss', { key: mask(key) });
    const filled = !hit && typeof found !== 'number' && native.has(key, now());
    if (filled) log.debug('fill', { key: mask(key) });
    return found;
  }

  /**
   * The lookup of what can't be handed out without a crossing.
   *
   * @param {string} key
   * @returns {Promise<ApiKey | null>}
   */
  function ask(key) {
    if (typeof key !== 'string') return Promise.reject(invalidType('key', 'a string', key));
    const found = tryToFind(key, true, false);
    if (found === undefined) return findPastCache(key);
    if (typeof found !== 'number') return found;
    if (found === LOAD || found === LOAD_COUNTED) return findAfterLoad(key, found === LOAD);
    return Promise.resolve(JSON.parse(native.read(key)));
  }

  /**
   * What `find` gives; `undefined` when the cache fails, which must not make a lookup fail.
   *
   * @param {Parameters<typeof find>} args
   */
  function tryToFind(...args) {
    try {
      return find(...args);
    } catch (error) {
      report('cache failed', { error: String(error) });
      return undefined;
    }
  }

  /**
   * @param {string} key
   * @param {boolean} counted
   */
  async function findAfterLoad(key, counted) {
    const fault = await refresh().catch(error => error);
    const found = tryToFind(key, counted, true);
    return typeof found === 'object' ? found : lastRead(key, fault);
  }

  /**
   * @param {string} key
   * @returns {Promise<ApiKey | null>}
   */
  async function findPastCache(key) {
    checkKey(key);
    const fault = native.look(now()) ? undefined : await refresh().catch(error => error);
    return lastRead(key, fault);
  }

  /**
   * The answer of the file as it was last read well; if it never was, that is a fault.
   *
   * @param {string} key
   * @param {unknown} fault
   */
  function lastRead(key, fault) {
    if (!native.loaded()) throw fault;
    return JSON.parse(native.read(key));
  }

  /** @param {string} key */
  function findQuickly(key) {
    return cacheEnabled() ? (front.quick(key) ?? ask(key)) : findPastCache(key);
  }

  /** @param {string} key */
  function findEach(key) {
    return cacheEnabled() ? ask(key) : findPastCache(key);
  }

  /**
   * A clock that fails makes a lookup reject, not throw.
   *
   * @param {string} key
   */
  async function findByOwnClock(key) {
    now();
    return debug ? findEach(key) : findQuickly(key);
  }

  /**
   * @param {string} key
   * @param {number} tokensUsed
   * @param {string} model
   */
  function updateApiKeyUsage(key, tokensUsed, model) {
    if (typeof key !== 'string') return Promise.reject(invalidType('key', 'a string', key));
    if (typeof tokensUsed !== 'number') {
      return Promise.reject(invalidType('tokensUsed', 'a number', tokensUsed));
    }
    if (!Number.isFinite(tokensUsed)) {
      return Promise.reject(outOfRange('tokensUsed', 'a finite number', tokensUsed));
    }
    try {
      return writer.record(key, tokensUsed, model);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async function readApiKeys() {
    if (!native.look(now())) await refresh();
    const text = native.document();
    return text === null ? { keys: [] } : JSON.parse(text);
  }

  /** @param {ApiKeysData} data */
  async function writeApiKeys(data) {
    if (!Array.isArray(data?.keys)) throw invalidType('data', 'an object with an array keys', data);
    await writer.replace(print(data));
  }

  /**
   * @template T
   * @param {() => Promise<T>} fn
   */
  async function withLock(fn) {
    if (typeof fn !== 'function') throw invalidType('argument of withLock', 'a function', fn);
    return writer.withLock(fn);
  }

  async function warmupCache() {
    if (!cacheEnabled()) return;
    try {
      front.tell();
      const keys = unwrap(await native.warmUp(now()));
      log.info('warmed up', { keys });
    } catch (error) {
      report('warm-up failed', { error: String(error) });
    } finally {
      front.changed();
    }
  }

  async function cacheStats() {
    return { ...apiKeyCache.getStats(), enabled: cacheEnabled() };
  }

  return {
    findApiKey,
    getKeyStats: findApiKey,
    updateApiKeyUsage,
    cacheStats,
    readApiKeys,
    writeApiKeys,
    withLock,
    warmupCache,
    apiKeyCache,
    flush: () => writer.flush(),
    clearCache: () => front.clear(),
  };
}

/** @param {ApiKeysData} data */
function print(data) {
  let text;
  try {
    text = JSON.stringify(data, null, 2);
  } catch (error) {
    throw Object.assign(/** @type {Error} */ (error), { code: 'ERR_INVALID_ARG_TYPE' });
  }
  if (text === undefined) throw invalidType('data', 'an object that JSON can print', text);
  return text;
}
