// The cache that programs see: `LRUCacheImpl`, and `apiKeyCache`, which is one over the store's own cache.
import { invalidType, outOfRange } from './errors.js';
import { Front } from './front.js';
import { Values } from './values.js';

const MOST = 2 ** 32 - 1;

/** @template T */
export class LRUCacheImpl {
  /** @type {Pick<Values<T>, keyof Values<T>>} */
  #values;

  /**
   * @param {number | Front} [maxSize] or, for `apiKeyCache`, what it is the face of
   * @param {number} [defaultTTL]
   */
  constructor(maxSize = 1000, defaultTTL = 300_000) {
    if (maxSize instanceof Front) {
      this.#values = /** @type {any} */ (maxSize);
      return;
    }
    if (typeof maxSize !== 'number') throw invalidType('maxSize', 'a number', maxSize);
    if (!Number.isInteger(maxSize) || maxSize < 1 || maxSize > MOST) {
      throw outOfRange('maxSize', `a whole number from 1 to ${MOST}`, maxSize);
    }
    checkMs('defaultTTL', defaultTTL);
    this.#values = new Values(maxSize, defaultTTL);
  }

  /** @param {string} key */
  get(key) {
    checkKey(key);
    return this.#values.get(key);
  }

  /**
   * @param {string} key
   * @param {T} value
   * @param {number} [ttl]
   */
  set(key, value, ttl) {
    checkKey(key);
    if (ttl !== undefined) checkMs('ttl', ttl);
    this.#values.set(key, value, ttl);
  }

  /** @param {string} key */
  has(key) {
    checkKey(key);
    return this.#values.has(key);
  }

  /** @param {string} key */
  delete(key) {
    checkKey(key);
    return this.#values.delete(key);
  }

  clear() {
    this.#values.clear();
  }

  get size() {
    return this.#values.size;
  }

  get maxSize() {
    return this.#values.maxSize;
  }

  getStats() {
    const { hits, misses } = this.#values.counters();
    const asked = hits + misses;
    const hitRate = asked === 0 ? 0 : (hits / asked) * 100;
    return { hits, misses, hitRate, size: this.size, maxSize: this.maxSize };
  }

  resetStats() {
    this.#values.resetCounters();
  }
}

/** @param {unknown} key */
export function checkKey(key) {
  if (typeof key !== 'string') throw invalidType('key', 'a string', key);
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function checkMs(name, value) {
  if (typeof value !== 'number') throw invalidType(name, 'a number of milliseconds', value);
  if (Number.isNaN(value)) throw outOfRange(name, 'a number of milliseconds', value);
}
