/**
 * Payloads in a repository of an OCI registry (distribution-spec 1.1). `RELEASE/ARCHITECTURE/FILE` is the layer titled
 * FILE of the manifest tagged RELEASE-ARCHITECTURE, as `oras push` writes it. Bytes are passed on as they come: the
 * digest by which they are asked for is what a machine compares.
 */
import { get, type IncomingMessage } from "node:http";
import { get as getSecure } from "node:https";
import * as z from "zod";
import { type HttpSource, httpSource } from "../../fastpatch/http-source.ts";
import type { Clock } from "../../ports/clock.ts";
import { defaultPayloadLimits } from "./limits.ts";
import { NAME, NotNow, type OpenPayload, type PayloadSource } from "./source.ts";

/** Manifests remembered, and how long, ms: a tag may be moved. */
const MAX_MANIFESTS = 256;
const KEPT = 30_000;
/** A manifest of 65 layers has 30 KiB. */
const MAX_ANSWER = 1024 * 1024;
/** For a whole manifest or token, ms. */
const DEADLINE = 20_000;
/** Of a token of which the registry does not say it, seconds (distribution, "Token Authentication"), and what is left out at its end. */
const TOKEN_SECONDS = 60;
const TOKEN_MARGIN = 10;
const TITLE = "org.opencontainers.image.title";
const ACCEPT =
  "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

export interface OciOptions {
  /** Of the repository, such as https://registry.example.org/flatcar/os. */
  repository: string;
  /** `user:password`; anonymous without. Asked anew for each token. */
  credentials?: () => string;
  clock: Clock;
}

const Manifest = z.object({
  layers: z
    .array(
      z.object({
        digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
        size: z.int().min(1),
        annotations: z.record(z.string(), z.string()).optional(),
      }),
    )
    .max(256),
});
type Manifest = z.output<typeof Manifest>;
const Token = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().optional(),
});

interface Answer {
  status: number;
  challenge: string;
  body: string;
}

export class OciRepository implements PayloadSource {
  readonly place = "registry";
  readonly #options: OciOptions;
  readonly #origin: string;
  readonly #base: string;
  readonly #source: HttpSource;
  readonly #manifests = new Map<string, { until: number; manifest: Promise<Manifest | undefined> }>();
  #authorization: { header: string; until: number } | undefined;

