// A real HTTP server on loopback that answers as a test says, for services that are not ours.
import { createServer } from 'node:http'
import { onTestFinished } from 'vitest'

export type HttpCall = { method: string; path: string; headers: Record<string, unknown>; body: string }
export type HttpAnswer = {
  status?: number
  headers?: Record<string, string>
  body?: string
  delayMs?: number
  /** hang: nothing ever comes. cut: the connection ends in the middle of the body. */
  hang?: boolean
  cut?: boolean
}

/** Starts it; every call is kept. */
export async function startHttpServer(answer: (call: HttpCall) => HttpAnswer) {
  const calls: HttpCall[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request
      const call = { method, path, headers, body: Buffer.concat(chunks).toString() }
      calls.push(call)
      const {
        status = 200,
        headers: sent = {},
        body = '',
        delayMs = 0,
        hang = false,
        cut = false,
      } = answer(call)
      if (hang) return
      setTimeout(() => {
        // Who asked may have gone.
        if (response.destroyed) return
        response.writeHead(status, cut ? { ...sent, 'content-length': body.length + 100 } : sent)
        if (cut) response.write(body, () => response.destroy())
        else response.end(body)
      }, delayMs)
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  const close = async () => {
    server.closeAllConnections()
    await new Promise((resolve) => {
      server.close(resolve)
    })
  }
  onTestFinished(close)
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return { endpoint: `http://127.0.0.1:${port}`, calls, close }
}
