/**
 * The training loop. A step is recorded while the one before it runs, and its loss is read one step late, so that the
 * device never waits for JavaScript; evaluations and checkpoints wait for what was recorded. Everything that decides
 * about a step follows from the configuration, the number of the step and the state that a checkpoint holds: a run that
 * was interrupted and resumed takes the same steps, bit for bit, where the same side of the same device computes. (Route
 * 'auto' chooses by what it measures; 'cpu' and 'gpu' always choose alike.)
 */
import { join } from 'node:path';
import type { Batch } from '../data/loader.js';
import type { GPT } from '../model/gpt.js';
import { GradError } from '../runtime/errors.js';
import { writeAtomic } from '../runtime/files.js';
import { packageVersion } from '../runtime/load.js';
import { log } from '../runtime/log.js';
import { generator } from '../tensor/generator.js';
import type { TrainingState } from './checkpoint.js';
import type { RunConfig } from './config.js';
import type { Hook, MetricsRow, Outcome, Run } from './hook.js';
import { Manifest } from './manifest.js';
import { measure } from './measure.js';
import { Meter } from './meter.js';
import { type Opened, openRun, type TrainerOptions } from './open.js';
import { placeOf } from './place.js';
import { dumpRunConfig } from './run-config.js';
import { recordStep } from './step.js';
import { usualHooks } from './usual-hooks.js';

/** A step whose loss is on its way. */
interface Pending {
  step: number;
  tokens: number;
  lr: number;
  loss: Promise<number>;
  /** Where a row is due: norm of the gradients, steps skipped so far, bytes at the peak. */
  more: Promise<[number, number, { host: number; device: number }]> | null;
}

export class Trainer {
  /** As hooks see the run. */
  readonly #view: Run;
  readonly #hooks: readonly Hook[];
  readonly #meter: Meter;
  #state: Omit<TrainingState, 'losses' | 'generator' | 'batch'>;
  #test: MetricsRow | null = null;
  #next: Promise<Batch[]> | undefined;
  #pending: Pending | undefined;
  #ending: { reason: Outcome['reason']; detail: string } | undefined;
  /** What was not finite, and in which step. */
  #bad: { step: number; what: string } | undefined;
  /** Steps of the last checkpoint and evaluation. */
  #saved = -1;
  #evaluated = -1;

