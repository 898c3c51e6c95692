// Jobs beside each other and jobs alone, by when each starts.
import { expect, it } from 'vitest'
import { createCompany } from '../../gpu-worker/engine/company.ts'

it('runs jobs together, one alone when all before it have ended, and those behind it after', async () => {
  const company = createCompany()
  const log: string[] = []
  const ends = new Map<string, () => void>()
  const job = (name: string) => async (): Promise<string> => {
    log.push(name)
    await new Promise<void>((resolve) => {
      ends.set(name, resolve)
    })
    return name
  }
  const results = [
    company.beside(job('a')),
    company.beside(job('b')),
    company.alone(job('C')),
    company.beside(job('d')),
    company.beside(job('e')),
  ]
  const end = async (name: string): Promise<void> => {
    ends.get(name)?.()
    await new Promise(setImmediate)
  }
  await end('')
  expect(log).toEqual(['a', 'b'])
  await end('a')
  expect(log).toEqual(['a', 'b'])
  await end('b')
  expect(log).toEqual(['a', 'b', 'C'])
  await end('C')
  expect(log).toEqual(['a', 'b', 'C', 'd', 'e'])
  await end('d')
  await end('e')
  expect(await Promise.all(results)).toEqual(['a', 'b', 'C', 'd', 'e'])
})

it('goes on after a job that fails', async () => {
  const company = createCompany()
  await expect(company.alone(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await company.beside(() => Promise.resolve(1))).toBe(1)
})
