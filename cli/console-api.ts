/** The JSON API of the gateways' console, as far as the plugin asks it. */
import type * as z from "zod";
import { Problem } from "../console/contract.ts";
import { MAX_LIMIT } from "../console/operations.ts";
import { startDeadline } from "../runtime/deadline.ts";
import { createFetcher } from "../runtime/fetch.ts";
import { Failure, type Io } from "./io.ts";
import { visible } from "./visible.ts";

/** Where a console answers, and who asks. */
export interface ConsoleAccess {
  /** Such as `https://slipway.example.org`; a path is no part of it. */
  origin: string;
  /** PEM; the well-known authorities where it is absent. */
  ca?: string | undefined;
  /** That its certificate must have; that of `origin` where it is absent. */
  servername?: string | undefined;
  /** A Kubernetes token. */
  token: string;
}

/** As `listOf` of the contract has it. */
interface Page<T> {
  items: T[];
  total: number;
  continue?: string | undefined;
  stale?: string | undefined;
}

export interface ListRead<T> {
  items: T[];
  /** That match, listed or not. */
  total: number;
  /** Why this is not the present state. */
  stale: string | undefined;
}

/** For all pages, ms: 200,000 machines, the most that a gateway knows, are 200. */
const WITHIN = 60_000;
/** Of an answer: a machine is at most 4 KiB, and a page has 1,000. */
const MAX_ANSWER = 8 * 1024 * 1024;

/** The console's answer to one of its operations that read. Throws a `Failure` that says why there is none. */
export type Read = <T extends z.ZodType>(
  operation: { path: string; answer: T },
  query: Readonly<Record<string, string | number | undefined>>,
  uid?: string,
) => Promise<z.output<T>>;

/** A console answered that what was asked for does not exist. */
export class NotThere extends Failure {}

/** Lets `work` read of a console, as often as it wants, within one deadline. Throws a `Failure`. */
export async function reading<T>(
  { origin, ca, servername, token }: ConsoleAccess,
  { clock, signal }: Pick<Io, "clock" | "signal">,
  work: (read: Read) => Promise<T>,
): Promise<T> {
  const fetcher = createFetcher(ca, servername);
  const late = (): Error => new Error(`no whole answer within ${WITHIN / 1000} s`);
  const deadline = startDeadline(clock, WITHIN, late, signal);
  try {
    return await work(async ({ path, answer }, query, uid = "") => {
      const url = new URL(
        path.replace("{uid}", () => encodeURIComponent(uid)),
        origin,
      );
      for (const [name, value] of Object.entries(query))
        if (value !== undefined) url.searchParams.set(name, String(value));
      const response = await fetcher.fetch(url, {
        headers: { authorization: `Bearer ${token}`, accept: "application/json" },
        // The token is for nobody else.
        redirect: "error",
        signal: deadline.signal,
      });
      return answerOf(answer, response.status, await textOf(response));
    });
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(
      `the console at ${origin} gives no answer (${causeOf(error)}): see that its gateways are up, or give --console URL`,
    );
  } finally {
    deadline.cancel();
    await fetcher.close();
  }
}

/** The first `limit` items of one of the console's lists that pass `filter`, of as many pages as they fill. */
export async function readList<T>(
  read: Read,
  operation: { path: string; answer: z.ZodType<Page<T>> },
  filter: Readonly<Record<string, string | undefined>>,
  limit: number,
  pageSize = MAX_LIMIT,
): Promise<ListRead<T>> {
  const items: T[] = [];
  let after: string | undefined;
  for (;;) {
    const query = { ...filter, limit: Math.min(pageSize, limit - items.length), continue: after };
    const page = await read(operation, query);
    items.push(...page.items);
    after = page.continue;
    if (after === undefined || page.items.length === 0 || items.length >= limit)
      return { items: items.slice(0, limit), total: page.total, stale: page.stale };
  }
}

async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_ANSWER) throw new Error(`more than ${MAX_ANSWER} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Throws a `Failure` where it is none of `schema`. */
export function answerOf<T extends z.ZodType>(schema: T, status: number, text: string): z.output<T> {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  if (status === 200) {
    const answer = schema.safeParse(body);
    if (answer.success) return answer.data;
    throw new Failure("the console's answer is none that this plugin knows: is it of another version?");
  }
  const problem = Problem.safeParse(body);
  if (!problem.success)
    throw new Failure(`the console answers with status ${status}: is it one of Slipway's?`);
  if (problem.data.error === "SignInNeeded")
    throw new Failure("the console does not know the token: give another one by --token");
  const said = `the console says: ${visible(problem.data.message).replace(/\.$/, "")}`;
  throw problem.data.error === "NotFound" ? new NotThere(said) : new Failure(said);
}

/** `fetch` hides what was wrong in the cause. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
