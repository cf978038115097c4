// Stands in for each of k6's modules that scripts/load/k6.js uses, for node: real signatures, and real calls, one after
// the other. `drive` runs the script as k6 would (its top, setup, then its function again and again) and prints what its
// metrics counted.

import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';

export const metrics = {};
const checks = {};
const exec = { scenario: { iterationInTest: 0 } };

class Metric {
  constructor(name) {
    if (!/^[a-zA-Z_][a-zA-Z0-9_]{0,127}$/.test(name) || name in metrics) throw new Error(`no name for a metric: ${name}`);
    metrics[name] = { sum: 0, samples: 0 };
    this.name = name;
  }
  add(value) {
    if (!Number.isFinite(value)) throw new Error(`${this.name}: ${value} is no number`);
    metrics[this.name].sum += value;
    metrics[this.name].samples += 1;
  }
}
export class Counter extends Metric {}
export class Trend extends Metric {}

export function fail(why) {
  throw new Error(why);
}

export function check(value, sets) {
  for (const [name, holds] of Object.entries(sets)) {
    checks[name] = checks[name] || { passes: 0, fails: 0 };
    checks[name][holds(value) ? 'passes' : 'fails'] += 1;
  }
}

function call(method, url, body, { headers = {} } = {}) {
  const options = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  if (body !== null) options.push('--data', body);
  const begun = performance.now();
  let answer = '\n0';
  try {
    answer = execFileSync('curl', ['-s', '-X', method, '-w', '\n%{http_code}', ...options, url], { encoding: 'utf8' });
  } catch {
    // As in k6, a call without an answer is a response of status 0.
  }
  const end = answer.lastIndexOf('\n');
  const text = answer.slice(0, end);
  return {
    status: Number(answer.slice(end + 1)),
    error: end ? '' : 'connection refused',
    timings: { duration: performance.now() - begun },
    json: (key) => JSON.parse(text)[key],
  };
}

export default {
  b64encode(text, encoding) {
    if (encoding !== 'rawurl') throw new Error('a token is in rawurl');
    return Buffer.from(text).toString('base64url');
  },
  hmac(algorithm, secret, data, encoding) {
    if (encoding !== 'base64rawurl') throw new Error('a token is in base64rawurl');
    return createHmac(algorithm, secret).update(data).digest('base64url');
  },
  get scenario() { return exec.scenario; },
  get: (url, params) => call('GET', url, null, params),
  post: (url, body, params) => call('POST', url, body, params),
  expectedStatuses: (...statuses) => statuses,
  setResponseCallback: () => undefined,
};

export async function drive(script, iterations) {
  globalThis.__ENV = process.env;
  globalThis.open = (path) => readFileSync(path, 'utf8');
  const test = await import(script);
  const sale = test.setup();
  for (exec.scenario.iterationInTest = 0; exec.scenario.iterationInTest < iterations; exec.scenario.iterationInTest++) {
    test.default(sale);
  }
  console.log(JSON.stringify({ sale, options: test.options, metrics, checks }));
}
