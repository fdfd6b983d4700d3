/** A disk of its own for a test: an ext4 in a file, mounted through a loop device. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { later } from '../helpers.ts';

const SIZE = 16 * 1024 * 1024;
const BUN = fileURLToPath(new URL('../../node_modules/.bin/bun', import.meta.url));
const SHUTDOWN = fileURLToPath(new URL('shutdown.ts', import.meta.url));

/**
 * The least that ext4 can be told to promise: a rename does not bring the content of the file to the disk, nor does a
 * commit of the journal.
 */
const OPTIONS = 'loop,noauto_da_alloc,data=writeback';

/** Gives what the program says on standard error when it fails. */
function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

export class LoopDisk {
  /** Where it is mounted. */
  readonly folder: string;
  #base = mkdtempSync(join(tmpdir(), 'keyledger-test-'));
  #image = join(this.#base, 'image');
  #mounted = false;

  /** Makes the disk, and mounts it until the end of the test. */
  constructor() {
    this.folder = join(this.#base, 'disk');
    later(() => this.remove());
    try {
      mkdirSync(this.folder);
      writeFileSync(this.#image, '');
      truncateSync(this.#image, SIZE);
      run('mkfs.ext4', '-q', '-F', this.#image);
      this.mount();
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  mount(): void {
    run('mount', '-o', OPTIONS, this.#image, this.folder);
    this.#mounted = true;
  }

  unmount(): void {
    run('umount', this.folder);
    this.#mounted = false;
  }

  /** Brings all to the disk. */
  sync(): void {
    run('sync', '-f', this.folder);
  }

  /** Cuts the power, right after another program's sync if that is wanted. */
  cut({ afterSync }: { afterSync: boolean }): void {
    run(BUN, SHUTDOWN, this.folder, ...(afterSync ? [join(this.folder, 'other')] : []));
  }

  /** The loop device goes with the mount, and that when nobody uses it any more. */
  remove(): void {
    if (this.#mounted) run('umount', '--lazy', this.folder);
    this.#mounted = false;
    rmSync(this.#base, { recursive: true, force: true });
  }
}

/** Why no such disk can be had here, if so. */
export function obstacle(): string | undefined {
  if (process.platform !== 'linux') return 'it needs Linux';
  if (process.getuid?.() !== 0) return 'it needs root, to mount a disk';
  try {
    new LoopDisk().remove();
    return undefined;
  } catch (error) {
    // What the program that failed says, or the runtime if there is no such program.
    const [first, second = first] = String(error).split('\n');
    return `no disk can be mounted here: ${second?.split(': ').at(-1)}`;
  }
}
