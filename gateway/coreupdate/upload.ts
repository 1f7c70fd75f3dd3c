/**
 * `updateservicectl package upload`: a form with one file at `/package-upload`. It is kept only where a Release names a
 * file so, with this size and hash: so nothing lands on the disk that no package needs, and it does not matter that the
 * client signs no body.
 */
import { release as releaseKind } from "../../api/release.ts";
import type { Person } from "../../runtime/access.ts";
import type { EdgeRequest } from "../edge/server.ts";
import { NoLinks, type PayloadDeposit } from "../payloads/deposit.ts";
import { FormError, type FormFile, fileOfForm } from "../payloads/form.ts";
import { NAME, NotNow } from "../payloads/source.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Desk } from "./desk.ts";
import { Problem } from "./problem.ts";

/** Bytes that are still read of what is refused: a client that is cut off while it sends does not see why. */
const MAX_REST = 1024 ** 3;
/** At once, of a gateway: a disk is no faster by more. */
const MAX_UPLOADS = 2;

interface File {
  size: number;
  sha256: string;
}

export class Uploads {
  readonly #deposit: PayloadDeposit;
  #running = 0;

  constructor(deposit: PayloadDeposit) {
    this.#deposit = deposit;
  }

  /** Throws `Problem`, and `WriteError` where RBAC forbids it. */
  async take(desk: Desk, person: Person, request: EdgeRequest): Promise<File & { name: string }> {
    if (request.method !== "POST") throw new Problem(400, "POST is the method of this path.");
    await desk.demand({ person, verb: "create", resource: releaseKind });
    if (this.#running >= MAX_UPLOADS)
      throw new Problem(503, "Other files are being uploaded: try again later.");
    this.#running += 1;
    const pieces = request.arriving()[Symbol.asyncIterator]();
    // Who stops reading it early does not end it: the rest may have to be passed over.
    const arriving = { [Symbol.asyncIterator]: () => ({ next: () => pieces.next() }) };
    try {
      return await this.#take(desk, person, request.header("content-type"), arriving);
    } catch (error) {
      await passOver(arriving);
      if (error instanceof FormError) throw new Problem(400, error.message);
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOSPC" || code === "EDQUOT")
        throw new Problem(503, "The directory of payloads is full.");
      if (error instanceof NoLinks) {
        const why = "The file system of the directory of payloads has no hard links";
        throw new Problem(
          501,
          `${why}, without which nothing is uploaded: put the file there by other means.`,
        );
      }
      if (error instanceof NotNow) throw new Problem(503, `${error.message} Try again later.`);
      throw error;
    } finally {
      this.#running -= 1;
    }
  }

  async #take(
    desk: Desk,
    person: Person,
    contentType: string | undefined,
    arriving: AsyncIterable<Buffer>,
  ): Promise<File & { name: string }> {
    const form: FormFile = await fileOfForm(contentType, arriving);
    const { name } = form;
    const files = NAME.test(name) ? filesNamed(desk.catalogue(), name) : [];
    if (files.length === 0) {
      throw new Problem(
        409,
        `No package has a file ${name.slice(0, 255)}: make it first, with --base-url or --url to /payloads/ of this server.`,
      );
    }
    const most = Math.max(...files.map(({ size }) => size));
    const written = await this.#deposit.write(form.content, most);
    const { size, sha256 } = written ?? { size: most + 1, sha256: "" };
    if (written === undefined || !files.some((file) => file.size === size && file.sha256 === sha256)) {
      if (written !== undefined) await this.#deposit.drop(written);
      throw new Problem(
        409,
        `It is not the file ${name} of any package: its size or its SHA-256 is another.`,
      );
    }
    if (!(await this.#deposit.keep(written, name))) {
      throw new Problem(
        409,
        `There is another file ${name} in the directory of payloads, which something may need: take that away first, or give the package's file a name of its own.`,
      );
    }
    desk.options.log.info("a person uploaded a payload", { user: person.username, name, size, sha256 });
    return { name, size, sha256 };
  }
}

async function passOver(arriving: AsyncIterable<Buffer>): Promise<void> {
  let passed = 0;
  for await (const { length } of arriving) {
    passed += length;
    if (passed > MAX_REST) return;
  }
}

/** All that Releases have under this name. */
function filesNamed({ releases }: Catalogue, name: string): File[] {
  return releases.flatMap(({ spec }) =>
    (spec.omaha ?? []).flatMap(({ payload, extras }) =>
      [payload, ...extras].filter((one) => one.name === name),
    ),
  );
}
