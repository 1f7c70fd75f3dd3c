/** The header `Authorization: Hawk id="…", ts="…", nonce="…", mac="…"` (mozilla/hawk, README), read strictly. */

/** Characters of the header at most: the reference server's own limit. */
const MAX_HEADER = 4096;
/** Characters of each value that is kept or hashed. */
const MAX_VALUE: Readonly<Record<Attribute, number>> = {
  ...{ id: 256, ts: 11, nonce: 128, hash: 88, ext: 1024, mac: 88, app: 256, dlg: 256 },
};
const ATTRIBUTES = ["id", "ts", "nonce", "hash", "ext", "mac", "app", "dlg"] as const;
type Attribute = (typeof ATTRIBUTES)[number];

export interface HawkHeader {
  id: string;
  /** Seconds since 1970, by the client's clock. */
  ts: number;
  nonce: string;
  /** Of the body, base64; absent where the client did not hash it. */
  hash?: string;
  ext: string;
  /** Base64 of 32 bytes. */
  mac: string;
  app?: string;
  dlg?: string;
}

/** A header that is none of Hawk, or not in its form; the message is for the client. */
export class HawkFormError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "HawkFormError";
  }
}

/** One attribute with the comma behind it; a value is printable ASCII without `"` and `\`. */
const PAIR = /([a-z]+)="([ !#-[\]-~]*)"\s*(,\s*|$)/y;
const SHA256_BASE64 = /^[A-Za-z0-9+/]{43}=$/;

/** Throws `HawkFormError`. */
export function parseHeader(text: string): HawkHeader {
  if (text.length > MAX_HEADER) throw new HawkFormError(`the header has more than ${MAX_HEADER} characters`);
  const scheme = /^hawk\s+/i.exec(text);
  if (scheme === null) throw new HawkFormError("the scheme is not Hawk");
  const found = readPairs(text, scheme[0].length);
  const [id, ts, nonce, mac] = (["id", "ts", "nonce", "mac"] as const).map((name) => {
    const value = found.get(name);
    if (value === undefined || value === "") throw new HawkFormError(`${name} is missing`);
    return value;
  }) as [string, string, string, string];
  if (!/^[1-9]\d*$/.test(ts)) throw new HawkFormError("ts is no number of seconds");
  const [hash, app, dlg] = [found.get("hash"), found.get("app"), found.get("dlg")];
  for (const [name, value] of [
    ["mac", mac],
    ["hash", hash],
  ] as const) {
    if (value !== undefined && !SHA256_BASE64.test(value)) {
      throw new HawkFormError(`${name} is no SHA-256 in base64`);
    }
  }
  if (dlg !== undefined && app === undefined) throw new HawkFormError("dlg is there without app");
  return {
    ...{ id, ts: Number(ts), nonce, ext: found.get("ext") ?? "", mac },
    ...(hash === undefined ? {} : { hash }),
    ...(app === undefined ? {} : { app }),
    ...(dlg === undefined ? {} : { dlg }),
  };
}

function readPairs(text: string, from: number): Map<Attribute, string> {
  const found = new Map<Attribute, string>();
  let separated = false;
  for (PAIR.lastIndex = from; PAIR.lastIndex < text.length; ) {
    const at = PAIR.lastIndex;
    const [, name = "", value = "", separator = ""] = PAIR.exec(text) ?? [];
    if (name === "") throw new HawkFormError(`what begins at character ${at} is no attribute`);
    if (!isAttribute(name)) throw new HawkFormError(`there is no attribute ${name.slice(0, 32)}`);
    if (found.has(name)) throw new HawkFormError(`${name} is there twice`);
    if (value.length > MAX_VALUE[name]) throw new HawkFormError(`${name} is too long`);
    found.set(name, value);
    separated = separator !== "";
  }
  if (separated) throw new HawkFormError("the header ends with a comma");
  return found;
}

function isAttribute(name: string): name is Attribute {
  return (ATTRIBUTES as readonly string[]).includes(name);
}
