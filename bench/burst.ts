// 100 updates at once on 1000 keys: what is recorded, and in how many commits.
import { readFileSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { check, finish, load, makeData, median, type Row, type Storage } from './measure.ts';

const UPDATES = 100;
const data = makeData(1000);

async function burst(storage: Storage & { file: string }) {
  await storage.writeApiKeys(data);
  let commits = 0;
  const watcher = watch(dirname(storage.file), (event, name) => {
    if (event === 'rename' && name === basename(storage.file)) commits++;
  });
  await new Promise(resolve => setTimeout(resolve, 100));
  commits = 0;
  const start = performance.now();
  const results = await Promise.allSettled(
    data.keys.slice(0, UPDATES).map(({ key }) => storage.updateApiKeyUsage(key, 1, 'glm-4.7')),
  );
  const time = performance.now() - start;
  await new Promise(resolve => setTimeout(resolve, 100));
  watcher.close();
  const after = JSON.parse(readFileSync(storage.file, 'utf8')) as typeof data;
  const recorded = after.keys.filter(
    ({ total_lifetime_tokens }, index) =>
      total_lifetime_tokens === Number(data.keys[index]?.total_lifetime_tokens) + 1,
  ).length;
  const resolved = results.filter(({ status }) => status === 'fulfilled').length;
  check(recorded >= resolved, 'what resolved is in the file');
  return { recorded, commits, time };
}

/** Several runs; of what was recorded the least counts, of commits the most. */
async function runs(name: 'keyledger' | 'baseline') {
  const results = [];
  for (let run = 0; run < 3; run++) results.push(await burst(await load(name, `burst-${run}`)));
  return {
    recorded: Math.min(...results.map(({ recorded }) => recorded)),
    commits: Math.max(...results.map(({ commits }) => commits)),
    time: median(results.map(({ time }) => time)),
  };
}

const ours = await runs('keyledger');
const theirs = await runs('baseline');
const rows: Row[] = [
  {
    what: `recorded of ${UPDATES} updates at once`,
    keyledger: `${ours.recorded}`,
    baseline: `${theirs.recorded}`,
    bound: `${UPDATES}`,
    met: ours.recorded === UPDATES,
  },
  {
    what: 'commits for them',
    keyledger: `${ours.commits}`,
    baseline: `${theirs.commits}`,
    bound: '1 or 2',
    met: ours.commits === 1 || ours.commits === 2,
  },
  {
    what: 'until all have settled',
    keyledger: `${ours.time.toFixed(1)} ms`,
    baseline: `${theirs.time.toFixed(1)} ms`,
  },
];
finish(rows);
