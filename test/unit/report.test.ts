import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { toCsv, writeCsv } from '../../src/io/csv.js';
import { toSvg, writeChart } from '../../src/report/chart.js';
import { machine, productLine, writeReport } from '../../src/report/json.js';

const folder = () => mkdtempSync(join(tmpdir(), 'attn-vk-report-'));

const bars = (title: string) => ({
  title,
  width: 240,
  height: 120,
  data: {
    values: [
      { side: 'cpu', ms: 2 },
      { side: 'vulkan', ms: 1 },
    ],
  },
  mark: 'bar' as const,
  encoding: {
    x: { field: 'ms', type: 'quantitative' as const },
    y: { field: 'side', type: 'nominal' as const },
  },
});

test('a chart becomes a PNG of the size of its SVG, twice over, with its text drawn', async () => {
  const out = folder();
  const svg = await toSvg(bars('add'));
  const [, width, height] = /<svg[^>]* width="(\d+)"[^>]* height="(\d+)"/.exec(svg)!.map(Number);
  expect(width).toBeGreaterThan(240);
  expect(height).toBeGreaterThan(120);

  await writeChart(bars('add'), join(out, 'a.png'));
  await writeChart(bars('mul'), join(out, 'b.png'));
  const png = readFileSync(join(out, 'a.png'));
  expect(png.subarray(1, 4).toString()).toBe('PNG');
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([2 * width!, 2 * height!]);
  // Titles of equal layout that differ in letters: without a font both pictures would be the same.
  expect(png.equals(readFileSync(join(out, 'b.png')))).toBe(false);
  expect(readdirSync(out).sort()).toEqual(['a.png', 'b.png']);
});

test('a chart that vega-lite warns about, or of an unknown kind, is refused', async () => {
  const odd = {
    ...bars('x'),
    encoding: { x: { field: 'ms', type: 'quantitative' as const, scale: { type: 'sequence' } } },
  };
  await expect(toSvg(odd as never)).rejects.toThrow(/chart: /);
  await expect(writeChart(bars('x'), join(folder(), 'a.gif'))).rejects.toThrow(/not .*a\.gif/);
});

test('CSV: columns in first-seen order, quoting, empty cells', async () => {
  const rows = [
    { op: 'add', ms: 0.5 },
    { op: 'a "b", c', ms: null, note: 'x' },
  ];
  expect(await toCsv(rows)).toBe('op,ms,note\nadd,0.5,\n"a ""b"", c",,x\n');
  const path = join(folder(), 'deep/er/t.csv');
  await writeCsv(path, rows);
  expect(readFileSync(path, 'utf8')).toBe(await toCsv(rows));
});

test('JSON: machine header and figures come back as they were', () => {
  const path = join(folder(), 'r.json');
  const report = {
    machine: machine(['llvmpipe']),
    cases: [{ name: 'add', metric: 'speed-up', value: 2, unit: '×', bound: { atLeast: 1 } }],
  };
  writeReport(path, report);
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(report);
  expect(report.machine.cores).toBeGreaterThan(0);
});

test.each([
  ['Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz', 'Intel Xeon Platinum'],
  ['AMD EPYC 9R14 96-Core Processor', 'AMD EPYC'],
  ['13th Gen Intel(R) Core(TM) i7-1370P', 'Intel Core i7'],
  ['AMD Ryzen 7 5800X 8-Core Processor', 'AMD Ryzen 7'],
  ['AMD EPYC', 'AMD EPYC'],
  ['Apple M2', 'Apple M2'],
  ['', 'unknown'],
])('CPU in general terms: %s', (model, line) => {
  expect(productLine(model)).toBe(line);
});
