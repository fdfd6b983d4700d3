// Writing: batches of usage, whole files and `withLock`, in the order of the calls.
import { AsyncLocalStorage } from 'node:async_hooks';
import { isMainThread } from 'node:worker_threads';
import { unwrap } from './errors.js';
import { atEnd, ending } from './exit.js';
import { mask, report, silent } from './log.js';
import { Batch, Hold, Ledger } from './native.js';
import { cacheEnabled } from './settings.js';

/** @typedef {import('../native.cjs').Batch} NativeBatch */
/** @typedef {import('../native.cjs').Hold} NativeHold */

/**
 * How long a batch under load waits while more updates come, in milliseconds: in all, and from one look to the next, first
 * and at the most. A gateway under load has less to do then: each key's record is read anew once for each commit that
 * changes it.
 */
const GATHERING = { inAll: 128, first: 1, most: 8 };
/** How often a lock that `withLock` holds is shown to be in use, in milliseconds: `proper-lockfile` waits 2 s or more. */
const REFRESH = 1000;
/** How long the end of the process waits for locks on behalf of other threads, in milliseconds. */
const OTHER_THREADS = 15_000;
/** The longest pause between two tries for the lock, in milliseconds. */
const LONGEST_PAUSE = 5;

/** Updates that are told to Rust in one call at the most, so that telling them never takes long. */
const MOST_UNTOLD = 1024;

// Bound now, so that a test's fake timers don't stop the deadlines.
const elapsed = performance.now.bind(performance);

/**
 * A batch that takes what comes. What has come is told to Rust once for many calls: each crossing costs more than the rest.
 */
class Open {
  /** The same for all in it. @type {Promise<void>} */
  promise = Promise.resolve();
  /** What to log of it. @type {{ key: string, tokensUsed: number, model: string }[]} */
  updates = [];
  /** How many have come. */
  count = 0;
  /** @type {string[]} */
  #keys = [];
  /** For each key, the tokens and the time. @type {number[]} */
  #numbers = [];

  /** @param {NativeBatch} native */
  constructor(native) {
    this.native = native;
  }

