/** Every data set, as configurations, tests and documents read them: whatever index.ts exports. */
import { closest } from 'fastest-levenshtein';
import { z } from 'zod';
import { problemsOf, refused } from '../config/schema.js';
import { dotted } from '../config/walk.js';
import { ConfigError } from '../runtime/errors.js';
import {
  type AnyDataConfig,
  commonOptions,
  type DataContext,
  type DataKind,
  type DataSet,
  isDataKind,
} from './data.js';
import * as exported from './index.js';

/** In the order of index.ts. */
export const dataKinds: readonly DataKind[] = (Object.values(exported) as unknown[]).filter(isDataKind);

/** @throws ConfigError with the nearest name */
export function dataKind(name: string): DataKind {
  const found = dataKinds.find((k) => k.name === name);
  if (found) return found;
  const names = dataKinds.map((k) => k.name);
  const error = new ConfigError(`there is no data set '${String(name)}'`, {
    hint: `did you mean '${closest(String(name), names)}'? Data sets: ${names.join(', ')}`,
  });
  error.path = 'data.name';
  throw error;
}

/** What a kind's configuration has to be: its name, the common options and its own, and no other key. */
export const dataSchema = (kind: DataKind) =>
  z
    .strictObject({ name: z.literal(kind.name), ...commonOptions, ...kind.options })
    .superRefine((config, context) => {
      try {
        kind.check?.(config as AnyDataConfig);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        const { path, what, hint } = error;
        refused(context, path.split('.').slice(1), { what: what.slice(path.length), hint });
      }
    });

/**
 * A configuration with its defaults filled in.
 * @throws ConfigError naming the option, what was got and what is accepted
 */
export function parseData(config: unknown): AnyDataConfig {
  const schema = dataSchema(dataKind((config as { name: string } | null)?.name as string));
  const result = schema.safeParse(config);
  if (result.success) return result.data as AnyDataConfig;
  // As in a run's configuration, whose key `data` it is.
  const [problem] = problemsOf(z.strictObject({ data: schema }), { data: config });
  const error = new ConfigError(problem!.message, { hint: problem!.hint });
  error.path = dotted(problem!.path);
  throw error;
}

/**
 * Opens the set that a configuration names; defaults are filled in.
 * @throws ConfigError for a configuration that cannot be; DataError for data that cannot
 */
export async function openData(config: AnyDataConfig, context: DataContext): Promise<DataSet> {
  const checked = parseData(config);
  return dataKind(checked.name).open(checked, context);
}
