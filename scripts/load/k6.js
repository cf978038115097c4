// One sale for k6: every iteration is a buyer with a token of their own, who books, and may look or cancel.
//
//   k6 run -u 64 -d 10s scripts/load/k6.js                        closed loop: 64 buyers at a time
//   k6 run -e RATE=500 -e DURATION=10s scripts/load/k6.js         open loop: 500 new buyers a second
//
// BASE_URL (http://127.0.0.1 and BOOKING_PORT or 8000), EVENT_ID (unset: opens a sale of TICKETS, 10000), CANCEL (0.1) and STATUS (0.2):
// the shares of the buyers who do so. The service's secret: BOOKING_JWT_SECRET, or jwt-secret in BOOKING_DATA_DIR
// (./data). k6 exits with 99 when an answer was none of the sale's.

import { check, fail } from 'k6';
import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

const BASE_URL = (__ENV.BASE_URL || `http://127.0.0.1:${__ENV.BOOKING_PORT || 8000}`).replace(/\/$/, '');
const TICKETS = Number(__ENV.TICKETS || 10000);
const CANCEL = Number(__ENV.CANCEL || 0.1);
const STATUS = Number(__ENV.STATUS || 0.2);
const RATE = Number(__ENV.RATE || 0);
const TOKEN_SECONDS = 3600;

// A sale answers so, and is well. What is none of these (a 5xx, a 401, an event that is not there) is a failure; so is
// a cancel that finds no booking, since only those cancel who were given one.
const OF_THE_SALE = {
  book: [
    '201', '202', '403 sale_not_open', '403 sale_paused', '403 sale_closed',
    '409 already_booked', '409 sold_out', '409 waitlist_full', '429 rate_limited',
  ],
  status: ['200'],
  cancel: ['200', '429 rate_limited'],
};

// k6 wants every metric made before the test starts: book_201, book_409_already_booked, …
const answers = {};
const latencies = {};
for (const call in OF_THE_SALE) {
  latencies[call] = new Trend(`${call}_ms`, true);
  for (const answer of OF_THE_SALE[call]) {
    answers[`${call} ${answer}`] = new Counter(`${call}_${answer.replace(' ', '_')}`);
  }
}
const failures = new Counter('failures');

export const options = {
  thresholds: { failures: ['count==0'] },
  summaryTrendStats: ['med', 'p(90)', 'p(99)', 'p(99.9)', 'max'],
};
if (RATE) {
  options.scenarios = {
    sale: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: __ENV.DURATION || '10s',
      preAllocatedVUs: Math.max(10, Math.ceil(RATE / 10)),
      maxVUs: Math.max(100, RATE * 2),
    },
  };
} else {
  options.vus = 64;
  options.duration = __ENV.DURATION || '10s';
}

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 403, 409, 429));

const SECRET = __ENV.BOOKING_JWT_SECRET || open(`${dataFolder()}/jwt-secret`).trim();

// k6 opens files relative to the script, and people name them relative to where they are.
function dataFolder() {
  const folder = __ENV.BOOKING_DATA_DIR || 'data';
  return folder.startsWith('/') ? folder : `${__ENV.PWD || '../..'}/${folder}`;
}

function token(userId, role) {
  const claims = { sub: userId, exp: Math.floor(Date.now() / 1000) + TOKEN_SECONDS };
  if (role) claims.role = role;
  if (__ENV.BOOKING_JWT_ISSUER) claims.iss = __ENV.BOOKING_JWT_ISSUER;
  if (__ENV.BOOKING_JWT_AUDIENCE) claims.aud = __ENV.BOOKING_JWT_AUDIENCE;
  const parts = [{ alg: 'HS256', typ: 'JWT' }, claims];
  const signed = parts.map((part) => encoding.b64encode(JSON.stringify(part), 'rawurl')).join('.');
  return `${signed}.${crypto.hmac('sha256', SECRET, signed, 'base64rawurl')}`;
}

function params(call, bearer) {
  const headers = { 'Content-Type': 'application/json' };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  return { headers, tags: { name: call } };
}

// Counts an answer, and tells whether it was a success.
function judge(call, response) {
  const answer = response.status < 300 ? `${response.status}` : `${response.status} ${code(response)}`;
  const counter = answers[`${call} ${answer}`];
  if (counter) counter.add(1);
  else console.error(`${call}: ${response.error || answer}`);
  failures.add(counter ? 0 : 1);
  latencies[call].add(response.timings.duration);
  check(response, { [`${call}: an answer of the sale`]: () => counter !== undefined });
  return response.status >= 200 && response.status < 300;
}

function code(response) {
  try {
    return response.json('code');
  } catch (error) {
    return 'without a code';
  }
}

export function setup() {
  // Names of its own for each run, so that the same sale can be played on.
  const run = `k6-${Date.now().toString(36)}`;
  if (__ENV.EVENT_ID) return { eventId: Number(__ENV.EVENT_ID), run };
  const body = JSON.stringify({ event_name: `Load test ${run}`, available_tickets: TICKETS, visibility: 'unlisted' });
  const response = http.post(`${BASE_URL}/initialize`, body, params('initialize', token(run, 'organizer')));
  if (response.status !== 201) {
    fail(`${BASE_URL} opened no sale: ${response.error || response.status}; is it running, and is the secret its own?`);
  }
  return { eventId: response.json('event_id'), run };
}

export default function (sale) {
  const bearer = token(`${sale.run}-${exec.scenario.iterationInTest}`);
  const body = JSON.stringify({ event_id: sale.eventId });
  if (Math.random() < STATUS) judge('status', http.get(`${BASE_URL}/status/${sale.eventId}`, params('status')));
  const booked = judge('book', http.post(`${BASE_URL}/book`, body, params('book', bearer)));
  if (booked && Math.random() < CANCEL) judge('cancel', http.post(`${BASE_URL}/cancel`, body, params('cancel', bearer)));
}
