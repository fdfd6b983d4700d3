// Loads the addon: the binary that was built here, or the one in the package for this platform. The packages are named one
// by one, inside `try`, so that bundlers see them and don't insist on those of other platforms. A function, since Node.js 20
// takes what a CommonJS module throws while it is imported for uncaught, whoever catches it.
// @ts-nocheck: they are not installed here.
'use strict';
const { existsSync } = require('node:fs');
const { join, resolve } = require('node:path');
const { version } = require('../package.json');

/** The platforms that there is a package for. */
const SUPPORTED = [
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-x64-msvc',
];

/** Those that may be this one, the likeliest first. */
function candidates() {
  const here = `${process.platform}-${process.arch}`;
  const found = SUPPORTED.filter(target => target === here || target.startsWith(`${here}-`));
  // `ldd`, which others ask, is not everywhere where musl is. What the report says is never taken for the last word.
  return found.length > 1 && isMusl() ? found.reverse() : found;
}

function isMusl() {
  try {
    process.report.excludeNetwork = true;
    return process.report.getReport().header.glibcVersionRuntime === undefined;
  } catch {
    return false;
  }
}

/** @param {string} target */
function load(target) {
  const built = join(__dirname, '..', `keyledger.${target}.node`);
  if (existsSync(built)) return require(built);
  try {
    switch (target) {
      case 'darwin-arm64':
        return require('keyledger-darwin-arm64');
      case 'darwin-x64':
        return require('keyledger-darwin-x64');
      case 'linux-arm64-gnu':
        return require('keyledger-linux-arm64-gnu');
      case 'linux-arm64-musl':
        return require('keyledger-linux-arm64-musl');
      case 'linux-x64-gnu':
        return require('keyledger-linux-x64-gnu');
      case 'linux-x64-musl':
        return require('keyledger-linux-x64-musl');
      case 'win32-x64-msvc':
        return require('keyledger-win32-x64-msvc');
    }
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code !== 'MODULE_NOT_FOUND' && code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new Error('not installed', { cause: error });
  }
}

/**
 * @returns {typeof import('../native.cjs')}
 * @throws `ERR_KEYLEDGER_BINARY`, with what was looked for, and how to install it
 */
exports.load = () => {
  const { KEYLEDGER_BINARY: own } = process.env;
  if (own) return require(resolve(own));
  const targets = candidates();
  const tried = [];
  let cause;
  for (const target of targets) {
    try {
      return load(target);
    } catch (error) {
      cause ??= error;
      tried.push(`- keyledger-${target}@${version}: ${/** @type {Error} */ (error).message}`);
    }
  }
  const what = `keyledger can't be loaded on ${process.platform} ${process.arch}.`;
  const how =
    targets.length > 0
      ? [
          'It needs one of these packages:',
          ...tried,
          'Install again on this machine, with optional dependencies (not --omit=optional), or add the package by name:',
          `npm install keyledger-${targets[0]}@${version}`,
        ]
      : [
          `There are packages for ${SUPPORTED.join(', ')}.`,
          'Build it from its source (npm run build), and set KEYLEDGER_BINARY to the path of the .node file.',
        ];
  const error = new Error([what, ...how].join('\n'), { cause });
  throw Object.assign(error, { code: 'ERR_KEYLEDGER_BINARY' });
};
