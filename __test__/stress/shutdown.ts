// Shuts an ext4 file system down as a power cut would: nothing that is not on the disk gets there any more. Run by Bun,
// since Node.js has no ioctl: `bun shutdown.ts FOLDER [FILE]`. With FILE, that is written and synced just before, as any
// other program may do: it commits the journal, and with it the names of files, but not what is in them.

// @ts-expect-error: Bun's own modules have no types here.
import { dlopen } from 'bun:ffi';
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';

const EXT4_IOC_SHUTDOWN = 0x8004587d;
const EXT4_GOING_FLAGS_NOLOGFLUSH = 2;

const [folder = '', file] = process.argv.slice(2);
const { symbols } = dlopen('libc.so.6', {
  ioctl: { args: ['i32', 'u64', 'ptr'], returns: 'i32' },
});
const flags = new Uint32Array([EXT4_GOING_FLAGS_NOLOGFLUSH]);
const mounted = openSync(folder, 'r');
if (file !== undefined) {
  const other = openSync(file, 'a');
  writeSync(other, 'synced\n');
  fsyncSync(other);
  closeSync(other);
}
if (symbols.ioctl(mounted, EXT4_IOC_SHUTDOWN, flags) !== 0)
  throw new Error(`${folder} can not be shut down`);
