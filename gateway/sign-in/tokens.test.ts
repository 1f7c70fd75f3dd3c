import { expect, test } from "vitest";
import { endOf } from "./tokens.ts";

const jwt = (payload: string): string => `e30.${Buffer.from(payload).toString("base64url")}.c2ln`;

test.each([
  [jwt('{"exp":1795766400,"sub":"a"}'), 1_795_766_400_000],
  [jwt('{"exp":"soon"}'), undefined],
  [jwt("{}"), undefined],
  [jwt("null"), undefined],
  ["static-token", undefined],
  ["a.b.c", undefined],
  ["", undefined],
])("%j ends at %j", (token, end) => {
  expect(endOf(token)).toBe(end);
});
