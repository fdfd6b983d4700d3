/** Extended attributes, which neither runtime knows: by way of the C library, in a Bun of its own. */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const BUN = fileURLToPath(new URL('../node_modules/.bin/bun', import.meta.url));

const CODE = `
  import { dlopen } from 'bun:ffi';
  const { path, set, remove } = JSON.parse(process.env.XATTRS);
  const names = ['libc.so.6', 'libc.musl-' + (process.arch === 'x64' ? 'x86_64' : 'aarch64') + '.so.1'];
  const string = 'cstring';
  const open = name => dlopen(name, {
    lsetxattr: { args: [string, string, 'ptr', 'usize', 'int'], returns: 'int' },
    lremovexattr: { args: [string, string], returns: 'int' },
    lgetxattr: { args: [string, string, 'ptr', 'usize'], returns: 'i64' },
    llistxattr: { args: [string, 'ptr', 'usize'], returns: 'i64' },
  }).symbols;
  let c;
  for (const name of names) try { c ??= open(name); } catch {}
  const z = text => Buffer.from(text + '\\0');
  const checked = (result, what) => {
    if (result < 0) throw new Error(what + ' failed');
    return Number(result);
  };
  for (const [name, value] of Object.entries(set)) {
    const bytes = Buffer.from(value, 'latin1');
    const padded = Buffer.concat([bytes, Buffer.alloc(1)]);
    checked(c.lsetxattr(z(path), z(name), padded, bytes.length, 0), 'setting ' + name);
  }
  for (const name of remove) checked(c.lremovexattr(z(path), z(name)), 'removing ' + name);
  const buffer = Buffer.alloc(65536);
  const list = buffer.toString('utf8', 0, checked(c.llistxattr(z(path), buffer, 65536), 'listing'));
  const found = {};
  for (const name of list.split('\\0').filter(Boolean).sort()) {
    const size = checked(c.lgetxattr(z(path), z(name), buffer, 65536), 'reading ' + name);
    found[name] = buffer.toString('latin1', 0, size);
  }
  console.log(JSON.stringify(found));
`;

/** Values by name; each character of a value is one byte. */
export type Attributes = Record<string, string>;

/** Sets and removes extended attributes of a file, and gives those that it has then. */
export function xattrs(path: string, set: Attributes = {}, remove: string[] = []): Attributes {
  const XATTRS = JSON.stringify({ path, set, remove });
  const found = execFileSync(BUN, ['-e', CODE], {
    env: { ...process.env, XATTRS },
    stdio: ['ignore', 'pipe', 'ignore'],
    encoding: 'utf8',
  });
  return JSON.parse(found);
}

/** Whether files in the folder for temporary files can have such attributes, and this process may set them. */
export function maySet(attributes: Attributes): boolean {
  const file = join(tmpdir(), `keyledger-xattr-${process.pid}`);
  try {
    writeFileSync(file, '');
    return Object.keys(attributes).every(name => name in xattrs(file, attributes));
  } catch {
    return false;
  } finally {
    rmSync(file, { force: true });
  }
}
