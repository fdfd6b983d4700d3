// Writing: batches of usage, whole files and `withLock`, in the order of the calls.
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { unwrap } from './errors.js';
import { ending } from './exit.js';
import { report } from './log.js';
import { Batch, Hold } from './native.js';
import { cacheEnabled } from './settings.js';

/** @typedef {import('../native.cjs').Batch} NativeBatch */
/** @typedef {import('../native.cjs').Hold} NativeHold */

/** The longest that a batch waits for more, in milliseconds. */
const LONGEST_PACE = 100;
/** The longest pause between two tries for the lock, in milliseconds. */
const LONGEST_PAUSE = 5;

// Bound now, so that a test's fake timers don't stop the writing.
const elapsed = performance.now.bind(performance);
const ignore = () => {};

/**
 * Those who write under one lock, one after the other: the environment, which takes it for each write, or what runs
 * inside one `withLock`.
 */
class Scope {
  /** The lock, inside `withLock`. @type {NativeHold | undefined} */
  hold;
  /** Whether `withLock` has released it. */
  ended = false;
  /** How many writes have not ended. */
  queued = 0;
  /** The batch that takes what comes. @type {{ native: NativeBatch, promise: Promise<void> } | undefined} */
  open;
  /** Settles, without an error, when all that was enqueued has. @type {Promise<unknown>} */
  tail = Promise.resolve();

  /** @param {NativeHold} [hold] */
  constructor(hold) {
    this.hold = hold;
  }

  /**
   * @template T
   * @param {() => Promise<T>} write
   * @returns {Promise<T>}
   */
  enqueue(write) {
    this.queued++;
    const result = this.tail.then(write);
    const ended = () => {
      this.queued--;
    };
    this.tail = result.then(ended, ended);
    return result;
  }
}

export class Writer {
  #native;
  #front;
  #lockTimeoutMs;
  #outside = new Scope();
  /** @type {AsyncLocalStorage<Scope>} */
  #inside = new AsyncLocalStorage();
  /** The lock that `withLock` has, or is about to have. @type {NativeHold | undefined} */
  #hold;
  /** What is not in the file yet. @type {Map<NativeBatch, { scope: Scope, promise: Promise<void> }>} */
  #pending = new Map();
  /** How long the last commit took. */
  #pace = 0;

  /**
   * @param {import('../native.cjs').Ledger} native
   * @param {import('./front.js').Front} front
   * @param {number} lockTimeoutMs
   */
  constructor(native, front, lockTimeoutMs) {
    this.#native = native;
    this.#front = front;
    this.#lockTimeoutMs = lockTimeoutMs;
  }

  /**
   * Adds one use of a key to the batch that is open.
   *
   * @param {string} key
   * @param {number} tokens
   * @returns {Promise<void>} the batch's: the same for all in it
   */
  record(key, tokens) {
    const scope = this.#scope();
    scope.open ??= this.#openBatch(scope);
    const { native, promise } = scope.open;
    native.add(key, tokens, Date.now());
    if (ending.begun) this.#flushNow();
    return promise;
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
      await this.#whenFree(left => this.#native.replace(text, scope.hold, left));
      this.#front.changed();
    });
  }

  /**
   * @template T
   * @param {() => Promise<T>} fn
   * @returns {Promise<T>}
   */
  async withLock(fn) {
    if (this.#scope() !== this.#outside) return fn();
    return this.#outside.enqueue(async () => {
      const hold = new Hold();
      const scope = new Scope(hold);
      this.#hold = hold;
      try {
        await this.#whenFree(left => this.#native.acquire(hold, left));
        return await this.#inside.run(scope, fn);
      } finally {
        // What was called inside without being awaited still runs under the lock.
        while (scope.queued > 0) await scope.tail;
        scope.ended = true;
        this.#hold = undefined;
        hold.release();
      }
    });
  }

  /** Resolves once all that was recorded before is in the file. */
  async flush() {
    const scope = this.#scope();
    // Inside `withLock`, what waits for the lock can't be waited for.
    const due = [...this.#pending.values()].filter(
      batch => scope === this.#outside || batch.scope === scope,
    );
    await Promise.all(due.map(batch => batch.promise));
  }

  /** Commits what is pending at once, for the end of the process. */
  #flushNow() {
    for (const batch of this.#pending.keys()) {
      const deadline = elapsed() + this.#lockTimeoutMs;
      let fault;
      do {
        fault = this.#native.commitSync(batch, this.#hold, Date.now(), LONGEST_PAUSE);
      } while (fault?.code === 'ELOCKED' && elapsed() < deadline);
      if (fault) report('usage lost at exit', { code: fault.code, error: fault.message });
    }
  }

  #scope() {
    const scope = this.#inside.getStore();
    return scope === undefined || scope.ended ? this.#outside : scope;
  }

  /** @param {Scope} scope */
  #openBatch(scope) {
    const batch = new Batch();
    // Under load a commit that starts as soon as the last one ends finds few updates: those that it is paid for by
    // come while it waits as long again.
    const paced = scope.queued > 0;
    const committed = scope.enqueue(async () => {
      if (paced) await sleep(Math.min(this.#pace, LONGEST_PACE));
      scope.open = undefined;
      this.#front.tell();
      const start = elapsed();
      try {
        await this.#whenFree(left =>
          this.#native.commit(batch, scope.hold, Date.now(), cacheEnabled(), left),
        );
      } finally {
        this.#pace = elapsed() - start;
        this.#pending.delete(batch);
        if (this.#pending.size === 0) ending.unsaved.delete(this);
        this.#front.changed();
      }
    });
    // A promise of its own: nobody else listens to it, so a fault that its callers ignore is an unhandled rejection.
    const promise = committed.then(ignore);
    this.#pending.set(batch, { scope, promise });
    ending.unsaved.set(this, () => this.#flushNow());
    return { native: batch, promise };
  }

  /**
   * Tries until the lock is free, or the time is up. The native side waits only for a moment at a time, since it
   * occupies a thread of the pool that the holder may need.
   *
   * @param {(leftMs: number) => Promise<undefined | import('../native.cjs').Fault>} attempt
   */
  async #whenFree(attempt) {
    const deadline = elapsed() + this.#lockTimeoutMs;
    for (;;) {
      const outcome = await attempt(Math.max(0, deadline - elapsed()));
      if (outcome?.code !== 'ELOCKED' || elapsed() >= deadline) return unwrap(outcome);
      await sleep(Math.random() * LONGEST_PAUSE);
    }
  }
}
