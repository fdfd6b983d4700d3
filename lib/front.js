// The objects of one environment, in front of the cache of record in Rust.
//
// An entry may be handed out without a crossing while three things hold: nothing has changed that this environment did
// or was told of (`#epoch`), the entry has not expired, and the next look at the file is not due. Otherwise one call
// asks Rust, which answers with the stamp of the entry; if that is the one held here, so is the value.
//
// What is handed out here is told to Rust before anything that depends on it: the hits, and the order in which the
// entries were last used.
import { isMainThread } from 'node:worker_threads';
import { atEnd } from './exit.js';
import { report } from './log.js';

/** @typedef {import('../index.js').ApiKey} ApiKey */
/** @typedef {import('../native.cjs').Ledger} NativeLedger */

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {number} stamp
 * @property {ApiKey} value
 * @property {Promise<ApiKey>} promise resolved with `value`: the same for all who ask
 * @property {number} epoch the epoch at which it was last known to be true
 * @property {number} until the last millisecond at which it holds
 * @property {number} used number of the use that was its last
 */

/** Uses that are told to Rust in one call at the most, so that telling them never takes long. */
const MOST_TOLD = 1024;

// `find` answers with a promise or one of these.
/** The file must be loaded first, and the lookup is yet to be counted. */
export const LOAD = -1;
/** The file must be loaded first; the lookup was counted. */
export const LOAD_COUNTED = -2;

/** Nothing is stored for the key. */
const UNCACHED = -3;

const UNKNOWN = Promise.resolve(null);

/** Those of this thread: a ledger may be done with before its thread. @type {Map<unknown, WeakRef<Front>>} */
const fronts = new Map();

// The counters are those of all threads, and the others go on when a worker ends.
if (!isMainThread) {
  atEnd(() => {
    for (const front of fronts.values()) front.deref()?.tell();
  });
}

/**
 * The front of this thread for these settings: ledgers that share a cache share it, so that their counters and the order of
 * their entries are the same.
 *
 * @param {import('./settings.js').Settings} settings
 * @param {boolean} anew whether to begin with another one, which others share from then on
 * @param {() => NativeLedger} open
 */
export function frontOf(settings, anew, open) {
  const { dataFile, maxSize, ttlMs, revalidateMs, fsync, ownClock } = settings;
  // A clock of one's own is shared with nobody.
  const key = ownClock ? Symbol() : [maxSize, ttlMs, revalidateMs, fsync, dataFile].join();
  for (const [other, front] of fronts) if (front.deref() === undefined) fronts.delete(other);
  const shared = anew ? undefined : fronts.get(key)?.deref();
  const front = shared ?? new Front(open(), settings);
  fronts.set(key, new WeakRef(front));
  return front;
}

export class Front {
  #native;
  /** @type {import('../native.cjs').Calls} */
  #calls;
  #maxSize;
  #revalidateMs;
  #now;
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** The same entries by slot: a slot that is filled again drops what was there. @type {(Entry | undefined)[]} */
  #slots = [];
  #epoch = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #nextLook = Number.NEGATIVE_INFINITY;
  #uses = 0;
  #told = 0;
  /** Entries used since Rust was last told. @type {Entry[]} */
  #recent = [];

  /**
   * @param {NativeLedger} native
   * @param {import('./settings.js').Settings} settings
   */
  constructor(native, settings) {
    this.#native = native;
    this.#calls = native.calls();
    this.#maxSize = settings.maxSize;
    this.#revalidateMs = settings.revalidateMs;
    this.#now = settings.now;
  }

  get native() {
    return this.#native;
  }

