#!/usr/bin/env node
// Runs a script on a Node that reads TypeScript: this one where it is new enough, otherwise the Node 24 that was
// installed with the package (npm 10 leaves it out of node_modules/.bin when packages for other platforms share the name).
//   coglabel VERB …                      runs cli/main.ts
//   node cli/launch.js SCRIPT ARGS…      runs SCRIPT (any file that exists and is no verb)
// Plain JavaScript, because an older Node has to read it.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)))
const [first, ...rest] = process.argv.slice(2)
const isScript = first !== undefined && /\.(ts|js|mjs)$/.test(first) && existsSync(first)
const script = isScript ? resolve(first) : join(packageFolder, 'cli/main.ts')
const args = isScript ? rest : process.argv.slice(2)

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major > 22 || (major === 22 && minor >= 18)) {
  process.argv = [process.execPath, script, ...args]
  await import(pathToFileURL(script).href)
} else {
  runElsewhere(findNode())
}

/** The Node of the optional dependency for this platform. */
function findNode() {
  const names = [`node-${process.platform}-${process.arch}`, `node-bin-${process.platform}-${process.arch}`]
  const found = names
    .map((name) => join(packageFolder, 'node_modules', name, 'bin/node'))
    .find((path) => existsSync(path))
  if (found !== undefined) return found
  console.error(
    `coglabel: this is Node ${process.versions.node}, 22.18 or later is needed, and none was installed for ${process.platform}-${process.arch}; ` +
      'install a newer Node, or run npm ci without --omit=optional',
  )
  process.exit(1)
}

function runElsewhere(node) {
  // The newer Node comes first for whatever the script starts in turn.
  const env = { ...process.env, PATH: `${dirname(node)}:${process.env.PATH ?? ''}` }
  // The channel says nothing: that it closes tells the child that this process was killed (gpu-worker/process/end-with-parent.ts).
  const child = spawn(node, [script, ...args], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'], env })
  // Ctrl-C reaches the child by itself too, which counts both as one (gpu-worker/process/on-interrupt.ts).
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    console.error(`coglabel: ${node} cannot be run (${error.message}); install the package again`)
    process.exit(1)
  })
  child.on('exit', (code, signal) =>
    process.exit(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
  )
}
