#!/usr/bin/env node
// The command line's root: finds the verb, runs it, turns errors into messages and exit codes. It knows nothing else.
import { endWithParent } from '../gpu-worker/process/end-with-parent.ts'
import { UserError } from '../schemas/errors.ts'
import { explainError, nearestWord, reasonOf } from './explain-error.ts'
import { readVersion } from './version.ts'

type Verb = {
  summary: string
  run: (args: readonly string[]) => Promise<number>
  usage: () => Promise<string>
}

// Verbs are loaded when they are called, so that help and mistakes answer at once.
const verbs: Readonly<Record<string, Verb>> = {
  'label': {
    summary: 'label the images of a folder',
    run: async (args) => await (await import('./label-root.ts')).runLabelHere(args),
    usage: async () => (await import('./label-flags.ts')).labelUsage,
  },
  'plan': {
    summary: 'what a run will take: time and cost, measured on a few images',
    run: async (args) => await (await import('./label-root.ts')).runPlanHere(args),
    usage: async () => (await import('./plan-flags.ts')).planUsage,
  },
  'dev': {
    summary: 'a cloud on this machine: images in, labels out, within seconds',
    run: async (args) => await (await import('./dev/here.ts')).runDevHere(args),
    usage: async () => (await import('./dev.ts')).devUsage,
  },
  'draw': {
    summary: 'draw the labels of a run over its images',
    run: async (args) => await (await import('./draw.ts')).runDraw(args),
    usage: async () => (await import('./draw.ts')).drawUsage,
  },
  'evaluate': {
    summary: 'compare labels with answers known to be right, of a run or a public benchmark',
    run: async (args) =>
      await (
        await import('./evaluate.ts')
      ).runEvaluate(args, (await import('./label-root.ts')).labelRootHere()),
    usage: async () => (await import('./evaluate.ts')).evaluateUsage,
  },
  'export': {
    summary: 'write the labels of a run as a dataset for trainers, tools and people',
    run: async (args) => await (await import('./export.ts')).runExport(args),
    usage: async () => (await import('./export.ts')).exportUsage,
  },
  'review': {
    summary: 'look through the labels of a run in a browser: accept, reject, edit',
    run: async (args) => await (await import('./review.ts')).runReview(args, await verbRoot()),
    usage: async () => (await import('./review.ts')).reviewUsage,
  },
  'report': {
    summary: 'a run as one HTML page: counts, charts, pictures',
    run: async (args) => await (await import('./report.ts')).runReport(args, await verbRoot()),
    usage: async () => (await import('./report.ts')).reportUsage,
  },
  'import-reviews': {
    summary: 'take in what people decided in SageMaker Ground Truth',
    run: async (args) => await (await import('./import-reviews.ts')).runImportReviews(args, await verbRoot()),
    usage: async () => (await import('./import-reviews.ts')).importReviewsUsage,
  },
  'compile': {
    summary: 'turn a checkpoint into a model that coglabel runs',
    run: async (args) => await (await import('./compile.ts')).runCompile(args),
    usage: async () => (await import('./compile.ts')).compileUsage,
  },
  'bench': {
    summary: 'how fast a model labels on this machine',
    run: async (args) => await (await import('./bench.ts')).runBench(args, await verbRoot()),
    usage: async () => (await import('./bench.ts')).benchUsage,
  },
  'submit': {
    summary: 'begin a run at a place, for workers to label',
    run: async (args) => await (await import('./submit.ts')).runSubmit(args, await verbRoot()),
    usage: async () => (await import('./submit.ts')).submitUsage,
  },
  'status': {
    summary: 'how a run at a place stands',
    run: async (args) => await (await import('./status.ts')).runStatus(args, await verbRoot()),
    usage: async () => (await import('./status.ts')).statusUsage,
  },
  'seal': {
    summary: 'seal what workers have finished',
    run: async (args) => await (await import('./seal.ts')).runSeal(args, await verbRoot()),
    usage: async () => (await import('./seal.ts')).sealUsage,
  },
  'redrive': {
    summary: 'send dead letters again',
    run: async (args) => await (await import('./redrive.ts')).runRedrive(args, await verbRoot()),
    usage: async () => (await import('./redrive.ts')).redriveUsage,
  },
  'reconcile': {
    summary: 'ask again for images that have no labels',
    run: async (args) => await (await import('./reconcile.ts')).runReconcile(args, await verbRoot()),
    usage: async () => (await import('./reconcile.ts')).reconcileUsage,
  },
  'pull-labels': {
    summary: 'copy the labels of a run into a folder',
    run: async (args) => await (await import('./pull-labels.ts')).runPullLabels(args, await verbRoot()),
    usage: async () => (await import('./pull-labels.ts')).pullLabelsUsage,
  },
  'pause': {
    summary: 'let a run of a place rest',
    run: async (args) => await (await import('./control.ts')).runControl('pause', args, await verbRoot()),
    usage: async () => (await import('./control.ts')).controlUsage('pause'),
  },
  'resume': {
    summary: 'go on with a paused run',
    run: async (args) => await (await import('./control.ts')).runControl('resume', args, await verbRoot()),
    usage: async () => (await import('./control.ts')).controlUsage('resume'),
  },
  'cancel': {
    summary: 'drop what a run has left to do',
    run: async (args) => await (await import('./control.ts')).runControl('cancel', args, await verbRoot()),
    usage: async () => (await import('./control.ts')).controlUsage('cancel'),
  },
  'gc': {
    summary: 'delete what sealed runs no longer need',
    run: async (args) => await (await import('./gc.ts')).runGc(args, await verbRoot()),
    usage: async () => (await import('./gc.ts')).gcUsage,
  },
  'doctor': {
    summary: 'look at what labelling in the cloud needs, and say what to do',
    run: async (args) => await (await import('./doctor.ts')).runDoctor(args, await verbRoot()),
    usage: async () => (await import('./doctor.ts')).doctorUsage,
  },
  'teardown': {
    summary: 'delete a deployment, in the order that works; labels stay',
    run: async (args) => await (await import('./teardown.ts')).runTeardown(args, await verbRoot()),
    usage: async () => (await import('./teardown.ts')).teardownUsage,
  },
  'push-model': {
    summary: 'upload a compiled model for the workers of a place',
    run: async (args) => await (await import('./push-model.ts')).runPushModel(args),
    usage: async () => (await import('./push-model.ts')).pushModelUsage,
  },
  'trace': {
    summary: "write a compiled model's inner values, to compare with the original",
    run: async (args) => await (await import('./trace.ts')).runTrace(args),
    usage: async () => (await import('./trace.ts')).traceUsage,
  },
}

