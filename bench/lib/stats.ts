/** Samples to a figure: the median, and the median absolute deviation as its spread, both robust to a busy machine. */
import { median, medianAbsoluteDeviation } from 'simple-statistics';

export interface Summary {
  /** Seconds. */
  median: number;
  mad: number;
  /** Samples behind the two. */
  n: number;
}

export const summary = (samples: number[]): Summary => ({
  median: median(samples),
  mad: medianAbsoluteDeviation(samples),
  n: samples.length,
});
