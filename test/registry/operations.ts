/** Random requests of etcd's v2 API, right and wrong. For tests. */
import * as fc from "fast-check";

/** Seconds that are drawn: far enough from each other and from now to be told apart later. */
export const TTLS = ["100000", "200000"];

type Fields = Record<string, string>;
export type Operation =
  | {
      kind: "ask";
      method: string;
      key: string;
      fields: Fields;
      index: "none" | "own" | "newest" | "old";
      inQuery: boolean;
    }
  | { kind: "wait"; key: string; recursive: boolean; back: number | undefined };

const keys = fc.constantFrom(
  "/a",
  "/b",
  "/a/b",
  "/a/b/c",
  "/b/c",
  "/b/c/d",
  "/_h",
  "/a/_h",
  "/a/_h/x",
  "/a/b/",
  "/",
  "//a",
  "/a/../b",
  "/é",
);
const value = fc.constantFrom("x", "y", "", "<&>\u2028\n\b");
const bool = fc.constantFrom("true", "false");
const ttl = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...TTLS) },
  { weight: 1, arbitrary: fc.constant("0") },
);
/** Some of the fields, each sometimes. */
function some(fields: Record<string, [number, fc.Arbitrary<string>]>): fc.Arbitrary<Fields> {
  const optional = Object.entries(fields).map(([name, [of, arbitrary]]) =>
    fc.tuple(fc.nat(of), arbitrary).map(([draw, text]): Fields => (draw === 0 ? { [name]: text } : {})),
  );
  return fc.tuple(...optional).map((all) => Object.assign({}, ...all) as Fields);
}
const index = fc.constantFrom("none", "none", "none", "own", "newest", "old") satisfies fc.Arbitrary<string>;
const inQuery = fc.boolean();
const ask = (
  method: fc.Arbitrary<string>,
  fields: fc.Arbitrary<Fields>,
  indexed = false,
): fc.Arbitrary<Operation> =>
  fc.record({
    ...{ kind: fc.constant("ask" as const), method, key: keys, fields, inQuery },
    index: indexed ? index : fc.constant("none" as const),
  });
/** One request of any kind, on a few keys, so that they meet. */
export const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 12,
    arbitrary: ask(
      fc.constant("PUT"),
      some({
        ...{
          value: [0, value],
          dir: [4, bool],
          prevExist: [2, bool],
          prevValue: [5, fc.constantFrom("x", "y", "<")],
        },
        ...{ ttl: [5, ttl], refresh: [5, bool], noValueOnSuccess: [9, bool], recursive: [9, bool] },
      }),
      true,
    ),
  },
  {
    weight: 2,
    arbitrary: ask(
      fc.constant("POST"),
      some({ value: [0, value], dir: [4, bool], ttl: [5, ttl], prevExist: [5, bool] }),
    ),
  },
  {
    weight: 5,
    arbitrary: ask(
      fc.constant("DELETE"),
      some({ dir: [1, bool], recursive: [1, bool], prevValue: [4, fc.constantFrom("x", "y")] }),
      true,
    ),
  },
  {
    weight: 5,
    arbitrary: ask(fc.constant("GET"), some({ recursive: [1, bool], sorted: [1, bool], quorum: [3, bool] })),
  },
  { weight: 1, arbitrary: ask(fc.constantFrom("HEAD", "PATCH"), some({ recursive: [1, bool] })) },
  {
    weight: 2,
    arbitrary: ask(
      fc.constantFrom("PUT", "GET", "DELETE", "POST"),
      some({
        ...{
          ttl: [3, fc.constantFrom("x", "-1", "1.5", "", "0x1")],
          prevIndex: [3, fc.constantFrom("x", "-1", "", "+1", "18446744073709551616")],
        },
        ...{
          waitIndex: [3, fc.constantFrom("x", "-1", "")],
          prevValue: [3, fc.constant("")],
          value: [3, fc.constantFrom("a;b", "%zz", "%4", "%")],
        },
        ...{
          recursive: [3, fc.constantFrom("x", "", "T")],
          sorted: [3, fc.constantFrom("yes", "1")],
          dir: [3, fc.constantFrom("2", "f")],
        },
        ...{
          wait: [5, fc.constantFrom("x", "0")],
          stream: [5, fc.constant("x")],
          prevExist: [5, fc.constantFrom("", "x", "TRUE")],
        },
        ...{
          quorum: [5, fc.constantFrom("", "F")],
          refresh: [5, fc.constantFrom("x", "true")],
          noValueOnSuccess: [5, fc.constant("x")],
        },
      }),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{
        kind: fc.constant("wait" as const),
        key: fc.constantFrom("/a", "/b", "/_h", "/"),
        recursive: fc.boolean(),
      },
      back: fc.option(fc.oneof(fc.integer({ min: -1, max: 40 }), fc.integer({ min: 990, max: 1010 })), {
        nil: undefined,
      }),
    }),
  },
);

const RAW = ["%zz", "%4", "%", "a;b"];
/** As it is sent: what is wrong on purpose is not escaped. */
export function formOf(fields: Fields): string {
  return Object.entries(fields)
    .map(([name, text]) => `${name}=${RAW.includes(text) ? text : encodeURIComponent(text)}`)
    .join("&");
}