  constructor(options: OciOptions) {
    this.#options = options;
    const { origin, pathname } = new URL(options.repository);
    this.#origin = origin;
    this.#base = `${origin}/v2${pathname.replace(/\/+$/, "")}`;
    this.#source = httpSource({
      clock: options.clock,
      connections: defaultPayloadLimits.downloads,
      headers: (url) => this.#headers(url),
    });
  }

  close(): void {
    this.#source.close();
  }

  async open(path: string): Promise<OpenPayload | undefined> {
    const [release = "", architecture = "", file = "", ...more] = path.split("/");
    const tag = `${release}-${architecture}`;
    if (more.length > 0 || !NAME.test(file) || !/^[a-z0-9][a-z0-9.-]{0,127}$/.test(tag)) return undefined;
    const manifest = await this.#manifest(tag);
    const layer = manifest?.layers.find(({ annotations }) => annotations?.[TITLE] === file);
    if (layer === undefined) return undefined;
    const { digest, size } = layer;
    return {
      ...{ size, sha256: digest.slice("sha256:".length), close: () => Promise.resolve() },
      pieces: (offset, length, signal) => this.#pieces(tag, digest, { offset, length, total: size }, signal),
    };
  }

  async *#pieces(
    tag: string,
    digest: string,
    range: { offset: number; length: number; total: number },
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    // A token that ended meanwhile is made anew by what asks for the manifest.
    if (this.#authorization !== undefined && this.#authorization.until <= this.#options.clock.monotonic())
      await this.#read(tag);
    yield* this.#source.fetch(`${this.#base}/blobs/${digest}`, range, signal);
  }

  async #manifest(tag: string): Promise<Manifest | undefined> {
    const now = this.#options.clock.monotonic();
    const known = this.#manifests.get(tag);
    if (known !== undefined && known.until > now) return await known.manifest;
    const manifest = this.#read(tag);
    const entry = { until: now + KEPT, manifest };
    this.#manifests.delete(tag);
    this.#manifests.set(tag, entry);
    const [oldest] = this.#manifests.keys();
    if (this.#manifests.size > MAX_MANIFESTS && oldest !== undefined) this.#manifests.delete(oldest);
    manifest.catch(() => {
      if (this.#manifests.get(tag) === entry) this.#manifests.delete(tag);
    });
    return await manifest;
  }

  async #read(tag: string): Promise<Manifest | undefined> {
    const url = `${this.#base}/manifests/${tag}`;
    let answer = await this.#ask(url, { accept: ACCEPT, ...this.#headers(url) });
    if (answer.status === 401) {
      this.#authorization = await this.#authorize(answer.challenge);
      answer = await this.#ask(url, { accept: ACCEPT, ...this.#headers(url) });
    }
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw new NotNow(`The registry answered ${answer.status}.`);
    const manifest = Manifest.safeParse(parsed(answer.body));
    if (!manifest.success) throw new NotNow("The registry has no manifest of files under that tag.");
    return manifest.data;
  }

  /** To the registry alone: what it redirects to has its own way to know us. */
  #headers(url: string): Record<string, string> {
    const known = this.#authorization;
    const good = known !== undefined && known.until > this.#options.clock.monotonic();
    return good && new URL(url).origin === this.#origin ? { authorization: known.header } : {};
  }

  async #authorize(challenge: string): Promise<{ header: string; until: number }> {
    const { clock, credentials } = this.#options;
    const user = credentials?.();
    const basic = user === undefined ? undefined : `Basic ${Buffer.from(user).toString("base64")}`;
    if (/^basic\b/i.test(challenge)) {
      if (basic === undefined) throw new NotNow("The registry wants a user and a password.");
      return { header: basic, until: Number.POSITIVE_INFINITY };
    }
    const parts = Object.fromEntries(
      [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = "", value = ""]) => [
        name.toLowerCase(),
        value,
      ]),
    );
    const realm = parts["realm"] ?? "";
    const secure = realm.startsWith("https:") || !this.#origin.startsWith("https:");
    if (!/^bearer\b/i.test(challenge) || !URL.canParse(realm) || !secure)
      throw new NotNow("The registry asks for an authentication that is not known here.");
    const url = new URL(realm);
    for (const name of ["service", "scope"])
      if (parts[name] !== undefined) url.searchParams.set(name, parts[name]);
    const answer = await this.#ask(url.href, basic === undefined ? {} : { authorization: basic });
    const token = Token.safeParse(parsed(answer.body));
    const word = token.data?.token ?? token.data?.access_token;
    if (answer.status !== 200 || word === undefined)
      throw new NotNow(`The registry's token service answered ${answer.status}, without a token.`);
    const said = Math.max(1, token.data?.expires_in ?? TOKEN_SECONDS);
    const seconds = Math.max(said / 2, said - TOKEN_MARGIN);
    return { header: `Bearer ${word}`, until: clock.monotonic() + seconds * 1000 };
  }

  /** Follows no redirect. */
  async #ask(url: string, headers: Record<string, string>): Promise<Answer> {
    const limit = new AbortController();
    const cancel = this.#options.clock.after(DEADLINE, () => limit.abort());
    try {
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        const send = url.startsWith("https:") ? getSecure : get;
        send(url, { headers, signal: limit.signal, agent: false }, resolve).once("error", reject);
      });
      const chunks: Buffer[] = [];
      let length = 0;
      for await (const chunk of response as AsyncIterable<Buffer>) {
        length += chunk.length;
        if (length > MAX_ANSWER) throw new Error(`it sent more than ${MAX_ANSWER} bytes`);
        chunks.push(chunk);
      }
      const { statusCode = 0, headers: got } = response;
      return {
        status: statusCode,
        challenge: got["www-authenticate"] ?? "",
        body: Buffer.concat(chunks).toString("utf8"),
      };
    } catch (error) {
      throw new NotNow("The registry gave no answer.", { cause: error });
    } finally {
      cancel();
    }
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
