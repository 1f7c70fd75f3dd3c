/** Forms with a file, cut anywhere, and what is none. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormError, fileOfForm } from "./form.ts";

const TYPE = "multipart/form-data; boundary=b0-undary";
const HEAD = `--b0-undary\r\nContent-Disposition: form-data; name="file"; filename="update.gz"\r\nContent-Type: application/octet-stream\r\n\r\n`;
const form = (content: Buffer | string, end = "\r\n--b0-undary--\r\n"): Buffer =>
  Buffer.concat([Buffer.from(HEAD), Buffer.from(content), Buffer.from(end)]);

/** In pieces that end at these places. */
async function* cut(whole: Buffer, places: readonly number[]): AsyncGenerator<Buffer> {
  let from = 0;
  for (const place of [
    ...places.map((one) => one % (whole.length + 1)).toSorted((a, b) => a - b),
    whole.length,
  ]) {
    yield whole.subarray(from, place);
    from = place;
  }
}

async function read(whole: Buffer, places: readonly number[] = [], type: string | undefined = TYPE) {
  const { name, content } = await fileOfForm(type, cut(whole, places));
  const pieces: Buffer[] = [];
  for await (const piece of content) pieces.push(piece);
  return { name, content: Buffer.concat(pieces) };
}

/** Of bytes that look like delimiters too. */
const contents = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc
        .constantFrom("\r\n", "--", "\r\n--", "\r\n--b0-undar", "--b0-undary", "\n--b0-undary--")
        .map((text) => Buffer.from(text)),
    ),
    { maxLength: 12 },
  )
  .map((parts) => Buffer.concat(parts))
  .filter((content) => !content.includes("\r\n--b0-undary"));

describe("a form with a file", () => {
  it("gives its name and its bytes, wherever it is cut", async () => {
    await fc.assert(
      fc.asyncProperty(contents, fc.array(fc.nat(), { maxLength: 10 }), async (content, places) => {
        const got = await read(form(content), places);
        expect(got.name).toBe("update.gz");
        expect(got.content.equals(content)).toBe(true);
      }),
    );
  });

  it("that ends before its end is no file, wherever it ends", async () => {
    const whole = form("some bytes");
    for (let length = 0; length < whole.length - 2; length += 1) {
      await expect(read(whole.subarray(0, length)), String(length)).rejects.toThrow(FormError);
    }
  });
});

it.each<[string, Buffer, string | undefined, RegExp]>([
  ["no form", form("x"), "application/json", /as multipart\/form-data/],
  ["no type", form("x"), "", /as multipart\/form-data/],
  ["another boundary", form("x"), "multipart/form-data; boundary=other", /another boundary/],
  [
    "no file",
    Buffer.from(`--b0-undary\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b0-undary--`),
    TYPE,
    /has no file/,
  ],
  ["a head without end", Buffer.from(`--b0-undary\r\n${"x: y\r\n".repeat(5000)}`), TYPE, /too long/],
  ["two files", form("x", `\r\n${HEAD}y\r\n--b0-undary--\r\n`), TYPE, /more than one part/],
  ["something after it", form("x", `\r\n--b0-undary--\r\n${"x".repeat(5000)}`), TYPE, /follows the form/],
])("%s is refused", async (_, whole, type, message) => {
  const error = await read(whole, [1000, 2000, 3000], type).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(FormError);
  expect((error as Error).message).toMatch(message);
});