  /**
   * @param {string} key
   * @param {number} tokensUsed
   * @param {number} at
   */
  add(key, tokensUsed, at) {
    // The end of the main thread tells what is left. Other threads may be ended without a word.
    if (!isMainThread && this.#keys.length === 0) queueMicrotask(() => this.tell());
    this.count++;
    this.#keys.push(key);
    this.#numbers.push(tokensUsed, at);
    if (this.#keys.length === MOST_UNTOLD) this.tell();
  }

  /** Tells Rust what has come. */
  tell() {
    if (this.#keys.length === 0) return;
    this.native.add(this.#keys, new Float64Array(this.#numbers));
    this.#keys = [];
    this.#numbers = [];
  }
}

/**
 * Those who write under one lock, one after the other: the environment, which takes it for each write, or what runs
 * inside one `withLock`.
 */
class Scope {
  /** The lock, inside `withLock`. @type {NativeHold | undefined} */
  hold;
  /** What `withLock` was called in. @type {Scope | undefined} */
  outer;
  /** Whether `withLock` has ended. */
  ended = false;
  /** How many writes have not ended. */
  queued = 0;
  /** The batch that is open, if nothing else was enqueued since. @type {Open | undefined} */
  open;
  /** Settles, without an error, when all that was enqueued has. @type {Promise<unknown>} */
  #tail = Promise.resolve();

  /**
   * @param {NativeHold} [hold]
   * @param {Scope} [outer]
   */
  constructor(hold, outer) {
    this.hold = hold;
    this.outer = outer;
  }

  /**
   * @template T
   * @param {() => Promise<T>} write
   * @returns {Promise<T>}
   */
  enqueue(write) {
    // What is recorded after this call belongs behind it.
    this.open = undefined;
    this.queued++;
    const result = this.#tail.then(write);
    const ended = () => {
      this.queued--;
    };
    this.#tail = result.then(ended, ended);
    return result;
  }

  /**
   * What is recorded from now on belongs to another batch than this one.
   *
   * @param {Open} batch
   */
  close(batch) {
    if (this.open === batch) this.open = undefined;
  }

  /** Waits until nothing is enqueued any more, and ends: from then on calls belong to what is outside. */
  async end() {
    while (this.queued > 0) await this.#tail;
    this.ended = true;
  }

  /** @param {Scope} scope */
  isWithin(scope) {
    /** @type {Scope | undefined} */
    let inner = this;
    while (inner !== undefined && inner !== scope) inner = inner.outer;
    return inner === scope;
  }
}

export class Writer {
  #native;
  #front;
  #lockTimeoutMs;
  #dataFile;
  #now;
  #log;
  #outside = new Scope();
  /** @type {AsyncLocalStorage<Scope>} */
  #inside = new AsyncLocalStorage();
  /** The lock that `withLock` has, or is about to have. @type {NativeHold | undefined} */
  #hold;
  /** What is not in the file yet, and who has recorded it. @type {Map<Open, Scope>} */
  #pending = new Map();
  /** Until when the end of the process waits for others. @type {number | undefined} */
  #lastMoment;

  /**
   * @param {import('../native.cjs').Ledger} native
   * @param {import('./front.js').Front} front
   * @param {import('./settings.js').Settings} settings
   * @param {import('./log.js').Log} log
   */
  constructor(native, front, settings, log) {
    this.#native = native;
    this.#front = front;
    this.#lockTimeoutMs = settings.lockTimeoutMs;
    this.#dataFile = settings.dataFile;
    this.#now = settings.now;
    this.#log = log;
  }

  /**
   * Adds one use of a key to the batch that is open.
   *
   * @param {string} key
   * @param {number} tokensUsed
   * @param {string} model
   * @returns {Promise<void>} the batch's: the same for all in it
   */
  record(key, tokensUsed, model) {
    const now = this.#now();
    const scope = this.#scope();
    scope.open ??= this.#openBatch(scope);
    const batch = scope.open;
    batch.add(key, tokensUsed, now);
    if (this.#log.info !== silent) batch.updates.push({ key, tokensUsed, model });
    if (ending.begun) this.#saveNow(true);
    return batch.promise;
  }

  /**
   * Replaces the file.
   *
   * @param {string} text
   * @returns {Promise<void>}
   */
  replace(text) {
    const scope = this.#scope();
    return scope.enqueue(async () => {
      await this.#whenFree(left => this.#native.replace(text, scope.hold, this.#now(), left));
      this.#front.changed();
    });
  }

  /**
   * @template T
   * @param {() => Promise<T>} fn
   * @returns {Promise<T>}
   */
  withLock(fn) {
    const outer = this.#scope();
    if (outer.hold !== undefined) {
      return outer.enqueue(() => this.#runInside(outer.hold, outer, fn));
    }
    return outer.enqueue(async () => {
      const hold = new Hold();
      /** @type {NodeJS.Timeout | undefined} */
      let refresh;
      this.#hold = hold;
      this.#keepForExit();
      try {
        await this.#whenFree(left => this.#native.acquire(hold, left));
        refresh = setInterval(() => hold.refresh(), REFRESH);
        refresh.unref();
        return await this.#runInside(hold, outer, fn);
      } finally {
        clearInterval(refresh);
        hold.release();
        this.#hold = undefined;
        this.#keepForExit();
      }
    });
  }

  /** Resolves once all that was recorded before is in the file. */
  async flush() {
    const scope = this.#scope();
    // Inside `withLock`, what waits for the lock can't be waited for.
    const due = [...this.#pending].filter(([, recorder]) => recorder.isWithin(scope));
    for (const [batch, recorder] of due) recorder.close(batch);
    const outcomes = await Promise.allSettled(due.map(([batch]) => batch.promise));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /**
   * @template T
   * @param {NativeHold | undefined} hold
   * @param {Scope} outer
   * @param {() => Promise<T>} fn
   * @returns {Promise<T>}
   */
  async #runInside(hold, outer, fn) {
    const scope = new Scope(hold, outer);
    try {
      return await this.#inside.run(scope, fn);
    } finally {
      // What was called inside without being awaited still runs under the lock.
      await scope.end();
    }
  }

  #scope() {
    let scope = this.#inside.getStore();
    while (scope?.ended) scope = scope.outer;
    return scope ?? this.#outside;
  }

  /** @param {Scope} scope */
  #openBatch(scope) {
    const { hold } = scope;
    const batch = new Open(new Batch(this.#native, hold));
    // Under load a commit that starts as soon as the last one ends finds few updates: those that it is paid for by
    // come while it waits. Under a lock that is held others would wait too.
    const underLoad = hold === undefined && scope.queued > 0;
    const committed = scope.enqueue(async () => {
      try {
        if (underLoad) await gather(batch, scope);
        scope.close(batch);
        batch.tell();
        this.#front.tell();
        const reloaded = await this.#whenFree(left =>
          this.#native.commit(batch.native, hold, this.#now(), cacheEnabled(), left),
        );
        if (reloaded) this.#log.info('reloaded', { file: this.#dataFile });
        this.#logUpdates(batch);
      } finally {
        scope.close(batch);
        this.#pending.delete(batch);
        this.#keepForExit();
        this.#front.changed();
        if (batch.native.settle()) batch.native.tidy();
      }
    });
    // A promise of its own: nobody else listens to it, so a fault that its callers ignore is an unhandled rejection.
    batch.promise = committed.then(() => {});
    this.#pending.set(batch, scope);
    this.#keepForExit();
    return batch;
  }

  /** @param {Open} batch */
  #logUpdates({ updates }) {
    try {
      for (const { key, tokensUsed, model } of updates) {
        if (this.#native.read(key) === 'null') continue;
        this.#log.info('updated', { key: mask(key), tokensUsed, model });
      }
    } catch (error) {
      // What is in the file was recorded, whatever it can't be logged for.
      report('log failed', { error: String(error) });
    }
  }

  /** Has the end of the process save what is pending and release what is held, as long as there is any of it. */
  #keepForExit() {
    if (this.#pending.size === 0 && this.#hold === undefined) ending.unsaved.delete(this);
    else ending.unsaved.set(this, wait => this.#saveNow(wait));
  }

  /**
   * Commits what is pending, and releases the lock. What can't be had without waiting for others is left for a call that
   * waits, once.
   *
   * @param {boolean} wait
   */
  #saveNow(wait) {
    if (wait) this.#lastMoment ??= elapsed() + this.#lockTimeoutMs;
    for (const [batch, scope] of this.#pending) {
      batch.tell();
      const updates = batch.native.size();
      let fault;
      do {
        const patience = wait ? LONGEST_PAUSE : 0;
        fault = this.#native.commitSync(batch.native, this.#hold, this.#now(), patience);
      } while (fault?.code === 'ELOCKED' && elapsed() < (this.#lastMoment ?? 0));
      if (fault?.code === 'ELOCKED' && !wait) continue;
      this.#pending.delete(batch);
      scope.close(batch);
      batch.native.settle();
      if (fault) reportLoss({ fault, updates });
    }
    this.#hold?.release();
  }

  /**
   * Tries until the lock is free, or the time is up. The native side waits only for a moment at a time, since it
   * occupies a thread of the pool that the holder may need.
   *
   * @template T
   * @param {(leftMs: number) => Promise<T>} attempt
   */
  async #whenFree(attempt) {
    const deadline = elapsed() + this.#lockTimeoutMs;
    for (;;) {
      const outcome = await attempt(Math.max(0, deadline - elapsed()));
      const code = /** @type {{ code?: string } | undefined} */ (outcome)?.code;
      if (code !== 'ELOCKED' || elapsed() >= deadline) return unwrap(outcome);
      await Ledger.pause(Math.random() * LONGEST_PAUSE);
    }
  }
}

/**
 * Waits as long as updates come, but no longer than who records them may wait. Those who record the next update when the last
 * one is in the file come all at once.
 *
 * @param {Open} batch
 * @param {Scope} scope
 */
async function gather(batch, scope) {
  let ms = GATHERING.first;
  let waited = 0;
  let before;
  do {
    before = batch.count;
    await Ledger.pause(ms);
    waited += ms;
    ms = Math.min(2 * ms, GATHERING.most);
  } while (batch.count > before && scope.open === batch && waited < GATHERING.inAll);
}

/** @param {import('../native.cjs').Loss} loss */
function reportLoss({ fault, updates }) {
  report('commit failed at exit', { updates, code: fault.code, error: fault.message });
}

// The other threads end with the main one, and get no `exit` event then.
if (isMainThread) {
  atEnd(() => {
    for (const loss of Ledger.commitPending(Date.now(), OTHER_THREADS)) reportLoss(loss);
  });
}
