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
};
/** In the header of a Windows file: where that of the program lies, and which processor it is for. */
const PE = { offset: 0x3c, machine: 4, x64: 0x8664 };

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
  const fits =
    target === 'win32-x64-msvc'
      ? isWindowsX64(bytes)
      : HEADERS[`${platform}-${arch}`]?.test(header);
  if (!fits) return `it is no binary for ${target}`;
  if (platform !== 'linux') return undefined;
  const needed = [...bytes.toString('latin1').matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) =>
    Number(minor),
  );
  if (libc === 'musl') return needed.length > 0 ? 'it needs glibc' : undefined;
  if (needed.length === 0) return 'it does not need glibc';
  const newest = Math.max(...needed);
  return newest > GLIBC ? `it needs glibc 2.${newest}, not 2.${GLIBC}` : undefined;
}

/** @param {Buffer} bytes */
function isWindowsX64(bytes) {
  if (bytes.toString('latin1', 0, 2) !== 'MZ') return false;
  const header = bytes.readUInt32LE(PE.offset);
  return bytes.readUInt16LE(header + PE.machine) === PE.x64;
}
