/** The built addon as a file, and the two ways to build it: cheap checks. `npm run test:builds` builds both. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/load.js';

const root = packageRoot();
const addon = process.env.ATTN_VK_BINARY ?? join(root, 'build/Release/attn_vk.node');
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: root, encoding: 'utf8' });

test('the addon links no Vulkan library: it loads where there is none', () => {
  const libraries = run('ldd', addon);
  expect(libraries).toMatch(/libdnnl/);
  expect(libraries).not.toMatch(/libvulkan/);
  expect(libraries).not.toMatch(/not found/);
});

test('binding.gyp watches every native source, and ends in build/Release', () => {
  const inputs = run(process.execPath, 'scripts/build-native.mjs', '--inputs').trim().split('\n');
  expect(inputs).toContain('native/addon.cc');
  expect(inputs).toContain('CMakeLists.txt');
  for (const folder of ['native', 'shaders'])
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }))
      if (/\.(cc|h|comp|glsl)$/.test(file)) expect(inputs).toContain(`${folder}/${file}`);
  expect(readFileSync(join(root, 'binding.gyp'), 'utf8')).toContain(
    '"outputs": ["<(PRODUCT_DIR)/attn_vk.node"]',
  );
});

test('neither build downloads, and installing the package builds nothing', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  expect(manifest.binary.napi_versions).toEqual([8]); // without it cmake-js fetches headers
  expect(manifest.gypfile).toBe(false); // without it npm install runs node-gyp by itself
  for (const hook of ['preinstall', 'install', 'postinstall', 'prepare'])
    expect(manifest.scripts).not.toHaveProperty(hook);
});
