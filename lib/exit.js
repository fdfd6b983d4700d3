// The end of the process, which must not lose what is not in the file yet: `process.exit()`, an uncaught throw, the
// natural end, the end of a worker. Environment cleanup hooks don't run in all of these; the `exit` event does.
import process from 'node:process';

/**
 * Who has something to save, and how. Shared by all copies of this module, so that the process gets one listener.
 *
 * @type {Map<object, () => void>}
 */
export const unsaved = shared();

function shared() {
  const key = Symbol.for('keyledger.unsaved');
  const holder = /** @type {Record<symbol, Map<object, () => void>>} */ (
    /** @type {unknown} */ (process)
  );
  const existing = holder[key];
  if (existing !== undefined) return existing;
  const created = new Map();
  holder[key] = created;
  process.on('exit', () => {
    for (const save of created.values()) save();
  });
  return created;
}
