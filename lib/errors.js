// Errors as programs get them: an `Error` with a stable `code`.
import { inspect } from 'node:util';

/**
 * The outcome of native work: its value, or its fault thrown. That of a call that was not made is `undefined`: in a worker
 * that is being terminated JavaScript still runs for a moment, while Node-API does nothing any more.
 *
 * @template T
 * @param {T} outcome
 * @returns {Exclude<T, import('../native.cjs').Fault>}
 */
export function unwrap(outcome) {
  if (outcome === undefined) throw new Error('this thread is being terminated');
  if (typeof outcome === 'object' && outcome !== null && 'code' in outcome) {
    const { code, path, message } = /** @type {any} */ (outcome);
    throw Object.assign(new Error(message), { code, path });
  }
  return /** @type {any} */ (outcome);
}

/**
 * @param {string} name what was given, as in "the NAME must be"
 * @param {string} expected
 * @param {unknown} value
 */
export function invalidType(name, expected, value) {
  const given =
    value === null ? 'null' : Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`;
  const message = `the ${name} must be ${expected}, not ${given}`;
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
}

/**
 * @param {string} name
 * @param {string} expected
 * @param {unknown} value
 */
export function outOfRange(name, expected, value) {
  const message = `the ${name} must be ${expected}, not ${value}`;
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' });
}

/**
 * @param {string} name
 * @param {string} expected
 * @param {unknown} value
 */
export function invalidValue(name, expected, value) {
  const message = `the ${name} must be ${expected}, not ${inspect(value)}`;
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
}
