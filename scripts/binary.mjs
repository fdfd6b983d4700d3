// What a built addon is made for, read from the file itself: a package must not carry the binary of another platform.
import { readFileSync } from 'node:fs';

/** The oldest glibc that a binary may need: that of RHEL 7 and of what came after it. */
const GLIBC = 17;

/**
 * The first bytes of a file for each platform, as hexadecimal digits; dots stand for anything.
 *
 * @type {Record<string, RegExp>}
 */
const HEADERS = {
  // ELF, 64 bits, little-endian, a shared object; then the machine.
  'linux-x64': /^7f454c460201.{20}03003e00/,
  'linux-arm64': /^7f454c460201.{20}0300b700/,
  // Mach-O, 64 bits; then the processor.
  'darwin-x64': /^cffaedfe07000001/,
  'darwin-arm64': /^cffaedfe0c000001/,
  'win32-x64': /^4d5a/,
};

/**
 * What keeps a file from being a binary for this platform, if something does.
 *
 * @param {string} file
 * @param {string} target as in the name of its package: `linux-x64-gnu`
 * @returns {string | undefined}
 */
export function faultOf(file, target) {
  const bytes = readFileSync(file);
  const [platform, arch, libc] = target.split('-');
  const header = bytes.subarray(0, 32).toString('hex');
  if (!HEADERS[`${platform}-${arch}`]?.test(header)) return `it is no binary for ${target}`;
  if (platform !== 'linux') return undefined;
  const needed = [...bytes.toString('latin1').matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) =>
    Number(minor),
  );
  if (libc === 'musl') return needed.length > 0 ? 'it needs glibc' : undefined;
  const newest = Math.max(...needed);
  return newest > GLIBC ? `it needs glibc 2.${newest}, not 2.${GLIBC}` : undefined;
}
