/** Where payloads that a gateway serves lie: `folder.ts` is a directory, `oci.ts` a registry. */

export interface OpenPayload {
  /** Bytes. */
  size: number;
  /** Of its content, lower-case hex. */
  sha256: string;
  /** `length` bytes from `first` on; throws where they are not to be had to the end. */
  pieces(first: number, length: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Called once or more, always. */
  close(): Promise<void>;
}

export interface PayloadSource {
  /** For the log and metrics. */
  readonly place: "directory" | "registry";
  /** The payload at `path`, names with slashes between; undefined where there is none. Throws `NotNow`. */
  open(path: string): Promise<OpenPayload | undefined>;
}

/** It can't be served now, and may be later. The message is a sentence for the client. */
export class NotNow extends Error {
  override readonly name = "NotNow";
}

/** As the names of packages are in a Release. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,254}$/;
