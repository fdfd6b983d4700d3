// SQLite as the runtime brings it: `bun:sqlite`, or `node:sqlite` where Node has it.
//
// A write-ahead log, so that readers and the writer don't wait for each other; prepared statements; the records as JSON
// in the tree of the keys, and the file mapped into memory: of the ways to store and read them the fastest. With NORMAL a
// transaction that was committed may be gone after a power cut, with FULL it is not.
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import type { Driver } from '../drivers.ts';
import { add } from './usage.ts';

const name = ['bun:sqlite', 'node:sqlite'].find(isBuiltin);
const module = name === undefined ? undefined : await import(name);
/** What is used of it is the same in both. */
const Database: typeof DatabaseSync | undefined = module?.Database ?? module?.DatabaseSync;

const open = (folder: string) =>
  new (Database as typeof DatabaseSync)(join(folder, 'records.sqlite'));

export const sqlite: ((synchronous: 'NORMAL' | 'FULL') => Driver) | undefined =
  Database &&
  (synchronous => ({
    name: `sqlite ${synchronous}`,
    async make(folder, data) {
      const database = open(folder);
      database.exec(`
        PRAGMA journal_mode = WAL;
        CREATE TABLE records (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
        BEGIN;
      `);
      const insert = database.prepare('INSERT INTO records VALUES (?, ?)');
      for (const record of data.keys) insert.run(record.key, JSON.stringify(record));
      database.exec('COMMIT');
      // The last one to close it takes the log into the file.
      database.close();
    },
    async open(folder) {
      const database = open(folder);
      database.exec(`
        PRAGMA synchronous = ${synchronous};
        PRAGMA mmap_size = 1000000000;
        PRAGMA busy_timeout = 10000;
      `);
      const select = database.prepare('SELECT record FROM records WHERE key = ?');
      const update = database.prepare('UPDATE records SET record = ? WHERE key = ?');
      const find = (key: string) => {
        const row = select.get(key) as { record: string } | null | undefined;
        return row ? JSON.parse(row.record) : null;
      };
      return {
        find,
        record: key => {
          database.exec('BEGIN IMMEDIATE');
          const record = find(key);
          if (record) update.run(JSON.stringify(add(record, 1, Date.now())), key);
          database.exec('COMMIT');
        },
      };
    },
    async total(folder) {
      const database = open(folder);
      const rows = database.prepare('SELECT record FROM records').all() as { record: string }[];
      database.close();
      return rows.reduce((sum, row) => sum + JSON.parse(row.record).total_lifetime_tokens, 0);
    },
  }));
