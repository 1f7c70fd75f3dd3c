/** `[HOST]:PORT`, as flags have it. */
export interface Address {
  /** Absent for every interface. */
  host?: string;
  /** 0 takes a free one. */
  port: number;
}

/** Reads `:PORT`, `HOST:PORT` or `[IPV6]:PORT`. Throws where it is none of these. */
export function parseAddress(text: string): Address {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) {
    throw new Error(`${text}: [HOST]:PORT expected, such as :7443 or 127.0.0.1:7443`);
  }
  const host = bracketed ?? plain ?? "";
  return host === "" ? { port: Number(port) } : { host, port: Number(port) };
}