outliveOutput()
endWithParent()
process.exitCode = await main(process.argv.slice(2))

/**
 * A reader that has seen enough (`| head`), a terminal that was closed or a log on a full disk must not end a run half
 * way. What a full disk took is said where there is room, and the exit code is not 0.
 */
function outliveOutput(): void {
  const { stdout, stderr } = process
  let isLost = false
  for (const [stream, other] of [
    [stdout, stderr],
    [stderr, stdout],
  ] as const)
    stream.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code ?? ''
      if (code === 'EPIPE' || code === 'EIO') return
      if (!['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code)) throw error
      if (!isLost)
        other.write(`coglabel: not all that was to be printed could be written: ${reasonOf(error)}\n`)
      isLost = true
    })
  process.on('exit', () => {
    if (isLost) process.exitCode ||= 1
  })
}

async function main(args: readonly string[]): Promise<number> {
  try {
    return await dispatch(args)
  } catch (error) {
    const [name = ''] = args
    const usage = Object.hasOwn(verbs, name) ? ((await verbs[name]?.usage()) ?? null) : null
    const { message, exitCode } = explainError(error, { verb: name, usage })
    // What ended may have left half a line of progress.
    if (process.stderr.isTTY) process.stderr.write('\r\u001B[2K')
    console.error(message === null ? error : `coglabel: ${message}`)
    return exitCode
  }
}

async function verbRoot() {
  return (await import('./verb-root.ts')).processVerbRoot()
}

async function dispatch([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    console.log(usage())
    return name === undefined ? 2 : 0
  }
  if (name === 'version' || name === '--version' || name === '-v') {
    console.log(await readVersion())
    return 0
  }
  const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined
  if (verb === undefined) {
    const near = nearestWord(name.replace(/^-+/, ''), [...Object.keys(verbs), 'help', 'version'])
    const meant = near === null ? '' : `; did you mean "${near}"?`
    throw new UserError(`there is no verb "${name}"${meant}\ncoglabel --help lists them`)
  }
  if (args.includes('--help') || args.includes('-h')) {
    console.log(await verb.usage())
    return 0
  }
  return await verb.run(args)
}

function usage(): string {
  const lines = Object.entries(verbs).map(([name, { summary }]) => `  ${name.padEnd(14)} ${summary}`)
  return `coglabel VERB …: captions, answers and boxes for folders of images\n\n${lines.join('\n')}\n\ncoglabel VERB --help says more; coglabel --version prints the version`
}
