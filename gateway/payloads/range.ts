/** Which bytes of an object a request asks for (RFC 9110, sections 13 and 14). One range; several are answered with the whole, which the RFC allows. */

export type Wanted =
  | { status: 200 | 206; first: number; length: number }
  | { status: 304 }
  /** The range begins behind the end. */
  | { status: 416 };

export interface Conditions {
  range: string | undefined;
  ifRange: string | undefined;
  ifNoneMatch: string | undefined;
}

/** `etag`: strong, in quotes. `size` in bytes. */
export function decideRange({ range, ifRange, ifNoneMatch }: Conditions, etag: string, size: number): Wanted {
  const known = ifNoneMatch?.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  if (known !== undefined && (known.includes(etag) || known.includes("*"))) return { status: 304 };
  const whole: Wanted = { status: 200, first: 0, length: size };
  // A date, or a weak tag, proves nothing about single bytes.
  if (range === undefined || (ifRange !== undefined && ifRange.trim() !== etag)) return whole;
  const match = /^\s*bytes\s*=\s*(\d{0,16})\s*-\s*(\d{0,16})\s*$/i.exec(range);
  const [, from = "", to = ""] = match ?? [];
  if (match === null || (from === "" && to === "")) return whole;
  if (from === "") {
    const length = Math.min(Number(to), size);
    return length === 0 ? { status: 416 } : { status: 206, first: size - length, length };
  }
  const first = Number(from);
  const last = to === "" ? size - 1 : Math.min(Number(to), size - 1);
  if (to !== "" && Number(to) < first) return whole;
  return first >= size ? { status: 416 } : { status: 206, first, length: last - first + 1 };
}
