// All tests: Rust, then the suite in `__test__/` on Node and on Bun. Ends with their sum; fails when one fails, or when
// a runner ran none.
import { onBun, onCargo, onNode, runAll } from './suites.mjs';

const rust = onCargo('Rust', 'cargo', 'test', '--locked');
await runAll([rust, onNode(), onBun('--timeout', '60000', '__test__')]);
