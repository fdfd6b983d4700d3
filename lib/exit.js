// The end of the process, which must not lose what is not in the file yet: `process.exit()`, an uncaught throw, the
// natural end, the end of a worker. Environment cleanup hooks don't run in all of these; the `exit` event does.
import process from 'node:process';
import { report } from './log.js';

/**
 * What all copies of this module in the process share, so that it gets one listener.
 *
 * @typedef {object} Ending
 * @property {Map<object, (wait: boolean) => void>} unsaved who has something to save, and how: whether it may wait for
 *   others
 * @property {Set<() => void>} last what to do when they have
 * @property {boolean} begun whether the process is ending: from then on everything must be saved at once
 */

/** @type {Ending} */
export const ending = shared();

/**
 * Has the end of this thread call `step` when all is saved.
 *
 * @param {() => void} step
 */
export function atEnd(step) {
  ending.last.add(step);
}

function shared() {
  const key = Symbol.for('keyledger.ending');
  const holder = /** @type {Record<symbol, Ending>} */ (/** @type {unknown} */ (process));
  const existing = holder[key];
  if (existing !== undefined) return existing;
  /** @type {Ending} */
  const created = { unsaved: new Map(), last: new Set(), begun: false };
  holder[key] = created;
  // Before all others: one that throws or exits again would keep those behind it from being called.
  process.prependListener('exit', () => {
    created.begun = true;
    // One may have the lock that another waits for.
    const saves = [...created.unsaved.values()];
    for (const wait of [false, true]) for (const save of saves) attempt(() => save(wait));
    for (const save of created.last) attempt(save);
  });
  return created;
}

/**
 * Runs a step of which a fault must not keep the others from being done.
 *
 * @param {() => void} step
 */
function attempt(step) {
  try {
    step();
  } catch (error) {
    report('commit failed at exit', { error: String(error) });
  }
}
