// The values of an `LRUCacheImpl`. Order, expiry and counters are in Rust; the values are here, each in the slot that
// its stamp names (`src/cache.rs`): a slot that is filled again replaces what was there, so no more is kept than the
// cache holds.
import { Lru } from './native.js';

/** @template T */
export class Values {
  #order;
  #maxSize;
  /** @type {(T | undefined)[]} */
  #slots = [];

  /**
   * @param {number} maxSize
   * @param {number} ttl
   */
  constructor(maxSize, ttl) {
    this.#order = new Lru(maxSize, ttl);
    this.#maxSize = maxSize;
  }

  /**
   * @param {string} key
   * @returns {T | null}
   */
  get(key) {
    const stamp = this.#order.get(key, Date.now());
    return stamp === 0 ? null : /** @type {T} */ (this.#slots[stamp % this.#maxSize]);
  }

  /**
   * @param {string} key
   * @param {T} value
   * @param {number} [ttl]
   */
  set(key, value, ttl) {
    const stamp = this.#order.set(key, Date.now(), ttl);
    this.#slots[stamp % this.#maxSize] = value;
  }

  /** @param {string} key */
  has(key) {
    return this.#order.has(key, Date.now());
  }

  /** @param {string} key */
  delete(key) {
    const stamp = this.#order.delete(key);
    if (stamp !== 0) this.#slots[stamp % this.#maxSize] = undefined;
    return stamp !== 0;
  }

  clear() {
    this.#order.clear();
    this.#slots = [];
  }

  get size() {
    return this.#order.size();
  }

  get maxSize() {
    return this.#maxSize;
  }

  counters() {
    return { hits: this.#order.hits(), misses: this.#order.misses() };
  }

  resetCounters() {
    this.#order.resetCounters();
  }
}
