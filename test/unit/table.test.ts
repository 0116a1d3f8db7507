import { expect, test } from 'vitest';
import { duration, fixed, markdownTable, plain, textTable, times } from '../../src/report/table.js';

const rows = [
  { op: 'add', cpu: 0.000735, gpu: 2.33e-3, side: 'cpu' },
  { op: 'matmul', cpu: 1.25, gpu: null, side: 'cpu' },
];
const columns = [
  'op',
  { key: 'cpu', title: 'CPU', format: duration, align: 'right' as const },
  { key: 'gpu', title: 'Vulkan', format: duration },
  { key: 'side', title: 'choice' },
];

test('text columns line up: numbers to the right, words to the left, nothing trails', () => {
  expect(textTable(rows, columns)).toBe(
    [
      'op         CPU   Vulkan  choice',
      '------  ------  -------  ------',
      'add     735 µs  2.33 ms  cpu',
      'matmul  1.25 s        -  cpu',
    ].join('\n'),
  );
});

test('without columns the keys of all rows are shown, in the order of their first appearance', () => {
  expect(textTable([{ b: 1 }, { a: 'x', b: 22 }], undefined, { indent: '  ' })).toBe(
    ['   b  a', '  --  -', '   1  -', '  22  x'].join('\n'),
  );
  expect(textTable([], ['op', 'side'])).toBe('op  side\n--  ----');
  expect([textTable([]), markdownTable([])]).toEqual(['', '']);
});

test('markdown is padded, aligned and escaped', () => {
  expect(markdownTable(rows, columns)).toBe(
    [
      '| op     |    CPU |  Vulkan | choice |',
      '| ------ | -----: | ------: | ------ |',
      '| add    | 735 µs | 2.33 ms | cpu    |',
      '| matmul | 1.25 s |       - | cpu    |',
    ].join('\n'),
  );
  expect(markdownTable([{ x: 'a|b\\' }])).toBe('| x      |\n| ------ |\n| a\\|b\\\\ |');
});

test('colour is off unless asked for, and then touches the heading only', () => {
  const table = textTable(rows, columns);
  const esc = String.fromCharCode(27);
  expect(table).not.toContain(esc);
  const [head, ...rest] = textTable(rows, columns, { color: true }).split('\n');
  expect(head).toBe(`${esc}[1m${table.split('\n')[0]}${esc}[22m`);
  expect(rest.join('\n')).toBe(table.split('\n').slice(1).join('\n'));
});

test('no cell breaks its line or its column', () => {
  const table = textTable([
    { driver: 'got 1\n\texpected 2', n: 1 },
    { driver: '\u001b[31mred\u001b[0m', n: 2 },
    { driver: '显卡 µs é', n: 3 },
  ]);
  expect(table.split('\n')).toEqual([
    'driver            n',
    '----------------  -',
    'got 1 expected 2  1',
    'red               2',
    '显卡 µs é         3',
  ]);
  const short = textTable(
    [{ text: 'abcdefgh' }, { text: '显卡显卡' }, { text: 'abcde' }],
    [{ key: 'text', max: 5 }],
  );
  expect(short.split('\n').slice(2)).toEqual(['abcd…', '显卡…', 'abcde']);
});

test('values read well at every size', () => {
  expect([0, 7e-9, 2.5e-7, 9.996e-7, 735e-6, 2.33e-3, 0.9999, 1.25, 3600, Infinity].map(duration)).toEqual([
    '0 s',
    '7 ns',
    '250 ns',
    '1 µs',
    '735 µs',
    '2.33 ms',
    '1 s',
    '1.25 s',
    '3600 s',
    'never',
  ]);
  expect([0.5, 4.567, 9.999, 15.25, 120.4].map(times)).toEqual(['0.50x', '4.57x', '10.0x', '15.3x', '120x']);
  expect([3, 1234567, 0.123456, 12345.67, Number.NaN, true, 'x'].map(plain)).toEqual([
    '3',
    '1234567',
    '0.1235',
    '12346',
    'NaN',
    'true',
    'x',
  ]);
  expect([1, 2.345, 'x'].map(fixed(2))).toEqual(['1.00', '2.35', 'x']);
});
