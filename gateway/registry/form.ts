/**
 * Forms as etcd's HTTP server reads them, which is Go's net/url: a semicolon is an error, so is a percent sign without
 * two digits, and the first value of a name counts.
 */

/** Names to values, in the order in which they came. */
export type Form = ReadonlyMap<string, readonly string[]>;

/** What is wrong with a form, in Go's words. */
export class FormError extends Error {
  override readonly name = "FormError";
}

/** The values of a body come before those of the query. Throws `FormError`. */
export function parseForm(query: string, body: string): Form {
  const form = new Map<string, string[]>();
  for (const text of [body, query]) {
    if (text.includes(";")) throw new FormError("invalid semicolon separator in query");
    for (const piece of text.split("&")) {
      if (piece === "") continue;
      const mark = piece.indexOf("=");
      const name = unescape(mark < 0 ? piece : piece.slice(0, mark));
      const value = unescape(mark < 0 ? "" : piece.slice(mark + 1));
      const values = form.get(name);
      if (values === undefined) form.set(name, [value]);
      else values.push(value);
    }
  }
  return form;
}

/** One piece of a form. Throws `FormError`, also where the bytes are no UTF-8: they would not come back as they were. */
export function unescape(text: string): string {
  const wrong = /%(?![0-9a-fA-F]{2}).{0,2}/s.exec(text);
  if (wrong !== null) throw new FormError(`invalid URL escape ${JSON.stringify(wrong[0])}`);
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw new FormError("a value is no UTF-8");
  }
}
