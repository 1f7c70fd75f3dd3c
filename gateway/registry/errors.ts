/** Errors of etcd's v2 API: numbers, texts and statuses that clients know (etcd 3.4). */

interface Kind {
  message: string;
  status: number;
}

const KINDS = {
  100: { message: "Key not found", status: 404 },
  101: { message: "Compare failed", status: 412 },
  102: { message: "Not a file", status: 403 },
  104: { message: "Not a directory", status: 400 },
  105: { message: "Key already exists", status: 412 },
  107: { message: "Root is read only", status: 400 },
  108: { message: "Directory not empty", status: 403 },
  110: { message: "The request requires user authentication", status: 401 },
  201: { message: "PrevValue is Required in POST form", status: 400 },
  202: { message: "The given TTL in POST form is not a number", status: 400 },
  203: { message: "The given index in POST form is not a number", status: 400 },
  209: { message: "Invalid field", status: 400 },
  210: { message: "Invalid POST form", status: 400 },
  211: { message: "Value provided on refresh", status: 400 },
  212: { message: "A TTL must be provided on refresh", status: 400 },
  300: { message: "Raft Internal Error", status: 500 },
  401: { message: "The event in requested index is outdated and cleared", status: 400 },
} satisfies Record<number, Kind>;

export type Code = keyof typeof KINDS;

/** One answer of the v2 API that is no event. */
export class V2Error extends Error {
  readonly code: Code;
  /** Of the HTTP answer. */
  readonly status: number;
  /** For people, and for some clients: what the error is about. */
  readonly reason: string;
  /** Index of the store when it was judged; 0 where the store was not asked. */
  readonly index: number;

  constructor(code: Code, reason: string, index: number, status: number = KINDS[code].status) {
    super(`${KINDS[code].message} (${reason})`);
    this.name = "V2Error";
    this.code = code;
    this.reason = reason;
    this.index = index;
    this.status = status;
  }

  /** The text that belongs to the code. */
  get title(): string {
    return KINDS[this.code].message;
  }
}

/**
 * A limit of ours, which etcd does not have. Status 403 and a number that clients print with its cause: they try one of
 * 5xx again at the next member, which would not help.
 */
export function beyondLimit(sentence: string, index: number): V2Error {
  return new V2Error(209, sentence, index, 403);
}
