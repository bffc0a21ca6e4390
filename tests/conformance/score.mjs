// Counts results of the suite: score.mjs SUITE RESULTS [FLOOR REASONS].
//
// SUITE is the suite's directory, RESULTS what its cli.mjs has printed. A test that depends on one
// that did not pass does not pass either, as the suite's own pages have it. FLOOR names
// the tests that passed before: exit 1 if one of them does not any more. REASONS says of others why
// they do not, a name and a text per line.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [directory, file, floor, reasons] = process.argv.slice(2)
const load = async name => (await import(pathToFileURL(path.join(directory, 'tests', name)))).default
const suites = [...await load('index.mjs'), await load('surrogate-control.mjs')]
const tests = new Map(suites.flatMap(suite => suite.tests).map(test => [test.id, test]))
// It prints a word or two before the object.
const text = fs.readFileSync(file, 'utf8')
const results = JSON.parse(text.slice(text.indexOf('{')))

const lines = name => name ? fs.readFileSync(name, 'utf8').split('\n').filter(Boolean) : []
const known = new Map(lines(reasons).map(line => [line.split(' ')[0], line.slice(line.indexOf(' ') + 1)]))

const passes = id => results[id] === true && (tests.get(id).depends_on ?? []).every(passes)
const why = id => known.get(id) ?? (results[id] === undefined ? 'not run'
  : results[id] === true ? `depends on ${tests.get(id).depends_on.find(other => !passes(other))}`
    : results[id].join(': '))

const passed = []
for (const [kind, word] of [['required', 'required'], ['optimal', 'optional'], ['check', 'checks']]) {
  const ids = [...tests.values()]
    .filter(test => (test.kind ?? 'required') === kind && !test.browser_only)
    .map(test => test.id)
  const good = ids.filter(passes)
  console.log(`${word} ${good.length} of ${ids.length}`)
  if (kind !== 'check') {
    ids.filter(id => !passes(id)).forEach(id => console.log(`    ${id}: ${why(id)}`))
    passed.push(...good)
  }
}

if (floor) {
  const expected = lines(floor)
  const lost = expected.filter(id => !passed.includes(id))
  const gained = passed.filter(id => !expected.includes(id))
  if (lost.length) {
    console.log(`these passed before: ${lost.join(' ')}`)
    process.exitCode = 1
  }
  if (gained.length) console.log(`add to the floor: ${gained.join(' ')}`)
}
