// What Linux says of this process's memory.
import { readFileSync, writeFileSync } from 'node:fs'

/** Megabytes (10^6 bytes); VmHWM is the most that was resident since the start or since `forgetPeak`. */
export function memoryMb(name: 'VmRSS' | 'VmHWM' | 'RssAnon' | 'RssFile'): number {
  const status = readFileSync('/proc/self/status', 'utf8')
  const [, kibibytes = '0'] = new RegExp(`${name}:\\s+(\\d+) kB`).exec(status) ?? []
  return (Number(kibibytes) * 1024) / 1e6
}

/** The system forgets the most so far when it is told so. */
export function forgetPeak(): void {
  writeFileSync('/proc/self/clear_refs', '5')
}
