// Log lines: `[cache] MESSAGE {json}` on `console.log`.

/**
 * What an operator must know whatever the level.
 *
 * @param {string} message
 * @param {object} details
 */
export function report(message, details) {
  console.log(`[cache] ${message} ${JSON.stringify(details)}`);
}

/**
 * What of a key may be told.
 *
 * @param {string} key
 */
export function mask(key) {
  return `${key.slice(0, 8)}...`;
}

export const silent = () => {};

/** @typedef {{ info: typeof report, debug: typeof report }} Log */

/**
 * The lines of a level; those below it are {@link silent}.
 *
 * @param {string} level `none`, `info` or `debug`
 * @returns {Log}
 */
export function logger(level) {
  return {
    info: level === 'none' ? silent : report,
    debug: level === 'debug' ? report : silent,
  };
}
