// The settings, from the environment. Read here and not in Rust: what a program writes to `process.env` is invisible
// to native code on Bun and in Node's worker threads.
import path from 'node:path';
import process from 'node:process';
import { report } from './log.js';

const LEVELS = ['none', 'info', 'debug'];

/**
 * @typedef {object} Settings
 * @property {string} dataFile absolute
 * @property {number} maxSize
 * @property {number} ttlMs
 * @property {number} revalidateMs
 * @property {boolean} fsync
 * @property {number} lockTimeoutMs
 * @property {string} logLevel
 */

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {Settings}
 */
export function readSettings(env) {
  return {
    dataFile: path.resolve(env.DATA_FILE || path.join('data', 'apikeys.json')),
    maxSize: wholeNumber(env, 'CACHE_MAX_SIZE', 1000, 1, 2 ** 32 - 1),
    ttlMs: wholeNumber(env, 'CACHE_TTL_MS', 300_000, 1),
    revalidateMs: wholeNumber(env, 'CACHE_REVALIDATE_MS', 1000, 0),
    lockTimeoutMs: wholeNumber(env, 'LOCK_TIMEOUT_MS', 15_000, 0),
    fsync: oneOf(env, 'DATA_FSYNC', ['true', 'false'], 'true') === 'true',
    logLevel: oneOf(env, 'CACHE_LOG_LEVEL', LEVELS, 'none'),
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
 * @param {string} name
 * @param {number} fallback
 * @param {number} least
 * @param {number} [most]
 */
function wholeNumber(env, name, fallback, least, most = Number.MAX_SAFE_INTEGER) {
  const text = env[name];
  if (!text) return fallback;
  const value = Number.parseInt(text, 10);
  if (value >= least && value <= most) return value;
  complain(name, text, `a whole number of at least ${least}`, fallback);
  return fallback;
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
