/** What a fuzzer sends to a parser: good texts with holes, and with pieces that mean something to it. For tests. */
import * as fc from "fast-check";

/** Inputs of a fuzzer: FUZZ takes a count for more. */
export const FUZZ = Number(process.env.FUZZ ?? 100_000);

/** What means something to a reader of XML. */
export const XML_PIECES = ["<", ">", '"', "/", "&", "&#x110000;", "]]>", "<!", "<?", "=", "\u0000", "é", "{"];

/** Texts of `corpus` with up to four cuts of at most `drop` characters; what is put there instead may be repeated. */
export function damaged(
  corpus: readonly string[],
  pieces: readonly string[],
  drop = 40,
): fc.Arbitrary<string> {
  const longest = Math.max(...corpus.map((text) => text.length));
  const cut = fc.record({
    at: fc.nat({ max: longest }),
    drop: fc.nat({ max: drop }),
    put: fc.constantFrom("", ...pieces),
    times: fc.constantFrom(1, 1, 1, 30),
  });
  return fc
    .tuple(fc.constantFrom(...corpus), fc.array(cut, { maxLength: 4 }))
    .map(([whole, cuts]) =>
      cuts.reduce(
        (text, one) => text.slice(0, one.at) + one.put.repeat(one.times) + text.slice(one.at + one.drop),
        whole,
      ),
    );
}
