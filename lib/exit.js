// The end of the process, which must not lose what is not in the file yet: `process.exit()`, an uncaught throw, the
// natural end, the end of a worker. Environment cleanup hooks don't run in all of these; the `exit` event does.
import process from 'node:process';

/**
 * What all copies of this module in the process share, so that it gets one listener.
 *
 * @typedef {object} Ending
 * @property {Map<object, () => void>} unsaved who has something to save, and how
 * @property {boolean} begun whether the process is ending: from then on everything must be saved at once
 */

/** @type {Ending} */
export const ending = shared();

function shared() {
  const key = Symbol.for('keyledger.ending');
  const holder = /** @type {Record<symbol, Ending>} */ (/** @type {unknown} */ (process));
  const existing = holder[key];
  if (existing !== undefined) return existing;
  /** @type {Ending} */
  const created = { unsaved: new Map(), begun: false };
  holder[key] = created;
  process.on('exit', () => {
    created.begun = true;
    for (const save of created.unsaved.values()) save();
  });
  return created;
}
