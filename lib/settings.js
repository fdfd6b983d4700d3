// The settings: of the module's own functions from the environment, of others as they are given. Read here and not in
// Rust: what a program writes to `process.env` is invisible to native code on Bun and in Node's worker threads.
import path from 'node:path';
import process from 'node:process';
import { invalidType, invalidValue, outOfRange } from './errors.js';
import { report } from './log.js';

/**
 * @typedef {object} Settings
 * @property {string} dataFile absolute
 * @property {number} maxSize
 * @property {number} ttlMs
 * @property {number} revalidateMs
 * @property {number} lockTimeoutMs
 * @property {boolean} fsync
 * @property {string} logLevel
 * @property {() => number} now the time of day, in milliseconds since 1970
 * @property {boolean} ownClock whether that is anything but `Date.now`
 */

/** The whole numbers among them. */
const NUMBERS = {
  maxSize: { variable: 'CACHE_MAX_SIZE', fallback: 1000, least: 1, most: 2 ** 32 - 1 },
  ttlMs: { variable: 'CACHE_TTL_MS', fallback: 300_000, least: 1, most: Number.MAX_SAFE_INTEGER },
  revalidateMs: {
    variable: 'CACHE_REVALIDATE_MS',
    fallback: 1000,
    least: 0,
    most: Number.MAX_SAFE_INTEGER,
  },
  lockTimeoutMs: {
    variable: 'LOCK_TIMEOUT_MS',
    fallback: 15_000,
    least: 0,
    most: Number.MAX_SAFE_INTEGER,
  },
};
const LEVELS = ['none', 'info', 'debug'];
const OPTIONS = ['dataFile', ...Object.keys(NUMBERS), 'fsync', 'logLevel', 'now'];

/** The times of four-digit years, as the file has them, in milliseconds since 1970. */
const FIRST_TIME = Date.parse('0000-01-01T00:00:00.000Z');
const LAST_TIME = Date.parse('9999-12-31T23:59:59.999Z');

// Not bound: tests put clocks of their own in its place.
const dateNow = () => Date.now();

/**
 * A value that makes no sense is reported, and the default is used.
 *
 * @param {NodeJS.ProcessEnv} env
 * @returns {Settings}
 */
export function readSettings(env) {
  return {
    dataFile: path.resolve(env.DATA_FILE || path.join('data', 'apikeys.json')),
    maxSize: wholeNumber(env, NUMBERS.maxSize),
    ttlMs: wholeNumber(env, NUMBERS.ttlMs),
    revalidateMs: wholeNumber(env, NUMBERS.revalidateMs),
    lockTimeoutMs: wholeNumber(env, NUMBERS.lockTimeoutMs),
    fsync: oneOf(env, 'DATA_FSYNC', ['true', 'false'], 'true') === 'true',
    logLevel: oneOf(env, 'CACHE_LOG_LEVEL', LEVELS, 'none'),
    now: dateNow,
    ownClock: false,
  };
}

/**
 * A value that makes no sense is an error. What is left out has the default of the environment's settings.
 *
 * @param {import('../index.js').LedgerOptions} options
 * @returns {Settings}
 */
export function checkOptions(options) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidType('argument of createLedger', 'an object', options);
  }
  const names = new Set(Reflect.ownKeys(options));
  // Inherited ones count too.
  for (const name in options) names.add(name);
  for (const name of names) {
    if (!OPTIONS.includes(/** @type {string} */ (name))) {
      throw invalidValue('name of an option', `one of ${OPTIONS.join(', ')}`, name);
    }
  }
  const { dataFile, fsync = true, logLevel = 'none', now } = options;
  if (typeof dataFile !== 'string') throw invalidType('option dataFile', 'a path', dataFile);
  if (dataFile === '' || dataFile.includes('\0')) {
    throw invalidValue('option dataFile', 'a path', dataFile);
  }
  if (typeof fsync !== 'boolean') throw invalidType('option fsync', 'true or false', fsync);
  if (!LEVELS.includes(logLevel)) {
    throw invalidValue('option logLevel', `one of ${LEVELS.join(', ')}`, logLevel);
  }
  return {
    dataFile: path.resolve(dataFile),
    maxSize: checkNumber(options, 'maxSize'),
    ttlMs: checkNumber(options, 'ttlMs'),
    revalidateMs: checkNumber(options, 'revalidateMs'),
    lockTimeoutMs: checkNumber(options, 'lockTimeoutMs'),
    fsync,
    logLevel,
    now: now === undefined ? dateNow : checkedClock(now),
    ownClock: now !== undefined,
  };
}

/** Read at every call: programs change it while they run. */
export function cacheEnabled() {
  return process.env.CACHE_ENABLED !== 'false';
}

/**
 * As `parseInt` reads it.
 *
 * @param {NodeJS.ProcessEnv} env
 * @param {(typeof NUMBERS)[keyof typeof NUMBERS]} number
 */
function wholeNumber(env, { variable, fallback, least, most }) {
  const text = env[variable];
  if (!text) return fallback;
  const value = Number.parseInt(text, 10);
  if (value >= least && value <= most) return value;
  complain(variable, text, `a whole number of at least ${least}`, fallback);
  return fallback;
}

/**
 * @param {import('../index.js').LedgerOptions} options
 * @param {keyof typeof NUMBERS} name
 */
function checkNumber(options, name) {
  const { fallback, least, most } = NUMBERS[name];
  const { [name]: value = fallback } = options;
  if (typeof value !== 'number') throw invalidType(`option ${name}`, 'a number', value);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw outOfRange(`option ${name}`, `a whole number from ${least} to ${most}`, value);
  }
  return value;
}

/**
 * The clock, whose every answer is checked; the first now.
 *
 * @param {() => number} now
 */
function checkedClock(now) {
  if (typeof now !== 'function') throw invalidType('option now', 'a function', now);
  const clock = () => {
    const time = now();
    if (typeof time !== 'number') throw invalidType('result of the option now', 'a number', time);
    if (!(time >= FIRST_TIME && time <= LAST_TIME)) {
      throw outOfRange('result of the option now', 'milliseconds since 1970', time);
    }
    return time;
  };
  clock();
  return clock;
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {string} name
 * @param {string[]} values
 * @param {string} fallback
 */
function oneOf(env, name, values, fallback) {
  const text = env[name];
  if (!text) return fallback;
  if (values.includes(text)) return text;
  complain(name, text, values.join(', '), fallback);
  return fallback;
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} expected
 * @param {string | number} used
 */
function complain(name, value, expected, used) {
  report('invalid setting', { name, value, expected, used });
}
