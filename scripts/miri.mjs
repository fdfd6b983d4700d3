// The Rust core on Miri (`npm run miri`), which finds undefined behaviour, data races and leaks, in the crates that the
// core uses too. Ends as `npm test` does.
import { requireNightly } from './nightly.mjs';
import { onCargo, runAll } from './suites.mjs';

/**
 * Miri plays a FreeBSD, on the file system of this machine: of its calls it lacks only those that `src/miri.rs` stands in
 * for. As Linux it lacks `renameat2`, `rustix` talks to the kernel in assembly, and how `parking_lot` waits counts as
 * undefined behaviour, since it passes a reference where the C function takes a pointer.
 */
const TARGET = 'x86_64-unknown-freebsd';

/** Integers become pointers in `parking_lot`; else each place where they do would be reported. */
const FLAGS = '-Zmiri-disable-isolation -Zmiri-permissive-provenance';

/** Schedules to try where there are threads: Miri runs several at once, but a single one on one core. */
const SEEDS = '0..4';
const WITH_THREADS = ['concurrent_commits', 'a_long_text', 'the_old_protocol'];

/**
 * @param {string} name
 * @param {string} flags
 * @param {...string} tests
 */
const onMiri = (name, flags, ...tests) => {
  const miri = ['cargo', '+nightly', 'miri', 'test', '--locked', '--lib', '--target', TARGET];
  return onCargo(name, 'env', `MIRIFLAGS=${FLAGS}${flags}`, ...miri, '--', ...tests);
};

requireNightly('miri', 'rust-src');
await runAll(
  [
    onMiri('Miri', '', ...WITH_THREADS.flatMap(name => ['--skip', name])),
    onMiri('Miri, threads', ` -Zmiri-many-seeds=${SEEDS}`, ...WITH_THREADS),
  ],
  // Miri takes a thousand times as long.
  { PROPTEST_CASES: '3' },
);
