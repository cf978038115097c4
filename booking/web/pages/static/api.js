// Calls of the service. Every failure is thrown as a Refusal with the service's problem code.

import { addSample, addResponse } from "./clock.js";
import * as session from "./session.js";

const RESPONSE_MS_MAX = 15_000;

/** The path under which the service is served; empty at the top. All scripts are below it, in /static. */
export const ROOT = new URL(import.meta.url).pathname.replace(/\/static\/.*$/, "");

/** `code` is the service's problem code (see /problems/…), or `no_answer` if there was no response. */
export class Refusal extends Error {
  constructor(code, { status = 0, problem = {}, retryAfter = 0 } = {}) {
    super(problem.detail ?? code);
    this.code = code;
    this.status = status;
    this.data = problem.data ?? {};
    this.faults = problem.errors ?? [];
    this.requestId = problem.request_id ?? "";
    this.retryAfter = retryAfter;
  }
}

/** Sends a request, with the token if there is one. Returns a successful response; throws a Refusal otherwise. */
export async function request(method, path, { body, key, headers = {}, signal } = {}) {
  const token = session.token();
  const sent = performance.now();
  let response;
  try {
    response = await fetch(ROOT + path, {
      method,
      signal,
      cache: "no-store",
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(key === undefined ? {} : { "Idempotency-Key": key }),
        ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted && signal.reason.name !== "TimeoutError") throw error; // this page cancelled the request
    throw new Refusal("no_answer");
  }
  addResponse(response, sent);
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (problem.data?.server_time) addSample(sent, performance.now(), Date.parse(problem.data.server_time));
  if (problem.code === "unauthenticated" && token !== null && token === session.token()) session.end();
  throw new Refusal(problem.code ?? "no_answer", {
    status: response.status,
    problem,
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

/** Calls the service and returns the JSON of the response. Throws a Refusal, also after 15 s without a response. */
export async function call(method, path, options = {}) {
  const response = await request(method, path, { signal: AbortSignal.timeout(RESPONSE_MS_MAX), ...options });
  try {
    return await response.json();
  } catch {
    throw new Refusal("no_answer"); // the connection broke in the middle of the response
  }
}
