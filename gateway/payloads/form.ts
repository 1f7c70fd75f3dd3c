/**
 * The one file of a form as `multipart/form-data` (RFC 7578), read as it comes: what is held at once is a piece of it,
 * whatever its size. Forms of several parts are refused: nobody sends them here.
 */

/** The form is none, or not one with a file. The message is a sentence for the client. */
export class FormError extends Error {
  override readonly name = "FormError";
}

export interface FormFile {
  /** As it was sent. */
  name: string;
  /** Once. Throws `FormError` where the form ends too early, or goes on. */
  content: AsyncIterable<Buffer>;
}

/** Of a part: its disposition and its type. */
const MAX_HEAD = 8 * 1024;
/** After the last delimiter nothing need come. */
const MAX_TAIL = 1024;
const CRLF = Buffer.from("\r\n");
const HEAD_END = Buffer.from("\r\n\r\n");

/** Rejects with `FormError`. */
export async function fileOfForm(
  contentType: string | undefined,
  arriving: AsyncIterable<Buffer>,
): Promise<FormFile> {
  const [, , boundary] =
    /^multipart\/form-data\s*;\s*boundary=("?)([^"\s;]{1,70})\1\s*$/i.exec(contentType ?? "") ?? [];
  if (boundary === undefined) throw new FormError("A file is sent as multipart/form-data with a boundary.");
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  const pieces = arriving[Symbol.asyncIterator]();
  // So that the first delimiter is like the others.
  let held: Buffer = CRLF;
  const more = async (): Promise<void> => {
    const next = await pieces.next();
    if (next.done === true) throw new FormError("The form ends before its last delimiter.");
    held = Buffer.concat([held, next.value]);
  };
  let end = held.indexOf(HEAD_END);
  for (; end < 0; end = held.indexOf(HEAD_END)) {
    if (held.length > MAX_HEAD) throw new FormError("The head of the file's part is too long.");
    await more();
  }
  const head = held.subarray(0, end).toString();
  held = held.subarray(end + HEAD_END.length);
  if (!head.startsWith(`${delimiter.toString()}\r\n`)) throw new FormError("The form has another boundary.");
  const name = /^content-disposition:\s*form-data;.*\bfilename="([^"\\\r\n]*)"/im.exec(head)?.[1];
  if (name === undefined) throw new FormError("The part of the form has no file.");

  async function* content(): AsyncGenerator<Buffer> {
    for (;;) {
      const at = held.indexOf(delimiter);
      // What may be the beginning of a delimiter waits for the rest of it.
      const sure = at < 0 ? held.length - delimiter.length + 1 : at;
      if (sure > 0) {
        yield held.subarray(0, sure);
        held = held.subarray(sure);
      }
      if (at >= 0) break;
      await more();
    }
    while (held.length < delimiter.length + 2) await more();
    held = held.subarray(delimiter.length);
    if (held.subarray(0, 2).toString() !== "--") throw new FormError("The form has more than one part.");
    for (;;) {
      if (held.length > MAX_TAIL) throw new FormError("Something follows the form.");
      const next = await pieces.next();
      if (next.done === true) return;
      held = Buffer.concat([held, next.value]);
    }
  }
  return { name, content: content() };
}
