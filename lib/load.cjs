// Loads the addon: the binary that was built here, or the one in the package for this platform. The packages are named one
// by one, inside `try`, so that bundlers see them and don't insist on those of other platforms. A function, since Node.js 20
// takes what a CommonJS module throws while it is imported for uncaught, whoever catches it.
// @ts-nocheck: they are not installed here.
'use strict';
const { existsSync, readFileSync } = require('node:fs');
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
  return found.length > 1 && isMusl() ? found.reverse() : found;
}

/** Whether this process runs on musl. It may have no `ldd` to ask, and a wrong answer only makes the other binary the first. */
function isMusl() {
  try {
    return readFileSync('/proc/self/maps', 'latin1').includes('/ld-musl-');
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

/** JavaScript of one version and a binary of another would not fit. */
function checked(native) {
  if (native.VERSION === version) return native;
  throw new Error(`it is of version ${native.VERSION}, and keyledger of ${version}`);
}

/**
 * @param {string[]} lines
 * @param {unknown} cause
 */
function unavailable(lines, cause) {
  const what = `keyledger can't be loaded on ${process.platform} ${process.arch}.`;
  const error = new Error([what, ...lines].join('\n'), { cause });
  return Object.assign(error, { code: 'ERR_KEYLEDGER_BINARY' });
}

/**
 * @returns {typeof import('../native.cjs')}
 * @throws `ERR_KEYLEDGER_BINARY`, with what was looked for, and how to install it
 */
exports.load = () => {
  const { KEYLEDGER_BINARY: own } = process.env;
  if (own) {
    try {
      return checked(require(resolve(own)));
    } catch (error) {
      throw unavailable([`KEYLEDGER_BINARY names ${own}: ${error.message}`], error);
    }
  }
  const targets = candidates();
  if (targets.length === 0) {
    throw unavailable([
      `There are packages for ${SUPPORTED.join(', ')}.`,
      'Build it from its source (npm run build), and set KEYLEDGER_BINARY to the path of the .node file.',
    ]);
  }
  const tried = [];
  let cause;
  for (const target of targets) {
    try {
      return checked(load(target));
    } catch (error) {
      cause ??= error;
      tried.push(`- keyledger-${target}@${version}: ${error.message}`);
    }
  }
  const name = `keyledger-${targets[0]}@${version}`;
  throw unavailable(
    [
      'It needs one of these packages, which are optional dependencies of it:',
      ...tried,
      'Remove node_modules and install again on this machine, without --omit=optional. If that does not help, by name:',
      `npm install --no-save ${name}    # or: bun add --no-save ${name}`,
    ],
    cause,
  );
};