  private constructor(
    readonly config: RunConfig,
    readonly opened: Opened,
    hooks: readonly Hook[],
  ) {
    const { found, folder, loader, model, optimizer } = opened;
    this.#hooks = [...usualHooks(config.train), ...hooks];
    this.#meter = new Meter(loader.info);
    this.#state = { step: 0, val: null, best: null, mark: null, sinceBest: 0, skipped: 0 };
    if (found) {
      const { step, val, best, mark, sinceBest, skipped, losses } = found.state;
      this.#state = { step, val, best, mark, sinceBest, skipped };
      this.#meter.losses = { ...losses };
      this.#saved = step;
      generator.state = found.state.generator;
    }
    const state = this.#state;
    this.#view = {
      config,
      folder,
      data: loader.info,
      model,
      optimizer,
      loader,
      get step() {
        return state.step;
      },
      stop: (detail) => this.#end('early stop', detail),
    };
  }

  /**
   * Everything is checked and, where that fails, nothing left behind.
   * @throws StorageError for the folder, CheckpointError for what is to be resumed, DeviceError, DataError, ConfigError
   */
  static async open(config: RunConfig, options: TrainerOptions = {}): Promise<Trainer> {
    return new Trainer(config, await openRun(config, options), options.hooks ?? []);
  }

  get folder(): string {
    return this.opened.folder;
  }

  get model(): GPT {
    return this.opened.model;
  }

  /** Updates taken. */
  get step(): number {
    return this.#state.step;
  }

  /** Ends training after the step that runs: it is saved, and the outcome is 'interrupted'. */
  stop(reason: string): void {
    this.#end('interrupted', reason);
  }

  #end(reason: Outcome['reason'], detail: string): void {
    this.#ending ??= { reason, detail };
  }

  /** @throws what stopped it; the outcome 'failed' is for hooks */
  async run(): Promise<Outcome> {
    const { config, folder, model, step } = this;
    writeAtomic(join(folder, 'config.yaml'), dumpRunConfig(config));
    const place = placeOf(this.opened.runtime);
    const manifest = new Manifest(folder, config, { parameters: model.size, place, step });
    const failures: unknown[] = [];
    try {
      await this.#tell((hook, run) => hook.begin?.(run));
      await this.#train();
    } catch (error) {
      failures.push(error);
      this.#ending = { reason: 'failed', detail: error instanceof Error ? error.message : String(error) };
    }
    const outcome = this.#outcome();
    // Every hook closes what it opened, whatever failed before: a full disk fails more than once.
    const ends = this.#hooks.map((hook) => () => hook.end?.(outcome, this.#view));
    for (const end of [() => manifest.end(outcome), ...ends])
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    if (failures.length === 0) return outcome;
    for (const also of failures.slice(1)) log('error', `at the end of the run: ${also}`);
    throw failures[0];
  }

  /** Ends model, optimiser and data. Safe to call twice. */
  async close(): Promise<void> {
    await this.#next?.catch(() => undefined);
    await this.opened.close();
  }

  // ---------------------------------------------------------------- the loop

  async #train(): Promise<void> {
    const { steps } = this.config.train;
    if (this.step >= steps) return;
    this.#checkPatience(); // of a run that was interrupted when it was about to end
    await this.opened.runtime.takePeak(); // a new one begins
    this.#meter.go();
    while (this.step < steps && !this.#ending && !this.#stopsAtBad) {
      await this.#advance();
      if (this.#due('eval') || this.#due('checkpoint')) await this.#halt();
      await new Promise(setImmediate); // signals, timers and workers have their turn
    }
    if (this.#saved !== this.step) await this.#halt();
  }

  get #stopsAtBad(): boolean {
    return this.#bad !== undefined && this.config.train.nan === 'stop';
  }

  #due(what: 'eval' | 'checkpoint'): boolean {
    const { every } = this.config.train[what];
    const { step } = this;
    return (every > 0 && step > 0 && step % every === 0) || step === this.config.train.steps;
  }

  #batches(step: number): Promise<Batch[]> {
    const { accumulate } = this.config.train;
    const first = step * accumulate;
    const batches = Promise.all(
      Array.from({ length: accumulate }, (_, i) => this.opened.loader.batch('train', first + i)),
    );
    batches.catch(() => undefined); // told where they are awaited
    return batches;
  }

  /** Records a step, then hears of the one before. */
  async #advance(): Promise<void> {
    const { model, optimizer } = this.opened;
    const { train } = this.config;
    const batches = await (this.#next ?? this.#batches(this.step));
    this.#next = undefined;
    optimizer.lrFactor = this.opened.schedule(this.step);
    const total = recordStep(model, optimizer, batches, train);
    const step = ++this.#state.step;
    const pending: Pending = {
      step,
      tokens: batches.reduce((n, { ids }) => n + ids.length, 0),
      lr: optimizer.paramGroups[0]!.lr * optimizer.lrFactor,
      loss: total.item(),
      more:
        step % train.log.every === 0
          ? Promise.all([optimizer.gradNorm(), optimizer.skippedSteps(), this.opened.runtime.takePeak()])
          : null,
    };
    total.dispose();
    for (const promise of [pending.loss, pending.more]) promise?.catch(() => undefined); // told by #settle
    if (step < train.steps) this.#next = this.#batches(step);
    await this.#tell((hook, run) => hook.step?.(run));
    const before = this.#pending;
    this.#pending = pending;
    if (before) await this.#settle(before);
  }

  async #settle({ step, tokens, lr, loss, more }: Pending): Promise<void> {
    const value = await loss;
    this.#meter.add(value, tokens);
    if (!Number.isFinite(value)) this.#bad ??= { step, what: `the loss is ${value}` };
    if (!more) return;
    const [gradNorm, skipped, peak] = await more;
    this.#meter.peaked(peak);
    const row = this.#meter.row(step, lr, gradNorm);
    await this.#tell((hook, run) => hook.logged?.(row, run));
    this.#countSkipped(skipped, step);
  }

  #countSkipped(skipped: number, step: number): void {
    const more = skipped - this.#state.skipped;
    if (more <= 0) return;
    this.#state.skipped = skipped;
    this.#bad ??= { step, what: `a gradient was not finite in ${more} of the steps up to it` };
    if (this.config.train.nan === 'skip') {
      log('warn', `step ${step}: ${skipped} steps so far were not finite and changed nothing`);
      this.#bad = undefined;
    }
  }

  /** Hears of everything recorded; then evaluates and saves what is due. */
  async #halt(): Promise<void> {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending) await this.#settle(pending);
    this.#meter.pause();
    this.#countSkipped(await this.opened.optimizer.skippedSteps(), this.step);
    this.#meter.peaked(await this.opened.runtime.takePeak());
    if (this.#stopsAtBad) await this.#giveUp();
    const finished = this.step === this.config.train.steps;
    // An interruption that comes first is how the run ends, and leaves no less than its early stop.
    const stopped = () => this.#ending?.reason === 'early stop' || this.#outOfPatience;
    // A stop that comes between evaluation and checkpoint leads here twice.
    const evaluates = (this.#due('eval') || stopped()) && this.#evaluated !== this.step;
    const better = evaluates && (await this.#evaluate());
    if (this.config.train.eval.test && (finished || stopped())) this.#test ??= await this.#measure('test');
    if (this.#due('checkpoint') || better || this.#ending) await this.#save();
    await this.opened.runtime.takePeak(); // that of evaluating and saving is no concern of training
    this.#meter.go();
  }

  async #giveUp(): Promise<never> {
    const { step, what } = this.#bad!;
    const folder = await this.#save();
    throw new GradError(`step ${step}: ${what}`, {
      hint:
        `${folder} holds the parameters that the finite steps made: those that were not changed nothing. ` +
        'Lower the learning rate, clip, or let train.nan skip such steps; resuming goes on behind them',
    });
  }

  async #measure(split: 'val' | 'test'): Promise<MetricsRow> {
    const row = await measure(this.opened, this.config.train, split, this.step);
    await this.#tell((hook, run) => hook.logged?.(row, run));
    return row;
  }

  /** Whether it is the best so far. */
  async #evaluate(): Promise<boolean> {
    const state = this.#state;
    const { delta } = this.config.train.earlyStop;
    const { loss } = (state.val = await this.#measure('val'));
    this.#evaluated = this.step;
    const counts = state.mark === null ? Number.isFinite(loss) : loss < state.mark - delta;
    if (counts) state.mark = loss;
    state.sinceBest = counts ? 0 : state.sinceBest + 1;
    const better = state.best === null ? Number.isFinite(loss) : loss < state.best.loss;
    if (better) state.best = { step: this.step, loss };
    this.#checkPatience();
    return better;
  }

  get #outOfPatience(): boolean {
    const { patience } = this.config.train.earlyStop;
    return patience > 0 && this.#state.sinceBest >= patience;
  }

  #checkPatience(): void {
    const { sinceBest, mark } = this.#state;
    if (this.#outOfPatience)
      this.#end('early stop', `${sinceBest} evaluations without a better loss than ${mark}`);
  }

  async #save(): Promise<string> {
    const { config, step } = this;
    const { model, optimizer, loader } = this.opened;
    await this.#tell((hook, run) => hook.saving?.(run));
    const folder = await this.opened.checkpoints.save(
      {
        model,
        optimizer,
        tokenizer: loader.info.tokenizer,
        state: {
          version: packageVersion(),
          node: process.version,
          ...this.#state,
          batch: step * config.train.accumulate,
          generator: generator.state,
          losses: this.#meter.losses,
          place: placeOf(this.opened.runtime),
          config,
        },
      },
      config.train.checkpoint.keep,
    );
    this.#saved = step;
    await this.#tell((hook, run) => hook.saved?.(folder, run));
    return folder;
  }

  #outcome(): Outcome {
    const { step, val, best, skipped } = this.#state;
    const { reason, detail } = this.#ending ?? {
      reason: 'steps' as const,
      detail: `all ${step} steps are taken`,
    };
    const told = skipped > 0 ? `${detail}; ${skipped} steps were not finite and changed nothing` : detail;
    return { reason, detail: told, step, val, best, test: this.#test, skipped };
  }

  async #tell(what: (hook: Hook, run: Run) => void | Promise<void> | undefined): Promise<void> {
    for (const hook of this.#hooks) {
      const told = what(hook, this.#view);
      if (told) await told;
    }
  }
}