  /**
   * The lookup of a cached key without a crossing, if it may be answered so.
   *
   * @param {string} key
   * @returns {Promise<ApiKey | null> | undefined}
   */
  quick(key) {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.epoch !== this.#epoch) return undefined;
    const now = this.#now();
    // A clock that was set back must not put off the next look.
    if (now > entry.until || now >= this.#nextLook || now < this.#lookedAt) return undefined;
    if (entry.used <= this.#told) {
      if (this.#recent.length === MOST_TOLD) return undefined;
      this.#recent.push(entry);
    }
    entry.used = ++this.#uses;
    return entry.promise;
  }

  /**
   * The lookup by asking Rust.
   *
   * @param {string} key
   * @param {boolean} counted whether this lookup is to be counted
   * @param {boolean} looked whether the file was loaded since the lookup began
   * @returns {Promise<ApiKey | null> | number}
   */
  find(key, counted, looked) {
    this.tell();
    const now = this.#now();
    const stamp = this.#calls.find(key, now, counted, looked);
    if (stamp < 0) return stamp;
    if (stamp === 0) return UNKNOWN;
    if (now >= this.#nextLook || now < this.#lookedAt) {
      // What other threads have changed is seen now: every entry is to be compared again.
      this.changed();
      this.#lookedAt = this.#native.lookedAt();
      this.#nextLook = this.#lookedAt + this.#revalidateMs;
    }
    return this.#entry(key, stamp)?.promise ?? UNCACHED;
  }

  /**
   * @param {string} key
   * @returns {ApiKey | null}
   */
  get(key) {
    this.tell();
    const stamp = this.#native.get(key, this.#now());
    return stamp === 0 ? null : (this.#entry(key, stamp)?.value ?? null);
  }

  /**
   * @param {string} key
   * @param {ApiKey | null} value
   * @param {number} [ttl]
   */
  set(key, value, ttl) {
    this.tell();
    const stamp = this.#native.set(key, this.#now(), ttl, jsonOf(value));
    // A null needs no object: Rust answers it with a number.
    if (value === null) this.#entries.delete(key);
    else this.#hold(key, stamp, value);
  }

  /** @param {string} key */
  has(key) {
    return this.#native.has(key, this.#now());
  }

  /** @param {string} key */
  delete(key) {
    this.changed();
    const stamp = this.#native.delete(key);
    if (stamp !== 0) this.#drop(stamp % this.#maxSize);
    return stamp !== 0;
  }

  clear() {
    this.tell();
    this.changed();
    this.#native.clear();
    this.#entries.clear();
    this.#slots = [];
  }

  get size() {
    return this.#native.size();
  }

  get maxSize() {
    return this.#maxSize;
  }

  counters() {
    this.tell();
    return { hits: this.#native.hits(), misses: this.#native.misses() };
  }

  resetCounters() {
    this.tell();
    this.#native.resetCounters();
  }

  /** Something has changed that the entries here may not show. */
  changed() {
    this.#epoch++;
    this.#native.account();
  }

  /** Tells Rust what was handed out here. */
  tell() {
    const hits = this.#uses - this.#told;
    if (hits === 0) return;
    const recent = this.#recent.sort((a, b) => a.used - b.used);
    this.#recent = [];
    this.#told = this.#uses;
    const stamps = new Float64Array(recent.length);
    recent.forEach((entry, i) => {
      stamps[i] = entry.stamp;
    });
    try {
      this.#calls.used(stamps, hits);
    } catch (error) {
      // Neither a lookup nor an update depends on it.
      report('cache failed', { error: String(error) });
    }
  }

  /**
   * What a stamp names; `undefined` when another thread has replaced it since, or when only another thread has it.
   *
   * @param {string} key
   * @param {number} stamp
   */
  #entry(key, stamp) {
    const held = this.#slots[stamp % this.#maxSize];
    if (held !== undefined && held.stamp === stamp) {
      held.epoch = this.#epoch;
      return held;
    }
    const json = this.#calls.text(stamp);
    if (json === null) return undefined;
    return this.#hold(key, stamp, JSON.parse(json));
  }

  /**
   * @param {string} key
   * @param {number} stamp
   * @param {ApiKey} value
   * @returns {Entry}
   */
  #hold(key, stamp, value) {
    const slot = stamp % this.#maxSize;
    this.#drop(slot);
    const entry = {
      key,
      stamp,
      value,
      promise: Promise.resolve(value),
      epoch: this.#epoch,
      until: this.#calls.expires(stamp),
      used: 0,
    };
    this.#slots[slot] = entry;
    this.#entries.set(key, entry);
    return entry;
  }

  /** @param {number} slot */
  #drop(slot) {
    const entry = this.#slots[slot];
    if (entry === undefined) return;
    this.#slots[slot] = undefined;
    if (this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key);
  }
}

/**
 * The JSON text of a value, `undefined` if it has none.
 *
 * @param {unknown} value
 * @returns {string | undefined}
 */
function jsonOf(value) {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}
