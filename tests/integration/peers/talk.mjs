// How a script speaks with its test: one JSON value in a line, each way.
import { createInterface } from 'node:readline'

const [scene, text] = process.argv.slice(2)
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

export const given = JSON.parse(text)

export async function ask(what) {
  console.log(JSON.stringify(what))
  return JSON.parse((await lines.next()).value)
}

// Somebody goes there and does what they are asked; gives where they ended.
export const visit = async (url) => new URL(await ask({ visit: String(url) }))

export function key(jwk, algorithm) {
  return crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign'])
}

export async function play(scenes) {
  try {
    console.log(JSON.stringify({ done: (await scenes[scene]()) ?? {} }))
  } catch (problem) {
    const { name, code, error, message, cause, status } = problem
    const said = { name, code, error, message, status, cause: cause?.error ?? cause?.message }
    console.log(JSON.stringify({ failed: said }))
  }
  process.exit(0)
}
