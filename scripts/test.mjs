// All tests: Rust, then the suite in `__test__/` on Node and on Bun. Ends with their sum; fails when one fails, or when
// a runner ran none.
import { onBun, onNode, runAll } from './suites.mjs';

const rust = {
  name: 'Rust',
  command: ['cargo', 'test', '--locked'],
  counts: /test result: \w+\. (?<passed>\d+) passed; (?<failed>\d+) failed/g,
};

await runAll([rust, onNode(), onBun('--timeout', '60000', '__test__')]);
